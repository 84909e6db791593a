//! The ring in memory that these tests write, as `printk_ringbuffer.c` would.

use super::*;
use crate::Recorder;
use crate::arch::{Paging, X86Paging};
use crate::memory::test_memory::TestMemory;
use crate::printk::layout::InfoLayout;

const RING: u64 = 0x4000;
const DESCS: u64 = 0x5000;
const INFOS: u64 = 0x6000;
const DATA: u64 = 0x7000;
/// 4 descriptors, 128 bytes of text.
const COUNT_BITS: u64 = 2;
const SIZE_BITS: u64 = 7;

fn layout() -> RingLayout {
    let info = InfoLayout {
        size: 88,
        seq: 0,
        ts_nsec: 8,
        text_len: 16,
        facility: 18,
        caller_id: 20,
        comm: None,
        subsystem: Some(24),
        device: Some(40),
    };
    RingLayout {
        count_bits: 0,
        descs: 8,
        infos: 16,
        head_id: 24,
        tail_id: 32,
        size_bits: 48,
        data: 56,
        desc_size: 24,
        state_var: 0,
        begin: 8,
        next: 16,
        info,
    }
}

struct Guest(TestMemory);

impl Guest {
    /// A ring whose records have the ids from `tail` to `head`, all of them free yet.
    fn new(tail: u64, head: u64) -> Self {
        let memory = TestMemory::new(0x8000);
        memory.write_u64(0x1000, 0x2003);
        // One page of 1 GiB maps each address to itself.
        memory.write_u64(0x2000, 0x83);
        for (offset, value) in
            [(0, COUNT_BITS), (8, DESCS), (16, INFOS), (24, head), (32, tail), (48, SIZE_BITS), (56, DATA)]
        {
            memory.write_u64(RING + offset, value);
        }
        for index in 0..4 {
            memory.write_u64(DESCS + index * 24, 3 << 62 | tail.wrapping_add(index) & ID_MASK);
        }
        Self(memory)
    }

    fn desc(&self, id: u64, state: u64, begin: u64, next: u64) {
        let at = DESCS + (id & 3) * 24;
        for (offset, value) in [(0, state << 62 | id), (8, begin), (16, next)] {
            self.0.write_u64(at + offset, value);
        }
    }

    fn info(&self, id: u64, seq: u64, text_len: usize) {
        let at = INFOS + (id & 3) * 88;
        self.0.write_u64(at, seq);
        self.0.write_u64(at + 8, seq * 1_000_000);
        self.0.write(at + 16, &(text_len as u16).to_le_bytes());
        self.0.write(at + 18, &[1, 4 << 5 | LOG_NEWLINE]);
        self.0.write(at + 20, &0x8000_0001u32.to_le_bytes());
    }

    /// A whole record whose block begins at a logical position and lies at an offset of the data.
    fn record(&self, id: u64, seq: u64, (begin, next): (u64, u64), at: u64, text: &str) {
        self.desc(id, FINALIZED, begin, next);
        self.info(id, seq, text.len());
        self.0.write_u64(DATA + at, id);
        self.0.write(DATA + at + 8, text.as_bytes());
    }

    fn log(&self) -> Result<KernelLog, ReadError> {
        let recorder = Recorder::new(&self.0);
        let paging = Paging::X86_64(X86Paging { root: 0x1000, five_levels: false });
        read_ring(&AddressSpace::new(&recorder, paging), RING, &layout())
    }
}

fn texts(log: &KernelLog) -> Vec<&str> {
    log.records.iter().map(|it| it.text.as_str()).collect()
}

#[test]
fn records_come_oldest_first_with_all_that_they_say() {
    let guest = Guest::new(4, 6);
    guest.record(4, 8, (0, 24), 0, "one");
    guest.record(5, 9, (24, 48), 24, "two\nlines");
    guest.record(6, 10, (48, 64), 48, "three");
    guest.0.write(INFOS + 88 + 24, b"block\0");
    guest.0.write(INFOS + 88 + 40, b"b254:0\0");
    let log = guest.log().unwrap();
    assert_eq!(texts(&log), ["one", "two\nlines", "three"]);
    let second = &log.records[1];
    assert_eq!((second.seq, second.ts_nsec, second.level, second.facility), (9, 9_000_000, 4, 1));
    assert_eq!(second.caller, Some(LogCaller::Cpu(1)));
    assert_eq!((second.subsystem.as_deref(), second.device.as_deref()), (Some("block"), Some("b254:0")));
    assert!(second.newline && !second.continues && !second.open);
}

#[test]
fn a_block_that_does_not_fit_lies_at_the_start() {
    let guest = Guest::new(0, 1);
    // From 120 of the first round; it needs 16 bytes, so that it is at 0 of the second.
    guest.record(0, 4, (120, 128 + 16), 0, "wrapped");
    guest.record(1, 5, (128 + 16, 128 + 40), 16, "behind it");
    assert_eq!(texts(&guest.log().unwrap()), ["wrapped", "behind it"]);
}

#[test]
fn a_block_that_ends_exactly_at_the_end_is_not_wrapped() {
    let guest = Guest::new(0, 0);
    guest.record(0, 4, (112, 128), 112, "fits");
    assert_eq!(texts(&guest.log().unwrap()), ["fits"]);
}

#[test]
fn records_without_text_are_empty_or_lost() {
    let guest = Guest::new(0, 1);
    guest.desc(0, FINALIZED, EMPTY, EMPTY);
    guest.info(0, 0, 0);
    guest.desc(1, FINALIZED, 1, 1);
    guest.info(1, 1, 30);
    let log = guest.log().unwrap();
    assert_eq!((texts(&log), log.lost, log.torn), (vec![""], 1, 0));
}

#[test]
fn what_is_being_written_is_counted_and_what_is_open_is_shown() {
    let guest = Guest::new(0, 2);
    guest.record(0, 0, (0, 16), 0, "begun");
    guest.desc(0, COMMITTED, 0, 16);
    guest.desc(1, RESERVED, 16, 32);
    let log = guest.log().unwrap();
    assert_eq!((texts(&log), log.unfinished), (vec!["begun"], 1));
    assert!(log.records[0].open);
}

#[test]
fn ids_wrap_in_62_bits() {
    let guest = Guest::new(ID_MASK, 0);
    guest.record(ID_MASK, 3, (0, 16), 0, "last");
    guest.record(0, 4, (16, 32), 16, "first");
    assert_eq!(texts(&guest.log().unwrap()), ["last", "first"]);
}

#[test]
fn a_record_that_was_overwritten_meanwhile_is_torn_and_never_shown() {
    let guest = Guest::new(0, 3);
    guest.record(0, 0, (0, 16), 0, "kept");
    // Its block has another's id by now.
    guest.record(1, 1, (16, 32), 16, "gone");
    guest.0.write_u64(DATA + 16, 5);
    // Its descriptor, its number, its length.
    guest.record(2, 2, (32, 48), 32, "gone");
    guest.desc(6, FINALIZED, 32, 48);
    guest.record(3, 4, (48, 64), 48, "gone");
    let log = guest.log().unwrap();
    assert_eq!((texts(&log), log.torn), (vec!["kept"], 3));
}

#[test]
fn wild_positions_and_sizes_are_survived() {
    let guest = Guest::new(0, 3);
    for (id, block) in [(0, (0, u64::MAX)), (1, (u64::MAX - 1, 0)), (2, (64, 0)), (3, (8, 8))] {
        guest.record(id, id, block, 0, "wild");
    }
    assert_eq!(guest.log().unwrap().torn, 4);
    for (offset, value) in [(0, 63), (0, 0), (48, 64), (48, 0), (24, 9), (16, u64::MAX), (56, 1 << 40)] {
        let guest = Guest::new(0, 1);
        guest.record(0, 0, (0, 16), 0, "fine");
        guest.0.write_u64(RING + offset, value);
        let log = guest.log();
        assert!(log.is_err() || log.unwrap().records.is_empty(), "{offset} {value:#x}");
    }
}
