//! Guest-physical memory, wherever it comes from: a live QEMU, a gdb stub, a core file, a minicore.

mod digest;
mod page_hash;
mod recorder;
mod shared;
mod source;
#[cfg(test)]
pub(crate) mod test_memory;
mod user_text;

pub(crate) use digest::Key;
pub(crate) use page_hash::PageMap;
pub use recorder::{PAGE_SIZE, Recorder};
pub(crate) use shared::Shared;
pub use source::{PhysRange, PhysicalMemory};
pub use user_text::{UserKey, UserTexts};
