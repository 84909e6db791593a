//! Stacks followed by ORC tables.

use super::super::test_kernel::TestKernel;
use super::super::*;
use crate::X86Registers;

pub(super) const STACK: u64 = 0x1_0000;
const IRQ_STACK: u64 = 0x1_8000;
pub(super) const CODE: u64 = 0x2_0000;
const IPS: u64 = 0x4_0000;
const ENTRIES: u64 = 0x4_1000;
const INDEX: u64 = 0x4_2000;
const PER_CPU: u64 = 0x5_0000;
const TASK: u64 = 0x5_1000;
const THREAD_SIZE: u64 = 0x4000;

/// One entry: where it begins in the code, stack offset, frame pointer's offset, flags.
type Entry = (u64, i16, i16, u16);

/// Form 3: the code of `symbols`, every 256 bytes another function.
const FORM_3: [Entry; 7] = [
    (0x000, 0, 0, 0x100),    // ret_from_fork_asm: the end
    (0x100, 0, 0, 0xb05),    // asm_sysvec_apic_timer_interrupt: registers at the stack pointer
    (0x200, 16, 0, 0x209),   // sysvec_apic_timer_interrupt: the stack that the word at the top says
    (0x300, 8, 0, 0x205),    // leaf
    (0x400, 16, -16, 0x214), // works: by frame pointer
    (0x500, 0, 0, 0x000),    // unknown: undefined
    (0x600, 8, 0, 0x205),    // schedule
];

fn table(kernel: &TestKernel, entries: &[Entry]) {
    for (number, (at, sp, bp, flags)) in (0u64..).zip(entries) {
        let place = IPS + number * 4;
        let offset = (CODE + at).wrapping_sub(place) as u32;
        kernel.write_bytes(place, &offset.to_le_bytes());
        let mut bytes = [0; 6];
        bytes[..2].copy_from_slice(&sp.to_le_bytes());
        bytes[2..4].copy_from_slice(&bp.to_le_bytes());
        bytes[4..].copy_from_slice(&flags.to_le_bytes());
        kernel.write_bytes(ENTRIES + number * 6, &bytes);
    }
}

fn symbols(entries: u64) -> Symbols {
    Symbols::new([
        (CODE, b'T', "_stext"),
        (CODE, b'T', "ret_from_fork_asm"),
        (CODE + 0x100, b'T', "asm_sysvec_apic_timer_interrupt"),
        (CODE + 0x200, b'T', "sysvec_apic_timer_interrupt"),
        (CODE + 0x300, b'T', "leaf"),
        (CODE + 0x400, b'T', "works"),
        (CODE + 0x500, b'T', "unknown"),
        (CODE + 0x600, b'T', "schedule"),
        (CODE + 0x1000, b'T', "_etext"),
        (IPS, b'R', "__start_orc_unwind_ip"),
        (IPS + entries * 4, b'R', "__stop_orc_unwind_ip"),
        (ENTRIES, b'R', "__start_orc_unwind"),
        (INDEX, b'B', "orc_lookup"),
        (INDEX + 17 * 4, b'B', "orc_lookup_end"),
        (0x10, b'A', "hardirq_stack_ptr"),
        (0x6_0000, b'D', "__start_init_stack"),
        (0x6_0000 + THREAD_SIZE, b'D', "__end_init_stack"),
    ])
}

pub(super) fn with_unwinder<T>(kernel: &TestKernel, look: impl FnOnce(&Unwinder<'_, '_>) -> T) -> T {
    table(kernel, &FORM_3);
    kernel.write(PER_CPU + 0x10, &[IRQ_STACK + THREAD_SIZE - 8]);
    kernel.write(TASK, &[STACK, STACK + 0x2000]);
    let symbols = symbols(FORM_3.len() as u64);
    let layout = Layout { task_stack: Some(0), thread_sp: Some(8), ..Default::default() };
    kernel.with(|space| look(&Unwinder::with(space, &symbols, layout, &[PER_CPU])))
}

/// Offsets in the code, and how each frame came to be.
fn seen(unwound: &Unwound) -> Vec<(u64, FrameKind)> {
    unwound.frames.iter().map(|it| (it.address.wrapping_sub(CODE), it.kind)).collect()
}

fn registers(rip: u64, rsp: u64, rbp: u64) -> Registers {
    let mut general = [0; 16];
    (general[6], general[7]) = (rbp, rsp);
    Registers::X86_64(X86Registers { general, rip, cs: 0x10, ..Default::default() })
}

#[test]
fn a_vcpu_in_an_interrupt_is_followed_to_its_own_stack_and_to_the_start_of_the_thread() {
    let kernel = TestKernel::new();
    kernel.write(IRQ_STACK + THREAD_SIZE - 16, &[CODE + 0x210, STACK + 0x3000]);
    kernel.write(STACK + 0x3008, &[CODE + 0x110]);
    let regs = STACK + 0x3010;
    kernel.write(regs + 4 * 8, &[STACK + 0x3300]);
    kernel.write(regs + 16 * 8, &[CODE + 0x400, 0x10, 0x246, STACK + 0x3200, 0x18]);
    kernel.write(STACK + 0x3300, &[0, CODE + 0x10]);
    with_unwinder(&kernel, |unwinder| {
        let now = registers(CODE + 0x308, IRQ_STACK + THREAD_SIZE - 16, 0);
        let unwound = unwinder.running(&now, Some(TASK));
        let call = FrameKind::Call;
        let interrupted = [(0x400, FrameKind::Interrupt), (0x10, call)];
        let before = [(0x308, FrameKind::Running), (0x210, call), (0x110, call)];
        assert_eq!(seen(&unwound), [&before[..], &interrupted[..]].concat());
        assert_eq!(unwound.end, End::Kthread);
        assert!(unwound.frames.iter().all(RawFrame::sure));
        assert_eq!(unwinder.running(&now, None), unwound, "the stack is found without the task");
    });
}

#[test]
fn a_sleeping_task_ends_at_the_registers_of_user_space() {
    let kernel = TestKernel::new();
    kernel.write(STACK + 0x2000, &[0, 0, 0, 0, 0, STACK + 0x2100, CODE + 0x610]);
    kernel.write(STACK + 0x2038, &[CODE + 0x110]);
    let regs = STACK + 0x2040;
    kernel.write(regs + 4 * 8, &[0x7fff_1000]);
    kernel.write(regs + 16 * 8, &[0x40_1000, 0x33, 0x246, 0x7fff_0000, 0x2b]);
    with_unwinder(&kernel, |unwinder| {
        let unwound = unwinder.sleeping(TASK);
        assert_eq!(seen(&unwound), [(0x610, FrameKind::Call), (0x110, FrameKind::Call)]);
        let user = UserEntry { pt_regs: Some(regs), ip: 0x40_1000, sp: 0x7fff_0000, fp: 0x7fff_1000 };
        assert_eq!(unwound.end, End::User(user));
    });
}

#[test]
fn a_call_through_a_null_pointer_shows_who_made_it() {
    let kernel = TestKernel::new();
    kernel.write(STACK + 0x3000, &[CODE + 0x310, CODE + 0x10]);
    with_unwinder(&kernel, |unwinder| {
        let unwound = unwinder.running(&registers(0, STACK + 0x3000, 0), Some(TASK));
        let addresses: Vec<_> = unwound.frames.iter().map(|it| it.address).collect();
        assert_eq!(addresses, [0, CODE + 0x310, CODE + 0x10]);
        assert_eq!(unwound.end, End::Kthread);
    });
}

#[test]
fn where_the_tables_end_return_addresses_on_the_stack_are_added_as_not_sure() {
    let kernel = TestKernel::new();
    kernel.write_bytes(CODE + 0x40b, &[0xe8, 0, 0, 0, 0]);
    // A return address, a pointer to a function, and a word.
    kernel.write(STACK + 0x3000, &[CODE + 0x510, 0x1234, CODE + 0x410, CODE + 0x300]);
    with_unwinder(&kernel, |unwinder| {
        let unwound = unwinder.running(&registers(CODE + 0x308, STACK + 0x3000, 0), Some(TASK));
        assert_eq!(unwound.end, End::Bad(BadFrame::Undefined(CODE + 0x510)));
        let sure: Vec<_> = unwound.frames.iter().map(|it| (it.address - CODE, it.sure())).collect();
        assert_eq!(sure, [(0x308, true), (0x510, true), (0x410, false)]);
    });
}

#[test]
fn a_stack_pointer_that_turns_back_ends_the_walk() {
    let kernel = TestKernel::new();
    // `works` counts from the frame pointer, which leads below.
    kernel.write(STACK + 0x3000, &[CODE + 0x410]);
    kernel.write(STACK + 0x2000, &[STACK + 0x2000, CODE + 0x410]);
    with_unwinder(&kernel, |unwinder| {
        let unwound = unwinder.running(&registers(CODE + 0x308, STACK + 0x3000, STACK + 0x2000), Some(TASK));
        assert_eq!(unwound.end, End::Bad(BadFrame::NotRising(STACK + 0x2010)));
    });
}

#[test]
fn the_form_is_told_by_the_tables_where_there_is_no_header() {
    let forms = [
        (0x400, 0x005, "ORC tables, form 1"),
        (0x800, 0x005, "ORC tables, form 2"),
        (0x100, 0x205, "ORC tables, form 3"),
        (0x100, 0x203, "ORC tables, form 4"),
        (0x700, 0x205, "unwind tables of an unknown form"),
    ];
    for (end, call, form) in forms {
        let kernel = TestKernel::new();
        table(&kernel, &[(0, 0, 0, end), (0x600, 8, 0, call)]);
        let symbols = symbols(2);
        kernel.with(|space| {
            assert_eq!(Unwinder::with(space, &symbols, Layout::default(), &[]).describe(), form);
        });
    }
}

#[test]
fn the_kernels_index_is_used_where_it_is_right_and_not_believed_where_it_is_wrong() {
    let right: Vec<u8> = (0u32..17).map(|it| it.min(6)).flat_map(u32::to_le_bytes).collect();
    let wrong: Vec<u8> = (0u32..17).map(|it| it * 7 % 5).flat_map(u32::to_le_bytes).collect();
    let addresses = |index: &[u8]| {
        let kernel = TestKernel::new();
        kernel.write_bytes(INDEX, index);
        kernel.write(STACK + 0x3000, &[CODE + 0x410]);
        kernel.write(STACK + 0x3100, &[0, CODE + 0x10]);
        with_unwinder(&kernel, |unwinder| {
            let now = registers(CODE + 0x308, STACK + 0x3000, STACK + 0x3100);
            seen(&unwinder.running(&now, Some(TASK)))
        })
    };
    let plain = addresses(&[0; 68]);
    assert_eq!(plain.len(), 3);
    assert_eq!(addresses(&right), plain);
    assert_eq!(addresses(&wrong), plain);
}

#[test]
fn a_vcpu_in_user_mode_has_no_kernel_stack() {
    let kernel = TestKernel::new();
    with_unwinder(&kernel, |unwinder| {
        let Registers::X86_64(mut now) = registers(0x40_1000, 0x7fff_0000, 5) else { return };
        now.cs = 0x33;
        let unwound = unwinder.running(&Registers::X86_64(now), None);
        assert!(unwound.frames.is_empty());
        let user = UserEntry { pt_regs: None, ip: 0x40_1000, sp: 0x7fff_0000, fp: 5 };
        assert_eq!(unwound.end, End::User(user));
    });
}
