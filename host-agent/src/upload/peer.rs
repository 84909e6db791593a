//! A controller that answered: what both can do, and each call that there is. Its answers are taken with
//! bounds: it may be anybody who has its address.

use std::io::SeekFrom;
use std::path::Path;
use std::time::Duration;

use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Body, Client, Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::time::Instant;
use vmward_model::exchange::{
    AgentHello, Agreement, CAPABILITIES, ControllerHello, EntryBatch, EntryReceipts, EventBatch,
    EventsStored, ExchangeLimits, HostId, PROTOCOLS, Receipt, ReportCommit, StatusPush, UploadState,
};
use vmward_model::{Digest, IncidentId};

use super::bucket::Bucket;
use super::client::{chain, client};
use super::trouble::{Trouble, quoted};
use crate::config::{self, ControllerEntry};

/// The longest answer that is read.
const MAX_ANSWER: usize = 1 << 20;
/// The longest complaint that is read.
const MAX_COMPLAINT: usize = 4 << 10;
/// Bytes of a body that leave at once.
const PIECE: usize = 16 << 10;
/// A link is given up when it is slower than so many bytes a second.
const CRAWL: u64 = 4 << 10;
/// Bounds on what a controller may ask of us.
const CHUNK: (u64, u64) = (4 << 10, 4 << 20);
const ENTRIES: (u64, u64) = (1, 512);
const BODY: (u64, u64) = (64 << 10, 8 << 20);

/// Who speaks.
#[derive(Clone, Debug)]
pub(crate) struct Speaker {
    pub(crate) host: HostId,
    pub(crate) host_name: String,
}

/// A controller that was agreed with.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    client: Client,
    base: String,
    bucket: Bucket,
    timeout: Duration,
    speaker: Speaker,
    pub(super) agreement: Agreement,
    pub(super) limits: ExchangeLimits,
    /// What it calls itself, made fit to be shown.
    pub(crate) software: String,
    /// When it said so.
    pub(super) met: Instant,
}

impl Peer {
    /// Says hello.
    pub(super) async fn meet(
        entry: &ControllerEntry,
        speaker: &Speaker,
        bucket: &Bucket,
    ) -> Result<Peer, Trouble> {
        let base = config::controller_base(&entry.url).map_err(Trouble::Link)?;
        let limits = ExchangeLimits { chunk_bytes: 0, artifact_bytes: 0, batch_entries: 0, body_bytes: 0 };
        let mut peer = Peer {
            client: client(entry).map_err(Trouble::Link)?,
            base,
            bucket: bucket.clone(),
            timeout: entry.timeout.get(),
            speaker: speaker.clone(),
            agreement: Agreement { protocol: 0, capabilities: Default::default() },
            limits,
            software: String::new(),
            met: Instant::now(),
        };
        let hello = AgentHello {
            host: speaker.host,
            host_name: speaker.host_name.clone(),
            software: concat!("vmward ", env!("CARGO_PKG_VERSION")).to_owned(),
            protocols: PROTOCOLS.to_vec(),
            capabilities: CAPABILITIES.iter().map(|it| (*it).to_owned()).collect(),
        };
        let said: Result<ControllerHello, Trouble> = peer.post("/api/hello", &hello).await;
        let said = said.map_err(|trouble| match trouble {
            // There is no entry that it could mean: what is there is no controller.
            Trouble::Rejected(why) => Trouble::Link(why),
            other => other,
        })?;
        let agreed = Agreement::with(&said.protocols, &said.capabilities);
        peer.software = quoted(&said.software);
        let strange = || {
            Trouble::Link(format!(
                "{} speaks protocols {:?}, this agent {PROTOCOLS:?}: none in common",
                peer.software,
                said.protocols.iter().take(8).collect::<Vec<_>>()
            ))
        };
        peer.agreement = agreed.ok_or_else(strange)?;
        peer.limits = ExchangeLimits {
            chunk_bytes: said.limits.chunk_bytes.clamp(CHUNK.0, CHUNK.1),
            artifact_bytes: said.limits.artifact_bytes,
            batch_entries: said.limits.batch_entries.clamp(ENTRIES.0, ENTRIES.1),
            body_bytes: said.limits.body_bytes.clamp(BODY.0, BODY.1),
        };
        Ok(peer)
    }

    /// How much of an artifact it has.
    pub(super) async fn upload_state(&self, digest: &Digest) -> Result<UploadState, Trouble> {
        let request = self.client.get(self.url(&format!("/api/v1/uploads/{digest}")));
        self.answer(request.timeout(self.timeout)).await
    }

    /// Sends bytes `offset..offset + length` of the artifact in `path`, which has `size`.
    pub(super) async fn put_piece(
        &self,
        digest: &Digest,
        path: &Path,
        (offset, length, size): (u64, u64, u64),
    ) -> Result<UploadState, Trouble> {
        let unread = |error: std::io::Error| Trouble::Disk(format!("{}: {error}", path.display()));
        let mut file = tokio::fs::File::open(path).await.map_err(unread)?;
        if file.metadata().await.map_err(unread)?.len() != size {
            return Err(Trouble::Disk(format!("{} has not the size that its report says", path.display())));
        }
        file.seek(SeekFrom::Start(offset)).await.map_err(unread)?;
        let url = self.url(&format!("/api/v1/uploads/{digest}?offset={offset}&size={size}"));
        let bucket = self.bucket.clone();
        let pieces = futures_util::stream::try_unfold((file, length), move |(mut file, left)| {
            let bucket = bucket.clone();
            async move {
                let want = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE);
                if want == 0 {
                    return Ok::<_, std::io::Error>(None);
                }
                bucket.take(want).await;
                let mut piece = vec![0; want];
                file.read_exact(&mut piece).await?;
                Ok(Some((piece, (file, left.saturating_sub(want as u64)))))
            }
        });
        let body = if length == 0 { Body::from(Vec::new()) } else { Body::wrap_stream(pieces) };
        let request = self
            .client
            .request(Method::PUT, url)
            .header(CONTENT_LENGTH, length)
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(body);
        self.answer(request.timeout(self.time_for(length))).await
    }

    /// Protocol 1: events.
    pub(super) async fn events(&self, events: Vec<vmward_model::Event>) -> Result<EventsStored, Trouble> {
        let Speaker { host, host_name } = self.speaker.clone();
        self.post("/api/v1/events", &EventBatch { host, host_name, events }).await
    }

    /// Protocol 1: a report.
    pub(super) async fn report(&self, incident: IncidentId, it: &ReportCommit) -> Result<Receipt, Trouble> {
        self.send(Method::PUT, &format!("/api/v1/reports/{incident}"), it).await
    }

    /// Protocol 2: entries; one receipt each, in their order.
    pub(super) async fn entries(
        &self,
        entries: Vec<vmward_model::exchange::Entry>,
        counters: vmward_model::exchange::SpoolCounters,
    ) -> Result<Vec<Receipt>, Trouble> {
        let Speaker { host, host_name } = self.speaker.clone();
        let sent = entries.len();
        let batch = EntryBatch { host, host_name, counters, entries };
        let answer: EntryReceipts = self.post("/api/v2/entries", &batch).await?;
        match answer.receipts.len() {
            n if n == sent => Ok(answer.receipts),
            n => Err(Trouble::Link(format!("{} gave {n} receipts for {sent} entries", self.software))),
        }
    }

    /// How the guests are.
    pub(super) async fn status(&self, push: &StatusPush) -> Result<(), Trouble> {
        let path = format!("/api/v1/hosts/{}/guests", self.speaker.host);
        self.request(Method::PUT, &path, push).await.map(drop)
    }

    pub(super) fn host(&self) -> HostId {
        self.speaker.host
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Trouble> {
        self.send(Method::POST, path, body).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Trouble> {
        parsed(self.request(method, path, body).await?).await
    }

    async fn request(&self, method: Method, path: &str, body: &impl Serialize) -> Result<Response, Trouble> {
        let bytes = serde_json::to_vec(body).map_err(|error| Trouble::Disk(format!("no JSON: {error}")))?;
        self.bucket.take(bytes.len()).await;
        let time = self.time_for(bytes.len() as u64);
        let request = self.client.request(method, self.url(path)).header(CONTENT_TYPE, "application/json");
        good(request.body(bytes).timeout(time)).await
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Trouble> {
        parsed(good(request).await?).await
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn time_for(&self, bytes: u64) -> Duration {
        let slowest = self.bucket.rate().map_or(CRAWL, |rate| (rate / 2).clamp(1, CRAWL));
        self.timeout.saturating_add(Duration::from_secs(bytes / slowest))
    }
}

/// Sends, and sorts out what is no success.
async fn good(request: RequestBuilder) -> Result<Response, Trouble> {
    let response = request.send().await.map_err(|error| Trouble::Link(quoted(&chain(&error))))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let after = response.headers().get(RETRY_AFTER).and_then(|it| it.to_str().ok()?.trim().parse().ok());
    let why = format!("it answered {}{}", status.as_u16(), complaint(response).await);
    Err(match status {
        StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::NOT_FOUND
        | StatusCode::METHOD_NOT_ALLOWED
        | StatusCode::PROXY_AUTHENTICATION_REQUIRED => Trouble::Link(why),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Trouble::Busy { why, after: after.map(Duration::from_secs) }
        }
        it if it.is_server_error() => Trouble::Busy { why, after: after.map(Duration::from_secs) },
        it if it.is_client_error() => Trouble::Rejected(why),
        // Neither redirects nor anything else: nobody can send us elsewhere.
        _ => Trouble::Link(why),
    })
}

/// What it said beside the status, as problem+json (RFC 9457) or text.
async fn complaint(response: Response) -> String {
    let Ok(bytes) = bounded(response, MAX_COMPLAINT).await else { return String::new() };
    let said = match serde_json::from_slice::<serde_json::Value>(&bytes) {
        Ok(json) => {
            let member = |name: &str| json.get(name).and_then(|it| it.as_str()).map(str::to_owned);
            member("detail").or_else(|| member("title")).unwrap_or_default()
        }
        Err(_) => String::from_utf8_lossy(&bytes).into_owned(),
    };
    let said = quoted(&said);
    if said.is_empty() { said } else { format!(": {said}") }
}

async fn parsed<T: DeserializeOwned>(response: Response) -> Result<T, Trouble> {
    let bytes = bounded(response, MAX_ANSWER).await?;
    // serde_json gives up at 128 levels.
    serde_json::from_slice(&bytes)
        .map_err(|error| Trouble::Link(quoted(&format!("its answer is none that was agreed: {error}"))))
}

async fn bounded(mut response: Response, cap: usize) -> Result<Vec<u8>, Trouble> {
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(piece)) if bytes.len() + piece.len() <= cap => bytes.extend_from_slice(&piece),
            Ok(Some(_)) => return Err(Trouble::Link(format!("its answer is longer than {cap} bytes"))),
            Ok(None) => return Ok(bytes),
            Err(error) => return Err(Trouble::Link(quoted(&chain(&error)))),
        }
    }
}
