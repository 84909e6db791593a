//! Writes down what an agent and a controller say to each other: a proxy on loopback that both are put
//! before, and the files that are made of it (their form: `tests/exchanges/recorded.rs`).
//!
//! What changes with each run (times, process ids, random ids, names of folders) is made the same for each,
//! and stays what it was in kind and order, so that the record can be replayed.

mod stable;

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::controller::{Answer, Controller, send};
use stable::Stable;

/// Longer bodies and heads are not an agent's.
const MOST_BODY: usize = 64 << 20;
const MOST_HEAD: u64 = 64 << 10;
/// How long a peer may be silent.
const SILENCE: Duration = Duration::from_secs(60);
/// Larger artifacts lie in a file of their own.
const INLINE: usize = 1 << 10;

/// A request and its answer.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Its method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The media type of the body; empty where there is none.
    pub kind: String,
    /// The body.
    pub body: Vec<u8>,
    /// What the controller answered.
    pub answer: Answer,
}

/// A proxy that keeps what passes it. Dropping it ends it.
#[derive(Debug)]
pub struct Recorder {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    controller: SocketAddr,
    open: AtomicBool,
    ended: AtomicBool,
    seen: Mutex<Vec<Exchange>>,
}

impl Recorder {
    /// A proxy before a controller. It lets callers wait until it is [opened](Recorder::open), which an
    /// agent takes for a slow controller.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn start(controller: &Controller) -> Result<Recorder> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("while listening")?;
        listener.set_nonblocking(true).context("while listening")?;
        let address = listener.local_addr().context("while listening")?;
        let shared = Arc::new(Shared {
            controller: controller.address(),
            open: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            seen: Mutex::new(Vec::new()),
        });
        let ours = Arc::clone(&shared);
        std::thread::spawn(move || ours.listen(&listener));
        Ok(Recorder { address, shared })
    }

    /// Lets callers through.
    pub fn open(&self) {
        self.shared.open.store(true, Ordering::Relaxed);
    }

    /// The `[[controller]]` entry for an agent's configuration.
    pub fn entry(&self) -> String {
        format!("\n[[controller]]\nurl = \"http://{}\"\n", self.address)
    }

    /// What has passed so far, in its order.
    pub fn seen(&self) -> Vec<Exchange> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn listen(self: &Arc<Shared>, listener: &TcpListener) {
        while !self.ended.load(Ordering::Relaxed) {
            let next = if self.open.load(Ordering::Relaxed) { listener.accept().ok() } else { None };
            let Some((stream, _)) = next else {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            };
            let ours = Arc::clone(self);
            // A connection ends when either side has had enough of it; the agent then makes another.
            std::thread::spawn(move || drop(ours.serve(stream)));
        }
    }

    fn serve(&self, mut stream: TcpStream) -> Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        while let Some((method, target, kind, body)) = request(&mut reader)? {
            // One at a time, so that the order on record is the one in which they were answered.
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if self.ended.load(Ordering::Relaxed) {
                return Ok(());
            }
            let answer = send(self.controller, &method, &target, &kind, &body)?;
            seen.push(Exchange { method, target, kind, body, answer: answer.clone() });
            drop(seen);
            let (status, kind, length) = (answer.status, &answer.kind, answer.body.len());
            let length = if status == 204 { String::new() } else { format!("content-length: {length}\r\n") };
            write!(stream, "HTTP/1.1 {status} -\r\ncontent-type: {kind}\r\n{length}\r\n")?;
            stream.write_all(&answer.body)?;
        }
        Ok(())
    }
}

/// Method, target, media type and body of the next request; none where the peer has hung up.
#[expect(clippy::type_complexity, reason = "four words that are taken apart at once")]
fn request(reader: &mut BufReader<TcpStream>) -> Result<Option<(String, String, String, Vec<u8>)>> {
    let mut head = reader.by_ref().take(MOST_HEAD);
    let mut line = String::new();
    if head.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = words.next().zip(words.next()).context("no request line")?;
    let (mut kind, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if head.read_line(&mut line)? == 0 {
            return Err(std::io::Error::from(ErrorKind::UnexpectedEof).into());
        }
        let Some((name, value)) = line.trim().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().context("a length that is none")?,
            "content-type" => value.trim().clone_into(&mut kind),
            "transfer-encoding" => bail!("an agent says lengths before"),
            _ => {}
        }
    }
    if length > MOST_BODY {
        bail!("a body of {length} bytes");
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some((method, target, kind, body)))
}

/// Writes exchanges to a new folder, in place of what was there, and large artifacts to `artifacts`. Each
/// of `places` is a path of this run that shall not show.
///
/// # Errors
/// When they cannot be written.
pub fn write(exchanges: &[Exchange], places: &[&Path], folder: &Path, artifacts: &Path) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("while emptying {}", folder.display()))?;
    }
    for it in [folder, artifacts] {
        std::fs::create_dir_all(it).with_context(|| format!("while making {}", it.display()))?;
    }
    let bodies = exchanges.iter().flat_map(|it| [(&it.kind, &it.body), (&it.answer.kind, &it.answer.body)]);
    let stable = Stable::new(bodies.filter_map(|(kind, body)| json(kind, body)), places);
    let put = |path: &Path, bytes: &[u8]| {
        std::fs::write(path, bytes).with_context(|| format!("while writing {}", path.display()))
    };
    for (number, it) in exchanges.iter().enumerate() {
        let target = stable.text(&it.target);
        let path = target.split('?').next().unwrap_or_default();
        let words = path.split('/').filter(|it| !it.is_empty());
        let words: Vec<String> = words.map(|it| it.chars().take(12).collect()).collect();
        let name = format!("{:03}-{}-{}", number + 1, it.method, words.join("-"));
        let file = |first: &str, kind: &str, body: Vec<u8>| {
            [format!("{first}\ncontent-type: {kind}\n\n").into_bytes(), body].concat()
        };
        let body = match json(&it.kind, &it.body) {
            Some(value) => stable.pretty(value)?,
            None if it.body.len() > INLINE => {
                let digest = path.rsplit('/').next().unwrap_or_default();
                put(&artifacts.join(digest), &it.body)?;
                format!("@artifact {digest} {}\n", it.body.len()).into_bytes()
            }
            None => it.body.clone(),
        };
        let request = file(&format!("{} {target}", it.method), &it.kind, body);
        put(&folder.join(format!("{name}.request")), &request)?;
        let body = match json(&it.answer.kind, &it.answer.body) {
            Some(value) => stable.pretty(value)?,
            None => it.answer.body.clone(),
        };
        put(
            &folder.join(format!("{name}.response")),
            &file(&it.answer.status.to_string(), &it.answer.kind, body),
        )?;
    }
    Ok(())
}

fn json(kind: &str, body: &[u8]) -> Option<serde_json::Value> {
    kind.contains("json").then(|| serde_json::from_slice(body).ok()).flatten()
}
