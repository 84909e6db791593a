//! Stacks followed by arm64's frame records.

use super::super::test_kernel::TestKernel;
use super::super::*;
use crate::Aarch64Registers;

const STACK: u64 = 0x1_0000;
const IRQ_STACK: u64 = 0x1_8000;
const CODE: u64 = 0x2_0000;
const PER_CPU: u64 = 0x5_0000;
const TASK: u64 = 0x5_1000;
const THREAD_SIZE: u64 = 0x4000;
/// Of v6.12: the record lies at 304.
const PT_REGS: u64 = 336;
const STACKFRAME: u64 = 304;
const TOP: u64 = STACK + THREAD_SIZE - PT_REGS;
const BL: u32 = 0x9400_0010;
/// A pointer with an authentication code: bit 55 clear, as all addresses of these tests.
const SIGNED: u64 = 0x2a5f << 48;

fn layout(has_meta_records: bool) -> Layout {
    Layout {
        thread_size: Some(THREAD_SIZE),
        task_stack: Some(0),
        cpu_context: Some(8),
        pt_regs: Some(PT_REGS),
        stackframe: Some(STACKFRAME),
        has_meta_records,
        ..Default::default()
    }
}

fn symbols() -> Symbols {
    Symbols::new([
        (CODE, b'T', "_stext"),
        (CODE, b'T', "ret_from_fork"),
        (CODE + 0x100, b't', "el1h_64_irq"),
        (CODE + 0x200, b't', "el0t_64_sync"),
        (CODE + 0x300, b'T', "leaf"),
        (CODE + 0x400, b'T', "works"),
        (CODE + 0x1000, b'T', "_etext"),
        (0x10, b'D', "irq_stack_ptr"),
    ])
}

fn with_unwinder<T>(kernel: &TestKernel, meta: bool, look: impl FnOnce(&Unwinder<'_, '_>) -> T) -> T {
    kernel.write(PER_CPU + 0x10, &[IRQ_STACK]);
    kernel.write(TASK, &[STACK]);
    let symbols = symbols();
    kernel.with_arm64(|space| look(&Unwinder::with(space, &symbols, layout(meta), &[PER_CPU])))
}

fn registers(pc: u64, sp: u64, fp: u64, lr: u64) -> Registers {
    let mut it = Aarch64Registers { sp, pc, pstate: 5, ..Default::default() };
    (it.x[29], it.x[30]) = (fp, lr);
    Registers::Aarch64(it)
}

fn seen(unwound: &Unwound) -> Vec<(u64, FrameKind, How)> {
    unwound.frames.iter().map(|it| (it.address - CODE, it.kind, it.how)).collect()
}

/// The registers of code that was interrupted: `x29`, `x30`, `sp`, `pc` and exception level 1.
fn saved(kernel: &TestKernel, at: u64, fp: u64, lr: u64, sp: u64, pc: u64) {
    kernel.write(at + 29 * 8, &[fp, lr, sp, pc, 5]);
}

const CALL: (FrameKind, How) = (FrameKind::Call, How::FramePointer);

#[test]
fn a_sleeping_kernel_thread_ends_where_it_began() {
    let kernel = TestKernel::new();
    let (fp, sp) = (STACK + 0x3000, STACK + 0x2f00);
    kernel.write(TASK + 8 + 80, &[fp, sp, CODE + 0x410]);
    kernel.write(fp, &[TOP + STACKFRAME, SIGNED | (CODE + 0x10)]);
    with_unwinder(&kernel, false, |unwinder| {
        let unwound = unwinder.sleeping(TASK);
        let first = (0x410, FrameKind::Call, How::Registers);
        assert_eq!(seen(&unwound), [first, (0x10, CALL.0, CALL.1)]);
        assert_eq!(unwound.end, End::Kthread);
    });
}

#[test]
fn the_registers_of_user_space_lie_at_the_top() {
    for meta in [false, true] {
        let kernel = TestKernel::new();
        kernel.write(TASK + 8 + 80, &[STACK + 0x3000, STACK + 0x2f00, CODE + 0x410]);
        kernel.write(STACK + 0x3000, &[TOP + STACKFRAME, CODE + 0x210]);
        kernel.write(TOP + 29 * 8, &[0x7f00, 0, 0x7000, 0x40_1000, 0x8000_0000]);
        kernel.write(TOP + STACKFRAME, &[0, 0, u64::from(meta)]);
        with_unwinder(&kernel, meta, |unwinder| {
            let user = UserEntry { pt_regs: Some(TOP), ip: 0x40_1000, sp: 0x7000, fp: 0x7f00 };
            assert_eq!(unwinder.sleeping(TASK).end, End::User(user));
        });
    }
}

#[test]
fn an_interrupt_is_crossed_by_its_record_and_a_leaf_shows_its_caller() {
    for meta in [false, true] {
        let kernel = TestKernel::new();
        // works -> leaf, interrupted in leaf, which has no record; handled on the interrupt stack.
        kernel.write_bytes(CODE + 0x40c, &BL.to_le_bytes());
        let regs = STACK + 0x3000;
        saved(&kernel, regs, STACK + 0x3400, CODE + 0x410, STACK + 0x3300, CODE + 0x308);
        let record = if meta { [0, 0, 2] } else { [STACK + 0x3400, CODE + 0x308, 0] };
        kernel.write(regs + STACKFRAME, &record);
        kernel.write(TOP + STACKFRAME, &[0, 0, u64::from(meta)]);
        kernel.write(STACK + 0x3400, &[TOP + STACKFRAME, CODE + 0x10]);
        kernel.write(IRQ_STACK + 0x3f00, &[regs + STACKFRAME, CODE + 0x110]);
        // `add x29, sp, #0` at the start of the function that runs: its record is there.
        kernel.write_bytes(CODE + 0x400, &0x9100_03fdu32.to_le_bytes());
        with_unwinder(&kernel, meta, |unwinder| {
            let now = registers(CODE + 0x420, IRQ_STACK + 0x3e00, IRQ_STACK + 0x3f00, CODE + 0x410);
            let unwound = unwinder.running(&now, Some(TASK));
            let wanted = [
                (0x420, FrameKind::Running, How::Registers),
                (0x110, CALL.0, CALL.1),
                (0x308, FrameKind::Interrupt, How::Registers),
                (0x410, FrameKind::Call, How::LinkRegister),
                (0x10, CALL.0, CALL.1),
            ];
            assert_eq!(seen(&unwound), wanted, "with records that say what they are: {meta}");
            assert_eq!(unwound.end, End::Kthread);
            assert_eq!(unwinder.running(&now, None), unwound, "the stack is found without the task");
        });
    }
}

#[test]
fn registers_that_do_not_repeat_the_record_are_not_taken_for_an_exception() {
    let kernel = TestKernel::new();
    let regs = STACK + 0x3000;
    saved(&kernel, regs, STACK + 0x3400, 0, STACK + 0x3300, CODE + 0x30c);
    kernel.write(regs + STACKFRAME, &[STACK + 0x3400, CODE + 0x308]);
    kernel.write(STACK + 0x3400, &[TOP + STACKFRAME, CODE + 0x10]);
    kernel.write(STACK + 0x2f00, &[regs + STACKFRAME, CODE + 0x110]);
    with_unwinder(&kernel, false, |unwinder| {
        let now = registers(CODE + 0x400, STACK + 0x2e00, STACK + 0x2f00, 0);
        let unwound = unwinder.running(&now, Some(TASK));
        assert!(unwound.frames.iter().all(|it| it.kind != FrameKind::Interrupt));
        assert_eq!(unwound.end, End::Kthread);
    });
}
