//! The header and sub-header of a kdump-compressed dump, as a 64-bit little-endian kernel has them.
//!
//! Header: signature, `header_version` at 8, six names of 65 bytes (`machine` is the fifth), `status` at
//! 424, `block_size` 428, `sub_hdr_size` 432, `bitmap_blocks` 436, `max_mapnr` 440. Sub-header: `phys_base`,
//! `dump_level` 8, `split` 12, VMCOREINFO's offset and size at 32 (version 3), the notes' at 48 (version 4),
//! `max_mapnr_64` at 96 (version 6).

use super::damaged;
use crate::Arch;
use crate::source::OpenError;
use crate::source::bytes::{ReadAt, u32_at, u64_at};

/// What a dump begins with.
pub(in crate::source) const SIGNATURES: [&[u8]; 2] = [b"KDUMP   ", b"DISKDUMP"];
/// Bytes of the header that are looked at.
const HEADER: usize = 464;
/// Bytes of the sub-header that are looked at.
const SUB_HEADER: usize = 104;
/// `status`: the writer was out of space.
const INCOMPLETE: u32 = 0x8;

/// What is needed of both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes of a block: the page size of the guest or of its architecture.
    pub(super) block_size: u64,
    /// Pages that the bitmaps speak of.
    pub(super) pages: u64,
    /// Where the first bitmap begins.
    pub(super) bitmaps_at: u64,
    /// Bytes of each of the two.
    pub(super) bitmap_len: u64,
    /// Where the page descriptors begin.
    pub(super) descriptors_at: u64,
    /// Offset and size of VMCOREINFO.
    pub(super) vmcoreinfo: (u64, u64),
    /// Offset and size of the notes.
    pub(super) notes: (u64, u64),
    /// The architecture, by the kernel's name for it.
    pub(super) arch: Option<Arch>,
}

impl Header {
    pub(super) fn read(file: &dyn ReadAt) -> Result<Self, OpenError> {
        let head = file.bytes(0, HEADER).map_err(OpenError::io("the header"))?;
        let word = |at| u32_at(&head, at).map(u64::from).ok_or(damaged("its header is cut"));
        let version = word(8)?;
        let block_size = word(428)?;
        if !block_size.is_power_of_two() || !(4096..=1 << 16).contains(&block_size) {
            return Err(damaged("its block size makes no sense"));
        }
        if word(424)? as u32 & INCOMPLETE != 0 && file.size() < block_size * 2 {
            return Err(damaged("its writer was out of space at once"));
        }
        let sub_blocks = word(432)?;
        let bitmap_blocks = word(436)?;
        let sub = file.bytes(block_size, SUB_HEADER).map_err(OpenError::io("the sub-header"))?;
        // A 32-bit kernel's sub-header is shorter and has other offsets; its machine says so.
        let machine: Vec<u8> =
            head.get(272..337).unwrap_or_default().iter().copied().take_while(|it| *it != 0).collect();
        if matches!(machine.as_slice(), b"i686" | b"i586" | b"i386" | b"armv7l") {
            return Err(OpenError::Unsupported {
                what: "a kdump-compressed dump of a 32-bit kernel".to_owned(),
                instead: "dumps of 64-bit x86 and ARM guests are read",
            });
        }
        if version >= 2 && u32_at(&sub, 12).unwrap_or(0) != 0 {
            return Err(OpenError::Unsupported {
                what: "one part of a split dump".to_owned(),
                instead: "join the parts first (makedumpfile --reassemble)",
            });
        }
        let since = |first: u64, at| if version >= first { u64_at(&sub, at).unwrap_or(0) } else { 0 };
        let pages = match since(6, 96) {
            0 => word(440)?,
            pages => pages,
        };
        let bitmaps_at = (1 + sub_blocks) * block_size;
        let bitmap_len = bitmap_blocks / 2 * block_size;
        let arch = match machine.as_slice() {
            b"x86_64" => Some(Arch::X86_64),
            b"aarch64" => Some(Arch::Aarch64),
            _ => None,
        };
        Ok(Self {
            block_size,
            pages,
            bitmaps_at,
            bitmap_len,
            descriptors_at: bitmaps_at + bitmap_blocks * block_size,
            vmcoreinfo: (since(3, 32), since(3, 40)),
            notes: (since(4, 48), since(4, 56)),
            arch,
        })
    }
}
