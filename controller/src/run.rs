//! `vmward-controller serve`: takes connections until it is told to stop.
//!
//! A peer that is slow costs a connection and no more: its request's head, body and answer have
//! deadlines, and connections are counted.

use std::convert::Infallible;
use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::AppState;
use crate::auth::Remote;
use crate::config::Config;
use crate::router::router;
use crate::tls;

/// How long a request's head may take, and how long a connection may be idle.
const HEAD: Duration = Duration::from_secs(20);
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a peer may leave what was sent to it unread, in milliseconds.
const UNREAD_MS: u32 = 60_000;
/// Bytes of a request's head.
const HEAD_BYTES: usize = 64 << 10;
/// How often old uploads are looked for.
const SWEEP: Duration = Duration::from_secs(600);

/// What is not safe to serve.
#[derive(Debug, thiserror::Error)]
#[error(
    "refused to listen on {listen}, which others can reach: {lacking}. Make a token \
     (`vmward-controller token add NAME --role agent`), set `tls.certificate` and `tls.key`, or listen on 127.0.0.1"
)]
pub struct Exposed {
    listen: SocketAddr,
    lacking: &'static str,
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start, or it is not safe to ([`Exposed`]).
pub async fn serve(config: Config) -> anyhow::Result<()> {
    // Asked for first, so that no signal finds nobody.
    let mut stops = Stops::new()?;
    let data = config.data.clone();
    data_folder(&data)?;
    let _lock = lock(&data)?;
    let acceptor = config.tls.as_ref().map(tls::acceptor).transpose()?;
    let (state, swept) =
        AppState::open(config).await.with_context(|| format!("while opening {}", data.display()))?;
    if swept != crate::artifacts::Swept::default() {
        tracing::info!(?swept, "brought files and database into agreement");
    }
    safe(state.config.listen, acceptor.is_some(), state.store.any_token().await?)?;
    let listener = TcpListener::bind(state.config.listen)
        .await
        .with_context(|| format!("while listening on {}", state.config.listen))?;
    let address = listener.local_addr()?;
    let scheme = if acceptor.is_some() { "https" } else { "http" };
    // For whoever asked for port 0, or starts it from a script.
    writeln!(std::io::stdout(), "listening on {scheme}://{address}")?;
    tracing::info!(%address, data = %data.display(), "listening");
    let sweeper = tokio::spawn(sweep(state.clone()));
    let graceful = GracefulShutdown::new();
    accept(&listener, acceptor, &state, &graceful, &mut stops).await;
    drop(listener);
    sweeper.abort();
    // Ends the live streams, which would never end by themselves.
    state.stop.send_replace(true);
    let deadline = Duration::from_secs(state.config.limits.stop_seconds);
    match tokio::time::timeout(deadline, graceful.shutdown()).await {
        Ok(()) => tracing::info!("every request was answered"),
        Err(_) => tracing::warn!("requests that took longer than {deadline:?} were cut off"),
    }
    state.store.close().await;
    Ok(())
}

/// Makes the data folder, where only its owner gets in, if it is not there.
///
/// # Errors
/// When it cannot be made.
pub fn data_folder(path: &Path) -> anyhow::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("while making the data folder {}", path.display()))
}

/// Whether it is safe to listen there.
fn safe(listen: SocketAddr, tls: bool, tokens: bool) -> Result<(), Exposed> {
    let lacking = match (tokens, tls) {
        _ if listen.ip().to_canonical().is_loopback() => return Ok(()),
        (true, true) => return Ok(()),
        (false, true) => "there is no token",
        (true, false) => "TLS is not configured",
        (false, false) => "there is no token and TLS is not configured",
    };
    Err(Exposed { listen, lacking })
}

/// Takes in a packed report from a file, while no controller works in the data folder.
///
/// # Errors
/// When the report is refused, with the bound that it passed; when a controller runs, which then takes
/// it by `POST /api/v1/bundles`; when there is no room.
pub async fn import(config: Config, file: File) -> anyhow::Result<crate::import::Imported> {
    let data = config.data.clone();
    data_folder(&data)?;
    let _lock = lock(&data).context(
        "a running controller takes it by `curl --data-binary @FILE http://127.0.0.1:8471/api/v1/bundles`",
    )?;
    let (state, _) =
        AppState::open(config).await.with_context(|| format!("while opening {}", data.display()))?;
    let imported = crate::import::bundle(&state, file).await;
    state.store.close().await;
    imported.map_err(|it| anyhow::anyhow!("{}", it.detail))
}

/// Holds a data folder, so that no second controller sweeps what the first one works on.
fn lock(data: &Path) -> anyhow::Result<File> {
    let path = data.join("lock");
    let file = File::create(&path).with_context(|| format!("while opening {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => anyhow::bail!("another controller works in {}", data.display()),
        Err(TryLockError::Error(it)) => Err(it).with_context(|| format!("while locking {}", path.display())),
    }
}

struct Stops(Signal, Signal);

impl Stops {
    fn new() -> anyhow::Result<Stops> {
        let on = |kind| signal(kind).context("while asking for signals");
        Ok(Stops(on(SignalKind::terminate())?, on(SignalKind::interrupt())?))
    }

    async fn wait(&mut self) {
        tokio::select! { _ = self.0.recv() => {}, _ = self.1.recv() => {} }
    }
}

async fn accept(
    listener: &TcpListener,
    acceptor: Option<TlsAcceptor>,
    state: &AppState,
    graceful: &GracefulShutdown,
    stops: &mut Stops,
) {
    let router = router(state.clone());
    let connections = usize::try_from(state.config.limits.connections).unwrap_or(usize::MAX);
    let connections = Arc::new(Semaphore::new(connections));
    loop {
        let next = async {
            // One more than may be open waits in the kernel's queue.
            let place = connections.clone().acquire_owned().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! { it = next => it, () = stops.wait() => return };
        let (stream, remote) = match accepted {
            Ok(it) => it,
            Err(error) => {
                tracing::warn!("cannot take a connection: {error}");
                // Descriptors may have run out: others have to end first.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if let Err(error) = bounded(&stream) {
            tracing::debug!("{remote}: {error}");
            continue;
        }
        let (router, acceptor, watcher) = (router.clone(), acceptor.clone(), graceful.watcher());
        tokio::spawn(async move {
            match acceptor {
                None => talk(stream, remote, router, watcher).await,
                Some(acceptor) => match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => talk(stream, remote, router, watcher).await,
                    Ok(Err(error)) => tracing::debug!("{remote}: no TLS: {error}"),
                    Err(_) => tracing::debug!("{remote}: no TLS within {HANDSHAKE:?}"),
                },
            }
            drop(place);
        });
    }
}

/// A peer that reads nothing is cut off by the kernel.
fn bounded(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    setsockopt(stream, sockopt::TcpUserTimeout, &UNREAD_MS).map_err(std::io::Error::from)
}

async fn talk<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: T,
    remote: SocketAddr,
    router: Router,
    watcher: Watcher,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Remote(remote));
            let answer: Result<Response<Body>, Infallible> = router.oneshot(request).await;
            answer
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!("{remote}: {error}");
    }
}

async fn sweep(state: AppState) {
    let mut every = tokio::time::interval(SWEEP);
    loop {
        every.tick().await;
        match state.artifacts.sweep_partials(SystemTime::now()).await {
            Ok(0) => {}
            Ok(n) => tracing::info!("dropped {n} uploads that nobody went on with"),
            Err(error) => tracing::warn!("cannot look for old uploads: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_can_reach_needs_tokens_and_tls() {
        let open: SocketAddr = "0.0.0.0:8471".parse().unwrap();
        for (tls, tokens) in [(false, false), (true, false), (false, true)] {
            assert!(safe(open, tls, tokens).is_err());
        }
        assert!(safe(open, true, true).is_ok());
        for local in ["127.0.0.1:1", "[::1]:1", "127.3.2.1:1", "[::ffff:127.0.0.1]:1"] {
            assert!(safe(local.parse().unwrap(), false, false).is_ok(), "{local}");
        }
    }

    #[test]
    fn a_folder_is_one_controllers() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        assert!(lock(dir.path()).is_err());
        drop(first);
        assert!(lock(dir.path()).is_ok());
    }
}
