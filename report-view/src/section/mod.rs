//! The sections of a chart, in reading order: verdict, who waits for whom, who owes whom, timeline, tasks, kernel, console, host, machine, steps,
//! artifacts.

mod artifacts;
mod border;
mod console;
mod host;
mod kernel;
mod kernel_log;
mod kernel_memory;
mod machine;
mod steps;
mod tasks;
mod timeline;
mod verdict;
mod waits;

pub(crate) use artifacts::bytes;
pub use kernel_log::LOG_KIND;
pub(crate) use timeline::event as event_text;
use vmward_model::Class;

use crate::chart::{Chart, Place, Raw};
use crate::document::{Block, Document, Section};
use crate::escape::Text;
use crate::value::{Href, Tone, Value};

/// Makes the document of a chart that is shown beside its bundle.
pub fn document(chart: &Chart<'_>) -> Document {
    document_at(chart, &Place::default())
}

/// Makes the document of a chart for the place where it is shown.
pub fn document_at(chart: &Chart<'_>, place: &Place) -> Document {
    let incident = &chart.manifest.incident;
    let headline = match chart.words.first().filter(|it| !it.sentence.is_empty()) {
        Some(words) => Text::new(&words.sentence),
        None => Text::new(format!("The guest is in trouble ({}); no rule says what it is.", incident.class)),
    };
    let guest = match place.raw {
        Raw::InBundle => Value::from(&incident.guest_name),
        Raw::OnController { .. } => {
            Value::link(&incident.guest_name, Href::to("/guests").join(incident.guest))
        }
    };
    let facts = vec![
        ("guest".into(), guest),
        ("host".into(), Value::from(&chart.manifest.host)),
        ("noticed".into(), Value::time(incident.notice.at.utc)),
        ("by scenario".into(), Value::from(&incident.notice.scenario)),
        ("guest id".into(), Value::code(incident.guest.to_string())),
        ("incident".into(), Value::code(incident.id.to_string())),
    ];
    let mut sections = vec![
        verdict::section(chart),
        waits::section(chart),
        border::section(chart),
        timeline::section(chart),
        tasks::section(chart),
        kernel::section(chart),
        kernel_log::section(chart, place),
        console::section(chart),
        host::section(chart),
        machine::section(chart),
        steps::section(chart),
        artifacts::section(chart, place),
    ];
    sections.retain(|it| !it.blocks.is_empty());
    Document {
        title: Text::new(format!("{}: {}", incident.guest_name, incident.class)),
        headline,
        class: Text::new(incident.class.name()),
        tone: tone(incident.class),
        dissent: verdict::dissent(chart, place),
        facts,
        sections,
    }
}

/// What a class means for whoever looks after the guest.
pub(crate) fn tone(class: Class) -> Tone {
    match class {
        Class::Well => Tone::Good,
        Class::Busy | Class::ConsoleLost => Tone::Warn,
        _ => Tone::Alarm,
    }
}

fn section(id: &'static str, title: &str, blocks: Vec<Block>) -> Section {
    Section { id, title: title.into(), blocks }
}

fn seconds(ms: u64) -> String {
    format!("{:.1} s", ms as f64 / 1000.0)
}

/// `350 ms`, `2.3 s`, `4 min`, `3 h`.
fn age(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{:.1} s", ms as f64 / 1000.0),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}
