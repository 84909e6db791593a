//! `vmward events [-f] [--guest NAME] [--severity LEVEL] [-n COUNT]`: what happened, from the state
//! folder; works whether or not an agent runs. With `-o json`, one event a line.

use std::time::Duration;

use anyhow::{Context as _, Result};
use vmward_model::{Event, EventKind, Severity};
use vmward_report_view::escape;

use super::{Context, Exit, Form, Output};
use crate::agent::events::read::Follower;
use crate::config::Glob;

/// How often new events are looked for.
const POLL: Duration = Duration::from_millis(250);

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Go on with what happens from now on
    #[arg(short, long)]
    follow: bool,
    /// Only of guests with this name (* and ? stand for any characters and one)
    #[arg(long, value_name = "NAME")]
    guest: Option<String>,
    /// Only what matters at least so much: debug, info, warn, error, crit
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = level)]
    severity: Severity,
    /// Only the last COUNT of those that there are
    #[arg(short = 'n', long, value_name = "COUNT")]
    last: Option<usize>,
}

fn level(text: &str) -> Result<Severity, String> {
    match text.to_lowercase().as_str() {
        "debug" => Ok(Severity::Debug),
        "info" => Ok(Severity::Info),
        "warn" => Ok(Severity::Warn),
        "error" => Ok(Severity::Error),
        "crit" => Ok(Severity::Crit),
        _ => Err("one of debug, info, warn, error, crit".to_owned()),
    }
}

pub(super) fn run(args: &Args, cx: &Context) -> Result<Exit> {
    let folder = crate::agent::paths::events(&cx.load()?.config.state);
    let glob = args.guest.as_deref().map(Glob::new);
    let wanted = |it: &Event| {
        let named =
            glob.as_ref().is_none_or(|glob| it.name.as_deref().is_some_and(|name| glob.matches(name)));
        named && it.severity >= args.severity
    };
    if !folder.exists() && !args.follow {
        anyhow::bail!(
            "there are no events in {}: has the agent run with this configuration?",
            folder.display()
        );
    }
    let mut follower = Follower::from_start(&folder);
    let mut first: Vec<Event> = Vec::new();
    let reading = || format!("while reading events in {}", folder.display());
    loop {
        let more = follower.poll().with_context(reading)?;
        if more.is_empty() {
            break;
        }
        first.extend(more.into_iter().filter(wanted));
        if let Some(last) = args.last {
            first.drain(..first.len().saturating_sub(last));
        } else {
            show(&std::mem::take(&mut first), cx.form())?;
        }
    }
    show(&first, cx.form())?;
    if !args.follow {
        return Ok(Exit::Well);
    }
    loop {
        std::thread::sleep(POLL);
        let more: Vec<Event> = follower.poll().with_context(reading)?.into_iter().filter(wanted).collect();
        show(&more, cx.form())?;
    }
}

fn show(events: &[Event], form: Form) -> Result<()> {
    let mut out = Output::new();
    for event in events {
        match form {
            Form::Json => {
                let line = serde_json::to_string(event).context("while writing an event")?;
                out.safe(&escape::json(&line)).safe("\n");
            }
            Form::Table | Form::Wide => {
                out.line(&line(event));
            }
        }
    }
    out.write()
}

/// One event in a line.
fn line(event: &Event) -> String {
    let severity = match event.severity {
        Severity::Debug => "DEBUG",
        Severity::Info => "INFO ",
        Severity::Warn => "WARN ",
        Severity::Error => "ERROR",
        Severity::Crit => "CRIT ",
    };
    let utc = event.at.utc.strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
    let name = event.name.as_deref().map(|it| format!("{it}: ")).unwrap_or_default();
    format!("{utc} {severity} {name}{}", words(&event.kind))
}

fn words(kind: &EventKind) -> String {
    match kind {
        EventKind::AgentStarted { version } => format!("agent {version} started"),
        EventKind::AgentStopped => "agent stopped".to_owned(),
        EventKind::GuestFound { by } => format!("found by {by}"),
        EventKind::GuestGone => "its QEMU ended".to_owned(),
        EventKind::StateChanged { from, to, why } => {
            format!("{} -> {} ({why})", word(from), word(to))
        }
        EventKind::Qemu { name, data } if data.is_null() => format!("QEMU: {name}"),
        EventKind::Qemu { name, data } => format!("QEMU: {name} {data}"),
        EventKind::ConsoleTrouble { kind, title } => format!("console: {title} ({kind})"),
        EventKind::ScenarioChanged { scenario, well, why } => {
            let now = if *well { "is well again" } else { "failed" };
            if why.is_empty() { format!("{scenario} {now}") } else { format!("{scenario} {now}: {why}") }
        }
        EventKind::Incident { id, what, summary } => format!("incident {id} {what}: {summary}"),
        EventKind::Transport { transport, problem } if problem.is_empty() => {
            format!("{transport} can be used again")
        }
        EventKind::Transport { transport, problem } => format!("{transport} cannot be used: {problem}"),
        EventKind::Note { text } => text.clone(),
    }
}

/// The name under which a state is serialised.
fn word(it: &impl serde::Serialize) -> String {
    serde_json::to_value(it).ok().and_then(|it| it.as_str().map(str::to_owned)).unwrap_or_default()
}
