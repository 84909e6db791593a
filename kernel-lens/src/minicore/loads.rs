//! Which virtual addresses the kept pages stand at.

use super::Window;
use crate::source::merged;
use crate::{PAGE_SIZE, PhysRange};

/// One PT_LOAD. The offset counts from the first kept page until the file's layout is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Load {
    pub(super) virt: u64,
    pub(super) phys: u64,
    pub(super) len: u64,
    pub(super) offset: u64,
}

impl Load {
    fn end(&self) -> u64 {
        self.virt.saturating_add(self.len)
    }
}

/// Consecutive pages and where they lie among all.
struct Run {
    range: PhysRange,
    offset: u64,
}

/// The loads of pages (ascending), ascending by virtual address and apart. A page that no window shows
/// stands at its physical address, as QEMU writes dumps without paging.
pub(super) fn of(pages: &[u64], windows: &[Window]) -> Vec<Load> {
    let runs = runs(pages);
    let mut loads = Vec::new();
    let mut seen = Vec::with_capacity(windows.len());
    for window in windows {
        let end = window.phys.saturating_add(window.len.min(u64::MAX - window.virt));
        let range = PhysRange { start: window.phys, end };
        seen.push(range);
        show(&runs, range, |phys| window.virt + (phys - window.phys), &mut loads);
    }
    let mut from = 0;
    for range in merged(seen).into_iter().chain([PhysRange { start: u64::MAX, end: u64::MAX }]) {
        show(&runs, PhysRange { start: from, end: range.start }, |phys| phys, &mut loads);
        from = range.end;
    }
    apart(loads)
}

fn runs(pages: &[u64]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (index, page) in pages.iter().enumerate() {
        let end = page.saturating_add(PAGE_SIZE);
        match runs.last_mut() {
            Some(last) if last.range.end == *page => last.range.end = end,
            _ => {
                runs.push(Run { range: PhysRange { start: *page, end }, offset: index as u64 * PAGE_SIZE });
            }
        }
    }
    runs
}

/// Adds a load for each run in `range`.
fn show(runs: &[Run], range: PhysRange, virt: impl Fn(u64) -> u64, loads: &mut Vec<Load>) {
    let first = runs.partition_point(|it| it.range.end <= range.start);
    for run in runs.get(first..).unwrap_or_default() {
        let Some(part) = run.range.overlap(range) else { break };
        let offset = run.offset + (part.start - run.range.start);
        loads.push(Load { virt: virt(part.start), phys: part.start, len: part.len(), offset });
    }
}

/// In order; of two at one address the first stays; two that are one in memory and file become one.
fn apart(mut loads: Vec<Load>) -> Vec<Load> {
    loads.sort_unstable();
    let mut out: Vec<Load> = Vec::with_capacity(loads.len());
    for mut load in loads {
        if let Some(last) = out.last_mut() {
            let cut = last.end().saturating_sub(load.virt);
            if cut >= load.len {
                continue;
            }
            load = Load {
                virt: load.virt + cut,
                phys: load.phys + cut,
                len: load.len - cut,
                offset: load.offset + cut,
            };
            let joined = (last.end(), last.phys.saturating_add(last.len), last.offset + last.len);
            if joined == (load.virt, load.phys, load.offset) {
                last.len += load.len;
                continue;
            }
        }
        out.push(load);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn load(virt: u64, phys: u64, pages: u64, page: u64) -> Load {
        Load { virt, phys, len: pages * 0x1000, offset: page * 0x1000 }
    }

    #[test]
    fn a_page_stands_at_every_address_that_shows_it() {
        let direct = Window { virt: 0xff11_0000_0000_0000, phys: 0, len: 1 << 30 };
        let image = Window { virt: 0xffff_ffff_8100_0000, phys: 0x2000, len: 0x1000 };
        let pages = [0x1000, 0x2000, 0x3000, 0x9000, 1 << 32];
        let expected = [
            load(1 << 32, 1 << 32, 1, 4),
            load(0xff11_0000_0000_1000, 0x1000, 3, 0),
            load(0xff11_0000_0000_9000, 0x9000, 1, 3),
            load(0xffff_ffff_8100_0000, 0x2000, 1, 1),
        ];
        assert_eq!(of(&pages, &[image, direct]), expected);
    }

    #[test]
    fn windows_that_go_on_in_memory_and_file_are_one_load() {
        let window = |virt, phys| Window { virt, phys, len: 0x1000 };
        let loads = of(&[0x1000, 0x2000], &[window(0x8000_2000, 0x2000), window(0x8000_1000, 0x1000)]);
        assert_eq!(loads, [load(0x8000_1000, 0x1000, 2, 0)]);
    }

    proptest! {
        #[test]
        fn every_page_is_shown_and_no_two_loads_meet(
            pages in prop::collection::btree_set(0..64u64, 1..20),
            list in prop::collection::vec((0..64u64, 0..64u64, 0..64u64), 0..6),
            wild in any::<(u64, u64, u64)>(),
        ) {
            let pages: Vec<u64> = pages.into_iter().map(|it| it * PAGE_SIZE).collect();
            let near = list.into_iter().map(|(virt, phys, len)| Window {
                virt: 0xffff_0000_0000_0000 + virt * PAGE_SIZE, phys: phys * PAGE_SIZE, len: len * PAGE_SIZE,
            });
            let wild = Window { virt: wild.0, phys: wild.1, len: wild.2 };
            let windows: Vec<Window> = near.chain([wild]).collect();
            let loads = of(&pages, &windows);
            prop_assert!(loads.windows(2).all(|it| it[0].end() <= it[1].virt));
            for load in &loads {
                let at = (load.offset / PAGE_SIZE) as usize;
                prop_assert_eq!(pages[at] + load.offset % PAGE_SIZE, load.phys);
            }
        }
    }
}
