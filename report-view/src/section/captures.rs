//! What was tried, how it went, and the files of the bundle.

use vmward_model::CaptureOutcome;

use super::section as make;
use crate::chart::Chart;
use crate::document::{Block, Section};
use crate::escape::Text;

pub(super) fn section(chart: &Chart<'_>) -> Section {
    let incident = &chart.manifest.incident;
    let mut blocks = Vec::new();
    if !incident.captures.is_empty() {
        let rows = incident.captures.iter().map(|it| {
            let (outcome, why) = match &it.outcome {
                CaptureOutcome::Done => ("done", ""),
                CaptureOutcome::Partial { why } => ("partial", why.as_str()),
                CaptureOutcome::Failed { why } => ("failed", why.as_str()),
                CaptureOutcome::Refused { why } => ("refused", why.as_str()),
                CaptureOutcome::Skipped { why } => ("skipped", why.as_str()),
            };
            let paused =
                if it.paused_us > 0 { format!(", guest paused {} us", it.paused_us) } else { String::new() };
            let cells = [
                it.capture.clone(),
                format!("{:?}", it.rung),
                format!("{} ms{paused}", it.took_ms),
                outcome.to_owned(),
                why.to_owned(),
            ];
            cells.iter().map(Text::new).collect()
        });
        let head = vec!["capture", "rung", "took", "outcome", "why"];
        blocks.push(Block::Table { head, rows: rows.collect() });
    }
    if !chart.manifest.artifacts.is_empty() {
        let rows = chart.manifest.artifacts.iter().map(|it| {
            let cut = if it.truncated { " (cut)" } else { "" };
            let cells = [
                format!("{}/{}", it.provenance.capture, it.kind),
                format!("{} B{cut}", it.size),
                format!("{:?}", it.sensitivity).to_lowercase(),
                it.sha256.to_string(),
            ];
            cells.iter().map(Text::new).collect()
        });
        let head = vec!["artifact", "size", "sensitivity", "sha-256"];
        let table = Block::Table { head, rows: rows.collect() };
        let summary = Text::new(format!("{} artifacts in the bundle", chart.manifest.artifacts.len()));
        blocks.push(Block::Fold { summary, open: false, blocks: vec![table] });
    }
    make("captures", "Captures", blocks)
}
