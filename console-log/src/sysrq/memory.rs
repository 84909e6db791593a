//! The memory summary of SysRq `m`, also printed in OOM reports (`mm/show_mem.c`).

use vmward_kernel_facts::{MemSummary, ZoneSummary};

/// Counters and zones kept; a machine of 1,024 nodes has fewer zones.
const MAX_ENTRIES: usize = 4_096;

/// Reads one line into the summary; returns whether it was one of a summary's. `Mem-Info:` begins one.
pub(crate) fn read(text: &str, memory: &mut Option<MemSummary>) -> bool {
    if text.trim_end() == "Mem-Info:" {
        *memory = Some(MemSummary::default());
        return true;
    }
    let Some(memory) = memory else { return false };
    let text = text.trim();
    if let Some((name, number)) = text.split_once(" = ") {
        let kib = number.strip_suffix("kB").and_then(|it| it.parse().ok());
        match name.trim_end() {
            "Free swap" => memory.swap_free_kib = kib,
            "Total swap" => memory.swap_total_kib = kib,
            _ => return false,
        }
        return true;
    }
    if let Some((number, what)) = text.split_once(' ')
        && let Ok(number) = number.parse::<u64>()
    {
        match what {
            "pages RAM" => memory.total_pages = Some(number),
            "pages reserved" => memory.reserved_pages = Some(number),
            "pages in swap cache" | "total pagecache pages" | "pages HighMem/MovableOnly" => {}
            _ => return false,
        }
        return true;
    }
    if let Some(rest) = text.strip_prefix("Node ") {
        if memory.zones.len() < MAX_ENTRIES {
            memory.zones.extend(read_zone(rest));
        }
        return true;
    }
    text.starts_with("lowmem_reserve[]:") || read_counters(text, memory)
}

/// `0 DMA32 free:306628kB boost:0kB min:2228kB low:2784kB high:3340kB ...`.
fn read_zone(text: &str) -> Option<ZoneSummary> {
    let (node, rest) = text.split_once(' ')?;
    let (name, rest) = rest.split_once(' ')?;
    let kib = |label: &str| {
        let mut words = rest.split_ascii_whitespace();
        words.find_map(|it| it.strip_prefix(label))?.strip_suffix("kB")?.parse().ok()
    };
    Some(ZoneSummary {
        node: node.parse().ok()?,
        name: name.to_owned(),
        free_kib: kib("free:")?,
        min_kib: kib("min:")?,
        low_kib: kib("low:")?,
        high_kib: kib("high:")?,
    })
}

/// `active_anon:517 inactive_anon:293 isolated_anon:0`: every word is a counter, or it is no such line.
fn read_counters(text: &str, memory: &mut MemSummary) -> bool {
    let pairs = || text.split_ascii_whitespace().map(|it| it.split_once(':'));
    let is_counter = |it: Option<(&str, &str)>| {
        it.is_some_and(|(name, number)| {
            !number.is_empty()
                && number.bytes().all(|it| it.is_ascii_digit())
                && name.bytes().all(|it| it.is_ascii_lowercase() || it == b'_')
        })
    };
    if text.is_empty() || !pairs().all(is_counter) {
        return false;
    }
    for (name, number) in pairs().flatten() {
        let Ok(number) = number.parse::<u64>() else { continue };
        if name == "free" {
            memory.free_pages = Some(number);
        }
        if memory.counters.len() < MAX_ENTRIES {
            memory.counters.insert(name.to_owned(), number);
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_read() {
        let mut memory = None;
        assert!(!read("free:1", &mut memory));
        for line in [
            "Mem-Info:",
            "active_anon:517 inactive_anon:293 isolated_anon:0",
            " free:80465 free_pcp:431 free_cma:0",
            "Node 0 active_anon:2068kB inactive_anon:1172kB",
            "Node 0 DMA32 free:306628kB boost:0kB min:2228kB low:2784kB high:3340kB reserved_highatomic:0KB",
            "lowmem_reserve[]: 0 0 0 0 0",
            "Free swap  = 12kB",
            "Total swap = 1048572kB",
            "98174 pages RAM",
            "10419 pages reserved",
        ] {
            assert!(read(line, &mut memory), "{line}");
        }
        let memory = memory.unwrap();
        assert_eq!(
            (memory.free_pages, memory.total_pages, memory.reserved_pages),
            (Some(80465), Some(98174), Some(10419))
        );
        assert_eq!((memory.swap_free_kib, memory.swap_total_kib), (Some(12), Some(1_048_572)));
        assert_eq!(memory.counters["inactive_anon"], 293);
        assert_eq!(memory.zones.len(), 1);
        assert_eq!(
            (memory.zones[0].name.as_str(), memory.zones[0].free_kib, memory.zones[0].min_kib),
            ("DMA32", 306628, 2228)
        );
    }

    #[test]
    fn other_lines_are_left_alone() {
        let mut memory = Some(MemSummary::default());
        for line in [" schedule+0x27/0xa0", "CPU: 0 PID: 1 Comm: init", "task:a state:S", "", "### KEY q"] {
            assert!(!read(line, &mut memory), "{line}");
        }
    }
}
