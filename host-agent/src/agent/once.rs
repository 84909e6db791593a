//! A round or a diagnosis of one guest while no agent runs. Leaves nothing behind but the bundle.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::events::Events;
use super::guest::actor::Shared;
use super::guest::order::{Order, Report, Status};
use super::guest::ports::Examined;
use super::live::{Live, LiveAnswer};
use super::roster::{Bed, Roster};
use super::rounds::Rounds;
use super::{durable, paths};
use crate::config::Loaded;
use crate::look::Pool;
use crate::target::Target;

/// The transports have this long to connect before the first question.
const CONNECT: Duration = Duration::from_secs(2);
const ROUND: Duration = Duration::from_secs(40);

/// A guest that is watched for as long as this lives.
struct Visit {
    _roster: Roster,
    bed: Bed,
    shared: Shared,
}

impl Visit {
    async fn begin(loaded: Loaded, target: Target) -> anyhow::Result<Visit> {
        let shared = Shared {
            events: Events::nowhere(),
            rounds: Rounds::nowhere(),
            live: Live::default(),
            looks: Pool::default().with_cache(&paths::kernels(&loaded.config.state)),
            spool: None,
        };
        let consoles = paths::consoles(&loaded.config.state);
        durable::folder(&consoles).with_context(|| format!("while making {}", consoles.display()))?;
        let mut roster = Roster::new(Arc::new(loaded), shared.clone(), false);
        let id = target.id;
        roster.found(vec![target]);
        let bed = roster.beds().borrow().get(&id).cloned();
        let bed = bed.context("the configuration says that this guest is not watched")?;
        if let Some(console) = &bed.handles.console {
            console.connected(CONNECT).await;
        }
        // Labels and the monitor's first answer need a moment.
        sleep(CONNECT).await;
        Ok(Visit { _roster: roster, bed, shared })
    }

    async fn status(&self) -> anyhow::Result<Status> {
        let (answer, status) = oneshot::channel();
        self.bed.orders.send(Order::Status(answer)).await.context("the guest went")?;
        Ok(timeout(CONNECT, status).await.context("the guest's actor does not answer")??)
    }
}

/// Asks every scenario of the guest, or the one that is named, once.
///
/// # Errors
/// When the guest is not watched, goes away, or does not answer in time.
pub async fn round(
    loaded: Loaded,
    target: Target,
    scenario: Option<String>,
) -> anyhow::Result<Vec<LiveAnswer>> {
    let visit = Visit::begin(loaded, target).await?;
    visit.round(scenario).await
}

impl Visit {
    /// One round of every scenario, or of the one that is named.
    async fn round(&self, scenario: Option<String>) -> anyhow::Result<Vec<LiveAnswer>> {
        let mut open: Vec<String> =
            self.status().await?.scenarios.into_iter().map(|it| it.scenario).collect();
        if let Some(only) = &scenario {
            open.retain(|it| it == only);
            if open.is_empty() {
                bail!("no scenario called {only:?} is bound to this guest");
            }
        }
        let mut live = self.shared.live.listen();
        self.bed.orders.send(Order::Round(scenario)).await.context("the guest went")?;
        let until = Instant::now() + ROUND;
        let mut answers = Vec::new();
        while !open.is_empty() {
            let answer = timeout_at(until, live.recv()).await.context("the round was not over in time")??;
            if open.contains(&answer.answer.scenario) {
                open.retain(|it| *it != answer.answer.scenario);
                answers.push(answer);
            }
        }
        Ok(answers)
    }
}

/// Asks one scenario of the guest once.
///
/// # Errors
/// As [`round`].
pub async fn probe(loaded: Loaded, target: Target, scenario: &str) -> anyhow::Result<Vec<LiveAnswer>> {
    round(loaded, target, Some(scenario.to_owned())).await
}

/// Examines the guest and writes the bundle into the state's folder of reports.
///
/// # Errors
/// When the guest is not watched, goes away, or the bundle cannot be written.
pub async fn diagnose(loaded: Loaded, target: Target) -> anyhow::Result<Examined> {
    let reports = paths::reports(&loaded.config.state);
    durable::folder(&reports).with_context(|| format!("while making {}", reports.display()))?;
    let visit = Visit::begin(loaded, target).await?;
    // Whether the guest shows life is half of what there is to know. That a round could not be had is
    // no reason to leave the other half.
    if let Err(error) = visit.round(None).await {
        tracing::warn!("examined without a round before: {error:#}");
    }
    let (answer, report) = oneshot::channel();
    visit.bed.orders.send(Order::Diagnose(answer)).await.context("the guest went")?;
    match timeout(Duration::from_secs(200), report).await.context("the diagnosis was not over in time")?? {
        Report::Examined(Ok(examined)) => Ok(examined),
        Report::Examined(Err(why)) => bail!("the diagnosis was lost: {why}"),
    }
}
