//! Takes in what agents and imports bring, once it is complete and makes sense.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use vmward_findings::catalogue::Catalogue;
use vmward_findings::{CASE_KIND, Case, Conclusion, conclude};
use vmward_model::exchange::{EntryBody, HostId, Receipt, ReportCommit, SpoolCounters};
use vmward_model::{Digest, Event, FORMAT, Manifest};

use crate::AppState;
use crate::problem::{Answer, Problem};
use crate::store::{Incoming, IncomingReport};

/// Most bytes of a manifest, as JSON.
const MANIFEST_BYTES: usize = 4 << 20;
/// Most bytes of an event, as JSON.
const EVENT_BYTES: usize = 64 << 10;
/// Most artifacts of a report.
const ARTIFACTS: usize = 4096;
/// Most bytes of all artifacts of a report.
const UNPACKED: u64 = 512 << 20;
/// Most bytes of a case that the engine is run on.
const CASE_BYTES: u64 = 8 << 20;
/// Most bytes of a conclusion that is kept.
const CONCLUSION_BYTES: usize = 1 << 20;
/// Longest name of host or guest, in bytes.
pub const NAME_BYTES: usize = 1024;

/// The words that ship with this build. They are tested to load, so that there is no error to tell.
static CATALOGUE: LazyLock<Option<Catalogue>> = LazyLock::new(|| Catalogue::built_in().ok());

/// Stores a report whose artifacts are kept already ([`crate::artifacts::Artifacts::keep`]). The
/// engine is run again on its case. Durable when this returns `Stored` or `Duplicate`.
///
/// # Errors
/// When the store does not work.
pub async fn report(state: &AppState, commit: ReportCommit) -> Answer<Receipt> {
    let host = commit.host;
    let incoming = look_at_report(state, host, commit).await?;
    let receipts = take(state, host, None, None, vec![incoming]).await?;
    receipts.into_iter().next().ok_or_else(|| Problem::broke(&"no receipt for the one entry"))
}

/// Stores events. Durable when this returns.
///
/// # Errors
/// When one of them makes no sense, which is then told, or the store does not work: none is kept then. When
/// another event of its number is here: the rest is kept, and protocol 1 knows no receipt that would say so.
pub async fn events(
    state: &AppState,
    host: HostId,
    host_name: &str,
    events: Vec<Event>,
) -> Answer<Vec<Receipt>> {
    let looked: Vec<Incoming> = events.into_iter().map(look_at_event).collect();
    if let Some(Incoming::Refused(why)) = looked.iter().find(|it| matches!(it, Incoming::Refused(_))) {
        return Err(Problem::new(axum::http::StatusCode::UNPROCESSABLE_ENTITY, why.clone()));
    }
    let receipts = take(state, host, Some(host_name), None, looked).await?;
    match receipts.iter().find_map(|it| if let Receipt::Refused { why } = it { Some(why) } else { None }) {
        Some(why) => Err(Problem::new(axum::http::StatusCode::UNPROCESSABLE_ENTITY, why.clone())),
        None => Ok(receipts),
    }
}

/// Stores entries of a spool, each with its own receipt. Durable when this returns.
///
/// # Errors
/// When the store does not work. None is kept then.
pub async fn entries(
    state: &AppState,
    host: HostId,
    host_name: &str,
    counters: &SpoolCounters,
    entries: Vec<EntryBody>,
) -> Answer<Vec<Receipt>> {
    let mut looked = Vec::with_capacity(entries.len());
    for entry in entries {
        looked.push(match entry {
            EntryBody::Event { event } => look_at_event(event),
            EntryBody::Report { report } => look_at_report(state, host, *report).await?,
        });
    }
    take(state, host, Some(host_name), Some(counters), looked).await
}

async fn take(
    state: &AppState,
    host: HostId,
    host_name: Option<&str>,
    counters: Option<&SpoolCounters>,
    entries: Vec<Incoming>,
) -> Answer<Vec<Receipt>> {
    let taken = state.store.take(host, host_name, counters, &entries).await?;
    state.metrics.receipts(&taken.receipts);
    for change in taken.changes {
        state.live.tell(change);
    }
    Ok(taken.receipts)
}

/// What does not make sense in an event.
fn look_at_event(event: Event) -> Incoming {
    let size = serde_json::to_vec(&event).map_or(usize::MAX, |it| it.len());
    let long = event.name.as_ref().is_some_and(|it| it.len() > NAME_BYTES);
    match () {
        () if event.format > FORMAT => {
            Incoming::Refused(format!("event {} has format {}, newer than {FORMAT}", event.seq, event.format))
        }
        () if i64::try_from(event.seq).is_err() => {
            Incoming::Refused(format!("no event has the number {}", event.seq))
        }
        () if size > EVENT_BYTES || long => Incoming::Refused(format!(
            "event {} is larger than the {EVENT_BYTES} bytes that are kept",
            event.seq
        )),
        () => Incoming::Event(Box::new(event)),
    }
}

async fn look_at_report(state: &AppState, host: HostId, commit: ReportCommit) -> Answer<Incoming> {
    if let Err(why) = sound(host, &commit) {
        return Ok(Incoming::Refused(why));
    }
    let ReportCommit { manifest, withheld, .. } = commit;
    let withheld: BTreeSet<Digest> = withheld.into_iter().collect();
    let (conclusion, not_concluded) = match judge(state, &manifest, &withheld).await? {
        Ok(it) => (Some(it), String::new()),
        Err(why) => (None, why),
    };
    let summary = sentence(&manifest);
    let report = IncomingReport { manifest, withheld, conclusion, not_concluded, summary };
    Ok(Incoming::Report(Box::new(report)))
}

/// Whether a report can be kept at all.
fn sound(host: HostId, commit: &ReportCommit) -> Result<(), String> {
    let (manifest, incident) = (&commit.manifest, &commit.manifest.incident);
    let newest = manifest.format.max(incident.format);
    let size = serde_json::to_vec(manifest).map_or(usize::MAX, |it| it.len());
    let bytes = manifest.artifacts.iter().fold(0u64, |sum, it| sum.saturating_add(it.size));
    let names = [&manifest.host, &incident.guest_name, &incident.notice.scenario];
    match () {
        () if commit.host != host => Err(format!("the report is of host {}, not {host}", commit.host)),
        () if newest > FORMAT => Err(format!("the report has format {newest}, newer than {FORMAT}")),
        () if size > MANIFEST_BYTES => Err(format!("the manifest has more than {MANIFEST_BYTES} bytes")),
        () if manifest.artifacts.len() > ARTIFACTS || commit.withheld.len() > ARTIFACTS => {
            Err(format!("the report has more than {ARTIFACTS} artifacts"))
        }
        () if bytes > UNPACKED => Err(format!("the artifacts have more than {UNPACKED} bytes together")),
        () if names.iter().any(|it| it.len() > NAME_BYTES) => {
            Err(format!("a name has more than {NAME_BYTES} bytes"))
        }
        () => Ok(()),
    }
}

/// What the engine says of the report's case, or why it says nothing.
async fn judge(
    state: &AppState,
    manifest: &Manifest,
    withheld: &BTreeSet<Digest>,
) -> Answer<Result<Conclusion, String>> {
    let Some(case) = manifest.artifacts.iter().find(|it| it.kind == CASE_KIND) else {
        return Ok(Err("the report has no case".to_owned()));
    };
    if withheld.contains(&case.sha256) {
        return Ok(Err("the host keeps the case to itself".to_owned()));
    }
    // One at a time: a case takes many times its size in memory while it is judged.
    let Ok(_one) = state.judging.acquire().await else {
        return Err(Problem::busy("the controller stops"));
    };
    let bytes = match state.artifacts.read(&case.sha256, CASE_BYTES).await {
        Ok(it) => it,
        // It is missing; the receipt will say so.
        Err(crate::artifacts::ArtifactError::NotFound(_)) => {
            return Ok(Err("the case is not here".to_owned()));
        }
        Err(it @ crate::artifacts::ArtifactError::TooLarge { .. }) => return Ok(Err(it.to_string())),
        Err(other) => return Err(other.into()),
    };
    let (guest, incarnation) = (manifest.incident.guest, manifest.incident.incarnation);
    let judged = tokio::task::spawn_blocking(move || {
        let (values, most) = (vmward_bundle::json_parts(&bytes), vmward_bundle::Limits::default().case_parts);
        if values > most {
            return Err(format!("the case holds {values} values, more than the {most} that are read"));
        }
        let case: Case = serde_json::from_slice(&bytes).map_err(|error| format!("no case: {error}"))?;
        if case.format > FORMAT {
            return Err(format!("the case has format {}, newer than {FORMAT}", case.format));
        }
        if (case.guest, case.incarnation) != (guest, incarnation) {
            return Err("the case is another guest's".to_owned());
        }
        let conclusion = conclude(&case);
        let size = serde_json::to_vec(&conclusion).map_or(usize::MAX, |it| it.len());
        if size > CONCLUSION_BYTES {
            return Err(format!("the conclusion has more than {CONCLUSION_BYTES} bytes"));
        }
        Ok(conclusion)
    });
    Ok(judged.await.unwrap_or_else(|error| {
        tracing::error!("the engine broke on case {}: {error}", case.sha256);
        Err("the engine broke on it".to_owned())
    }))
}

/// The report in a sentence.
fn sentence(manifest: &Manifest) -> String {
    let incident = &manifest.incident;
    match (incident.findings.first(), CATALOGUE.as_ref()) {
        (Some(finding), Some(catalogue)) => catalogue.words(finding).sentence,
        (Some(finding), None) => format!("{}: {}", finding.code, finding.rule),
        (None, _) => format!("No rule says more than the verdict that opened it: {}.", incident.class),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_that_ship_with_this_build_can_be_read() {
        assert!(CATALOGUE.is_some());
    }
}
