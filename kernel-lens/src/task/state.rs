//! The state of a task as the kernel names it.

use vmward_kernel_facts::TaskState;

/// What `/proc` tells of the state (`TASK_REPORT` in `include/linux/sched.h`).
const REPORTED: u64 = 0x7f;
/// `TASK_IDLE`: an uninterruptible sleep (2) that is no load (`TASK_NOLOAD`, 0x400).
const IDLE: u64 = 0x402;
/// `TASK_RTLOCK_WAIT` (v5.16) and `TASK_FROZEN` (v6.1), both told as an uninterruptible sleep.
const SLEEPS: u64 = 0x1000 | 0x8000;
/// Bits that no kernel gives a task: v7.2 uses 16 and some compilers' tests a few more.
const IMPOSSIBLE: u64 = !0xf_ffff;

/// The letter of a state: `__task_state_index` in `include/linux/sched.h`, since v4.14.
pub(super) fn letter(state: u64, exit_state: u64) -> TaskState {
    if state & SLEEPS != 0 {
        return TaskState::D;
    }
    if state & IDLE == IDLE {
        return TaskState::I;
    }
    match ((state | exit_state) & REPORTED).checked_ilog2() {
        None => TaskState::R,
        Some(0) => TaskState::S,
        Some(1) => TaskState::D,
        Some(2) => TaskState::T,
        Some(3) => TaskState::Traced,
        Some(4) => TaskState::X,
        Some(5) => TaskState::Z,
        Some(_) => TaskState::P,
    }
}

/// Whether a kernel could have written these two words.
pub(super) fn is_possible(state: u64, exit_state: u64) -> bool {
    state & IMPOSSIBLE == 0 && exit_state & !0x30 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_named_as_the_kernel_names_them() {
        for (state, exit, want) in [
            (0, 0, 'R'),
            (1, 0, 'S'),
            (0x2001, 0, 'S'),
            (2, 0, 'D'),
            (0x102, 0, 'D'),
            (0x402, 0, 'I'),
            (0x1000, 0, 'D'),
            (0x8000, 0, 'D'),
            (4, 0, 'T'),
            (0x104, 0, 'T'),
            (8, 0, 't'),
            (0x40, 0, 'P'),
            (0x80, 0x20, 'Z'),
            (0x80, 0x10, 'X'),
            (0x200, 0, 'R'),
            (0x800, 0, 'R'),
        ] {
            assert_eq!(letter(state, exit).letter(), want, "{state:#x} {exit:#x}");
        }
    }

    #[test]
    fn a_pointer_is_no_state() {
        assert!(is_possible(0x2001, 0) && is_possible(0x80, 0x20));
        assert!(!is_possible(0xffff_8880_0000_1000, 0) && !is_possible(0, 0x1000));
    }
}
