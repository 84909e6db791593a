//! `vmward agent`: the daemon. Ends in an orderly way on SIGTERM and SIGINT.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};

use super::{Context, Exit};
use crate::agent::{Find, run as run_agent};
use crate::target::Finder;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args, cx: &Context) -> Result<Exit> {
    let loaded = cx.load()?;
    runtime()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("while waiting for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("while waiting for SIGINT")?;
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM: ending"),
                _ = interrupt.recv() => tracing::info!("SIGINT: ending"),
            }
        };
        run_agent(loaded, searching(), shutdown).await
    })?;
    Ok(Exit::Well)
}

/// A search that says each problem once, when it comes up, and not at every search.
fn searching() -> Find {
    let mut finder = Finder::new();
    let mut said: BTreeSet<String> = BTreeSet::new();
    Box::new(move |config| {
        let found = finder.find(config);
        let now: BTreeSet<String> = found.problems.into_iter().collect();
        for problem in now.difference(&said) {
            tracing::warn!("while looking for guests: {problem}");
        }
        said = now;
        found.targets
    })
}

/// The runtime of everything that waits.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("while starting the runtime")
}
