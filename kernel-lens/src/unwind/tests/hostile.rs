//! Stacks that no kernel wrote: every walk ends, inside of its bounds.

use proptest::prelude::*;

use super::super::test_kernel::TestKernel;
use super::super::*;
use super::orc::{CODE, STACK, with_unwinder};
use crate::X86Registers;

/// Words that lead somewhere: to code, to stacks, to registers, or nowhere.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0u64..0x700).prop_map(|it| CODE + it),
        3 => (0u64..0x800).prop_map(|it| STACK + it * 8),
        1 => (0u64..0x800).prop_map(|it| (STACK + it * 8) | 1),
        1 => Just(0u64),
        1 => Just(0x10u64),
        1 => any::<u64>(),
    ]
}

fn is_bounded(unwound: &Unwound) -> Result<(), TestCaseError> {
    prop_assert!(unwound.frames.len() <= MAX_FRAMES);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_stack_leads_an_unwinder_astray(
        words in proptest::collection::vec(word(), 0x80),
        ip in word(),
        sp in word(),
        bp in word(),
    ) {
        let kernel = TestKernel::new();
        for part in 0..16 {
            kernel.write(STACK + part * 0x400, &words);
        }
        let mut general = [0; 16];
        (general[6], general[7]) = (bp, sp);
        let now = X86Registers { general, rip: ip, cs: 0x10, ..Default::default() };
        with_unwinder(&kernel, |unwinder| {
            is_bounded(&unwinder.running(&Registers::X86_64(now.clone()), Some(sp)))?;
            is_bounded(&unwinder.running(&Registers::X86_64(now), None))?;
            is_bounded(&unwinder.sleeping(sp))
        })?;
        let symbols = Symbols::new([
            (CODE, b'T', "_stext"),
            (CODE + 0x100, b't', "el1h_64_irq"),
            (CODE + 0x700, b'T', "_etext"),
        ]);
        let layout = Layout {
            thread_size: Some(0x4000),
            task_stack: Some(0),
            thread_sp: Some(8),
            cpu_context: Some(8),
            pt_regs: Some(336),
            stackframe: Some(304),
            ..Default::default()
        };
        kernel.with(|space| {
            let unwinder = Unwinder::with(space, &symbols, layout, &[]);
            is_bounded(&unwinder.follow(Start::x86(ip, sp, bp), Some(STACK), Some(bp)))?;
            is_bounded(&unwinder.sleeping(sp))
        })?;
        for has_meta_records in [false, true] {
            kernel.with_arm64(|space| {
                let layout = Layout { has_meta_records, ..layout };
                let unwinder = Unwinder::with(space, &symbols, layout, &[]);
                is_bounded(&unwinder.follow(Start::arm64(ip, sp, bp, ip), Some(STACK), Some(bp)))?;
                is_bounded(&unwinder.sleeping(sp))
            })?;
        }
    }
}
