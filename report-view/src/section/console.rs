//! The console's last lines, with those that tell of trouble marked.

use vmward_model::observed::ConsoleSeen;

use super::{seconds, section as make};
use crate::chart::Chart;
use crate::document::{Block, Line, Section};
use crate::escape::Text;

/// Lines shown.
const MAX_LINES: usize = 400;
/// Longest line shown, in characters.
const MAX_CHARS: usize = 1000;
/// Reports of trouble shown and looked for in the lines: each line is compared with each.
const MAX_TROUBLE: usize = 200;

pub(super) fn section(chart: &Chart<'_>) -> Section {
    let Some(seen) = &chart.observed.console else { return make("console", "Console", Vec::new()) };
    let mut facts = Vec::new();
    facts.push(("connected".into(), Text::new(if seen.connected { "yes" } else { "no" })));
    if let Some(it) = seen.silent_ms {
        facts.push(("silent for".into(), Text::new(seconds(it))));
    }
    if let Some(it) = seen.phase {
        facts.push(("boot phase".into(), Text::new(format!("{it:?}").to_lowercase())));
    }
    if let Some(it) = &seen.labels {
        let last = it.last_ms.map_or_else(|| "never".to_owned(), |ms| format!("{} ago", seconds(ms)));
        facts.push((
            "labels".into(),
            Text::new(format!("{} seen, the last {last}, allowed {}", it.count, seconds(it.max_gap_ms))),
        ));
    }
    if let Some(it) = &seen.shell {
        let said = it.said.as_ref().map_or(String::new(), |said| format!("; it said: {said}"));
        let answered = if it.answered { "answers" } else { "does not answer" };
        facts.push(("shell".into(), Text::new(format!("{answered}{said}"))));
    }
    let mut blocks = vec![Block::Facts(facts)];
    if !seen.trouble.is_empty() {
        let items = seen.trouble.iter().take(MAX_TROUBLE).map(|it| {
            let fatal = if it.fatal { ", the kernel stopped for it" } else { "" };
            Text::new(format!("{}: {} ({} ago{fatal})", it.kind, it.title, seconds(it.ago_ms)))
        });
        blocks.push(Block::Items(items.collect()));
    }
    let skipped = seen.tail.len().saturating_sub(MAX_LINES);
    let lines = seen.tail.iter().skip(skipped).map(|it| {
        let shown: String = it.chars().take(MAX_CHARS).collect();
        Line { marked: tells(seen, &shown), text: Text::new(shown) }
    });
    blocks.push(Block::Lines(lines.collect()));
    if skipped > 0 {
        blocks.push(Block::Para(Text::new(format!("{skipped} earlier lines are in the bundle."))));
    }
    make("console", "Console", blocks)
}

/// Whether a line is the head of some trouble: it has the title's beginning, up to where a number was
/// taken out of it.
fn tells(seen: &ConsoleSeen, line: &str) -> bool {
    seen.trouble.iter().take(MAX_TROUBLE).any(|it| {
        let end =
            ["NUM", "ADDR"].iter().filter_map(|mark| it.title.find(mark)).min().unwrap_or(it.title.len());
        let head = it.title[..end].trim_end();
        head.len() >= 6 && line.contains(head)
    })
}
