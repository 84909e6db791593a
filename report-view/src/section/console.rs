//! The console's last lines, with those that tell of trouble marked by what they tell of.

use vmward_model::observed::{ConsoleSeen, TroubleSeen};

use super::{seconds, section as make};
use crate::chart::Chart;
use crate::document::{Block, Line, Section};
use crate::escape::Text;
use crate::value::{Tone, Value};

/// Lines shown.
const MAX_LINES: usize = 400;
/// Longest line shown, in characters.
const MAX_CHARS: usize = 1000;
/// Pieces of trouble shown, and looked for in each line.
const MAX_TROUBLE: usize = 100;

pub(super) fn section(chart: &Chart<'_>) -> Section {
    let Some(seen) = &chart.observed.console else { return make("console", "Console", Vec::new()) };
    let mut blocks = vec![Block::Facts(facts(seen))];
    let trouble = &seen.trouble[..seen.trouble.len().min(MAX_TROUBLE)];
    if !trouble.is_empty() {
        let rows = trouble.iter().map(|it| {
            vec![
                Value::badge(&it.kind, if it.fatal { Tone::Alarm } else { Tone::Warn }),
                Value::from(&it.title),
                Value::number(format!("{} ago", seconds(it.ago_ms))),
                Value::from(if it.fatal { "the kernel stopped for it" } else { "" }),
            ]
        });
        let head = vec!["trouble", "title", "before the capture", ""];
        blocks.push(Block::Table { head, rows: rows.collect() });
    }
    let skipped = seen.tail.len().saturating_sub(MAX_LINES);
    let lines = seen.tail.iter().skip(skipped).map(|it| {
        let shown: String = it.chars().take(MAX_CHARS).collect();
        Line { text: Text::new(shown), mark: told(trouble, it).map(|it| Text::new(&it.kind)), faint: false }
    });
    blocks.push(Block::Lines(lines.collect()));
    if skipped > 0 {
        blocks.push(Block::Para(Text::new(format!("{skipped} earlier lines are in the bundle."))));
    }
    make("console", "Console", blocks)
}

fn facts(seen: &ConsoleSeen) -> Vec<(Text, Value)> {
    let mut facts = vec![("connected".into(), Value::from(if seen.connected { "yes" } else { "no" }))];
    if let Some(it) = seen.silent_ms {
        facts.push(("silent for".into(), Value::from(seconds(it))));
    }
    if let Some(it) = seen.phase {
        facts.push(("boot phase".into(), Value::from(format!("{it:?}").to_lowercase())));
    }
    if let Some(it) = &seen.labels {
        let last = it.last_ms.map_or_else(|| "never".to_owned(), |ms| format!("{} ago", seconds(ms)));
        facts.push((
            "labels".into(),
            Value::from(format!("{} seen, the last {last}, allowed {}", it.count, seconds(it.max_gap_ms))),
        ));
    }
    if let Some(it) = &seen.shell {
        let said = it.said.as_ref().map_or(String::new(), |said| format!("; it said: {said}"));
        let answered = if it.answered { "answers" } else { "does not answer" };
        facts.push(("shell".into(), Value::from(format!("{answered}{said}"))));
    }
    facts
}

/// The trouble whose head this line is: it has the title's beginning, up to where a number was taken
/// out of it.
fn told<'a>(trouble: &'a [TroubleSeen], line: &str) -> Option<&'a TroubleSeen> {
    trouble.iter().find(|it| {
        let end =
            ["NUM", "ADDR"].iter().filter_map(|mark| it.title.find(mark)).min().unwrap_or(it.title.len());
        let head = it.title[..end].trim_end();
        head.len() >= 6 && line.contains(head)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(kind: &str, title: &str) -> TroubleSeen {
        TroubleSeen { kind: kind.into(), title: title.into(), ago_ms: 0, bytes: (0, 0), fatal: false }
    }

    #[test]
    fn a_line_is_marked_by_the_trouble_that_it_begins() {
        let seen = [
            trouble("soft-lockup", "watchdog: BUG: soft lockup - CPU#NUM stuck for NUMs!"),
            trouble("hung-task", "INFO: task dd:NUM blocked for more than NUM seconds."),
        ];
        let kind = |line| told(&seen, line).map(|it| it.kind.as_str());
        assert_eq!(kind("[  17.2] INFO: task dd:112 blocked for more than 10 seconds."), Some("hung-task"));
        assert_eq!(
            kind("[  29.0] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [a:1]"),
            Some("soft-lockup")
        );
        assert_eq!(kind("[  30.0] INFO: task cat:112 blocked"), None);
    }

    #[test]
    fn a_title_of_numbers_alone_marks_nothing() {
        assert!(told(&[trouble("odd", "NUM NUM")], "1 2").is_none());
    }
}
