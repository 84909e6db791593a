//! Cores made by hand, byte by byte.

use super::notes::tests::note;
use super::*;
use crate::{Arch, PhysRange, ReadError};

fn program_header(kind: u32, offset: u64, phys: u64, file_len: u64, memory_len: u64) -> Vec<u8> {
    let mut out = kind.to_le_bytes().to_vec();
    out.extend(7u32.to_le_bytes());
    for word in [offset, 0xffff_8880_0000_0000 + phys, phys, file_len, memory_len, 0] {
        out.extend(word.to_le_bytes());
    }
    out
}

/// A header for a core of x86-64 with `count` program headers right behind.
fn header(count: u16) -> Vec<u8> {
    let mut out = b"\x7fELF\x02\x01\x01".to_vec();
    out.resize(16, 0);
    out.extend([4, 0, 62, 0, 1, 0, 0, 0]);
    for word in [0u64, 64, 0] {
        out.extend(word.to_le_bytes());
    }
    out.extend([0; 4]);
    for word in [64, 56, count, 64, 0, 0] {
        out.extend(u16::to_le_bytes(word));
    }
    out
}

fn core() -> Vec<u8> {
    let notes = note(b"VMCOREINFO", 0, b"OSRELEASE=x");
    let data = 64 + 3 * 56 + notes.len() as u64;
    let mut file = header(3);
    file.extend(program_header(PT_NOTE, 64 + 3 * 56, 0, notes.len() as u64, 0));
    file.extend(program_header(PT_LOAD, data, 0x1000, 8, 0x1000));
    file.extend(program_header(PT_LOAD, u64::MAX, 1 << 32, 0, 0x1000));
    file.extend(notes);
    file.extend(b"abcdefgh");
    file
}

fn open_vec(bytes: Vec<u8>) -> Result<Opened, OpenError> {
    open_bytes(Box::new(bytes))
}

#[test]
fn a_core_of_a_part_of_memory_knows_the_rest_as_ram() {
    let opened = open_vec(core()).unwrap();
    assert_eq!(opened.format, Format::Elf);
    assert_eq!(opened.arch, Some(Arch::X86_64));
    assert_eq!(opened.vmcoreinfo.as_deref(), Some(&b"OSRELEASE=x"[..]));
    let mut seen = [0; 4];
    opened.memory.read(0x1004, &mut seen).unwrap();
    assert_eq!(&seen, b"efgh");
    assert!(matches!(opened.memory.read(0x1006, &mut seen), Err(ReadError::NotKept { phys: 0x1008 })));
    assert!(matches!(opened.memory.read(1 << 32, &mut seen), Err(ReadError::NotKept { .. })));
    assert!(matches!(opened.memory.read(0, &mut seen), Err(ReadError::NotRam { phys: 0 })));
    assert_eq!(opened.memory.ranges().len(), 2);
}

#[test]
fn more_program_headers_than_fit_are_counted_elsewhere() {
    let mut file = core();
    file[56..58].copy_from_slice(&PN_XNUM.to_le_bytes());
    let at = file.len() as u64;
    file[40..48].copy_from_slice(&at.to_le_bytes());
    let mut section = vec![0; 64];
    section[44] = 3;
    file.extend(section);
    assert_eq!(open_vec(file.clone()).unwrap().memory.ranges().len(), 2);
    file.truncate(at as usize + 44);
    assert!(open_vec(file).is_err());
}

#[test]
fn every_error_names_what_the_file_is() {
    let said = |bytes: Vec<u8>| open_vec(bytes).err().map(|it| it.to_string()).unwrap();
    assert!(said(b"OSRELEASE".to_vec()).contains("no core that is known"));
    assert!(said(Vec::new()).contains("no core that is known"));
    assert!(said(b"\x7fELF".to_vec()).contains("cut"));
    let mut changed = core();
    changed[4] = 1;
    assert!(said(changed).contains("32-bit"));
    let mut changed = core();
    changed[16] = 2;
    assert!(said(changed).contains("no core"));
    let mut changed = core();
    changed[18] = 22;
    assert!(said(changed).contains("machine 22"));
    assert!(said(header(0)).contains("no memory"));
}

#[test]
fn a_cut_or_flipped_core_is_no_panic() {
    let whole = core();
    for end in 0..whole.len() {
        let _ = open_vec(whole[..end].to_vec());
    }
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            if let Ok(opened) = open_vec(bytes) {
                let _ = opened.memory.read(0x1000, &mut [0; 16]);
                let mut from = 0;
                while let Some(run) = opened.memory.populated(from) {
                    from = run.end;
                }
            }
        }
    }
}

#[test]
fn a_raw_image_is_read_by_its_layout() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ram");
    std::fs::write(&path, b"lowhigh").unwrap();
    let layout = vec![
        Segment { phys: 0, len: 3, file: 0, offset: 0 },
        Segment { phys: 1 << 32, len: 4, file: 0, offset: 3 },
    ];
    let opened = open_raw(&path, layout).unwrap();
    let mut seen = [0; 4];
    opened.memory.read(1 << 32, &mut seen).unwrap();
    assert_eq!(&seen, b"high");
    assert_eq!(opened.memory.ranges().first(), Some(&PhysRange { start: 0, end: 3 }));
    assert!(open(&path).is_err());
}
