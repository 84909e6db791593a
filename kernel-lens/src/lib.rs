//! Reads what a Linux kernel was doing out of guest-physical memory and vCPU registers.
//!
//! No debug information is given, the guest does not answer and is not stopped. All there is to know lies
//! in its RAM: symbols (kallsyms), types (BTF), unwind tables (ORC), the log, tasks and locks. Every byte
//! of it is untrusted: reads are bounded ([`Recorder`]), walks are bounded and cycle-proof, what cannot be
//! is reported as inconsistent and never guessed.
//!
//! Knows nothing of QEMU: whoever calls it supplies a [`PhysicalMemory`] and the vCPUs' [`Cpu`] states.

mod address_space;
pub mod arch;
mod ask;
pub mod btf;
pub mod cache;
mod cpu;
mod error;
mod examine;
pub mod find;
pub mod kallsyms;
mod kernel;
mod look_machine;
pub mod machine;
mod memory;
pub mod minicore;
mod module;
mod open;
pub mod printk;
mod running;
pub mod source;
mod symbols;
pub mod task;
pub mod unwind;
pub mod vmcoreinfo;
pub mod wait;

pub use address_space::AddressSpace;
pub use ask::answer;
pub use cpu::{Aarch64Registers, Aarch64System, Cpu, Registers, X86Registers};
pub use error::ReadError;
pub use examine::{ExamineError, Options, examine, examine_known, examine_opened};
pub use kernel::{Arch, Kernel};
pub use memory::{PAGE_SIZE, PhysRange, PhysicalMemory, Recorder, UserKey, UserTexts};
pub use module::{Module, ModulePart, Modules};
pub use open::{Opened, open, open_known};
pub use running::sample;
pub use symbols::{Symbol, Symbols};
