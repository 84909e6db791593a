//! A QEMU that is not one: a monitor and a console socket that misbehave on command. What it stands
//! for cannot be had from a real QEMU at will: garbage on a monitor, a close in mid-answer, 100 MB of
//! console in one go.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// How the monitor behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Monitor {
    /// Greets and answers the few questions of a round.
    Healthy,
    /// Accepts and says nothing.
    Silent,
    /// Greets with something that is not QMP.
    Garbage,
    /// Greets, then closes in the middle of its first answer.
    ClosesMidReply,
}

/// What the console says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Console {
    /// A label each second.
    Labels,
    /// 100 MB as fast as they are taken.
    Floods,
}

/// Bytes of a flood.
pub const FLOOD: u64 = 100 << 20;

#[derive(Debug)]
struct Shared {
    monitor: Mutex<Monitor>,
    console: Mutex<Console>,
    /// Connections to the monitor, which may have ended.
    talking: Mutex<Vec<UnixStream>>,
    flooded: AtomicU64,
    ended: AtomicBool,
}

/// The fake. Dropping it ends its threads.
#[derive(Debug)]
pub struct FakeQemu {
    shared: Arc<Shared>,
    qmp: PathBuf,
    console: PathBuf,
}

impl FakeQemu {
    /// Starts to listen in `folder`.
    ///
    /// # Errors
    /// When the sockets cannot be made.
    pub fn start(folder: &Path) -> Result<FakeQemu> {
        let shared = Arc::new(Shared {
            monitor: Mutex::new(Monitor::Healthy),
            console: Mutex::new(Console::Labels),
            talking: Mutex::new(Vec::new()),
            flooded: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        });
        let (qmp, console) = (folder.join("fake-qmp.sock"), folder.join("fake-console.sock"));
        listen(&qmp, &shared, serve_monitor)?;
        listen(&console, &shared, serve_console)?;
        Ok(FakeQemu { shared, qmp, console })
    }

    /// Changes how the monitor behaves, from the next connection or command on.
    pub fn monitor(&self, behaves: Monitor) {
        *self.shared.monitor.lock().unwrap_or_else(PoisonError::into_inner) = behaves;
    }

    /// Tells of an event on every monitor connection that is open.
    pub fn tell(&self, event: &str) {
        let at = json!({ "seconds": 1, "microseconds": 0 });
        let line = format!("{}\r\n", json!({ "event": event, "timestamp": at, "data": {} }));
        let mut talking = self.shared.talking.lock().unwrap_or_else(PoisonError::into_inner);
        talking.retain_mut(|it| it.write_all(line.as_bytes()).is_ok());
    }

    /// Changes what the console says.
    pub fn console(&self, says: Console) {
        self.shared.flooded.store(0, Ordering::Relaxed);
        *self.shared.console.lock().unwrap_or_else(PoisonError::into_inner) = says;
    }

    /// Bytes of the present flood that were taken so far.
    pub fn flooded(&self) -> u64 {
        self.shared.flooded.load(Ordering::Relaxed)
    }

    /// The monitor's socket.
    pub fn qmp_path(&self) -> &Path {
        &self.qmp
    }

    /// The console's socket.
    pub fn console_path(&self) -> &Path {
        &self.console
    }
}

impl Drop for FakeQemu {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Wakes the threads that wait for a connection.
        for path in [&self.qmp, &self.console] {
            let _woken = UnixStream::connect(path);
            let _removed = std::fs::remove_file(path);
        }
    }
}

fn listen(
    path: &Path,
    shared: &Arc<Shared>,
    serve: fn(&UnixStream, &Shared) -> std::io::Result<()>,
) -> Result<()> {
    let listener = UnixListener::bind(path).with_context(|| format!("while making {}", path.display()))?;
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            if shared.ended.load(Ordering::Relaxed) {
                return;
            }
            let Ok(stream) = stream else { continue };
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                // The other side may go at any moment; that ends this connection and nothing else.
                let _ended = stream
                    .set_read_timeout(Some(Duration::from_millis(200)))
                    .and_then(|()| stream.set_write_timeout(Some(Duration::from_millis(200))))
                    .and_then(|()| serve(&stream, &shared));
                // Another handle of it is kept to tell of events: the other side is to see the end all the same.
                let _already_gone = stream.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    Ok(())
}

fn monitor_now(shared: &Shared) -> Monitor {
    *shared.monitor.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve_monitor(stream: &UnixStream, shared: &Shared) -> std::io::Result<()> {
    let mut out = stream;
    match monitor_now(shared) {
        Monitor::Silent => {}
        Monitor::Garbage => out.write_all(b"\x00\xffSSH-2.0-OpenSSH\r\n{]\r\n")?,
        Monitor::Healthy | Monitor::ClosesMidReply => {
            let greeting = json!({ "QMP": { "version": { "qemu": { "major": 7, "minor": 2, "micro": 22 }, "package": "fake" }, "capabilities": ["oob"] } });
            out.write_all(format!("{greeting}\r\n").as_bytes())?;
        }
    }
    shared.talking.lock().unwrap_or_else(PoisonError::into_inner).push(stream.try_clone()?);
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while !shared.ended.load(Ordering::Relaxed) {
        match reader.read_line(&mut line) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                // A line that came in part stays in `line` and is read on.
                continue;
            }
            Err(error) => return Err(error),
        }
        let command: Value = serde_json::from_str(&line).unwrap_or_default();
        line.clear();
        match monitor_now(shared) {
            Monitor::Silent => {}
            Monitor::Garbage => out.write_all(b"]]]]\r\n")?,
            Monitor::ClosesMidReply => {
                out.write_all(b"{\"return\": {\"status\": \"runn")?;
                return Ok(());
            }
            Monitor::Healthy => out.write_all(format!("{}\r\n", answer(&command)).as_bytes())?,
        }
    }
    Ok(())
}

/// What a healthy QEMU would say.
fn answer(command: &Value) -> Value {
    let result = match command["execute"].as_str().unwrap_or_default() {
        "query-status" => json!({ "running": true, "singlestep": false, "status": "running" }),
        "query-migrate" => json!({}),
        "qmp_capabilities" => json!({}),
        other => {
            return json!({ "id": command["id"], "error": { "class": "CommandNotFound", "desc": format!("The command {other} has not been found") } });
        }
    };
    json!({ "id": command["id"], "return": result })
}

fn serve_console(stream: &UnixStream, shared: &Shared) -> std::io::Result<()> {
    let mut out = stream;
    let mut label = 0_u64;
    let mut next = Instant::now();
    let block = vec![b'x'; 4096 - 1].into_iter().chain([b'\n']).collect::<Vec<u8>>();
    while !shared.ended.load(Ordering::Relaxed) {
        let says = *shared.console.lock().unwrap_or_else(PoisonError::into_inner);
        if says == Console::Floods && shared.flooded.load(Ordering::Relaxed) < FLOOD {
            match out.write(&block) {
                Ok(n) => {
                    shared.flooded.fetch_add(n as u64, Ordering::Relaxed);
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) => {}
                Err(error) => return Err(error),
            }
            continue;
        }
        if Instant::now() >= next {
            label += 1;
            next += Duration::from_secs(1);
            out.write_all(format!("\r\napp: label {label} writes={label}\r\n").as_bytes())?;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
