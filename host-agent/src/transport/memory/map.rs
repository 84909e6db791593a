//! The text of HMP `info mtree -f` (QEMU softmmu/memory.c, `mtree_print_flatview`) as a map of
//! guest-physical memory.
//!
//! ```text
//! FlatView #2
//!  AS "memory", root: system
//!  Root memory region: system
//!   0000000000000000-00000000000c2fff (prio 0, ram): pc.ram KVM
//!   00000000000c3000-00000000000e7fff (prio 0, rom): pc.ram @00000000000c3000 KVM
//! ```
//!
//! The view is the one of address space `memory`. A row names the RAM block that it shows and the offset in
//! it; with several blocks (NUMA nodes, hot-plugged DIMMs) there are several names, above 4 GiB the block
//! goes on where it was left. Below 1 MiB firmware write-protects parts of RAM: they are rows of the kind
//! `rom` of the same block, and holes of other kinds. QEMU may be compromised and the names are of its
//! choosing, so the reader is total and bounded.

use thiserror::Error;

/// Bytes of text read at most: a large machine's map is 60 KiB.
const MAX_TEXT: usize = 4 << 20;
/// Rows kept at most: a machine with 255 DIMMs has 300.
const MAX_ROWS: usize = 4096;
/// Bytes of a block's name at most (QEMU has room for 256).
const MAX_NAME: usize = 256;

/// Why there is no map.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum MapError {
    /// The text has no such view.
    #[error("the memory map has no view of the address space \"memory\" in {0} bytes of text")]
    NoView(usize),
    /// There is one without RAM.
    #[error("the memory map shows no RAM")]
    NoRam,
    /// More rows than any machine has.
    #[error("the memory map has more than {MAX_ROWS} rows of memory")]
    TooMany,
}

/// What a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowKind {
    /// RAM (`ram`, and `nv-ram` of an NVDIMM).
    Ram,
    /// Memory that the guest may not write (`rom`, `romd`): firmware, and parts of RAM below 1 MiB.
    Rom,
}

/// A run of guest-physical addresses that shows a RAM block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// What it is.
    pub kind: RowKind,
    /// Name of the block (`pc.ram`, `mach-virt.ram`, the id of a memory backend).
    pub block: String,
    /// Offset of its first byte in the block.
    pub offset: u64,
}

impl Row {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Whether it is empty; no row of a map is.
    pub fn is_empty(&self) -> bool {
        self.end <= self.start
    }
}

/// The map of a guest's physical memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryMap {
    rows: Vec<Row>,
}

impl MemoryMap {
    /// Reads the text.
    ///
    /// # Errors
    /// [`MapError`].
    pub fn parse(text: &str) -> Result<Self, MapError> {
        let text = text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or(text);
        let (mut here, mut found) = (false, false);
        let mut rows = Vec::new();
        for line in text.lines() {
            let line = line.trim_end();
            if line.starts_with("FlatView #") {
                if found {
                    break;
                }
                here = false;
            } else if line.trim_start().starts_with("AS \"memory\",") {
                here = true;
                found = true;
            } else if here && let Some(row) = row(line) {
                if rows.len() >= MAX_ROWS {
                    return Err(MapError::TooMany);
                }
                rows.push(row);
            }
        }
        if !found {
            return Err(MapError::NoView(text.len()));
        }
        Self::of(rows)
    }

    /// A map of rows that are known from elsewhere.
    ///
    /// # Errors
    /// [`MapError::NoRam`].
    pub fn of(mut rows: Vec<Row>) -> Result<Self, MapError> {
        if !rows.iter().any(|it| it.kind == RowKind::Ram) {
            return Err(MapError::NoRam);
        }
        rows.sort_by_key(|it| it.start);
        Ok(Self { rows })
    }

    /// All rows, ascending.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Rows that show the given blocks, the write-protected ones too where the block is RAM elsewhere.
    /// Video memory and a device's own memory are blocks of their own: who does not name them does not
    /// get them.
    pub fn ram<'a>(&'a self, blocks: &'a [&str]) -> impl Iterator<Item = &'a Row> {
        let is_ram = |name: &str| self.rows.iter().any(|it| it.kind == RowKind::Ram && it.block == name);
        let named = move |row: &&Row| blocks.contains(&row.block.as_str()) && is_ram(&row.block);
        self.rows.iter().filter(named)
    }

    /// Blocks that are taken for the guest's RAM when nothing names them: those that hold the machine's
    /// RAM by default and those of memory backends, which have no dot in their id as devices' blocks have.
    pub fn likely_blocks(&self) -> Vec<&str> {
        const DEFAULT: [&str; 3] = ["pc.ram", "mach-virt.ram", "microvm.ram"];
        let mut names: Vec<&str> = Vec::new();
        for row in self.rows.iter().filter(|it| it.kind == RowKind::Ram) {
            let name = row.block.as_str();
            let likely = DEFAULT.contains(&name) || !name.contains(['.', '@', ':']);
            if likely && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// First guest-physical address at which a block is seen, with its offset there.
    pub fn first_of(&self, block: &str) -> Option<&Row> {
        self.rows.iter().find(|it| it.block == block)
    }

    /// Size that a block has at least: the end of what of it is mapped.
    pub fn extent(&self, block: &str) -> u64 {
        let rows = self.rows.iter().filter(|it| it.block == block);
        rows.map(|it| it.offset.saturating_add(it.len())).max().unwrap_or(0)
    }
}

/// `START-END (prio N, KIND): NAME[ @OFFSET][ ACCELERATOR]`
fn row(line: &str) -> Option<Row> {
    let (range, rest) = line.trim_start().split_once(" (prio ")?;
    let (start, last) = range.split_once('-')?;
    let (start, last) = (hex(start)?, hex(last)?);
    let (kind, name) = rest.split_once("): ")?;
    let kind = match kind.rsplit(", ").next()? {
        "ram" | "nv-ram" => RowKind::Ram,
        "rom" | "romd" | "nv-rom" | "nv-romd" => RowKind::Rom,
        // i/o, and `ramd`: RAM of a passed-through device, whose reads are not free of effects.
        _ => return None,
    };
    // From the right: a name may hold anything.
    let (name, offset) = match name.rsplit_once(" @").and_then(|(name, tail)| Some((name, offset(tail)?))) {
        Some(found) => found,
        None => (name.strip_suffix(" KVM").unwrap_or(name), 0),
    };
    let end = last.checked_add(1)?;
    let fits = start < end && offset.checked_add(end - start).is_some();
    if !fits || name.is_empty() || name.len() > MAX_NAME {
        return None;
    }
    Some(Row { start, end, kind, block: name.to_owned(), offset })
}

/// The offset, and behind it nothing or a word.
fn offset(tail: &str) -> Option<u64> {
    let (digits, word) = tail.split_once(' ').unwrap_or((tail, ""));
    if word.contains(' ') { None } else { hex(digits) }
}

fn hex(digits: &str) -> Option<u64> {
    let plain = digits.len() == 16 && digits.bytes().all(|it| it.is_ascii_hexdigit());
    if plain { u64::from_str_radix(digits, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // Recorded from QEMU 7.2. `large`: q35, `-m 6G,slots=4,maxmem=16G`, two NUMA nodes of 3 GiB with a
    // memfd backend each (`-numa node,memdev=`), std VGA, a 1 GiB pc-dimm that was plugged in by the
    // monitor. `arm`: virt with a memory-backend-memfd.
    const LARGE: &str = include_str!("map/large.txt");
    const ARM: &str = include_str!("map/arm.txt");

    fn shown(map: &MemoryMap, blocks: &[&str]) -> Vec<(u64, u64, String, u64)> {
        map.ram(blocks).map(|it| (it.start, it.end, it.block.clone(), it.offset)).collect()
    }

    #[test]
    fn nodes_dimms_and_memory_above_4_gib_are_found() {
        let map = MemoryMap::parse(LARGE).unwrap();
        let rows = shown(&map, &["node0", "node1", "dimm0"]);
        let row = |start, end, block: &str, offset| (start, end, block.to_owned(), offset);
        // Memory below 1 MiB is write-protected in parts, and the video window is a hole.
        assert!(rows.iter().all(|it| it.1 <= 0xa_0000 || it.0 >= 0xc_0000), "{rows:x?}");
        let above: Vec<_> = rows.into_iter().filter(|it| it.0 >= 0x10_0000).collect();
        assert_eq!(
            above,
            [
                row(0x10_0000, 0x8000_0000, "node0", 0x10_0000),
                row(0x1_0000_0000, 0x1_4000_0000, "node0", 0x8000_0000),
                row(0x1_4000_0000, 0x2_0000_0000, "node1", 0),
                row(0x2_0000_0000, 0x2_4000_0000, "dimm0", 0),
            ]
        );
        assert_eq!(map.likely_blocks(), ["node0", "node1", "dimm0"]);
        assert_eq!(map.extent("node0"), 3 << 30);
        assert!(map.rows().iter().any(|it| it.block == "vga.vram"));
    }

    #[test]
    fn flash_of_an_arm_machine_is_no_ram() {
        let map = MemoryMap::parse(ARM).unwrap();
        assert_eq!(map.likely_blocks(), ["ram0"]);
        assert_eq!(shown(&map, &["ram0"]), [(0x4000_0000, 0x6000_0000, "ram0".to_owned(), 0)]);
        assert_eq!(shown(&map, &["virt.flash0"]), []);
    }

    #[test]
    fn a_name_may_hold_what_it_likes() {
        let head = "FlatView #0\n AS \"memory\", root: system\n Root memory region: system\n";
        let one = |row: &str| MemoryMap::parse(&format!("{head}{row}\n")).map(|it| it.rows()[0].clone());
        let row =
            one("  0000000000001000-0000000000001fff (prio 0, nv-ram): a @b (x): y @0000000000000010 KVM");
        let row = row.unwrap();
        assert_eq!((row.block.as_str(), row.offset, row.start, row.end), ("a @b (x): y", 16, 0x1000, 0x2000));
        assert_eq!(
            one("  0000000000000000-0000000000000fff (prio -1, ram): pc.ram KVM").unwrap().block,
            "pc.ram"
        );
        for bad in [
            "0000000000001000-0000000000000fff (prio 0, ram): a",
            "0000000000000000-ffffffffffffffff (prio 0, ram): a",
            "0000000000000000-0000000000000fff (prio 0, ram): a @ffffffffffffffff",
            "0000000000000000-0000000000000fff (prio 0, ramd): 0000:00:02.0 BAR 0",
            "0-fff (prio 0, ram): a",
            "0000000000000000-0000000000000fff (prio 0, ram): ",
        ] {
            assert_eq!(one(&format!("  {bad}")), Err(MapError::NoRam), "{bad}");
        }
        assert!(matches!(MemoryMap::parse("nothing"), Err(MapError::NoView(7))));
    }

    #[test]
    fn rows_without_end_are_refused() {
        let row = "  0000000000000000-0000000000000fff (prio 0, ram): a\n".repeat(MAX_ROWS + 1);
        let text = format!(" AS \"memory\", root: system\n{row}");
        assert_eq!(MemoryMap::parse(&text), Err(MapError::TooMany));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(
            rows in prop::collection::vec("[0-9a-f]{15,17}-[0-9a-f]{16} \\(prio 0, (ram|rom)\\): .{0,12}( @[0-9a-f]{15,17})?( KVM)?", 0..20),
        ) {
            let text = format!(" AS \"memory\", root: system\n  {}", rows.join("\n  "));
            if let Ok(map) = MemoryMap::parse(&text) {
                prop_assert!(map.rows().iter().all(|it| it.start < it.end));
                let blocks = map.likely_blocks();
                let _ = map.ram(&blocks).count();
            }
        }
    }
}
