//! The kernel's log out of its memory, in both formats that there have been.
//!
//! The text is there even if no console printed it: rate limits, console levels and a hung console change
//! nothing in the ring.

mod buffer;
mod layout;
mod ring;
mod text;

use vmward_kernel_facts::KernelLog;

use self::buffer::Buffer;
use self::layout::{Layouts, RingLayout, Vmcoreinfo};
use crate::btf::Types;
use crate::{Kernel, ReadError, machine};

/// Bytes of VMCOREINFO at most (`VMCOREINFO_BYTES` is a page; 64 KiB on some).
const MAX_VMCOREINFO: usize = 64 << 10;

impl Layouts for Types {
    fn size(&self, of: &str) -> Option<u64> {
        Types::size(self, of)
    }

    fn offset(&self, of: &str, member: &str) -> Option<u64> {
        Types::offset(self, of, member)
    }
}

/// Reads the log, with the layout from the kernel's types, or without them from its VMCOREINFO.
///
/// # Errors
/// [`ReadError::Inconsistent`] if there is no log or its layout is unknown; what a read of it said.
pub fn read(kernel: &Kernel<'_>) -> Result<KernelLog, ReadError> {
    let vmcoreinfo = vmcoreinfo(kernel).unwrap_or_default();
    let vmcoreinfo = Vmcoreinfo(&vmcoreinfo);
    let mut log = match kernel.symbol("prb") {
        Some(prb) => {
            let layout = RingLayout::new(&kernel.types).or_else(|| RingLayout::new(&vmcoreinfo));
            let unknown = ReadError::Inconsistent { what: "the layout of the log", virt: prb };
            // A pointer: the ring of early boot is exchanged for a larger one.
            ring::read_ring(&kernel.space, kernel.space.u64(prb)?, &layout.ok_or(unknown)?)?
        }
        None => buffer::read_buffer(&kernel.space, old_buffer(kernel, &vmcoreinfo)?)?,
    };
    log.boot_nsec = machine::clock::read(kernel).ok().map(|it| it.boot_nsec);
    Ok(log)
}

/// The kernel's own VMCOREINFO: it is kept in a page whether or not anyone asks for it.
fn vmcoreinfo(kernel: &Kernel<'_>) -> Option<String> {
    let at = kernel.space.u64(kernel.symbol("vmcoreinfo_data")?).ok()?;
    let size = kernel.space.u64(kernel.symbol("vmcoreinfo_size")?).ok()?;
    kernel.space.text(at, usize::try_from(size).ok()?.min(MAX_VMCOREINFO)).ok()
}

fn old_buffer(kernel: &Kernel<'_>, vmcoreinfo: &Vmcoreinfo<'_>) -> Result<Buffer, ReadError> {
    let symbol =
        |name| kernel.symbol(name).ok_or(ReadError::Inconsistent { what: "the place of the log", virt: 0 });
    let word = |name| kernel.space.u32(symbol(name)?);
    Ok(Buffer {
        at: kernel.space.u64(symbol("log_buf")?)?,
        len: word("log_buf_len")?,
        first_index: word("log_first_idx")?,
        next_index: word("log_next_idx")?,
        first_seq: kernel.space.u64(symbol("log_first_seq")?)?,
        header: kernel.types.size("printk_log").or_else(|| vmcoreinfo.size("printk_log")),
    })
}
