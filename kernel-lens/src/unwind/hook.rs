//! Return addresses that a tracer replaced by its own, so that a return leads to it.
//!
//! The function graph tracer keeps the true ones on a shadow stack of the task, return probes on a list of
//! it, each with the place on the stack where it stood. The kernel looks there too
//! (`unwind_recover_ret_addr`). On arm64 the place is the frame pointer.

use super::layout::HookLayout;
use super::stacks::words;
use crate::{AddressSpace, Symbols};

/// Bytes of a shadow stack: a page (`SHADOW_STACK_SIZE`), before v6.11 50 entries.
const MAX_SHADOW: u64 = 4096;
/// Probes of one task that are looked at, at most.
const MAX_PROBES: usize = 1024;

/// Where the tracers' own addresses are.
pub(super) struct Hooks {
    layout: HookLayout,
    graph: Option<u64>,
    probes: [Option<u64>; 2],
    /// Since v6.11 (`fgraph_array`) the depth of the shadow stack counts words, before entries.
    counts_words: bool,
}

impl Hooks {
    pub(super) fn new(symbols: &Symbols, layout: HookLayout) -> Self {
        let kretprobe = symbols.address("__kretprobe_trampoline");
        Self {
            layout,
            graph: symbols.address("return_to_handler"),
            probes: [
                symbols.address("arch_rethook_trampoline"),
                kretprobe.or_else(|| symbols.address("kretprobe_trampoline")),
            ],
            counts_words: symbols.address("fgraph_array").is_some(),
        }
    }

    /// The true address, if the one found is a tracer's and its record is found. A probe's address may be
    /// replaced again by the graph tracer.
    pub(super) fn recover(
        &self,
        space: &AddressSpace<'_>,
        symbols: &Symbols,
        task: Option<u64>,
        found: u64,
        place: u64,
    ) -> Option<u64> {
        if !self.is_hook(found) {
            return None;
        }
        let (mut address, task) = (found, task?);
        for _ in 0..2 {
            let next = if Some(address) == self.graph {
                self.of_graph(space, task, place)
            } else {
                self.of_probe(space, task, place)
            };
            address = next?;
            if !self.is_hook(address) {
                return symbols.at(address).map(|_| address);
            }
        }
        None
    }

    fn is_hook(&self, address: u64) -> bool {
        address != 0 && (Some(address) == self.graph || self.probes.contains(&Some(address)))
    }

    fn of_graph(&self, space: &AddressSpace<'_>, task: u64, place: u64) -> Option<u64> {
        let ([stack, depth], [ret, retp, size]) = (self.layout.ret_stack?, self.layout.ret_entry?);
        let base = space.u64(task.checked_add(stack)?).ok()?;
        let depth = u64::from(space.u32(task.checked_add(depth)?).ok()?);
        let live = if self.counts_words { depth.checked_mul(8)? } else { (depth + 1).checked_mul(size)? };
        // Entries of other lengths may lie between: each word is tried, the newest first.
        let last = live.min(MAX_SHADOW).checked_sub(size)? / 8;
        (0..=last).rev().find_map(|word| {
            let entry = base.checked_add(word * 8)?;
            let stood = space.u64(entry.checked_add(retp)?).ok()?;
            (stood == place).then(|| space.u64(entry.wrapping_add(ret)).ok()).flatten()
        })
    }

    fn of_probe(&self, space: &AddressSpace<'_>, task: u64, place: u64) -> Option<u64> {
        let rethook = self.layout.rethooks.zip(self.layout.rethook);
        let (first, [next, ret, stood]) = rethook.or(self.layout.kretprobes.zip(self.layout.kretprobe))?;
        let mut node = space.u64(task.checked_add(first)?).ok()?;
        for _ in 0..MAX_PROBES {
            if node == 0 {
                break;
            }
            let probe = node.wrapping_sub(next);
            let [at] = words(space, probe.wrapping_add(stood)).ok()?;
            let [address] = words(space, probe.wrapping_add(ret)).ok()?;
            // One function may be probed several times: the outermost has the true address.
            if at == place && !self.probes.contains(&Some(address)) {
                return Some(address);
            }
            [node] = words(space, node).ok()?;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_kernel::TestKernel;
    use super::*;

    fn symbols(more: &[(u64, u8, &'static str)]) -> Symbols {
        let all = [(0x900, b'T', "return_to_handler"), (0xa00, b'T', "arch_rethook_trampoline")];
        Symbols::new(all.into_iter().chain(more.iter().copied()).chain([(0x5000, b'T', "works")]))
    }

    #[test]
    fn the_shadow_stack_gives_back_what_stood_at_a_place() {
        let layout =
            HookLayout { ret_stack: Some([0, 8]), ret_entry: Some([0, 16, 24]), ..Default::default() };
        for (depth, more) in [(1, vec![]), (6, vec![(0x40, b'd', "fgraph_array")])] {
            let kernel = TestKernel::new();
            kernel.write(0x2000, &[0x3000, depth]);
            // Two entries, and behind the live ones an old one of the same place.
            kernel.write(0x3000, &[0x5010, 0, 0x7000, 0x5020, 0, 0x7100, 0x5030, 0, 0x7000]);
            let symbols = symbols(&more);
            let hooks = Hooks::new(&symbols, layout);
            kernel.with(|space| {
                let recover = |found, place| hooks.recover(space, &symbols, Some(0x2000), found, place);
                assert_eq!(recover(0x900, 0x7000), Some(0x5010));
                assert_eq!(recover(0x900, 0x7100), Some(0x5020));
                assert_eq!(recover(0x900, 0x7200), None);
                assert_eq!(recover(0x5010, 0x7000), None);
            });
        }
    }

    #[test]
    fn the_list_of_probes_gives_back_the_outermost_address_and_a_circle_ends() {
        let layout = HookLayout { rethooks: Some(0), rethook: Some([0, 8, 16]), ..Default::default() };
        let kernel = TestKernel::new();
        kernel.write(0x2000, &[0x3000]);
        kernel.write(0x3000, &[0x3100, 0xa00, 0x7000]);
        kernel.write(0x3100, &[0x3000, 0x5044, 0x7000]);
        let symbols = symbols(&[]);
        let hooks = Hooks::new(&symbols, layout);
        kernel.with(|space| {
            assert_eq!(hooks.recover(space, &symbols, Some(0x2000), 0xa00, 0x7000), Some(0x5044));
            assert_eq!(hooks.recover(space, &symbols, Some(0x2000), 0xa00, 0x7008), None);
            assert_eq!(hooks.recover(space, &symbols, None, 0xa00, 0x7000), None);
        });
    }
}
