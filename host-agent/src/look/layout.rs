//! Where a guest's memory stands: QEMU's own word (`info mtree -f`, `gpa2hva`), kept for the time when its
//! monitor no longer answers; else the command line and what the machine type makes of it.

use std::collections::BTreeMap;

use crate::transport::memory::{MemoryMap, Row, RowKind};

/// Where a guest's memory stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Guest-physical memory.
    pub map: MemoryMap,
    /// Host address of each block's first byte, as far as QEMU told.
    pub hosts: BTreeMap<String, u64>,
    /// It was made from the command line and not from QEMU's word.
    pub guessed: bool,
}

/// The name that a guessed layout gives its one block.
const RAM: &str = "ram";
const GIB: u64 = 1 << 30;
/// QEMU's memory where the command line names no size (hw/core/machine.c, `default_ram_size`).
const DEFAULT_RAM: u64 = 128 << 20;

/// A layout from QEMU's command line, for a QEMU whose monitor never answered.
///
/// The machine types say how RAM is split around the hole below 4 GiB (QEMU 7.2: hw/i386/pc_piix.c
/// `pc_init1`, hw/i386/pc_q35.c `pc_q35_init`, hw/arm/virt.c `VIRT_MEM`). ROMs below 1 MiB are not told
/// apart, which no kernel's data minds.
pub fn guessed(words: &[String]) -> Option<Layout> {
    let after = |names: [&str; 2]| {
        let at = words.iter().rposition(|it| names.contains(&it.as_str()))?;
        words.get(at + 1).map(String::as_str)
    };
    let program = words.first()?.rsplit('/').next().unwrap_or_default();
    let arm = program.contains("aarch64");
    if !arm && program.starts_with("qemu-system-") && !program.contains("x86_64") && !program.contains("i386")
    {
        return None;
    }
    let size = match after(["-m", "--m"]) {
        Some(text) => ram_size(text)?,
        None => DEFAULT_RAM,
    };
    let machine = after(["-M", "-machine"]).unwrap_or_default();
    let machine = machine.split(',').map(|it| it.strip_prefix("type=").unwrap_or(it)).next().unwrap_or("pc");
    let rows = if arm || machine.starts_with("virt") {
        vec![(GIB, size, 0)]
    } else {
        let (limit, lowered) =
            if machine.contains("q35") { (0xb000_0000, 0x8000_0000) } else { (0xe000_0000, 0xc000_0000) };
        let below = if size >= limit { lowered } else { size };
        vec![(0, below, 0), (4 * GIB, size.saturating_sub(below), below)]
    };
    let rows = rows.into_iter().filter(|(_, len, _)| *len > 0).map(|(start, len, offset)| Row {
        start,
        end: start.saturating_add(len),
        kind: RowKind::Ram,
        block: RAM.to_owned(),
        offset,
    });
    Some(Layout { map: MemoryMap::of(rows.collect()).ok()?, hosts: BTreeMap::new(), guessed: true })
}

/// `512`, `2G`, `size=4096M,slots=2,maxmem=8G`; a bare number is MiB (QEMU's invocation document, `-m`).
fn ram_size(text: &str) -> Option<u64> {
    let mut parts = text.split(',');
    let size = parts.clone().find_map(|it| it.strip_prefix("size=")).or_else(|| parts.next())?;
    let digits = size.trim_end_matches(|it: char| it.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    let unit = match size.get(digits.len()..)?.to_ascii_lowercase().as_str() {
        "" | "m" => 1 << 20,
        "k" => 1 << 10,
        "g" => 1 << 30,
        "t" => 1 << 40,
        "b" => 1,
        _ => return None,
    };
    let bytes = number.checked_mul(unit)?;
    // QEMU rounds up to 8 KiB (softmmu/vl.c, parse_memory_options).
    bytes.checked_next_multiple_of(8 << 10).filter(|it| (1 << 20..1 << 46).contains(it))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(line: &str) -> Option<Vec<(u64, u64)>> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let layout = guessed(&words)?;
        Some(layout.map.rows().iter().map(|it| (it.start, it.end)).collect())
    }

    // The expected maps are those of `info mtree -f` of QEMU 7.2 started so.
    #[test]
    fn a_command_line_says_where_memory_stands() {
        assert_eq!(rows("/usr/bin/qemu-system-x86_64 -m 512"), Some(vec![(0, 512 << 20)]));
        let line = "qemu-system-x86_64 -machine q35,accel=kvm -m size=4G,slots=2,maxmem=8G";
        assert_eq!(rows(line), Some(vec![(0, 0x8000_0000), (0x1_0000_0000, 0x1_8000_0000)]));
        let line = "qemu-system-x86_64 -M pc -m 4096M";
        assert_eq!(rows(line), Some(vec![(0, 0xc000_0000), (0x1_0000_0000, 0x1_4000_0000)]));
        let line = "qemu-system-aarch64 -M virt -m 1G";
        assert_eq!(rows(line), Some(vec![(0x4000_0000, 0x8000_0000)]));
    }

    #[test]
    fn a_command_line_that_says_something_else_says_nothing() {
        for line in
            ["qemu-system-x86_64 -m lots", "qemu-system-s390x -m 512", "qemu-system-x86_64 -m 99999999T"]
        {
            assert_eq!(rows(line), None, "{line}");
        }
    }
}
