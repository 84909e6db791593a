//! User space's own stack, by frame pointers: as far as programs keep them and pages are there.
//!
//! Both architectures' records are alike: the caller's frame pointer, then the return address. Compilers
//! leave frame pointers out by default, so that a frame is sure only where a call lies before its address.

use super::code::follows_call;
use super::frame::{FrameKind, How, RawFrame, UserEntry};
use super::stacks::words;
use crate::AddressSpace;
use crate::arch::Paging;

/// Frames at most.
const MAX_FRAMES: usize = 256;
/// Bytes between two frames at most: more is no frame.
const MAX_STEP: u64 = 8 << 20;
/// Nothing is mapped in the first page.
const USER_START: u64 = 4096;
/// Addresses of user space end below, with five levels of page tables too.
const USER_END: u64 = 1 << 56;

/// Follows the stack of a task in user space. `space` is that of its own page tables
/// ([`Paging::with_root`]).
pub fn user_frames(space: &AddressSpace<'_>, entry: &UserEntry) -> Vec<RawFrame> {
    let x86 = matches!(space.paging(), Paging::X86_64(_));
    // On arm64 an authentication code may be above the address.
    let mask = match space.paging() {
        Paging::X86_64(_) => u64::MAX,
        Paging::Aarch64(it) => !u64::MAX.checked_shl(it.virt_bits).unwrap_or(0),
    };
    let how = How::Registers;
    let mut frames = vec![RawFrame { address: entry.ip, sp: entry.sp, kind: FrameKind::Running, how }];
    let (mut fp, mut low) = (entry.fp, entry.sp);
    while frames.len() < MAX_FRAMES
        && fp >= low
        && fp - low <= MAX_STEP
        && fp.is_multiple_of(8)
        && fp < USER_END
    {
        let Ok([next, address]) = words(space, fp) else { break };
        let address = address & mask;
        if !(USER_START..USER_END).contains(&address) {
            break;
        }
        let how = if follows_call(space, x86, address) { How::FramePointer } else { How::Guess };
        frames.push(RawFrame { address, sp: fp + 16, kind: FrameKind::Call, how });
        (low, fp) = (fp + 16, next);
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::super::test_kernel::TestKernel;
    use super::*;

    #[test]
    fn frames_are_followed_while_they_rise_and_sure_behind_calls() {
        let kernel = TestKernel::new();
        kernel.write_bytes(0x2000, &[0xe8, 0, 0, 0, 0]);
        kernel.write(0x8010, &[0x8100, 0x2005]);
        kernel.write(0x8100, &[0x8010, 0x3000]);
        let entry = UserEntry { pt_regs: None, ip: 0x1000, sp: 0x8000, fp: 0x8010 };
        kernel.with(|space| {
            let frames: Vec<_> = user_frames(space, &entry).iter().map(|it| (it.address, it.how)).collect();
            let callers = [(0x2005, How::FramePointer), (0x3000, How::Guess)];
            assert_eq!(frames, [&[(0x1000, How::Registers)], &callers[..]].concat());
        });
    }

    #[test]
    fn a_frame_pointer_that_is_none_leads_nowhere() {
        let kernel = TestKernel::new();
        kernel.with(|space| {
            for fp in [0, 7, 0x7ff8, u64::MAX, 1 << 60, 0x8001] {
                let entry = UserEntry { pt_regs: None, ip: 0x1000, sp: 0x8000, fp };
                assert_eq!(user_frames(space, &entry).len(), 1);
            }
        });
    }
}
