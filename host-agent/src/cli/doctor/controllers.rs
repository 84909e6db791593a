//! The doctor's words on the spool and the controllers.

use std::time::Duration;

use super::Check;
use crate::agent::paths;
use crate::config::Config;
use crate::spool::view;
use crate::upload;

/// All endpoints together answer in this time, or are not there.
const PATIENCE: Duration = Duration::from_secs(20);
/// Free space below which the spool may not take what comes.
const LOW_SPACE: u64 = 16 << 20;

pub(super) fn checks(config: &Config) -> Vec<Check> {
    if config.controllers.is_empty() {
        return vec![Check::well("controller", "none is configured: events and reports stay on this host")];
    }
    let mut checks = endpoints(config);
    checks.extend(spool(config));
    checks
}

fn endpoints(config: &Config) -> Vec<Check> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let found = format!("not asked: {error}");
            return vec![Check::missing("controller", found, "its state is not known", "see the message")];
        }
    };
    runtime.block_on(async {
        let until = tokio::time::Instant::now() + PATIENCE;
        let mut checks = Vec::new();
        for entry in &config.controllers {
            let what = format!("controller {}", entry.url);
            let said = tokio::time::timeout_at(until, upload::try_endpoint(entry, config)).await;
            checks.push(match said {
                Ok(Ok(found)) => Check::well(&what, found),
                Ok(Err(why)) => missing(&what, why),
                Err(_) => missing(&what, format!("no answer within {} s", PATIENCE.as_secs())),
            });
        }
        checks
    })
}

fn missing(what: &str, why: String) -> Check {
    let costs = "events and reports wait in the spool, or go by another endpoint";
    Check::missing(what, why, costs, "see the message; the way of an endpoint is in [[controller]]")
}

fn spool(config: &Config) -> Vec<Check> {
    let folder = paths::spool(&config.state);
    let what = "spool";
    let mut checks = Vec::new();
    match view::read(&folder) {
        Ok(None) => {
            checks.push(Check::well(
                what,
                format!("{} is not there yet: the agent makes it", folder.display()),
            ));
        }
        Err(error) => {
            let found = format!("{} cannot be read: {error}", folder.display());
            let costs = "events and reports wait in the event store and the folder of reports";
            checks.push(Check::missing(what, found, costs, "see the message"));
        }
        Ok(Some(view)) => {
            let it = view.counters;
            let dropped = it.dropped.total();
            let aside = view.waiting.iter().filter(|it| it.aside.is_some()).count();
            let found = format!(
                "{} entries wait ({} KiB), {aside} of them set aside; {} stored, {} refused, {dropped} dropped",
                it.waiting,
                it.waiting_bytes >> 10,
                it.stored,
                it.refused
            );
            checks.push(if dropped == 0 && aside == 0 && it.refused == 0 {
                Check::well(what, found)
            } else {
                let costs = "the controller has not all that happened on this host";
                Check::missing(what, found, costs, "see `vmward spool` and `vmward events --severity warn`")
            });
        }
    }
    if let Ok(it) = nix::sys::statvfs::statvfs(&config.state.folder) {
        let free = it.blocks_available().saturating_mul(it.fragment_size());
        if free < LOW_SPACE {
            let found = format!("{} KiB are free", free >> 10);
            let costs = "the spool takes nothing more until there is room; its sources keep what they can";
            let get = format!("free {} or set state.folder to another disk", config.state.folder.display());
            checks.push(Check::missing("space for the spool", found, costs, get));
        }
    }
    checks
}
