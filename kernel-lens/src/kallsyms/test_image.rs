//! A small kernel image with a table of symbols, written as `scripts/kallsyms.c` would.

use super::token_table::tests::index;
use super::{Encoding, KallsymsAddresses};
use crate::arch::{Paging, X86Paging};
use crate::find::ImageRun;
use crate::memory::test_memory::TestMemory;
use crate::symbols::token_table;
use crate::{AddressSpace, Recorder};

pub(super) const COUNT: usize = 1000;
const VIRT: u64 = 0x2_0000;
const LEN: u64 = 0x10_0000;
const TABLES: u64 = 0x8_0000;
const BANNER: u64 = 0x3_0000;
const PROC_BANNER: u64 = 0x3_1000;

/// What differs between kernels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    pub(super) encoding: Encoding,
    /// Offsets behind the tokens: since v6.4.
    pub(super) addresses_last: bool,
    /// With `kallsyms_seqs_of_names`: since v6.2.
    pub(super) with_sequence: bool,
    /// Lengths of two bytes: since v6.1.
    pub(super) long_names: bool,
    pub(super) marker_width: usize,
    pub(super) align: u64,
}

/// Kernels of all times.
pub(super) fn kinds() -> Vec<Kind> {
    let kind = |encoding, addresses_last, with_sequence, long_names, marker_width, align| Kind {
        encoding,
        addresses_last,
        with_sequence,
        long_names,
        marker_width,
        align,
    };
    let per_cpu = Encoding::RelativeOrPerCpu { base: VIRT };
    let relative = Encoding::Relative { base: VIRT };
    vec![
        // v4.4, v4.19, v5.10, v6.1 of Debian, v6.3.
        kind(Encoding::Absolute, false, false, false, 8, 8),
        kind(per_cpu, false, false, false, 8, 8),
        kind(per_cpu, false, false, false, 4, 8),
        kind(per_cpu, false, true, true, 4, 8),
        // v6.4, its arm64, v6.4 without CONFIG_KALLSYMS_BASE_RELATIVE, v6.15, v7.0.
        kind(per_cpu, true, true, true, 4, 8),
        kind(relative, false, true, true, 4, 8),
        kind(Encoding::Absolute, false, true, true, 4, 8),
        kind(relative, true, true, true, 4, 8),
        kind(Encoding::PlaceRelative, true, true, true, 4, 4),
    ]
}

/// An image in memory, and what a scan must find.
pub(super) struct TestImage {
    pub(super) memory: TestMemory,
    pub(super) run: ImageRun,
    pub(super) symbols: Vec<(u64, u8, String)>,
    pub(super) addresses: KallsymsAddresses,
    /// Where the tables begin and end.
    pub(super) tables: std::ops::Range<u64>,
}

impl TestImage {
    pub(super) fn space<'m>(&self, recorder: &'m Recorder<'m>) -> AddressSpace<'m> {
        AddressSpace::new(recorder, Paging::X86_64(X86Paging { root: 0x1000, five_levels: false }))
    }

    pub(super) fn new(kind: Kind) -> Self {
        let memory = TestMemory::new((VIRT + LEN) as usize);
        // Tables of a flat space: each address leads to itself.
        memory.write_u64(0x1000, 0x2003);
        memory.write_u64(0x2000, 0x83);
        memory.write(BANNER, b"Linux version 1.2.3");
        memory.write(PROC_BANNER, b"%s version %s (x)");
        let symbols = symbols(kind);
        let mut writer = Writer { memory: &memory, at: TABLES, align: kind.align };
        let mut addresses = KallsymsAddresses::default();
        if !kind.addresses_last {
            writer.addresses(kind, &symbols, &mut addresses);
        }
        addresses.num_syms = writer.put(&(COUNT as u32).to_le_bytes());
        let (names, markers) = names(kind, &symbols);
        addresses.names = writer.put(&names);
        writer.put(&markers);
        let sequence: Vec<u8> =
            (0..COUNT as u32).flat_map(|it| (it << 8).to_be_bytes()[..3].to_vec()).collect();
        if kind.with_sequence && !kind.addresses_last {
            writer.put(&sequence);
        }
        addresses.token_table = writer.put(&token_table());
        addresses.token_index = writer.put(&index(&token_table()));
        if kind.addresses_last {
            writer.addresses(kind, &symbols, &mut addresses);
            writer.put(&sequence);
        }
        let tables = TABLES..writer.at;
        Self { run: ImageRun::new(VIRT, VIRT, LEN), memory, symbols, addresses, tables }
    }
}

struct Writer<'a> {
    memory: &'a TestMemory,
    at: u64,
    align: u64,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> u64 {
        let at = self.at.next_multiple_of(self.align);
        self.memory.write(at, bytes);
        self.at = at + bytes.len() as u64;
        at
    }

    fn addresses(&mut self, kind: Kind, symbols: &[(u64, u8, String)], found: &mut KallsymsAddresses) {
        let at = self.at.next_multiple_of(self.align);
        let values = (at..).step_by(4).zip(symbols).map(|(place, (address, ..))| match kind.encoding {
            Encoding::Absolute => *address,
            Encoding::Relative { base } => address - base,
            Encoding::RelativeOrPerCpu { base } if *address >= base => (base - 1).wrapping_sub(*address),
            Encoding::RelativeOrPerCpu { .. } => *address,
            Encoding::PlaceRelative => address.wrapping_sub(place),
        });
        let width = kind.encoding.width() as usize;
        let bytes: Vec<u8> = values.flat_map(|it| it.to_le_bytes()[..width].to_vec()).collect();
        self.put(&bytes);
        match kind.encoding {
            Encoding::Absolute => found.addresses = Some(at),
            Encoding::PlaceRelative => found.offsets = Some(at),
            Encoding::Relative { base } | Encoding::RelativeOrPerCpu { base } => {
                found.offsets = Some(at);
                found.relative_base = Some(self.put(&base.to_le_bytes()));
            }
        }
    }
}

/// Names in the order of their addresses; per-CPU variables first where they are counted from 0.
fn symbols(kind: Kind) -> Vec<(u64, u8, String)> {
    let per_cpu = matches!(kind.encoding, Encoding::RelativeOrPerCpu { .. });
    let named = |number: usize| {
        let address = VIRT + number as u64 * 0x20;
        match number {
            20 if kind.long_names => (address, b'T', "y".repeat(200)),
            0 if per_cpu => (0x40, b'A', "current_task".to_owned()),
            10 => (address, b'T', "divide_error".to_owned()),
            998 => (BANNER, b'D', "linux_banner".to_owned()),
            999 => (PROC_BANNER, b'D', "linux_proc_banner".to_owned()),
            _ => (address, b't', format!("sym_{number}")),
        }
    };
    (0..COUNT).map(named).collect()
}

/// The packed names and their markers.
fn names(kind: Kind, symbols: &[(u64, u8, String)]) -> (Vec<u8>, Vec<u8>) {
    let (mut names, mut markers) = (Vec::new(), Vec::new());
    for (number, (_, letter, name)) in symbols.iter().enumerate() {
        if number % 256 == 0 {
            markers.extend_from_slice(&(names.len() as u64).to_le_bytes()[..kind.marker_width]);
        }
        match name.len() + 1 {
            len @ ..128 => names.push(len as u8),
            len => names.extend_from_slice(&[(len & 0x7f | 0x80) as u8, (len >> 7) as u8]),
        }
        names.push(*letter);
        names.extend_from_slice(name.as_bytes());
    }
    (names, markers)
}
