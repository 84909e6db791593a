//! Where a task sleeps: what `/proc/PID/wchan` names.

use crate::Kernel;

/// Sections whose functions are the way into the scheduler, which says nothing of why
/// (`in_sched_functions` in `kernel/sched/core.c`, with the locks of `in_lock_functions`).
const SECTIONS: [(&str, &str); 2] =
    [("__sched_text_start", "__sched_text_end"), ("__lock_text_start", "__lock_text_end")];

/// What the kernel's own walk steps over as well, wherever it lies.
const SWITCHES: [&str; 3] = ["__switch_to", "__switch_to_asm", "ret_from_fork_asm"];

/// The first of some code addresses, innermost first, that is not the scheduler's own.
///
/// `addresses` are where each frame's symbol is to be looked up: a return address less one.
pub fn wait_channel(kernel: &Kernel<'_>, addresses: impl IntoIterator<Item = u64>) -> Option<u64> {
    let range = |(from, to)| Some(kernel.symbol(from)?..kernel.symbol(to)?);
    let sections = SECTIONS.map(range);
    let switches = SWITCHES.map(|it| kernel.symbol(it));
    let is_glue = |address: u64| {
        let symbol = || kernel.symbols.at(address).map(|it| it.address);
        sections.iter().flatten().any(|it| it.contains(&address))
            || symbol().is_some_and(|it| switches.contains(&Some(it)))
    };
    addresses.into_iter().find(|it| !is_glue(*it))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{Paging, X86Paging};
    use crate::btf::Types;
    use crate::memory::test_memory::TestMemory;
    use crate::{AddressSpace, Arch, Recorder, Symbols};

    #[test]
    fn the_scheduler_and_its_locks_are_stepped_over() {
        let memory = TestMemory::new(0x1000);
        let recorder = Recorder::new(&memory);
        let space = AddressSpace::new(&recorder, Paging::X86_64(X86Paging { root: 0, five_levels: false }));
        let symbols = Symbols::new([
            (0x1000, b'T', "__switch_to_asm"),
            (0x2000, b'T', "pipe_read"),
            (0x8000, b'T', "__sched_text_start"),
            (0x8000, b't', "__schedule"),
            (0x8800, b'T', "mutex_lock"),
            (0x9000, b'T', "__sched_text_end"),
        ]);
        let kernel = Kernel::new(space, symbols, Types::none(), Arch::X86_64);
        let channel = |addresses: &[u64]| wait_channel(&kernel, addresses.iter().copied());
        assert_eq!(channel(&[0x1010, 0x8010, 0x8810, 0x2010, 0x2020]), Some(0x2010));
        assert_eq!(channel(&[0x9000]), Some(0x9000));
        assert_eq!(channel(&[0x8010]), None);
    }
}
