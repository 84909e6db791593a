//! The kernel's log as it was read from memory, and the files that were made of that look.

use super::section as make;
use crate::chart::{Chart, Place};
use crate::document::{Block, Line, Section};
use crate::escape::Text;
use crate::value::Value;

/// Kind of the artifact that holds the log as text.
pub const LOG_KIND: &str = "kernel-log";
/// Kind of the artifact that holds the memory that was read.
const MINICORE_KIND: &str = "minicore";
/// Lines shown.
const MAX_LINES: usize = 300;
/// Longest line shown, in characters.
const MAX_CHARS: usize = 1000;
/// What makes a line stand out: as the kernel itself begins its reports.
const MARKS: [(&str, &str); 10] = [
    ("Kernel panic", "panic"),
    ("BUG:", "bug"),
    ("Oops", "oops"),
    ("general protection fault", "fault"),
    ("soft lockup", "lockup"),
    ("detected stall", "RCU stall"),
    ("blocked for more than", "hung task"),
    ("I/O error", "I/O error"),
    ("Out of memory", "out of memory"),
    ("Call Trace", "trace"),
];

pub(super) fn section(chart: &Chart<'_>, place: &Place) -> Section {
    let title = "Kernel log";
    let artifact = |kind: &str| chart.manifest.artifacts.iter().find(|it| it.kind == kind);
    let mut facts: Vec<(Text, Value)> = Vec::new();
    for (name, kind) in
        [("the whole log", LOG_KIND), ("minicore, for vmward gdb, gdb and drgn", MINICORE_KIND)]
    {
        if let Some(it) = artifact(kind) {
            facts.push((name.into(), super::artifacts::file(it, &place.raw)));
        }
    }
    let mut blocks = Vec::new();
    if !facts.is_empty() {
        blocks.push(Block::Facts(facts));
    }
    if let Some(log) = chart.kernel_log.as_deref().filter(|it| !it.is_empty()) {
        let all = records(log);
        let skipped = all.len().saturating_sub(MAX_LINES);
        let lines = all.iter().skip(skipped).map(|it| {
            let shown: String = it.chars().take(MAX_CHARS).collect();
            let mark = MARKS.iter().find(|(text, _)| it.contains(text)).map(|(_, word)| Text::new(word));
            Line { text: Text::new(shown), mark, faint: false }
        });
        let lines = Block::Lines(lines.collect());
        let summary = match all.len() - skipped {
            1 => "the last line".to_owned(),
            n => format!("the last {n} lines"),
        };
        blocks.push(Block::Fold { summary: Text::new(summary), open: false, blocks: vec![lines] });
    }
    make("kernel-log", title, blocks)
}

/// The lines of a log. What does not begin like one (`[    1.234567]`) belongs to the one before: no text can
/// make itself a line of its own.
fn records(log: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for it in log.split('\n').filter(|it| !it.is_empty()) {
        match lines.last_mut() {
            Some(last) if !it.starts_with('[') => {
                last.push('\n');
                last.push_str(it);
            }
            _ => lines.push(it.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_with_a_newline_stays_one_line() {
        assert_eq!(
            records("[    1.0] a\n[    2.0] b\nIncident closed\n"),
            ["[    1.0] a", "[    2.0] b\nIncident closed"]
        );
    }
}
