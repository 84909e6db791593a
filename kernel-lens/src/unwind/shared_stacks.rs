//! The stacks that belong to CPUs, not to tasks: for interrupts, exceptions, entry code.

use super::layout::Layout;
use super::stacks::Stack;
use crate::{AddressSpace, Symbols};

/// Of arm64's per-CPU `overflow_stack` (`OVERFLOW_STACK_SIZE`).
const OVERFLOW: u64 = 4096;
/// The page that x86 enters the kernel on (`struct entry_stack_page`).
const ENTRY: u64 = 4096;

/// Those of all CPUs, ascending. `per_cpu` are the CPUs' per-CPU offsets.
pub(super) fn find(
    space: &AddressSpace<'_>,
    symbols: &Symbols,
    layout: &Layout,
    per_cpu: &[u64],
    thread_size: u64,
    x86: bool,
) -> Vec<Stack> {
    let mut found = Vec::new();
    for offset in per_cpu {
        let cpu = Cpu { space, symbols, offset: *offset };
        let stacks = if x86 { cpu.x86(layout, thread_size) } else { cpu.arm64(thread_size) };
        found.extend(stacks);
    }
    found.sort_unstable();
    found
}

struct Cpu<'a, 'm> {
    space: &'a AddressSpace<'m>,
    symbols: &'a Symbols,
    offset: u64,
}

impl Cpu<'_, '_> {
    fn variable(&self, name: &str) -> Option<u64> {
        Some(self.symbols.address(name)?.wrapping_add(self.offset))
    }

    fn pointer(&self, name: &str) -> Option<u64> {
        self.space.u64(self.variable(name)?).ok().filter(|it| *it != 0)
    }

    /// The interrupt stack is as long as a task's. Since v5.12 the pointer leads to its last word, before
    /// behind it.
    fn x86(&self, layout: &Layout, thread_size: u64) -> Vec<Stack> {
        let hot = || {
            let at = self.variable("pcpu_hot")?.wrapping_add(layout.pcpu_hot_irq_stack?);
            self.space.u64(at).ok()
        };
        let interrupt = self.pointer("hardirq_stack_ptr").or_else(hot).and_then(|it| {
            let end = it.checked_next_multiple_of(16)?;
            Stack::new(end.checked_sub(thread_size)?, thread_size)
        });
        let exceptions = self.pointer("cea_exception_stacks");
        let entry = exceptions.zip(layout.entry_area).and_then(|(stacks, (to_stacks, to_entry))| {
            Stack::new(stacks.checked_sub(to_stacks)?.checked_add(to_entry)?, ENTRY)
        });
        let exception =
            |(from, to): (u64, u64)| Stack::new(exceptions?.checked_add(from)?, to.checked_sub(from)?);
        let exceptions = layout.exception_stacks.iter().flatten().copied().map(exception);
        exceptions.chain([interrupt, entry]).flatten().collect()
    }

    fn arm64(&self, thread_size: u64) -> Vec<Stack> {
        let by_pointer = |name| Stack::new(self.pointer(name)?, thread_size);
        let pointers = ["irq_stack_ptr", "sdei_stack_normal_ptr", "sdei_stack_critical_ptr"];
        let overflow = self.variable("overflow_stack").and_then(|it| Stack::new(it, OVERFLOW));
        pointers.into_iter().map(by_pointer).chain([overflow]).flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_kernel::TestKernel;
    use super::*;

    #[test]
    fn both_conventions_of_the_interrupt_stack_lead_to_its_bounds() {
        let kernel = TestKernel::new();
        kernel.write(0x1008, &[0x8ff8]);
        kernel.write(0x2008, &[0xd000]);
        kernel.write(0x1010, &[0x2_9000]);
        let symbols = Symbols::new([(8, b'A', "hardirq_stack_ptr"), (16, b'A', "cea_exception_stacks")]);
        let layout = Layout {
            exception_stacks: [Some((0x1000, 0x2000)), None, None, None, None, None],
            entry_area: Some((0x7000, 0x1000)),
            ..Default::default()
        };
        kernel.with(|space| {
            let found = find(space, &symbols, &layout, &[0x1000, 0x2000], 0x1000, true);
            let bounds: Vec<_> = found.iter().map(|it| (it.low, it.end)).collect();
            assert_eq!(
                bounds,
                [(0x8000, 0x9000), (0xc000, 0xd000), (0x2_3000, 0x2_4000), (0x2_a000, 0x2_b000)]
            );
        });
    }
}
