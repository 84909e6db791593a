//! What was tried, on which rung, by which way, and how it went.

use vmward_model::{CaptureOutcome, CaptureRecord};

use super::section as make;
use crate::chart::Chart;
use crate::diagram::{Ladder, Outcome, Step};
use crate::document::{Block, Section};
use crate::escape::Text;

/// Steps shown.
const MAX_STEPS: usize = 400;

pub(super) fn section(chart: &Chart<'_>) -> Section {
    let mut steps: Vec<Step> =
        chart.manifest.incident.captures.iter().take(MAX_STEPS).map(|it| step(chart, it)).collect();
    steps.sort_by_key(|it| it.begin_ms);
    let blocks = if steps.is_empty() { Vec::new() } else { vec![Block::Ladder(Ladder { steps })] };
    make("steps", "Steps taken", blocks)
}

fn step(chart: &Chart<'_>, record: &CaptureRecord) -> Step {
    let (outcome, why) = match &record.outcome {
        CaptureOutcome::Done => (Outcome::Done, ""),
        CaptureOutcome::Partial { why } => (Outcome::Partial, why.as_str()),
        CaptureOutcome::Failed { why } => (Outcome::Failed, why.as_str()),
        CaptureOutcome::Refused { why } => (Outcome::Refused, why.as_str()),
        CaptureOutcome::Skipped { why } => (Outcome::Skipped, why.as_str()),
    };
    // The way is told by what it brought; a step that brought nothing does not tell.
    let from = chart.manifest.artifacts.iter().find(|it| it.provenance.capture == record.capture);
    let notice = chart.manifest.incident.notice.at.mono_ms;
    let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    Step {
        name: Text::new(&record.capture),
        rung: record.rung,
        transport: from.map_or_else(Text::default, |it| it.provenance.transport.name().into()),
        begin_ms: signed(record.at.mono_ms).saturating_sub(signed(notice)),
        took_ms: record.took_ms,
        paused_us: record.paused_us,
        outcome,
        why: Text::new(why),
    }
}
