//! What the console, its labels and its shell say.

use vmward_model::observed::{BootPhase, LabelsSeen, TroubleSeen};
use vmward_model::{Event, EventKind};

use crate::Case;

/// Trouble of these kinds in this boot, oldest first.
pub(crate) fn trouble<'a>(case: &'a Case, kinds: &'a [&'a str]) -> impl Iterator<Item = &'a TroubleSeen> {
    let seen = case.observed.console.as_ref().map_or(&[][..], |it| &it.trouble);
    seen.iter().filter(move |it| kinds.contains(&it.kind.as_str()))
}

/// How log labels come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Labels {
    /// In time.
    Going,
    /// Late, but the last one is not long ago.
    Late(u64),
    /// None for at least twice the gap that is allowed.
    Stopped(u64),
}

/// `None` where no scenario watches labels or none was ever seen in this boot.
pub(crate) fn labels(case: &Case) -> Option<Labels> {
    let LabelsSeen { count, last_ms, max_gap_ms } = case.observed.console.as_ref()?.labels.clone()?;
    let last = last_ms.filter(|_| count > 0)?;
    Some(match last {
        it if it <= max_gap_ms => Labels::Going,
        it if it <= max_gap_ms.saturating_mul(2) => Labels::Late(it),
        it => Labels::Stopped(it),
    })
}

/// Whether the shell answered when it was last asked; `None` where nobody asks it, or where its answer
/// is no younger than the labels that stopped: until the first missing label was due, whatever stopped
/// them may not have been there.
pub(crate) fn shell(case: &Case) -> Option<bool> {
    let console = case.observed.console.as_ref()?;
    let seen = console.shell.as_ref()?;
    let gap = console.labels.as_ref().map_or(0, |it| it.max_gap_ms);
    let outdated = match (labels(case), seen.ago_ms) {
        (Some(Labels::Stopped(since)), Some(ago)) => ago.saturating_add(gap) >= since,
        _ => false,
    };
    (!(seen.answered && outdated)).then_some(seen.answered)
}

/// How far the boot came, as far as the console told.
pub(crate) fn phase(case: &Case) -> Option<BootPhase> {
    case.observed.console.as_ref()?.phase
}

/// Whether something that only a booted guest does was seen in this boot.
pub(crate) fn was_up(case: &Case) -> bool {
    matches!(phase(case), Some(BootPhase::Up | BootPhase::ShuttingDown))
        || labels(case).is_some()
        || shell(case) == Some(true)
}

/// A label came after something printed `ago_ms` ago: whatever that was, the kernel outlived it.
pub(crate) fn label_since(case: &Case, ago_ms: u64) -> Option<u64> {
    let labels = case.observed.console.as_ref()?.labels.as_ref()?;
    labels.last_ms.filter(|it| labels.count > 0 && it.saturating_add(1500) < ago_ms)
}

/// Events of this boot that QEMU told of, by name.
pub(crate) fn qemu_event<'a>(case: &'a Case, names: &'a [&'a str]) -> Option<(&'a Event, &'a str)> {
    case.events.iter().filter(|it| it.incarnation.is_none_or(|life| life == case.incarnation)).find_map(
        |it| match &it.kind {
            EventKind::Qemu { name, .. } if names.contains(&name.as_str()) => Some((it, name.as_str())),
            _ => None,
        },
    )
}

/// Whether user space is known to be silent: what is watched of it has stopped, and nothing answers.
pub(crate) fn user_space_silent(case: &Case) -> bool {
    match (labels(case), shell(case)) {
        (Some(Labels::Going | Labels::Late(_)), _) | (_, Some(true)) | (None, None) => false,
        (Some(Labels::Stopped(_)), _) | (None, Some(false)) => true,
    }
}
