//! Sends what the spool holds, and how the guests are, to a controller. The agent only dials out.
//!
//! * [`worker`] is the one task that sends: the highest severity first, a call at a time.
//! * [`links`] are the endpoints in their order, each with its own [`pace`] of tries.
//! * [`peer`] is a controller that was agreed with; its answers are bounded.
//! * [`report`](self::report) is a report on its way, piece by piece from disk.
//! * [`allowed`] is what may leave this host.
//!
//! Whatever a controller does, rounds and diagnoses go on: nothing waits for this task.

mod allowed;
mod bucket;
mod client;
#[cfg(test)]
mod fake;
mod host;
mod links;
mod pace;
mod peer;
#[cfg(test)]
#[path = "../../../tests/exchanges/recorded.rs"]
mod recorded;
mod report;
mod status;
#[cfg(test)]
mod tests;
mod trouble;
mod worker;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::allowed::Allowed;
use self::bucket::Bucket;
use self::links::Links;
use self::peer::{Peer, Speaker};
use self::worker::{Tools, Worker};
use crate::agent::guest::actor::Shared;
use crate::agent::paths;
use crate::agent::roster::Beds;
use crate::config::{Config, ControllerEntry, Loaded};
use crate::spool::Handle;

/// An absence of all controllers shorter than this is not worth an event.
const ABSENCE: Duration = Duration::from_secs(10);

/// The tasks that send. They end when this is dropped.
#[derive(Debug)]
pub struct Sending(Vec<JoinHandle<()>>);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// Starts sending.
///
/// # Errors
/// When the identity of this host can be neither read nor made.
pub fn start(
    loaded: Arc<Loaded>,
    spool: Handle,
    shared: &Shared,
    beds: watch::Receiver<Beds>,
) -> io::Result<Sending> {
    let config = &loaded.config;
    let speaker = Speaker { host: host::identity(&paths::host(&config.state))?, host_name: host_name() };
    let (tell, status) = watch::channel(None);
    let allowed = Allowed::new(config);
    let guests =
        status::watch_guests(speaker.host_name.clone(), beds, shared.live.clone(), allowed.text(), tell);
    let links = links(config, speaker);
    let tools = Tools {
        spool: spool.clone(),
        events: shared.events.clone(),
        reports: paths::reports(&config.state),
        allowed,
        status,
        batch: usize::try_from(config.upload.batch).unwrap_or(usize::MAX),
        status_every: config.upload.status_every.get(),
        absence: ABSENCE,
    };
    Ok(Sending(vec![
        tokio::spawn(spool.follow(shared.events.follow())),
        tokio::spawn(guests),
        tokio::spawn(Worker::new(tools, links).run()),
    ]))
}

fn links(config: &Config, speaker: Speaker) -> Links {
    let bucket = Bucket::new(config.upload.bandwidth.map(|it| it.bytes()));
    Links::new(&config.controllers, speaker, bucket, config.upload.longest_pause.get())
}

/// Says hello to one endpoint, for `vmward doctor`; gives what answered.
///
/// # Errors
/// Why it cannot be used, in a sentence.
pub(crate) async fn try_endpoint(entry: &ControllerEntry, config: &Config) -> Result<String, String> {
    let path = paths::host(&config.state);
    if !path.exists() {
        return client::client(entry).map(|_| "not asked: the agent has not run yet".to_owned());
    }
    let host = host::identity(&path).map_err(|error| error.to_string())?;
    let speaker = Speaker { host, host_name: host_name() };
    let peer = Peer::meet(entry, &speaker, &Bucket::new(None)).await.map_err(|it| it.to_string())?;
    Ok(format!("{} answers", peer.software))
}

fn host_name() -> String {
    match nix::unistd::gethostname() {
        Ok(name) => name.to_string_lossy().into_owned(),
        Err(error) => {
            tracing::warn!("the host's name cannot be read: {error}");
            String::new()
        }
    }
}
