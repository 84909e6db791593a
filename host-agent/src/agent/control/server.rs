//! The agent's side of the control socket.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, broadcast, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};
use vmward_model::GuestId;

use super::{Reply, Request};
use crate::agent::guest::actor::Shared;
use crate::agent::guest::order::{Order, Report};
use crate::agent::live::LiveAnswer;
use crate::agent::roster::{Bed, Beds};

/// Connections at once; further ones are closed.
const CLIENTS: usize = 32;
/// A request has to come within this time, and each line of an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest request.
const REQUEST: u64 = 64 << 10;
/// A round may take this long.
const ROUND: Duration = Duration::from_secs(40);
/// A diagnosis may take this long.
const DIAGNOSIS: Duration = Duration::from_secs(180);

/// The bound socket; its file is removed with it.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Binds the socket, mode 0600. A file that a killed agent left is removed; the lock of the event
    /// store has made sure that no other agent lives.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub fn bind(path: &Path) -> anyhow::Result<Socket> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error)
                    .with_context(|| format!("while removing the old socket {}", path.display()));
            }
            _ => {}
        }
        let listener =
            UnixListener::bind(path).with_context(|| format!("while binding {}", path.display()))?;
        // The folder is 0700, so nobody could connect before this.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
            .with_context(|| format!("while closing {} to others", path.display()))?;
        Ok(Socket { listener, path: path.to_owned() })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!("the control socket was gone already: {error}");
        }
    }
}

/// Serves until it is dropped.
pub async fn serve(socket: Socket, beds: watch::Receiver<Beds>, shared: Shared) {
    let places = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let stream = match socket.listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("cannot accept on the control socket: {error}");
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let (now, shared) = (beds.borrow().clone(), shared.clone());
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = client(stream, now, shared).await {
                tracing::debug!("a control connection ended: {error:#}");
            }
        });
    }
}

async fn client(stream: UnixStream, beds: Beds, shared: Shared) -> anyhow::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut line = String::new();
    let mut limited = (&mut read).take(REQUEST);
    timeout(PATIENCE, limited.read_line(&mut line)).await.context("no request came")??;
    let request: Request = match serde_json::from_str(&line) {
        Ok(request) => request,
        Err(error) => return say(&mut write, &Reply::Error(format!("not a request: {error}"))).await,
    };
    match request {
        Request::Status => {
            let mut all = Vec::new();
            for bed in beds.values() {
                let (answer, status) = oneshot::channel();
                let asked = bed.orders.try_send(Order::Status(answer)).is_ok();
                if let (true, Ok(Ok(status))) = (asked, timeout(PATIENCE, status).await) {
                    all.push(status);
                }
            }
            say(&mut write, &Reply::Status(all)).await
        }
        Request::Round { guest, scenario } => match find(&beds, &guest) {
            Ok(bed) => round(&mut write, bed, scenario, &shared).await,
            Err(why) => say(&mut write, &Reply::Error(why)).await,
        },
        Request::Diagnose { guest } => {
            let reply = match find(&beds, &guest) {
                Ok(bed) => diagnose(bed).await,
                Err(why) => Reply::Error(why),
            };
            say(&mut write, &reply).await
        }
        Request::Attach { guest, raw } => {
            let console = find(&beds, &guest).and_then(|it| {
                it.handles.console.as_ref().ok_or_else(|| "no console of this guest can be used".to_owned())
            });
            let attached = match console {
                Ok(console) => console.attach(raw).await.map_err(|error| error.to_string()),
                Err(why) => Err(why),
            };
            match attached {
                Err(why) => say(&mut write, &Reply::Error(why)).await,
                Ok(mut attached) => {
                    say(&mut write, &Reply::Attached).await?;
                    let mut typed = vec![0u8; 4096];
                    loop {
                        tokio::select! {
                            piece = attached.next() => {
                                timeout(PATIENCE, write.write_all(&piece.bytes)).await.context("nobody reads")??;
                            }
                            count = read.read(&mut typed) => match count? {
                                0 => return Ok(()),
                                count => attached.write(typed.get(..count).unwrap_or_default()).await?,
                            },
                        }
                    }
                }
            }
        }
        Request::Live => {
            let mut answers = shared.live.listen();
            let mut rest = [0u8; 64];
            loop {
                tokio::select! {
                    answer = answers.recv() => match answer {
                        Ok(answer) => say(&mut write, &Reply::Answer(Box::new(answer))).await?,
                        Err(broadcast::error::RecvError::Lagged(_)) => {}
                        Err(broadcast::error::RecvError::Closed) => return Ok(()),
                    },
                    count = read.read(&mut rest) => if count? == 0 { return Ok(()) },
                }
            }
        }
    }
}

async fn diagnose(bed: &Bed) -> Reply {
    let (answer, report) = oneshot::channel();
    if bed.orders.try_send(Order::Diagnose(answer)).is_err() {
        return Reply::Error("this guest has too many orders waiting; try again".to_owned());
    }
    match timeout(DIAGNOSIS, report).await {
        Ok(Ok(Report::Examined(Ok(examined)))) => Reply::Examined(examined),
        Ok(Ok(Report::Examined(Err(why)))) => Reply::Error(why),
        Ok(Err(_)) => Reply::Error("the guest went".to_owned()),
        Err(_) => Reply::Error(format!("the diagnosis was not over within {} s", DIAGNOSIS.as_secs())),
    }
}

/// Holds a round and tells each answer, until every scenario that was asked has answered.
async fn round(
    write: &mut (impl AsyncWriteExt + Unpin),
    bed: &Bed,
    scenario: Option<String>,
    shared: &Shared,
) -> anyhow::Result<()> {
    let mut answers = shared.live.listen();
    let (answer, status) = oneshot::channel();
    let asked = bed.orders.send(Order::Status(answer)).await.is_ok();
    let mut open: Vec<String> = match (asked, timeout(PATIENCE, status).await) {
        (true, Ok(Ok(status))) => status.scenarios.into_iter().map(|it| it.scenario).collect(),
        _ => return say(write, &Reply::Error("the guest went".to_owned())).await,
    };
    if let Some(only) = &scenario {
        open.retain(|it| it == only);
        if open.is_empty() {
            let why = format!("no scenario called {only:?} is bound to this guest");
            return say(write, &Reply::Error(why)).await;
        }
    }
    bed.orders.send(Order::Round(scenario)).await.context("the guest went")?;
    let until = Instant::now() + ROUND;
    while !open.is_empty() {
        match timeout_at(until, answers.recv()).await {
            Ok(Ok(LiveAnswer { guest, .. })) if guest != bed.guest => {}
            Ok(Ok(it)) => {
                open.retain(|open| *open != it.answer.scenario);
                say(write, &Reply::Answer(Box::new(it))).await?;
            }
            Ok(Err(broadcast::error::RecvError::Lagged(_))) => {}
            Ok(Err(broadcast::error::RecvError::Closed)) | Err(_) => {
                return say(write, &Reply::Error(format!("no answer of {}", open.join(", ")))).await;
            }
        }
    }
    say(write, &Reply::Done).await
}

/// The guest of that UUID or name.
pub(crate) fn find<'a>(beds: &'a Beds, name: &str) -> Result<&'a Bed, String> {
    if let Some(bed) = name.parse().ok().and_then(|id| beds.get(&GuestId(id))) {
        return Ok(bed);
    }
    let mut called = beds.values().filter(|it| it.name == name);
    match (called.next(), called.next()) {
        (Some(bed), None) => Ok(bed),
        (Some(_), Some(_)) => Err(format!("several guests are called {name:?}: name one by its UUID")),
        (None, _) => Err(format!("no guest is called {name:?}: see `vmward discover`")),
    }
}

async fn say(write: &mut (impl AsyncWriteExt + Unpin), reply: &Reply) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    timeout(PATIENCE, write.write_all(&line)).await.context("nobody reads")??;
    Ok(())
}
