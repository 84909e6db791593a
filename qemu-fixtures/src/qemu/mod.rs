//! One QEMU process: how it is described ([`Builder`]), held ([`Guest`]) and never left behind
//! ([`clean_up_all`]).
//!
//! ```no_run
//! use vmward_qemu_fixtures::qemu::{Builder, Memory, Serial};
//! # fn main() -> Result<(), vmward_qemu_fixtures::qemu::Error> {
//! let mut guest = Builder::q35("ward-1")
//!     .vcpus(2)
//!     .memory(Memory::memfd(512))
//!     .kernel("vmlinuz", "initrd.img")
//!     .append("console=ttyS0")
//!     .console(Serial::unix_socket())
//!     .vmcoreinfo()
//!     .boot()?;
//! assert_eq!(guest.qmp()?.status()?, "running");
//! # Ok(())
//! # }
//! ```

mod args;
mod builder;
mod console;
mod control;
mod devices;
mod error;
mod guest;
mod launch;
mod line;
mod qmp;
mod ready;
mod run_folder;
mod spawn;
mod twin;

pub use builder::{Arch, Builder};
pub use control::Control;
pub use devices::{Disk, Memory, Serial, Source, Throttle};
pub use error::{Error, Result};
pub use guest::{ConsoleAddress, Guest};
pub use launch::boot_retries;
pub use qmp::{Event, Qmp};
pub use run_folder::{RunFolder, clean_up_all};
