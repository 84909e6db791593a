//! Takes in a packed report that came by hand: through the API, or as a file after hours without a
//! network.
//!
//! It is unpacked into a workplace within `vmward-bundle`'s bounds while it comes, and nothing of it is
//! kept before all of it was checked.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vmward_bundle::{ImportError, Limits, OpenError, Receiver};
use vmward_model::exchange::{HostId, Receipt, ReportCommit};
use vmward_model::{Digest, IncidentId, Manifest};

use crate::AppState;
use crate::problem::{Answer, Problem};
use crate::store::StoreError;

/// A report that was imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Imported {
    /// Its incident.
    pub incident: IncidentId,
    /// The host that it is counted to.
    pub host: HostId,
    /// Whether it was here before, this one or a later one.
    pub duplicate: bool,
    /// Artifacts in it, equal ones counted once.
    pub artifacts: u64,
    /// Their bytes, with the manifest and what is between them.
    pub bytes: u64,
}

/// Reads a packed report to its end, checks it, and stores it. Durable when this returns.
///
/// # Errors
/// When it is refused, with the bound that it passed; when the stream breaks; when there is no room.
pub async fn bundle(state: &AppState, source: impl Read + Send + 'static) -> Answer<Imported> {
    let place = Workplace(state.artifacts.workplace().await?);
    let folder = place.0.clone();
    let unpacked = tokio::task::spawn_blocking(move || {
        vmward_bundle::import(source, &Limits::default(), &mut Unpacked { folder, file: None })
    });
    let it = unpacked.await.map_err(|err| Problem::broke(&err))?.map_err(problem)?;
    let mut contents: Vec<&Digest> = it.manifest.artifacts.iter().map(|it| &it.sha256).collect();
    contents.sort();
    contents.dedup();
    let artifacts = contents.len() as u64;
    for digest in &contents {
        state.artifacts.keep(digest, place.0.join(digest.as_str())).await?;
    }
    let (incident, bytes) = (it.manifest.incident.id, it.unpacked);
    let host = host(state, incident, &it.manifest.host).await?;
    let commit = ReportCommit { host, manifest: it.manifest, withheld: Vec::new() };
    match crate::ingest::report(state, commit).await? {
        Receipt::Stored => Ok(Imported { incident, host, duplicate: false, artifacts, bytes }),
        Receipt::Duplicate => Ok(Imported { incident, host, duplicate: true, artifacts, bytes }),
        Receipt::Refused { why } => Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why)),
        Receipt::Missing { digests } => {
            let detail = format!("{} artifacts were taken away while they came", digests.len());
            Err(Problem::busy(detail))
        }
    }
}

/// Whose a report is: the host that told of the incident, else the one that goes by the report's name,
/// else one made from the name. A report does not say which agent wrote it.
async fn host(state: &AppState, incident: IncidentId, name: &str) -> Answer<HostId> {
    match state.store.incident(incident).await {
        Ok(known) => return Ok(known.row.host),
        Err(StoreError::NotFound { .. }) => {}
        Err(other) => return Err(other.into()),
    }
    let hosts = state.store.hosts().await?;
    let mut named = hosts.iter().filter(|it| it.name == name);
    let host = match (named.next(), named.next()) {
        (Some(only), None) => only.id,
        _ => HostId(Uuid::new_v5(&Uuid::NAMESPACE_DNS, name.as_bytes())),
    };
    state.store.host_seen(host, name).await?;
    Ok(host)
}

fn problem(err: ImportError<io::Error>) -> Problem {
    let status = match &err {
        ImportError::Refused(OpenError::OverLimit { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
        ImportError::Refused(OpenError::Source(err)) if err.kind() == io::ErrorKind::TimedOut => {
            return crate::extract::slow();
        }
        ImportError::Refused(OpenError::Source(_)) => StatusCode::BAD_REQUEST,
        ImportError::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
        ImportError::Receiver(err) if full(err) => return Problem::full(),
        ImportError::Receiver(err) => return Problem::broke(err),
    };
    Problem::new(status, err.to_string())
}

fn full(err: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(err.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// A folder that is gone in the end, whatever happened.
struct Workplace(PathBuf);

impl Drop for Workplace {
    fn drop(&mut self) {
        // A few unlinks; what stays is swept away at the next start.
        if let Err(err) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!("cannot remove {}: {err}", self.0.display());
        }
    }
}

/// Puts each content into a file of its name.
struct Unpacked {
    folder: PathBuf,
    file: Option<File>,
}

impl Unpacked {
    fn path(&self, name: &Digest) -> PathBuf {
        Path::new(&self.folder).join(name.as_str())
    }
}

impl Receiver for Unpacked {
    type Error = io::Error;

    fn manifest(&mut self, _manifest: &Manifest) -> io::Result<()> {
        Ok(())
    }

    fn begin(&mut self, name: &Digest, _size: u64) -> io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let path = self.path(name);
        self.file = Some(File::options().write(true).create_new(true).mode(0o600).open(path)?);
        Ok(())
    }

    fn chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), |it| it.write_all(bytes))
    }

    fn end(&mut self, _name: &Digest) -> io::Result<()> {
        self.file = None;
        Ok(())
    }
}
