//! Guest-physical memory, wherever it comes from: a live QEMU, a gdb stub, a core file, a minicore.

mod recorder;
mod source;
#[cfg(test)]
pub(crate) mod test_memory;
mod user_text;

pub use recorder::{PAGE_SIZE, Recorder};
pub use source::{PhysRange, PhysicalMemory};
pub use user_text::{UserKey, UserTexts};
