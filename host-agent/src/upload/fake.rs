//! A controller in memory that misbehaves on demand: plain HTTP/1.1 on 127.0.0.1, as much as is needed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use vmward_model::Digest;
use vmward_model::exchange::{
    CAPABILITIES, EntryBatch, EntryBody, EventBatch, PROTOCOLS, Receipt, ReportCommit, StatusPush,
};

/// What it does to one request instead of serving it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mishap {
    /// Closes without a word.
    Close,
    /// Takes half of the body, then closes.
    HalfBody,
    /// This status, with `Retry-After: 0`.
    Status(u16),
    /// JSON that is something else.
    Garbage,
    /// Far more JSON than anybody wants.
    Huge,
    /// JSON in JSON in JSON.
    Deep,
    /// Sends us to another place.
    Redirect,
    /// Does it, and closes before it says so.
    LostAnswer,
    /// Says an offset beyond the end.
    WrongOffset,
    /// Never answers.
    Hang,
}

/// What it has.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub(super) protocols: Vec<u32>,
    pub(super) capabilities: Vec<String>,
    pub(super) chunk_bytes: u64,
    pub(super) script: VecDeque<Mishap>,
    /// Every request from now on gets it.
    pub(super) always: Option<Mishap>,
    /// So many pieces of artifacts are cut in half.
    pub(super) cut_pieces: usize,
    /// Entries with this text in them are refused; 422 in protocol 1.
    pub(super) dislikes: Option<String>,
    pub(super) artifacts: BTreeMap<String, Vec<u8>>,
    pub(super) partial: BTreeMap<String, Vec<u8>>,
    /// Bytes of artifacts that came, those that came twice included.
    pub(super) artifact_bytes: u64,
    pub(super) events: BTreeMap<u64, usize>,
    pub(super) event_order: Vec<u64>,
    pub(super) reports: BTreeMap<String, ReportCommit>,
    pub(super) order: Vec<String>,
    pub(super) statuses: Vec<StatusPush>,
    pub(super) requests: Vec<String>,
    pub(super) peers: BTreeSet<SocketAddr>,
    pub(super) authorization: Option<String>,
    /// Where it is there, all that is answered comes from it.
    pub(super) record: Option<Record>,
}

/// Answers of a controller that is on record, by what was asked. Of those to the same question each is given
/// once, and the last again.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) answers: BTreeMap<String, VecDeque<(u16, String)>>,
    /// What came, with the bodies.
    pub(super) asked: Vec<(String, Vec<u8>)>,
    /// What that controller was never asked.
    pub(super) unknown: Vec<String>,
}

impl Record {
    fn answer(&mut self, call: String, body: &[u8]) -> (u16, String) {
        let known = self.answers.get_mut(&call);
        let answer = known.and_then(|it| if it.len() > 1 { it.pop_front() } else { it.front().cloned() });
        self.asked.push((call.clone(), body.to_vec()));
        answer.unwrap_or_else(|| {
            self.unknown.push(call);
            (404, json!({"title": "no", "detail": "not on record"}).to_string())
        })
    }
}

/// A running one.
#[derive(Clone, Debug)]
pub(super) struct Fake {
    pub(super) address: SocketAddr,
    pub(super) stored: Arc<Mutex<Stored>>,
}

impl Fake {
    pub(super) async fn start() -> Fake {
        Fake::start_at("127.0.0.1:0").await
    }

    pub(super) async fn start_at(address: &str) -> Fake {
        let listener = TcpListener::bind(address).await.unwrap();
        let stored = Stored {
            protocols: PROTOCOLS.to_vec(),
            capabilities: CAPABILITIES.iter().map(|it| (*it).to_owned()).collect(),
            chunk_bytes: 64 << 10,
            ..Stored::default()
        };
        let fake = Fake { address: listener.local_addr().unwrap(), stored: Arc::new(Mutex::new(stored)) };
        let stored = fake.stored.clone();
        tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                stored.lock().unwrap().peers.insert(peer);
                tokio::spawn(serve(stream, stored.clone()));
            }
        });
        fake
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn with<T>(&self, run: impl FnOnce(&mut Stored) -> T) -> T {
        run(&mut self.stored.lock().unwrap())
    }
}

async fn serve(stream: TcpStream, stored: Arc<Mutex<Stored>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|it| *it > 0)?;
        let mut words = line.split_whitespace();
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut length = 0usize;
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).await.ok()?;
            let header = header.trim();
            if header.is_empty() {
                break;
            }
            let (name, value) = header.split_once(':')?;
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().ok()?,
                "transfer-encoding" => panic!("lengths are known beforehand"),
                "authorization" => stored.lock().unwrap().authorization = Some(value.trim().to_owned()),
                _ => {}
            }
        }
        let mishap = {
            let mut it = stored.lock().unwrap();
            it.requests.push(format!("{method} {target}"));
            if method == "PUT" && target.starts_with("/api/v1/uploads/") && it.cut_pieces > 0 {
                it.cut_pieces -= 1;
                Some(Mishap::HalfBody)
            } else {
                it.script.pop_front().or(it.always)
            }
        };
        let mut body = vec![0; length];
        match mishap {
            Some(Mishap::Close) => return None,
            Some(Mishap::HalfBody) => {
                stream.read_exact(&mut body[..length / 2]).await.ok()?;
                body.truncate(length / 2);
                stored.lock().unwrap().half(&target, &body);
                return None;
            }
            Some(Mishap::Hang) => {
                tokio::time::sleep(Duration::from_secs(3600)).await;
                return None;
            }
            _ => drop(stream.read_exact(&mut body).await.ok()?),
        }
        let (status, answer) = match mishap {
            Some(Mishap::Status(status)) => {
                (status, json!({"title": "no", "detail": "as \u{1b}[2J asked"}).to_string())
            }
            Some(Mishap::Garbage) => (200, "{\"x\": [tru".to_owned()),
            Some(Mishap::Huge) => (200, format!("{{\"software\":\"{}\"}}", "x".repeat(8 << 20))),
            Some(Mishap::Deep) => (200, "[".repeat(500_000)),
            Some(Mishap::Redirect) => (307, String::new()),
            Some(Mishap::WrongOffset) => (200, json!({"stored": false, "offset": u64::MAX}).to_string()),
            _ => stored.lock().unwrap().answer(&method, &target, &body),
        };
        if mishap == Some(Mishap::LostAnswer) {
            return None;
        }
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nretry-after: 0\r\n\
             location: http://127.0.0.1:1/elsewhere\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        stream.write_all(head.as_bytes()).await.ok()?;
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

impl Stored {
    fn answer(&mut self, method: &str, target: &str, body: &[u8]) -> (u16, String) {
        if let Some(record) = &mut self.record {
            return record.answer(format!("{method} {target}"), body);
        }
        let path = target.split('?').next().unwrap();
        let said = match (method, path) {
            ("POST", "/api/hello") => json!({
                "software": "fake 1", "protocols": self.protocols, "capabilities": self.capabilities,
                "limits": { "chunk_bytes": self.chunk_bytes, "artifact_bytes": 32u64 << 20,
                            "batch_entries": 100, "body_bytes": 4u64 << 20 },
            }),
            ("GET", path) if path.starts_with("/api/v1/uploads/") => self.state(path),
            ("PUT", path) if path.starts_with("/api/v1/uploads/") => {
                let offset: u64 = query(target, "offset");
                match self.take(path, offset, query(target, "size"), body) {
                    Ok(()) => self.state(path),
                    Err(status) => return (status, "{}".to_owned()),
                }
            }
            ("POST", "/api/v1/events") => {
                let batch: EventBatch = serde_json::from_slice(body).unwrap();
                if self.dislikes.as_ref().is_some_and(|it| String::from_utf8_lossy(body).contains(it)) {
                    return (422, json!({"detail": "not to my liking"}).to_string());
                }
                let sent = batch.events.len();
                let new = batch.events.iter().filter(|it| self.event(it.seq)).count();
                json!({"stored": new, "duplicates": sent - new})
            }
            ("PUT", path) if path.starts_with("/api/v1/reports/") => {
                serde_json::to_value(self.report(serde_json::from_slice(body).unwrap())).unwrap()
            }
            ("POST", "/api/v2/entries") => {
                let batch: EntryBatch = serde_json::from_slice(body).unwrap();
                let it = batch.counters;
                assert_eq!(it.made, it.stored + it.refused + it.dropped.total() + it.waiting);
                let receipts: Vec<Receipt> =
                    batch.entries.into_iter().map(|it| self.entry(it.body)).collect();
                json!({ "receipts": receipts })
            }
            ("PUT", path) if path.starts_with("/api/v1/hosts/") => {
                self.statuses.push(serde_json::from_slice(body).unwrap());
                return (204, String::new());
            }
            _ => return (404, String::new()),
        };
        (200, said.to_string())
    }

    fn entry(&mut self, body: EntryBody) -> Receipt {
        let text = serde_json::to_string(&body).unwrap();
        if self.dislikes.as_ref().is_some_and(|it| text.contains(it)) {
            return Receipt::Refused { why: "not to my liking".to_owned() };
        }
        match body {
            EntryBody::Event { event } if self.event(event.seq) => Receipt::Stored,
            EntryBody::Event { .. } => Receipt::Duplicate,
            EntryBody::Report { report } => self.report(*report),
        }
    }

    fn event(&mut self, seq: u64) -> bool {
        let times = self.events.entry(seq).or_default();
        *times += 1;
        if *times == 1 {
            self.event_order.push(seq);
            self.order.push(format!("event {seq}"));
        }
        *times == 1
    }

    fn report(&mut self, it: ReportCommit) -> Receipt {
        let missing: BTreeSet<Digest> = it
            .manifest
            .artifacts
            .iter()
            .map(|it| it.sha256.clone())
            .filter(|digest| !it.withheld.contains(digest) && !self.artifacts.contains_key(digest.as_str()))
            .collect();
        if !missing.is_empty() {
            return Receipt::Missing { digests: missing.into_iter().collect() };
        }
        let incident = it.manifest.incident.id.to_string();
        match self.reports.insert(incident.clone(), it) {
            None => {
                self.order.push(format!("report {incident}"));
                Receipt::Stored
            }
            Some(_) => Receipt::Duplicate,
        }
    }

    fn state(&self, path: &str) -> Value {
        let digest = path.rsplit('/').next().unwrap();
        let offset = self.partial.get(digest).map_or(0, Vec::len);
        json!({ "stored": self.artifacts.contains_key(digest), "offset": offset })
    }

    fn take(&mut self, path: &str, offset: u64, size: u64, body: &[u8]) -> Result<(), u16> {
        let digest = path.rsplit('/').next().unwrap().to_owned();
        self.artifact_bytes += body.len() as u64;
        let resumes = self.capabilities.iter().any(|it| it == vmward_model::exchange::ARTIFACT_RESUME);
        if !resumes {
            assert_eq!((offset, body.len() as u64), (0, size), "one piece where nothing else was agreed");
        }
        let partial = self.partial.entry(digest.clone()).or_default();
        if offset != partial.len() as u64 {
            return Err(409);
        }
        partial.extend_from_slice(body);
        if partial.len() as u64 == size {
            let bytes = self.partial.remove(&digest).unwrap();
            if Digest::from_bytes(&Sha256::digest(&bytes).into()).as_str() != digest {
                return Err(422);
            }
            self.artifacts.insert(digest, bytes);
        }
        Ok(())
    }

    /// The connection went in the middle of a body: what came of an artifact is kept.
    fn half(&mut self, target: &str, body: &[u8]) {
        let resumes = self.capabilities.iter().any(|it| it == vmward_model::exchange::ARTIFACT_RESUME);
        let path = target.split('?').next().unwrap();
        self.artifact_bytes += if resumes { 0 } else { body.len() as u64 };
        if resumes && path.starts_with("/api/v1/uploads/") && target.contains("offset=") {
            let _ = self.take(path, query(target, "offset"), u64::MAX, body);
        }
    }
}

fn query(target: &str, name: &str) -> u64 {
    let (_, query) = target.split_once('?').unwrap();
    let value = query.split('&').find_map(|it| it.split_once('=').filter(|(key, _)| *key == name));
    value.unwrap().1.parse().unwrap()
}
