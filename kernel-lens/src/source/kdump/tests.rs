//! Dumps made by hand, block by block. Real ones of QEMU's are read by the end-to-end test.

use super::flattened::flatten;
use crate::source::notes::tests::note;
use crate::source::{Format, Opened, open_bytes};
use crate::{PhysRange, ReadError};

const BLOCK: usize = 4096;

fn put(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    file.resize(file.len().max(at + bytes.len()), 0);
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

fn put_u32(file: &mut Vec<u8>, at: usize, value: usize) {
    put(file, at, &(value as u32).to_le_bytes());
}

fn put_u64(file: &mut Vec<u8>, at: usize, value: usize) {
    put(file, at, &(value as u64).to_le_bytes());
}

/// 20 pages of RAM from page 2 on; pages 3 and 17 are in the dump.
fn dump() -> Vec<u8> {
    let mut file = b"KDUMP   ".to_vec();
    put_u32(&mut file, 8, 6);
    put(&mut file, 272, b"x86_64");
    for (at, value) in [(428, BLOCK), (432, 1), (436, 2), (440, 22)] {
        put_u32(&mut file, at, value);
    }
    let sub = BLOCK;
    let bitmaps = 2 * BLOCK;
    let descriptors = 4 * BLOCK;
    let data = 5 * BLOCK;
    let notes = note(b"VMCOREINFO", 0, b"OSRELEASE=n\n");
    put_u64(&mut file, sub + 48, data);
    put_u64(&mut file, sub + 56, notes.len());
    put_u64(&mut file, sub + 96, 22);
    put(&mut file, bitmaps, &[0b1111_1100, 0xff, 0xff]);
    put(&mut file, bitmaps + BLOCK, &[0b1000, 0, 0b10]);
    put(&mut file, data, &notes);
    put(&mut file, data + 1000, &[3; BLOCK]);
    let packed = snap::raw::Encoder::new().compress_vec(&[17; BLOCK]).unwrap();
    put(&mut file, data + 1000 + BLOCK, &packed);
    for (index, offset, len, flags) in [(0, 0, BLOCK, 0), (1, BLOCK, packed.len(), 4)] {
        put_u64(&mut file, descriptors + index * 24, data + 1000 + offset);
        put_u32(&mut file, descriptors + index * 24 + 8, len);
        put_u32(&mut file, descriptors + index * 24 + 12, flags);
    }
    file
}

fn check(opened: &Opened) {
    assert_eq!(opened.format, Format::Kdump);
    assert_eq!(opened.arch, Some(crate::Arch::X86_64));
    assert_eq!(opened.vmcoreinfo.as_deref(), Some(&b"OSRELEASE=n\n"[..]));
    let memory = &opened.memory;
    assert_eq!(memory.ranges(), [PhysRange { start: 0x2000, end: 0x16000 }]);
    let mut seen = [0; 2];
    memory.read(0x3fff - 1, &mut seen).unwrap();
    assert_eq!(seen, [3, 3]);
    memory.read(0x11000, &mut seen).unwrap();
    assert_eq!(seen, [17, 17]);
    assert!(matches!(memory.read(0x3fff, &mut seen), Err(ReadError::NotKept { phys: 0x4000 })));
    assert!(matches!(memory.read(0x1fff, &mut seen), Err(ReadError::NotRam { phys: 0x1fff })));
    assert!(matches!(memory.read(0x15fff, &mut seen), Err(ReadError::NotKept { phys: 0x15000 })));
    assert_eq!(memory.populated(0), Some(PhysRange { start: 0x3000, end: 0x4000 }));
    assert_eq!(memory.populated(0x4000), Some(PhysRange { start: 0x11000, end: 0x12000 }));
    assert_eq!(memory.populated(0x12000), None);
}

#[test]
fn a_dump_is_read_page_by_page() {
    check(&open_bytes(Box::new(dump())).unwrap());
}

#[test]
fn a_flattened_dump_is_the_same_dump() {
    let file = dump();
    let pieces: Vec<(u64, &[u8])> =
        file.chunks(1000).enumerate().map(|(n, it)| (n as u64 * 1000, it)).collect();
    let turned: Vec<(u64, &[u8])> = pieces.into_iter().rev().collect();
    check(&open_bytes(Box::new(flatten(&turned))).unwrap());
}

#[test]
fn what_cannot_be_read_says_what_it_is() {
    let said = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut file = dump();
        change(&mut file);
        open_bytes(Box::new(file)).err().map(|it| it.to_string()).unwrap_or_default()
    };
    assert!(said(&|it| put_u32(it, 428, 5000)).contains("block size"));
    assert!(said(&|it| put(it, 272, b"i686\0\0")).contains("32-bit"));
    assert!(said(&|it| put_u32(it, BLOCK + 12, 1)).contains("split"));
    assert!(said(&|it| it.truncate(2 * BLOCK)).contains("cut"));
    assert!(said(&|it| it.truncate(100)).contains("cut"));
}

#[test]
fn a_cut_or_changed_dump_is_no_panic() {
    let whole = dump();
    let places = (0..500).chain(BLOCK..BLOCK + 110).chain(2 * BLOCK..2 * BLOCK + 4);
    let places = places.chain(3 * BLOCK..3 * BLOCK + 4).chain(4 * BLOCK..4 * BLOCK + 50);
    for at in places {
        for with in [0xff, 0x01, 0x80] {
            let mut changed = whole.clone();
            changed[at] ^= with;
            for bytes in [changed, whole[..at].to_vec()] {
                let Ok(opened) = open_bytes(Box::new(bytes)) else { continue };
                let mut from = 0;
                while let Some(run) = opened.memory.populated(from) {
                    let _ = opened.memory.read(run.start, &mut [0; 8192]);
                    from = run.end;
                }
            }
        }
    }
}
