//! A controller of ours: the real program in a process of its own, on a free port of this machine.

use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use vmward_qemu_fixtures::qemu::RunFolder;

use crate::binary;
use crate::ward::tail;

/// How long it may take to listen.
const START: Duration = Duration::from_secs(30);
/// How long any part of an answer may take.
const ANSWER: Duration = Duration::from_secs(60);
/// More than this of an answer is not read.
const MOST: u64 = 64 << 20;

/// A running controller. Dropping it ends it and removes its data.
#[derive(Debug)]
pub struct Controller {
    // Declared before `folder`: the process ends before its folder goes.
    process: Child,
    folder: RunFolder,
    data: PathBuf,
    address: SocketAddr,
    program: PathBuf,
}

/// What it answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The media type of the body; empty where there is none.
    pub kind: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> Result<Value> {
        let text = || String::from_utf8_lossy(&self.body).into_owned();
        serde_json::from_slice(&self.body).with_context(|| format!("status {}: {}", self.status, text()))
    }
}

impl Controller {
    /// Starts one with nothing stored.
    ///
    /// # Errors
    /// When the program is not there or does not listen.
    pub fn start() -> Result<Controller> {
        Controller::start_in(None)
    }

    /// Starts its older self, which knows neither the newest protocol nor some capabilities, with nothing
    /// stored.
    ///
    /// # Errors
    /// When the program is not there or does not listen.
    pub fn start_older() -> Result<Controller> {
        Controller::start_program(binary::older_controller()?, None)
    }

    /// Starts one that keeps its data in this folder, which stays.
    ///
    /// # Errors
    /// When the program is not there or does not listen.
    pub fn start_in(data: Option<&Path>) -> Result<Controller> {
        Controller::start_program(binary::controller()?, data)
    }

    fn start_program(program: PathBuf, data: Option<&Path>) -> Result<Controller> {
        let mut folder = RunFolder::new().context("while making a folder")?;
        let data = data.map_or_else(|| folder.file("data"), Path::to_path_buf);
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (process, address) = spawn(&program, &mut folder, &data, any)?;
        Ok(Controller { process, folder, data, address, program })
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(&mut self) -> Result<()> {
        self.folder.unlist(self.process.id());
        self.process.kill().context("while killing the controller")?;
        self.process.wait().context("while waiting for the controller")?;
        Ok(())
    }

    /// Starts it again on the same port and data after [`Controller::kill`].
    ///
    /// # Errors
    /// When it does not listen.
    pub fn restart(&mut self) -> Result<()> {
        (self.process, self.address) = spawn(&self.program, &mut self.folder, &self.data, self.address)?;
        Ok(())
    }

    /// Where it is reached.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The `[[controller]]` entry for an agent's configuration.
    pub fn entry(&self) -> String {
        format!("\n[[controller]]\nurl = {:?}\n", self.url())
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Its data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("controller.log")).unwrap_or_default()
    }

    /// Asks for a path.
    ///
    /// # Errors
    /// When no answer comes.
    pub fn get(&self, path: &str) -> Result<Answer> {
        let mut stream = self.connect()?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.address)
            .with_context(|| format!("while asking for {path}"))?;
        read(stream)
    }

    /// Sends what `body` writes, without telling before how much that is. A controller that has heard
    /// enough may answer before the end: then the rest is not sent.
    ///
    /// # Errors
    /// When no answer comes.
    pub fn post(
        &self,
        path: &str,
        body: impl FnOnce(&mut dyn Write) -> std::io::Result<()> + Send,
    ) -> Result<Answer> {
        let mut stream = self.connect()?;
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nhost: {}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n",
            self.address
        )
        .with_context(|| format!("while sending to {path}"))?;
        let sender = stream.try_clone().context("while sharing a connection")?;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut chunks = Chunks(sender);
                // Where the peer has hung up its answer says why.
                let _hung_up = body(&mut chunks).and_then(|()| chunks.0.write_all(b"0\r\n\r\n"));
            });
            let answer = read(stream.try_clone().context("while sharing a connection")?);
            // Whatever is still being sent is of no use any more.
            let _gone = stream.shutdown(std::net::Shutdown::Both);
            answer
        })
    }

    /// Whether the report of an incident is stored.
    ///
    /// # Errors
    /// When no answer comes.
    pub fn has_report(&self, incident: &str) -> Result<bool> {
        Ok(self.get(&format!("/api/v1/incidents/{incident}/manifest"))?.status == 200)
    }

    /// Its address and port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn connect(&self) -> Result<TcpStream> {
        connect(self.address)
    }
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).context("while connecting to the controller")?;
    stream.set_read_timeout(Some(ANSWER)).context("while setting a deadline")?;
    stream.set_write_timeout(Some(ANSWER)).context("while setting a deadline")?;
    Ok(stream)
}

/// Sends a request as it is to the controller of that address, and gives the answer to it.
///
/// # Errors
/// When no answer comes.
pub fn send(address: SocketAddr, method: &str, target: &str, kind: &str, body: &[u8]) -> Result<Answer> {
    let mut stream = connect(address)?;
    let head = format!(
        "{method} {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: {kind}\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    sent.with_context(|| format!("while sending to {target}"))?;
    read(stream)
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.folder.unlist(self.process.id());
        if let Ok(pid) = i32::try_from(self.process.id())
            && kill(Pid::from_raw(pid), Signal::SIGTERM).is_ok()
        {
            let until = Instant::now() + Duration::from_secs(5);
            while Instant::now() < until && matches!(self.process.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        if let Ok(None) = self.process.try_wait()
            && self.process.kill().is_ok()
        {
            let _status = self.process.wait();
        }
        if std::thread::panicking() {
            let mut err = std::io::stderr();
            let _written = err.write_all(tail(&self.log(), 60).as_bytes());
        }
    }
}

/// One chunk for each write (RFC 9112, 7.1).
struct Chunks(TcpStream);

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if !bytes.is_empty() {
            write!(self.0, "{:x}\r\n", bytes.len())?;
            self.0.write_all(bytes)?;
            self.0.write_all(b"\r\n")?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// Reads an answer to the end of the connection.
fn read(stream: TcpStream) -> Result<Answer> {
    let mut bytes = Vec::new();
    let ended = BufReader::new(stream).take(MOST).read_to_end(&mut bytes);
    // A peer that refuses what is still being sent may reset the connection after its answer.
    if bytes.is_empty() {
        ended.context("while reading the controller's answer")?;
        bail!("the controller closed the connection without an answer");
    }
    let at = bytes.windows(4).position(|it| it == b"\r\n\r\n").context("the answer has no head")?;
    let head = String::from_utf8_lossy(&bytes[..at]).to_ascii_lowercase();
    let status = head.split_whitespace().nth(1).and_then(|it| it.parse().ok()).context("no status")?;
    let body = bytes.split_off(at + 4);
    let chunked = head.lines().any(|it| it.starts_with("transfer-encoding:") && it.contains("chunked"));
    let kind = head.lines().find_map(|it| it.strip_prefix("content-type:")).unwrap_or_default();
    let kind = kind.trim().to_owned();
    Ok(Answer { status, kind, body: if chunked { joined(&body)? } else { body } })
}

fn joined(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let at = rest.windows(2).position(|it| it == b"\r\n").context("a chunk without an end")?;
        let size =
            std::str::from_utf8(&rest[..at]).ok().and_then(|it| usize::from_str_radix(it.trim(), 16).ok());
        let size = size.context("a chunk without a size")?;
        if size == 0 {
            return Ok(body);
        }
        rest = rest.get(at + 2..).context("a chunk without content")?;
        body.extend_from_slice(rest.get(..size).context("a chunk that was cut off")?);
        rest = rest.get(size + 2..).context("a chunk without an end")?;
    }
}

fn spawn(
    program: &Path,
    folder: &mut RunFolder,
    data: &Path,
    listen: SocketAddr,
) -> Result<(Child, SocketAddr)> {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(folder.file("controller.log"))
        .context("while opening the controller's log")?;
    // The folder of the run is on the command line, so that the reaper knows it for ours.
    let config = folder.file("controller.toml");
    std::fs::write(&config, "").context("while writing the controller's configuration")?;
    let mut process = Command::new(program)
        .arg("--config")
        .arg(&config)
        .arg("--data")
        .arg(data)
        .args(["serve", "--listen", &listen.to_string()])
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .context("while starting the controller")?;
    folder.watch(process.id()).context("while putting the controller under the reaper's watch")?;
    let said = process.stdout.take().context("no output of the controller")?;
    match first_line(said) {
        Ok(address) => Ok((process, address)),
        Err(error) => {
            folder.unlist(process.id());
            let _ended = process.kill().and_then(|()| process.wait());
            let log = std::fs::read_to_string(folder.file("controller.log")).unwrap_or_default();
            Err(error.context(format!("the controller's last lines:\n{}", tail(&log, 30))))
        }
    }
}

/// `listening on http://ADDRESS`
fn first_line(said: std::process::ChildStdout) -> Result<SocketAddr> {
    let (send, line) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let read = BufReader::new(said).read_line(&mut text);
        let _nobody_waits = send.send(read.map(|_| text));
    });
    let text = line.recv_timeout(START).context("the controller says nothing")?;
    let text = text.context("while reading what the controller says")?;
    let address = text.trim().rsplit("//").next().and_then(|it| it.parse().ok());
    address.with_context(|| format!("the controller does not say where it listens, but {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_joined() {
        assert_eq!(joined(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").unwrap(), b"abcde");
        assert!(joined(b"3\r\nab").is_err());
    }
}
