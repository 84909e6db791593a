//! The daemon: opens the state, looks for guests again and again, serves the control socket.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use vmward_model::{EventKind, Severity};

use super::events::{About, Events};
use super::guest::actor::Shared;
use super::guest::memory;
use super::live::Live;
use super::roster::Roster;
use super::rounds::Rounds;
use super::{control, durable, paths};
use crate::config::{Config, Loaded};
use crate::target::Target;
use crate::{report, spool, upload};

/// Looks for guests; blocking, at most about a second.
pub type Find = Box<dyn FnMut(&Config) -> Vec<Target> + Send>;

/// Runs until `shutdown` is ready.
///
/// # Errors
/// When the state folder cannot be used, another agent uses it, or the control socket cannot be made.
pub async fn run(loaded: Loaded, find: Find, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let loaded = Arc::new(loaded);
    let state = loaded.config.state.clone();
    for folder in
        [paths::reports(&state), paths::guests(&state), paths::consoles(&state), state.run_folder.clone()]
    {
        durable::folder(&folder).with_context(|| format!("while making {}", folder.display()))?;
    }
    let used = spool::view::events_upto(&paths::spool(&state)).unwrap_or_else(|error| {
        tracing::warn!("the spool cannot be read: {error}");
        0
    });
    let events = Events::open_after(&paths::events(&state), used).context("while opening the event store")?;
    let rounds = Rounds::open(&paths::rounds(&state)).context("while opening the figures of rounds")?;
    let spool = spool(&loaded.config, &events).context("while starting the spool")?;
    let looks = crate::look::Pool::default().with_cache(&paths::kernels(&state)).with_spare();
    let (events, live) = (events.clone(), Live::default());
    let shared = Shared { events: events.clone(), rounds, live, looks, spool: spool.clone() };
    let version = env!("CARGO_PKG_VERSION").to_owned();
    events.emit(Severity::Info, None, EventKind::AgentStarted { version });
    match report::sweep(&paths::reports(&state)) {
        Ok(swept) if swept.removed > 0 => {
            let text = format!("{} half-written reports of an earlier run were removed", swept.removed);
            events.emit(Severity::Warn, None, EventKind::Note { text });
        }
        Ok(_) => {}
        Err(error) => tracing::warn!("cannot look for half-written reports: {error}"),
    }
    gone_meanwhile(&events, &paths::guests(&state));

    let mut roster = Roster::new(loaded.clone(), shared.clone(), true);
    let socket = control::server::Socket::bind(&paths::control(&state))?;
    let sending = spool.map(|it| upload::start(loaded.clone(), it, &shared, roster.beds())).transpose();
    let sending = sending.context("while starting the upload")?;
    let server = tokio::spawn(control::server::serve(socket, roster.beds(), shared));
    let (ask, mut targets) = searcher(find, loaded.clone())?;
    let mut ticks = interval(loaded.config.discovery.every.get().max(Duration::from_millis(500)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            // A search that hangs leaves the question where it is; the guests that are known go on.
            _ = ticks.tick() => drop(ask.try_send(())),
            found = targets.recv() => match found {
                Some(found) => roster.found(found),
                None => anyhow::bail!("the search for guests broke"),
            },
        }
    }
    server.abort();
    drop(roster);
    events.emit(Severity::Info, None, EventKind::AgentStopped);
    events.flushed(Duration::from_secs(5)).await;
    drop(sending);
    Ok(())
}

/// The spool, where there is a controller that would take what is in it.
fn spool(config: &Config, events: &Events) -> std::io::Result<Option<spool::Handle>> {
    if config.controllers.is_empty() {
        return Ok(None);
    }
    let place = spool::Place {
        folder: paths::spool(&config.state),
        events: paths::events(&config.state),
        reports: paths::reports(&config.state),
        reports_cap: config.state.reports_cap.bytes(),
        bound: config.spool.bound(),
    };
    spool::start(place, events.clone()).map(Some)
}

type Searcher = (std::sync::mpsc::SyncSender<()>, mpsc::Receiver<Vec<Target>>);

/// The thread that searches: whatever it waits for in `/proc`, nobody waits for it.
fn searcher(mut find: Find, loaded: Arc<Loaded>) -> anyhow::Result<Searcher> {
    let (ask, asked) = std::sync::mpsc::sync_channel(1);
    let (send, targets) = mpsc::channel(1);
    let search = move || {
        while asked.recv().is_ok() {
            if send.blocking_send(find(&loaded.config)).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("discover".into()).spawn(search).context("while starting the search")?;
    Ok((ask, targets))
}

/// Incidents that the agent's end interrupted and whose guest has gone since: nobody else would say so.
fn gone_meanwhile(events: &Events, folder: &std::path::Path) {
    for mut it in memory::all(folder) {
        let path = format!("/proc/{}/stat", it.incarnation.pid);
        let stat = std::fs::read(path).ok();
        let ticks = stat.and_then(|line| crate::node::stat::parse(&line)).map(|it| it.start_ticks);
        if ticks == Some(it.incarnation.start_ticks) {
            continue;
        }
        let Some(incident) = it.incident.take() else { continue };
        let about = About { guest: it.guest, name: it.name.clone(), incarnation: Some(it.incarnation) };
        let (what, summary) = match incident.was_interrupted() {
            true => ("interrupted", "the agent ended in the middle of it, and the guest is gone since"),
            false => ("closed", "the guest went while no agent ran"),
        };
        let (what, summary) = (what.to_owned(), summary.to_owned());
        events.emit(Severity::Warn, Some(&about), EventKind::Incident { id: incident.id, what, summary });
        let written = serde_json::to_vec(&it)
            .map_err(std::io::Error::from)
            .and_then(|bytes| durable::write(&memory::path(folder, it.guest), &bytes));
        if let Err(error) = written {
            tracing::warn!("cannot put away the memory of {}: {error}", it.guest);
        }
    }
}
