//! The sections of a chart, in reading order: verdict, timeline, tasks, machine, host, console, captures.

mod captures;
mod console;
mod host;
mod machine;
mod tasks;
mod timeline;
mod verdict;

use jiff::tz::TimeZone;
use vmward_model::Stamp;

use crate::chart::Chart;
use crate::document::{Block, Document, Section};
use crate::escape::Text;

/// Makes the document of a chart.
pub fn document(chart: &Chart<'_>) -> Document {
    let incident = &chart.manifest.incident;
    let headline = match chart.words.first().filter(|it| !it.sentence.is_empty()) {
        Some(words) => Text::new(&words.sentence),
        None => Text::new(format!("The guest is in trouble ({}); no rule says what it is.", incident.class)),
    };
    let facts = vec![
        ("guest".into(), Text::new(format!("{} ({})", incident.guest_name, incident.guest))),
        ("host".into(), Text::new(&chart.manifest.host)),
        (
            "noticed".into(),
            Text::new(format!("{} by scenario {}", clock(&incident.notice.at), incident.notice.scenario)),
        ),
        ("incident".into(), Text::new(incident.id.to_string())),
    ];
    let sections = [
        verdict::section,
        timeline::section,
        tasks::section,
        machine::section,
        host::section,
        console::section,
        captures::section,
    ];
    Document {
        title: Text::new(format!("{}: {}", incident.guest_name, incident.class)),
        headline,
        class: Text::new(incident.class.name()),
        facts,
        sections: sections.into_iter().map(|it| it(chart)).filter(|it| !it.blocks.is_empty()).collect(),
    }
}

fn section(id: &'static str, title: &str, blocks: Vec<Block>) -> Section {
    Section { id, title: title.into(), blocks }
}

/// `2026-11-21 10:00:00Z`.
fn clock(at: &Stamp) -> String {
    at.utc.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

fn seconds(ms: u64) -> String {
    format!("{:.1} s", ms as f64 / 1000.0)
}
