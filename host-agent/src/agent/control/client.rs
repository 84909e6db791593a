//! The command line's side of the control socket.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{MAX_LINE, Reply, Request};
use crate::agent::guest::order::Status;
use crate::agent::guest::ports::Examined;
use crate::agent::live::LiveAnswer;

/// The agent takes a connection and answers what needs no guest within this time.
const PATIENCE: Duration = Duration::from_secs(10);
/// A whole diagnosis.
const LONG: Duration = Duration::from_secs(200);

/// Why the agent could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no agent runs (nobody listens on {path}): start `vmward agent`")]
    NoAgent {
        /// The socket.
        path: String,
    },
    /// The connection failed on the way.
    #[error("the connection to the agent failed: {0}")]
    Io(#[from] std::io::Error),
    /// No answer in time.
    #[error("the agent did not answer within {0:?}")]
    Timeout(Duration),
    /// The agent said no.
    #[error("{0}")]
    Refused(String),
    /// An answer that was not expected.
    #[error("the agent gave an answer of another kind: {0}")]
    Unexpected(String),
}

/// One connection, for one request.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects and sends the request.
    ///
    /// # Errors
    /// [`ClientError::NoAgent`] when nobody listens.
    pub async fn ask(socket: &Path, request: &Request) -> Result<Client, ClientError> {
        let connect = timeout(PATIENCE, UnixStream::connect(socket)).await;
        let stream = connect.map_err(|_| ClientError::Timeout(PATIENCE))?;
        let mut stream = stream.map_err(|_| ClientError::NoAgent { path: socket.display().to_string() })?;
        let mut line = serde_json::to_vec(request).map_err(std::io::Error::from)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        Ok(Client { stream: BufReader::new(stream) })
    }

    /// The next line of the answer; none when the agent closed the connection.
    ///
    /// # Errors
    /// When none comes within `within`, or it is not one.
    pub async fn next(&mut self, within: Duration) -> Result<Option<Reply>, ClientError> {
        let mut line = Vec::new();
        let mut limited = (&mut self.stream).take(MAX_LINE as u64);
        let read = timeout(within, limited.read_until(b'\n', &mut line)).await;
        if read.map_err(|_| ClientError::Timeout(within))?? == 0 {
            return Ok(None);
        }
        match serde_json::from_slice(&line) {
            Ok(Reply::Error(why)) => Err(ClientError::Refused(why)),
            Ok(reply) => Ok(Some(reply)),
            Err(error) => Err(ClientError::Unexpected(error.to_string())),
        }
    }

    /// The raw connection, after [`Reply::Attached`].
    pub fn into_stream(self) -> BufReader<UnixStream> {
        self.stream
    }
}

/// How all guests are.
///
/// # Errors
/// [`ClientError`].
pub async fn status(socket: &Path) -> Result<Vec<Status>, ClientError> {
    match Client::ask(socket, &Request::Status).await?.next(PATIENCE).await? {
        Some(Reply::Status(all)) => Ok(all),
        other => Err(ClientError::Unexpected(format!("{other:?}"))),
    }
}

/// Holds a round of a guest: all scenarios, or one.
///
/// # Errors
/// [`ClientError`].
pub async fn round(
    socket: &Path,
    guest: &str,
    scenario: Option<&str>,
) -> Result<Vec<LiveAnswer>, ClientError> {
    let request = Request::Round { guest: guest.to_owned(), scenario: scenario.map(str::to_owned) };
    let mut client = Client::ask(socket, &request).await?;
    let mut answers = Vec::new();
    loop {
        match client.next(Duration::from_secs(60)).await? {
            Some(Reply::Answer(it)) => answers.push(*it),
            Some(Reply::Done) => return Ok(answers),
            other => return Err(ClientError::Unexpected(format!("{other:?}"))),
        }
    }
}

/// Examines a guest now.
///
/// # Errors
/// [`ClientError`].
pub async fn diagnose(socket: &Path, guest: &str) -> Result<Examined, ClientError> {
    let request = Request::Diagnose { guest: guest.to_owned() };
    match Client::ask(socket, &request).await?.next(LONG).await? {
        Some(Reply::Examined(it)) => Ok(it),
        other => Err(ClientError::Unexpected(format!("{other:?}"))),
    }
}

/// Attaches to a guest's console: the stream carries its bytes both ways, raw and untrusted.
///
/// # Errors
/// [`ClientError`].
pub async fn attach(socket: &Path, guest: &str, raw: bool) -> Result<BufReader<UnixStream>, ClientError> {
    let request = Request::Attach { guest: guest.to_owned(), raw };
    let mut client = Client::ask(socket, &request).await?;
    match client.next(PATIENCE).await? {
        Some(Reply::Attached) => Ok(client.into_stream()),
        other => Err(ClientError::Unexpected(format!("{other:?}"))),
    }
}
