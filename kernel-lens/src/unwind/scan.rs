//! What is left when a stack cannot be followed: words on it that are return addresses.
//!
//! The kernel prints such words with `?`, whatever lies before them. Here a call must: that leaves out most
//! of what is old or a mere pointer to a function. None of them is sure.

use super::Unwinder;
use super::code::follows_call;
use super::frame::{FrameKind, How, RawFrame};
use super::stacks::Stack;

/// Adds up to `max` addresses that lie at or above `sp`.
pub(super) fn scan(unwinder: &Unwinder<'_, '_>, stack: Stack, sp: u64, max: usize, into: &mut Vec<RawFrame>) {
    let from = sp.max(stack.low).next_multiple_of(8);
    let mut bytes = vec![0; usize::try_from(stack.end.saturating_sub(from)).unwrap_or(0)];
    if unwinder.space.read(from, &mut bytes).is_err() {
        return;
    }
    let (words, _) = bytes.as_chunks::<8>();
    for (at, word) in (from..).step_by(8).zip(words) {
        if into.len() >= max {
            break;
        }
        let address = u64::from_le_bytes(*word);
        if unwinder.code.holds(address) && follows_call(unwinder.space, unwinder.x86, address) {
            into.push(RawFrame { address, sp: at, kind: FrameKind::Call, how: How::Scan });
        }
    }
}
