//! The control agent: commands from the host over a virtio-serial port, and a beat.
//!
//! It keeps its memory locked and touches no disk, so that it can tell the truth about a guest whose
//! application no longer can.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use serde_json::{Value, json};

use crate::fault::{self, Start};
use crate::{app, init, kmsg, proc};

const PORT_NAME: &str = "org.vmward.fixture";
const BEAT_EVERY: Duration = Duration::from_millis(200);
/// How long a reply may wait for the host to read.
const REPLY_PATIENCE: Duration = Duration::from_secs(10);
/// Between the reply and a fault that would have prevented it.
const ARM_DELAY: Duration = Duration::from_millis(300);
const LONGEST_COMMAND: usize = 4096;

/// Says that the guest is up, then serves the port for ever.
pub(crate) fn run(_: &[String]) -> Result<()> {
    mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE).context("cannot lock memory")?;
    let port = open_port();
    // The application's first label; where PID 1 started none there is nothing to wait for.
    let app = Path::new("/run/app.pid").exists();
    let asked = Instant::now();
    while app && !Path::new(app::READY).exists() {
        if asked.elapsed() > Duration::from_secs(60) {
            bail!("the application wrote no label");
        }
        sleep(Duration::from_millis(50));
    }
    kmsg::write(kmsg::INFO, &format!("PATIENT READY app={} control={}", yes(app), yes(port.is_some())));
    let Some(port) = port else { return Ok(()) };
    let out = Mutex::new(());
    thread::scope(|scope| {
        scope.spawn(|| beat(&port, &out));
        serve(&port, &out)
    })
}

fn yes(it: bool) -> &'static str {
    if it { "yes" } else { "no" }
}

/// The port, when the machine has one of that name. Devices appear a moment after their driver.
fn open_port() -> Option<File> {
    for _ in 0..20 {
        for entry in fs::read_dir("/sys/class/virtio-ports").into_iter().flatten().flatten() {
            let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
            if name.trim() == PORT_NAME {
                let path = Path::new("/dev").join(entry.file_name());
                let file =
                    OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path);
                if let Ok(file) = file {
                    return Some(file);
                }
            }
        }
        sleep(Duration::from_millis(50));
    }
    None
}

fn beat(port: &File, out: &Mutex<()>) {
    for n in 1_u64.. {
        // While a long reply is written the beat waits: lines must stay whole. Without a host
        // the beat is lost, and its number shows that.
        if send(port, out, &json!({ "beat": n }), Duration::ZERO).is_err() {
            kmsg::write(kmsg::ERROR, "control: cannot write to the port");
        }
        // The faults' processes are our children; nobody else waits for them.
        while waitpid(None, Some(WaitPidFlag::WNOHANG)).is_ok_and(|it| it != WaitStatus::StillAlive) {}
        sleep(BEAT_EVERY);
    }
}

/// Writes one line. Gives up silently when nobody reads and nothing was written yet.
fn send(mut port: &File, out: &Mutex<()>, value: &Value, patience: Duration) -> Result<()> {
    let _guard = out.lock().unwrap_or_else(PoisonError::into_inner);
    let line = format!("{value}\n");
    let mut rest = line.as_bytes();
    let asked = Instant::now();
    while !rest.is_empty() {
        match port.write(rest) {
            Ok(n) => rest = rest.get(n..).unwrap_or_default(),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                let begun = rest.len() < line.len();
                let patience = if begun { REPLY_PATIENCE } else { patience };
                if asked.elapsed() >= patience {
                    return Ok(());
                }
                sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn serve(mut port: &File, out: &Mutex<()>) -> Result<()> {
    let mut line = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        let mut wanted = [PollFd::new(port.as_fd(), PollFlags::POLLIN)];
        poll(&mut wanted, PollTimeout::from(500_u16)).ok();
        match port.read(&mut chunk) {
            // No host on the other side.
            Ok(0) => {
                line.clear();
                sleep(Duration::from_millis(50));
            }
            Ok(n) => {
                for &byte in chunk.iter().take(n) {
                    if byte == b'\n' {
                        let text = String::from_utf8_lossy(&line).trim().to_owned();
                        line.clear();
                        answer(port, out, &text)?;
                    } else if line.len() < LONGEST_COMMAND {
                        line.push(byte);
                    }
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error).context("cannot read the port"),
        }
    }
}

fn answer(port: &File, out: &Mutex<()>, text: &str) -> Result<()> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut later = None;
    let result = match words.as_slice() {
        [] => return Ok(()),
        ["fault", name, arguments @ ..] => match fault::start(name, arguments) {
            Ok(Start::Shown(proof)) => Ok(json!({ "proof": proof })),
            Ok(Start::Armed(armed, action)) => {
                later = Some(action);
                Ok(json!({ "armed": armed }))
            }
            Err(error) => Err(error),
        },
        words => command(words),
    };
    let mut reply = json!({ "cmd": text });
    match (result, reply.as_object_mut()) {
        (Ok(Value::Object(more)), Some(reply)) => {
            reply.insert("ok".into(), true.into());
            reply.extend(more);
        }
        (Ok(_), _) | (_, None) => {}
        (Err(error), Some(reply)) => {
            reply.insert("ok".into(), false.into());
            reply.insert("error".into(), format!("{error:#}").into());
        }
    }
    send(port, out, &reply, REPLY_PATIENCE)?;
    if let Some(action) = later {
        sleep(ARM_DELAY);
        if let Err(error) = action() {
            kmsg::write(kmsg::ERROR, &format!("control: {text}: {error:#}"));
        }
    }
    Ok(())
}

/// Threads that sleep, for a guest with many of them. They stay.
fn threads(count: u32) -> Result<Value> {
    for _ in 0..count {
        let sleeper = || loop {
            sleep(Duration::from_secs(3600));
        };
        std::thread::Builder::new().stack_size(16 << 10).spawn(sleeper).context("cannot start a thread")?;
    }
    Ok(json!({ "threads": count }))
}

fn command(words: &[&str]) -> Result<Value> {
    match words {
        ["ping"] => Ok(json!({})),
        ["tasks"] => Ok(json!({ "tasks": proc::tasks().iter().map(proc::Task::json).collect::<Vec<_>>() })),
        ["stat"] => Ok(stat()),
        ["faults"] => Ok(json!({ "faults": fault::ALL.iter().map(|it| it.name).collect::<Vec<_>>() })),
        ["heal", name] => Ok(json!({ "proof": fault::heal(name)? })),
        ["symbol", name] => symbol(name),
        ["threads", count] => threads(count.parse().context("how many threads?")?),
        ["load", path, parameters @ ..] => {
            init::load_module(path, &parameters.join(" "))?;
            Ok(json!({}))
        }
        ["respawn", "on"] => {
            match fs::remove_file(init::NO_RESPAWN) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
            Ok(json!({}))
        }
        ["respawn", "off"] => {
            fs::write(init::NO_RESPAWN, "")?;
            Ok(json!({}))
        }
        _ => bail!("no such command"),
    }
}

fn stat() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let app: Value = serde_json::from_str(&read(app::COUNTERS)).unwrap_or(Value::Null);
    let cpu: Vec<String> =
        read("/proc/stat").lines().filter(|it| it.starts_with("cpu")).map(str::to_owned).collect();
    json!({
        "app": app,
        "cpu": cpu,
        "meminfo": proc::table("/proc/meminfo"),
        "vmstat": vmstat(),
        "pids": {
            "shell": proc::child("shell").ok(),
            "app": proc::child("app").ok(),
            "control": std::process::id(),
        },
        "uptime": read("/proc/uptime").split_whitespace().next(),
        "release": read("/proc/sys/kernel/osrelease").trim(),
    })
}

/// The counters that show swapping, out of some 150.
fn vmstat() -> Value {
    let wanted = ["pgfault", "pgmajfault", "pswpin", "pswpout", "oom_kill", "nr_dirty", "nr_writeback"];
    proc::table("/proc/vmstat").into_iter().filter(|(name, _)| wanted.contains(&name.as_str())).collect()
}

fn symbol(name: &str) -> Result<Value> {
    let symbols = fs::read_to_string("/proc/kallsyms").context("cannot read /proc/kallsyms")?;
    for line in symbols.lines() {
        let mut fields = line.split_whitespace();
        let (address, _, found) = (fields.next(), fields.next(), fields.next());
        if let (Some(address), Some(found)) = (address, found)
            && found == name
        {
            return Ok(json!({ "address": address }));
        }
    }
    bail!("the kernel has no symbol {name}")
}
