//! Which file of QEMU's holds which RAM block, and where blocks lie in its memory.
//!
//! All memfd backends have the same name (`/memfd:memory-backend-memfd (deleted)`), so a block is told by
//! where QEMU maps it: `gpa2hva` gives the host address of one of its bytes, `/proc/PID/maps` the file and
//! offset there, and the file's inode the descriptor. Without maps a size that fits one file only will do;
//! where two fit, nothing is guessed.

use thiserror::Error;

use super::MemoryMap;

/// Mappings read at most.
const MAX_MAPPINGS: usize = 1 << 16;

/// A RAM block and where its file begins to hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backing {
    /// Name of the block.
    pub block: String,
    /// Offset of the block's first byte in the file.
    pub offset: u64,
}

/// An open file of QEMU's that may hold a RAM block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockFile {
    /// The number of the descriptor in QEMU.
    pub fd: u32,
    /// Its inode.
    pub inode: u64,
    /// Its size in bytes.
    pub size: u64,
}

/// A line of `/proc/PID/maps`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// First host address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// Whether writes go to the file (`s`) and not to a private copy.
    pub shared: bool,
    /// Offset in the file.
    pub offset: u64,
    /// The file's inode; 0 for anonymous memory.
    pub inode: u64,
}

/// Why a block's file is not known.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BackingError {
    /// The block is in no file.
    #[error("RAM block {block} is anonymous memory: no file holds it")]
    Anonymous {
        /// The block.
        block: String,
    },
    /// A file holds it that is not among the descriptors.
    #[error("RAM block {block} is in a file (inode {inode}) that QEMU has no descriptor of")]
    NoDescriptor {
        /// The block.
        block: String,
        /// The file's inode.
        inode: u64,
    },
    /// Sizes do not tell.
    #[error("RAM block {block} of {size} bytes may be in {fits} files: its host address would tell")]
    Ambiguous {
        /// The block.
        block: String,
        /// Its size as mapped.
        size: u64,
        /// How many files have room for it.
        fits: usize,
    },
}

/// Finds the file of each block. `hosts` gives for a block the host address of its first byte, where known.
///
/// # Errors
/// [`BackingError`], for the first block of which the file is not known.
pub fn block_files(
    map: &MemoryMap,
    blocks: &[&str],
    files: &[BlockFile],
    mappings: &[Mapping],
    hosts: impl Fn(&str) -> Option<u64>,
) -> Result<Vec<(Backing, u32)>, BackingError> {
    let by_address = |block: &str| -> Option<Result<(Backing, u32), BackingError>> {
        let host = hosts(block)?;
        let mapping = mappings.iter().find(|it| it.start <= host && host < it.end)?;
        let name = block.to_owned();
        if mapping.inode == 0 {
            return Some(Err(BackingError::Anonymous { block: name }));
        }
        let offset = mapping.offset.checked_add(host - mapping.start)?;
        let file = files.iter().find(|it| it.inode == mapping.inode);
        let inode = mapping.inode;
        Some(match file {
            Some(file) => Ok((Backing { block: name, offset }, file.fd)),
            None => Err(BackingError::NoDescriptor { block: name, inode }),
        })
    };
    let by_size = |block: &str| {
        let size = map.extent(block);
        let mut fits: Vec<&BlockFile> = Vec::new();
        for file in files.iter().filter(|it| it.size == size) {
            // Two descriptors of one file are one file.
            if fits.iter().all(|it| it.inode != file.inode) {
                fits.push(file);
            }
        }
        match fits.as_slice() {
            [] => Err(BackingError::Anonymous { block: block.to_owned() }),
            [file] => Ok((Backing { block: block.to_owned(), offset: 0 }, file.fd)),
            more => Err(BackingError::Ambiguous { block: block.to_owned(), size, fits: more.len() }),
        }
    };
    blocks.iter().map(|block| by_address(block).unwrap_or_else(|| by_size(block))).collect()
}

/// Reads `/proc/PID/maps`: `START-END PERMS OFFSET DEV INODE PATH` (Documentation/filesystems/proc.rst).
pub fn mappings(text: &str) -> Vec<Mapping> {
    text.lines().take(MAX_MAPPINGS).filter_map(mapping).collect()
}

fn mapping(line: &str) -> Option<Mapping> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let shared = words.next()?.ends_with('s');
    let hex = |digits: &str| u64::from_str_radix(digits, 16).ok();
    let offset = hex(words.next()?)?;
    let inode = words.nth(1)?.parse().ok()?;
    Some(Mapping { start: hex(start)?, end: hex(end)?, shared, offset, inode })
}

/// Reads the answer to HMP `gpa2hva`: `Host virtual address for 0x100000 (pc.ram) is 0x7f0000100000`.
pub fn host_address(answer: &str) -> Option<u64> {
    let (_, digits) = answer.trim_end().rsplit_once(" is 0x")?;
    let plain = !digits.is_empty() && digits.len() <= 16 && digits.bytes().all(|it| it.is_ascii_hexdigit());
    if plain { u64::from_str_radix(digits, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> MemoryMap {
        let rows = "  0000000000000000-000000000fffffff (prio 0, ram): node0\n  \
                    0000000010000000-000000001fffffff (prio 0, ram): node1\n  \
                    0000000020000000-000000002000ffff (prio 0, ram): other\n";
        MemoryMap::parse(&format!(" AS \"memory\", root: system\n{rows}")).unwrap()
    }

    fn file(fd: u32, inode: u64, size: u64) -> BlockFile {
        BlockFile { fd, inode, size }
    }

    #[test]
    fn blocks_of_one_size_are_told_by_where_they_are_mapped() {
        let maps = "7f0000000000-7f0010000000 rw-s 00000000 00:01 11  /memfd:memory-backend-memfd (deleted)\n\
                    7f1000000000-7f1010000000 rw-s 00000000 00:01 12  /memfd:memory-backend-memfd (deleted)\n\
                    7f2000000000-7f2010000000 rw-p 00000000 00:00 0 \n";
        let files = [file(9, 12, 0x1000_0000), file(8, 11, 0x1000_0000)];
        let mappings = mappings(maps);
        let hosts = |block: &str| Some(if block == "node0" { 0x7f00_0000_0000 } else { 0x7f10_0000_0000 });
        let found = block_files(&map(), &["node0", "node1"], &files, &mappings, hosts).unwrap();
        assert_eq!(found.iter().map(|it| it.1).collect::<Vec<_>>(), [8, 9]);
        let anonymous = block_files(&map(), &["node0"], &files, &mappings, |_| Some(0x7f20_0000_0010));
        assert_eq!(anonymous, Err(BackingError::Anonymous { block: "node0".into() }));
        let gone = block_files(&map(), &["node0"], &files[..1], &mappings, hosts);
        assert_eq!(gone, Err(BackingError::NoDescriptor { block: "node0".into(), inode: 11 }));
    }

    #[test]
    fn without_addresses_a_size_that_fits_one_file_will_do() {
        let files = [file(9, 12, 0x1000_0000), file(8, 11, 0x1_0000)];
        let by_size = |block, files: &[BlockFile]| block_files(&map(), &[block], files, &[], |_| None);
        assert_eq!(by_size("node0", &files).unwrap()[0].1, 9);
        let twice = [file(9, 12, 0x1000_0000), file(8, 11, 0x1000_0000)];
        assert!(matches!(by_size("node0", &twice), Err(BackingError::Ambiguous { fits: 2, .. })));
        assert!(matches!(by_size("node0", &[]), Err(BackingError::Anonymous { .. })));
    }

    #[test]
    fn answers_of_gpa2hva_are_read() {
        let answer = "Host virtual address for 0x100000 (ram0) is 0x7f83a7f00000\r\n";
        assert_eq!(host_address(answer), Some(0x7f83_a7f0_0000));
        assert_eq!(host_address("No memory is mapped at address 0x100000"), None);
        assert_eq!(host_address("Host virtual address for 0x1 (x) is 0x00112233445566778"), None);
    }
}
