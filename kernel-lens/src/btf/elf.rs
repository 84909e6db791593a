//! BTF from a file: as it is (`/sys/kernel/btf/vmlinux`, BTFHub), or in the section `.BTF` of an ELF file,
//! of which nothing else is read: a vmlinux with debug information has 500 MB.

use std::io::{Read, Seek, SeekFrom};

use super::header::{MAX_LEN, u32_at};
use super::{BtfError, Types};

/// Bytes of `Elf64_Ehdr` and `Elf64_Shdr`.
const EHDR: usize = 64;
const SHDR: usize = 64;
/// Sections looked at: a vmlinux has 80, a kernel with a section for each function never keeps them.
const MAX_SECTIONS: u64 = 1 << 16;
/// `SHT_NOBITS`: takes no place in the file.
const NOBITS: u32 = 8;
/// `SHF_COMPRESSED`.
const COMPRESSED: u64 = 1 << 11;

impl Types {
    /// Indexes the BTF in a file: raw, or an ELF file's section `.BTF`.
    ///
    /// # Errors
    /// As [`Self::new`]; [`BtfError::NoSection`] for an ELF file without it, [`BtfError::Distilled`] for a
    /// module that brings its own base, and [`BtfError::File`].
    pub fn from_file(file: &mut (impl Read + Seek)) -> Result<Self, BtfError> {
        Self::new(blob_of_file(file)?)
    }
}

/// The blob in a file, raw or in an ELF file's section: for [`Types::add_module`].
///
/// # Errors
/// As [`Types::from_file`].
pub fn blob_of_file(file: &mut (impl Read + Seek)) -> Result<Vec<u8>, BtfError> {
    let head = part(file, 0, EHDR as u64)?;
    if !head.starts_with(b"\x7fELF") {
        return part(file, 0, MAX_LEN as u64 + 1);
    }
    // 64 bits, little-endian: `ELFCLASS64`, `ELFDATA2LSB`.
    if head.get(4..6) != Some(&[2, 1]) {
        return Err(BtfError::ElfClass);
    }
    let cut = || BtfError::Truncated { part: "ELF header", len: head.len() };
    let table = u64_at(&head, 40).ok_or_else(cut)?;
    let words = u32_at(&head, 60).ok_or_else(cut)?;
    let (mut count, mut names) = (u64::from(words & 0xffff), words >> 16);
    // More than fit into 16 bits: the first section tells (gABI, "Extended section numbering").
    let first = part(file, table, SHDR as u64)?;
    if count == 0 {
        count = u64_at(&first, 32).unwrap_or(0);
    }
    if names == 0xffff {
        names = u32_at(&first, 40).unwrap_or(0);
    }
    let sections = part(file, table, count.min(MAX_SECTIONS) * SHDR as u64)?;
    let all: Vec<Section> = sections.chunks_exact(SHDR).filter_map(Section::parse).collect();
    let names = all.get(names as usize).ok_or(BtfError::NoSection)?;
    let names = part(file, names.offset, names.len.min(MAX_LEN as u64))?;
    let find = |name: &[u8]| {
        all.iter().find(|it| names.get(it.name as usize..).is_some_and(|text| text.starts_with(name)))
    };
    if find(b".BTF.base\0").is_some() {
        return Err(BtfError::Distilled);
    }
    let section = find(b".BTF\0").filter(|it| it.kind != NOBITS && it.flags & COMPRESSED == 0);
    let section = section.ok_or(BtfError::NoSection)?;
    part(file, section.offset, section.len.min(MAX_LEN as u64 + 1))
}

/// What of `Elf64_Shdr` is needed.
#[derive(Debug)]
struct Section {
    name: u32,
    kind: u32,
    flags: u64,
    offset: u64,
    len: u64,
}

impl Section {
    fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            name: u32_at(bytes, 0)?,
            kind: u32_at(bytes, 4)?,
            flags: u64_at(bytes, 8)?,
            offset: u64_at(bytes, 24)?,
            len: u64_at(bytes, 32)?,
        })
    }
}

/// Up to `len` bytes at an offset: what the file has of them, so that nothing is allocated for a claim.
fn part(file: &mut (impl Read + Seek), offset: u64, len: u64) -> Result<Vec<u8>, BtfError> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(offset))?;
    file.take(len).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let word = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(word.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::test_blob::Blob;
    use super::*;

    /// An ELF file of three sections: none, the names, and one with `blob`.
    fn elf(name: &str, blob: &[u8]) -> Vec<u8> {
        let names = format!("\0.shstrtab\0{name}\0");
        let blob_at = (EHDR + names.len()) as u64;
        let table = blob_at + blob.len() as u64;
        let mut file = vec![0; EHDR];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[40..48].copy_from_slice(&table.to_le_bytes());
        file[58..64].copy_from_slice(&[64, 0, 3, 0, 1, 0]);
        file.extend_from_slice(names.as_bytes());
        file.extend_from_slice(blob);
        for (name, kind, offset, len) in
            [(0u32, 0u32, 0, 0), (1, 3, EHDR as u64, names.len() as u64), (11, 1, blob_at, blob.len() as u64)]
        {
            let mut section = [0; SHDR];
            section[..4].copy_from_slice(&name.to_le_bytes());
            section[4..8].copy_from_slice(&kind.to_le_bytes());
            section[24..32].copy_from_slice(&offset.to_le_bytes());
            section[32..40].copy_from_slice(&len.to_le_bytes());
            file.extend_from_slice(&section);
        }
        file
    }

    fn read(bytes: Vec<u8>) -> Result<Types, BtfError> {
        Types::from_file(&mut Cursor::new(bytes))
    }

    #[test]
    fn a_file_is_raw_or_elf() {
        let blob = Blob::small_kernel();
        assert_eq!(read(blob.clone()).unwrap().offset("task_struct", "pid"), Some(8));
        assert_eq!(read(elf(".BTF", &blob)).unwrap().offset("task_struct", "pid"), Some(8));
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let blob = Blob::small_kernel();
        assert!(matches!(read(elf(".BTF.ext", &blob)), Err(BtfError::NoSection)));
        assert!(matches!(read(elf(".BTF.base", &blob)), Err(BtfError::Distilled)));
        assert!(matches!(read(b"hello".to_vec()), Err(BtfError::NotBtf)));
        assert!(matches!(read(Vec::new()), Err(BtfError::NotBtf)));
        let mut class = elf(".BTF", &blob);
        class[4] = 1;
        assert!(matches!(read(class), Err(BtfError::ElfClass)));
    }

    #[test]
    fn a_file_that_is_cut_off_or_broken_is_an_error() {
        let whole = elf(".BTF", &Blob::small_kernel());
        for len in 0..whole.len() {
            assert!(read(whole[..len].to_vec()).is_err(), "{len}");
        }
        let mut wild = whole;
        wild[40..48].fill(0xff);
        assert!(read(wild).is_err());
    }
}
