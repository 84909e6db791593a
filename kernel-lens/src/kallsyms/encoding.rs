//! How the addresses of symbols are written, and by what the right way is told.

use crate::find::ImageRun;
use crate::{AddressSpace, ReadError, Recorder, Symbols};

/// How the addresses of symbols are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// 64 bits each: before v4.6, and without `CONFIG_KALLSYMS_BASE_RELATIVE` up to v6.11.
    Absolute,
    /// 32 bits from a base: arm64, and x86 since commit 01157ddc58dc (v6.15).
    Relative {
        /// `kallsyms_relative_base`.
        base: u64,
    },
    /// Not negative: the address itself, of a per-CPU variable; negative: one less than from the base, back.
    /// `CONFIG_KALLSYMS_ABSOLUTE_PERCPU`: x86 from v4.6 to v6.14.
    RelativeOrPerCpu {
        /// `kallsyms_relative_base`.
        base: u64,
    },
    /// 32 bits from the place where they are written, since commit a081b5789255 (v7.0).
    PlaceRelative,
}

impl Encoding {
    /// Bytes of each.
    pub(super) fn width(self) -> u64 {
        if self == Self::Absolute { 8 } else { 4 }
    }

    /// The address that a value at a guest-virtual address stands for.
    #[inline]
    pub(super) fn address(self, value: u64, place: u64) -> u64 {
        let signed = i64::from((value as u32).cast_signed());
        match self {
            Self::Absolute => value,
            Self::Relative { base } => base.wrapping_add(value & 0xffff_ffff),
            Self::RelativeOrPerCpu { base } if signed < 0 => {
                base.wrapping_sub(1).wrapping_add_signed(-signed)
            }
            Self::RelativeOrPerCpu { .. } => value & 0xffff_ffff,
            Self::PlaceRelative => place.wrapping_add_signed(signed),
        }
    }
}

/// A table of addresses and how to read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AddressTable {
    pub(super) virt: u64,
    pub(super) encoding: Encoding,
    /// Where the base is written.
    pub(super) base_at: Option<u64>,
}

impl AddressTable {
    /// The address of the symbol of a number.
    fn address(&self, memory: &Recorder<'_>, image: &ImageRun, number: usize) -> Result<u64, ReadError> {
        let width = self.encoding.width();
        let place = self.virt.wrapping_add(number as u64 * width);
        let mut value = [0; 8];
        image.scan(memory, place, &mut value[..width as usize])?;
        Ok(self.encoding.address(u64::from_le_bytes(value), place))
    }
}

/// Texts that symbols hold in every kernel: `init/version.c`, and the header of BTF.
const TEXTS: [(&str, &[u8]); 3] = [
    ("linux_banner", b"Linux version "),
    ("linux_proc_banner", b"%s version %s"),
    ("__start_BTF", b"\x9f\xeb\x01\x00"),
];

/// Finds the way in which symbols hold what they must.
pub(super) struct Anchors<'a, 'm> {
    pub(super) memory: &'a Recorder<'m>,
    pub(super) image: &'a ImageRun,
    /// The names, whose addresses are not known yet.
    pub(super) symbols: &'a Symbols,
    /// Symbols whose addresses are known: name and address.
    pub(super) known: &'a [(&'static str, u64)],
}

impl Anchors<'_, '_> {
    /// Whether the banner and one more symbol hold what they must, and no text is another.
    ///
    /// One is not enough: `_stext` and `_text` are one address, so that a table read one entry too far may
    /// agree with it.
    pub(super) fn agree(&self, table: &AddressTable) -> Result<bool, ReadError> {
        let (mut agreed, mut banner) = (0, false);
        for (name, text) in TEXTS {
            let Some(number) = self.symbols.positions(name).next() else { continue };
            let address = table.address(self.memory, self.image, number)?;
            let mut found = [0; 16];
            let found = &mut found[..text.len()];
            self.image.scan(self.memory, address, found)?;
            if found != text {
                return Ok(false);
            }
            banner |= name == "linux_banner";
            agreed += 1;
        }
        for (name, known) in self.known {
            let Some(number) = self.symbols.positions(name).next() else { continue };
            agreed += u32::from(table.address(self.memory, self.image, number)? == *known);
        }
        Ok(banner && agreed >= 2)
    }

    /// The first of the tables that agrees.
    pub(super) fn choose(&self, places: &[Place]) -> Result<Option<AddressTable>, ReadError> {
        for place in places {
            for table in self.ways(place)?.into_iter().flatten() {
                if self.agree(&table)? {
                    return Ok(Some(table));
                }
            }
        }
        Ok(None)
    }

    /// Reads for the record what the table was told by, so that a look at the record is told the same.
    pub(super) fn record(&self, space: &AddressSpace<'_>, table: &AddressTable) -> Result<(), ReadError> {
        for (name, text) in TEXTS {
            let Some(number) = self.symbols.positions(name).next() else { continue };
            let address = table.address(self.memory, self.image, number)?;
            let mut found = [0; 16];
            space.read(address, &mut found[..text.len()])?;
        }
        Ok(())
    }

    /// The ways to read a table at a place.
    fn ways(&self, place: &Place) -> Result<[Option<AddressTable>; 3], ReadError> {
        let way = |encoding, base_at| Some(AddressTable { virt: place.virt, encoding, base_at });
        match place.kind {
            PlaceKind::Addresses => Ok([way(Encoding::Absolute, None), None, None]),
            PlaceKind::Offsets => Ok([way(Encoding::PlaceRelative, None), None, None]),
            PlaceKind::OffsetsFrom { base_at } => {
                let mut base = [0; 8];
                self.image.scan(self.memory, base_at, &mut base)?;
                let base = u64::from_le_bytes(base);
                let relative = way(Encoding::Relative { base }, Some(base_at));
                Ok([relative, way(Encoding::RelativeOrPerCpu { base }, Some(base_at)), None])
            }
        }
    }
}

/// A place where addresses may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    virt: u64,
    kind: PlaceKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PlaceKind {
    Addresses,
    Offsets,
    OffsetsFrom { base_at: u64 },
}

/// The next aligned address; a wild one has none and leads nowhere.
pub(super) fn aligned(virt: u64, to: u64) -> u64 {
    virt.checked_next_multiple_of(to).unwrap_or(u64::MAX)
}

/// The places that both orders of the tables allow.
pub(super) fn places(num_syms: u64, behind_index: u64, count: usize) -> Vec<Place> {
    let count = count as u64;
    let mut places = Vec::new();
    let mut put = |virt, kind| {
        let place = Place { virt, kind };
        if !places.contains(&place) {
            places.push(place);
        }
    };
    for to in [8, 4] {
        let virt = aligned(behind_index, to);
        let behind = virt.saturating_add(count * 4);
        put(virt, PlaceKind::OffsetsFrom { base_at: aligned(behind, 8) });
        put(virt, PlaceKind::OffsetsFrom { base_at: aligned(behind, 4) });
        put(virt, PlaceKind::Offsets);
    }
    let base_at = num_syms.saturating_sub(8);
    for padding in [0, 4] {
        put(base_at.saturating_sub(count * 4 + padding), PlaceKind::OffsetsFrom { base_at });
    }
    for padding in [0, 4, 8] {
        put(num_syms.saturating_sub(count * 8 + padding), PlaceKind::Addresses);
    }
    places
}

/// The place that `VMCOREINFO` names.
pub(super) fn given(addresses: &super::KallsymsAddresses) -> Option<Place> {
    let place = |virt, kind| Place { virt, kind };
    match (addresses.offsets, addresses.relative_base, addresses.addresses) {
        (Some(virt), Some(base_at), _) => Some(place(virt, PlaceKind::OffsetsFrom { base_at })),
        (Some(virt), None, _) => Some(place(virt, PlaceKind::Offsets)),
        (None, _, Some(virt)) => Some(place(virt, PlaceKind::Addresses)),
        (None, _, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_leads_to_addresses() {
        let base = 0xffff_ffff_8100_0000;
        let minus = |it: i32| u64::from(it.cast_unsigned());
        assert_eq!(Encoding::Absolute.address(base, 0), base);
        let arm = 0xffff_8000_8000_0000;
        assert_eq!(Encoding::Relative { base: arm }.address(0x8000_0010, 0), arm + 0x8000_0010);
        let per_cpu = Encoding::RelativeOrPerCpu { base };
        assert_eq!(per_cpu.address(0x1fb80, 0), 0x1fb80);
        assert_eq!(per_cpu.address(minus(-1), 0), base);
        assert_eq!(per_cpu.address(minus(-0x41), 0), base + 0x40);
        assert_eq!(Encoding::PlaceRelative.address(minus(-0x10), base), base - 0x10);
        assert_eq!(Encoding::PlaceRelative.address(0x10, base), base + 0x10);
    }

    #[test]
    fn both_orders_are_looked_at() {
        let found = places(0x20_0000, 0x50_0204, 1001);
        let has = |virt, kind| found.contains(&Place { virt, kind });
        assert!(has(0x50_0204, PlaceKind::Offsets));
        assert!(has(0x50_0208, PlaceKind::OffsetsFrom { base_at: 0x50_11b0 }));
        assert!(has(0x1f_f050, PlaceKind::OffsetsFrom { base_at: 0x1f_fff8 }));
        assert!(has(0x1f_e0b8, PlaceKind::Addresses));
    }
}
