//! From an incident's manifest and its case to the document that is shown: the same that
//! `vmward report html` shows of the bundle.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use vmward_bundle::words;
use vmward_findings::catalogue::Catalogue;
use vmward_findings::{CASE_KIND, Case};
use vmward_report_view::{Again, Document, LOG_KIND, Place, Raw, document_at};

use crate::AppState;
use crate::artifacts::ArtifactError;
use crate::store::view::IncidentDetail;

/// Most bytes of a case that is read for a page.
const CASE_BYTES: u64 = 8 << 20;
/// Most bytes of a kernel's log that is read for a page.
const LOG_BYTES: u64 = 4 << 20;

/// The words that ship with this build. They are tested to load, so that there is no error to tell.
static CATALOGUE: LazyLock<Option<Catalogue>> = LazyLock::new(|| Catalogue::built_in().ok());

/// The chart, and what is to be said of it; no chart before the report is here.
pub(super) async fn of(state: &AppState, detail: &IncidentDetail) -> (Option<Document>, String) {
    if detail.manifest.is_none() {
        let note = "The report is not here yet. This page shows it when it comes.";
        return (None, note.to_owned());
    }
    let (case, note) = match read(state, detail).await {
        Ok(it) => (it, detail.not_concluded.clone()),
        Err(why) => (None, why),
    };
    let log = read_log(state, detail).await;
    let detail = detail.clone();
    // A large case takes its time: not on a thread that serves others.
    match tokio::task::spawn_blocking(move || draw(&detail, case.as_deref(), log.as_deref())).await {
        Ok((chart, "")) => (chart, note),
        Ok((chart, why)) => (chart, why.to_owned()),
        Err(error) => {
            tracing::error!("a chart could not be made: {error}");
            (None, "The chart could not be made; the controller's log says why.".to_owned())
        }
    }
}

async fn read(state: &AppState, detail: &IncidentDetail) -> Result<Option<bytes::Bytes>, String> {
    let artifacts = detail.manifest.as_ref().map(|it| it.artifacts.as_slice()).unwrap_or_default();
    let Some(artifact) = artifacts.iter().find(|it| it.kind == CASE_KIND) else {
        return Err("The report holds no case, so that only its manifest can be shown.".to_owned());
    };
    if detail.withheld.contains(&artifact.sha256) {
        let why = "The host's configuration withholds the case, so that only the manifest can be shown.";
        return Err(why.to_owned());
    }
    match state.artifacts.read(&artifact.sha256, CASE_BYTES).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(ArtifactError::TooLarge { size, .. }) => Err(format!(
            "The case has {size} bytes, more than is shown on a page. The raw artifacts have it all."
        )),
        Err(error) => {
            tracing::warn!("the case of incident {} cannot be read: {error}", detail.row.id);
            Err("The case cannot be read, so that only the manifest is shown.".to_owned())
        }
    }
}

/// The kernel's log, if it is here; a chart without it is a chart all the same.
async fn read_log(state: &AppState, detail: &IncidentDetail) -> Option<bytes::Bytes> {
    let artifact = detail.manifest.as_ref()?.artifacts.iter().find(|it| it.kind == LOG_KIND)?;
    if detail.withheld.contains(&artifact.sha256) {
        return None;
    }
    match state.artifacts.read(&artifact.sha256, LOG_BYTES).await {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            tracing::info!("the kernel's log of incident {} is not shown: {error}", detail.row.id);
            None
        }
    }
}

fn draw(
    detail: &IncidentDetail,
    case: Option<&[u8]>,
    log: Option<&[u8]>,
) -> (Option<Document>, &'static str) {
    let Some(manifest) = &detail.manifest else { return (None, "") };
    let mut note = "";
    let case: Option<Case> = case.and_then(|bytes| {
        let read = serde_json::from_slice(bytes).ok();
        if read.is_none() {
            note = "The case is not one that this controller can read; only the manifest is shown.";
        }
        read
    });
    let conclusion = detail.conclusion.as_ref();
    let undecided = conclusion.map(|it| it.undecided.as_slice()).unwrap_or_default();
    let catalogue = CATALOGUE.as_ref();
    let mut chart = vmward_bundle::chart(manifest, case.as_ref(), undecided, catalogue);
    chart.kernel_log = log.map(vmward_bundle::log_tail);
    let again = conclusion.map(|it| Again {
        class: it.class,
        sentence: it.findings.first().map(|it| words(it, catalogue).sentence).unwrap_or_default(),
    });
    let withheld: BTreeSet<_> = detail.withheld.iter().cloned().collect();
    let place = Place { raw: Raw::OnController { withheld }, again };
    (Some(document_at(&chart, &place)), note)
}
