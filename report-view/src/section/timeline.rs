//! What happened before, at and after the moment of notice.

use vmward_model::{Answer, EventKind, Stamp};

use super::section as make;
use crate::chart::Chart;
use crate::document::{Block, Moment, Section};
use crate::escape::Text;
use crate::value::Value;

/// Entries shown; the ones nearest to the moment of notice stay.
const MAX_MOMENTS: usize = 200;

pub(super) fn section(chart: &Chart<'_>) -> Section {
    let incident = &chart.manifest.incident;
    let notice = incident.notice.at;
    let mut moments: Vec<(Stamp, bool, Text)> = Vec::new();
    moments.push((
        incident.notice.first_failure,
        false,
        Text::new(format!("{}: the first answer that counted was asked for", incident.notice.scenario)),
    ));
    moments.push((
        notice,
        true,
        Text::new(format!("{} failed: the incident was opened", incident.notice.scenario)),
    ));
    moments.extend(chart.events.iter().map(|it| (it.at, false, event(&it.kind))));
    // Answers that differ from the one before: repetitions say nothing.
    let mut last = std::collections::BTreeMap::new();
    for it in chart.probes {
        if last.insert((&it.scenario, &it.probe), &it.answer) == Some(&it.answer) {
            continue;
        }
        let said = match &it.answer {
            Answer::Pass => "passed".to_owned(),
            Answer::Fail(why) => format!("failed: {why}"),
            Answer::Unknown(why) => format!("could not tell: {why}"),
        };
        moments.push((it.at, false, Text::new(format!("{} {said}", it.scenario))));
    }
    // Each step is in the drawing of the steps.
    let begun = incident.captures.iter().min_by_key(|it| it.at.mono_ms);
    if let Some(it) = begun {
        let count = incident.captures.len();
        let steps = if count == 1 { "1 step".to_owned() } else { format!("{count} steps") };
        moments.push((it.at, false, Text::new(format!("the diagnosis began: {steps}"))));
        moments.push((chart.manifest.written, false, "the report was written".into()));
    }
    moments.sort_by_key(|it| it.0.mono_ms);
    let left_out = moments.len().saturating_sub(MAX_MOMENTS);
    if left_out > 0 {
        moments.sort_by_key(|it| it.0.mono_ms.abs_diff(notice.mono_ms));
        moments.truncate(MAX_MOMENTS);
        moments.sort_by_key(|it| it.0.mono_ms);
    }
    let shown = moments.into_iter().map(|(at, marked, text)| Moment {
        at: moment(&at),
        offset: offset(&at, &notice),
        text,
        marked,
    });
    let mut blocks = vec![Block::Timeline(shown.collect())];
    if left_out > 0 {
        blocks.push(Block::Para(Text::new(format!("{left_out} more are in the bundle."))));
    }
    make("timeline", "Timeline", blocks)
}

fn moment(at: &Stamp) -> Value {
    let time = at.utc.to_zoned(jiff::tz::TimeZone::UTC).strftime("%H:%M:%S").to_string();
    Value { text: Text::new(time), ..Value::time(at.utc) }
}

fn offset(at: &Stamp, notice: &Stamp) -> Text {
    let seconds = at.mono_ms as f64 / 1000.0 - notice.mono_ms as f64 / 1000.0;
    Text::new(format!("{seconds:+.1}s"))
}

/// An event in a sentence.
pub(crate) fn event(kind: &EventKind) -> Text {
    Text::new(match kind {
        EventKind::AgentStarted { version } => format!("agent {version} started"),
        EventKind::AgentStopped => "agent stopped".to_owned(),
        EventKind::GuestFound { by } => format!("guest found by {by}"),
        EventKind::GuestGone => "the QEMU process ended".to_owned(),
        EventKind::StateChanged { from, to, why } => format!("state {from:?} to {to:?}: {why}"),
        EventKind::Qemu { name, data } => {
            let data: String = data.to_string().chars().take(200).collect();
            format!("QEMU {name} {data}")
        }
        EventKind::ConsoleTrouble { kind, title } => format!("console, {kind}: {title}"),
        EventKind::ScenarioChanged { scenario, well, why } => {
            format!("{scenario} {}: {why}", if *well { "is well" } else { "failed" })
        }
        EventKind::Incident { what, summary, .. } => format!("incident {what}: {summary}"),
        EventKind::Transport { transport, problem } if problem.is_empty() => {
            format!("{transport} can be used again")
        }
        EventKind::Transport { transport, problem } => format!("{transport}: {problem}"),
        EventKind::Note { text } => text.clone(),
    })
}
