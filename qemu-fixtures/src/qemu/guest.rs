//! A running guest: its sockets, its monitor, its control port, its end.

use super::args::disk_copy;
use super::builder::Builder;
use super::console::Watch;
use super::devices::{Line, Source};
use super::line::remaining;
use super::run_folder::RunFolder;
use super::spawn::spawn;
use super::{Control, Error, Qmp, Result};
use crate::nbd::NbdServer;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long QEMU may take until its monitor answers.
const MONITOR_WAIT: Duration = Duration::from_secs(30);
/// Boots that are tried before a guest is given up.
const MOST_BOOTS: u32 = 3;
/// Console text that ends a boot before its ready mark.
const DEADLY: [&str; 3] = ["PANIC: double fault", "Kernel panic - not syncing", "general protection fault"];

static BOOT_RETRIES: AtomicU32 = AtomicU32::new(0);

/// How many boots of this process died before READY and were tried again.
pub fn boot_retries() -> u32 {
    BOOT_RETRIES.load(Ordering::Relaxed)
}

/// Where the console is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsoleAddress {
    /// A unix socket.
    Unix(PathBuf),
    /// A TCP port on 127.0.0.1.
    Tcp(u16),
    /// A terminal device.
    Pty(PathBuf),
}

/// A QEMU process of ours. Dropping it kills QEMU and removes its folder.
#[derive(Debug)]
pub struct Guest {
    builder: Builder,
    // Declared before `run`: the process ends before its folder goes.
    process: Process,
    nbd: Option<NbdServer>,
    qmp: Option<Qmp>,
    control: Option<Control>,
    run: RunFolder,
    boots: u32,
    ready: bool,
    twin: Option<Box<Guest>>,
}

#[derive(Debug)]
struct Process {
    child: Child,
    ended: Option<String>,
}

impl Builder {
    /// Starts QEMU and returns as soon as its monitor answers.
    pub fn start(&self) -> Result<Guest> {
        let mut run = RunFolder::new()?;
        let nbd = provide_disks(self, run.path())?;
        let process = launch(self, &mut run)?;
        let mut guest = Guest {
            builder: self.clone(),
            process,
            nbd,
            qmp: None,
            control: None,
            run,
            boots: 1,
            ready: false,
            twin: None,
        };
        guest.connect_monitor()?;
        Ok(guest)
    }

    /// Starts QEMU and waits for the ready mark. A boot that dies before it is tried again, three
    /// times in all; the retries are counted in [`boot_retries`].
    pub fn boot(&self) -> Result<Guest> {
        let mut last = String::new();
        let mut tail = String::new();
        for attempt in 1..=MOST_BOOTS {
            let mut guest = self.start()?;
            guest.boots = attempt;
            match guest.wait_ready() {
                Ok(()) => return Ok(guest),
                Err(Error::Boot { last: why, tail: text, .. }) => {
                    BOOT_RETRIES.fetch_add(1, Ordering::Relaxed);
                    last = why;
                    tail = text;
                }
                Err(err) => return Err(err),
            }
        }
        Err(Error::Boot { name: self.name.clone(), attempts: MOST_BOOTS, last, tail })
    }
}

impl Guest {
    /// QEMU's process id.
    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// The guest's name.
    pub fn name(&self) -> &str {
        &self.builder.name
    }

    /// The description it was made from.
    pub fn builder(&self) -> &Builder {
        &self.builder
    }

    /// The folder of its sockets.
    pub fn folder(&self) -> &Path {
        self.run.path()
    }

    /// The monitor socket that is free for the agent (the first of the builder's).
    pub fn qmp_path(&self) -> PathBuf {
        let first = self.builder.qmp_sockets.first();
        self.run.path().join(first.map_or(Path::new("qmp.sock"), PathBuf::as_path))
    }

    /// How many boots it took to get ready.
    pub fn boots(&self) -> u32 {
        self.boots
    }

    /// The fixture's own monitor session.
    pub fn qmp(&mut self) -> Result<&mut Qmp> {
        if self.qmp.is_none() {
            self.connect_monitor()?;
        }
        self.qmp.as_mut().ok_or_else(|| Error::Setup("no monitor session".to_owned()))
    }

    fn connect_monitor(&mut self) -> Result<()> {
        let path = self.run.file("fixture.sock");
        let deadline = Instant::now() + MONITOR_WAIT;
        while !path.exists() {
            self.check_alive()?;
            if Instant::now() > deadline {
                return Err(Error::Timeout {
                    what: format!("monitor socket {}", path.display()),
                    waited: MONITOR_WAIT,
                });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.qmp = Some(Qmp::connect(&path, remaining(deadline))?);
        Ok(())
    }

    /// Where the console is. For TCP and pty QEMU is asked.
    pub fn console(&mut self) -> Result<ConsoleAddress> {
        if self.builder.console.line == Line::Unix {
            let path = self.builder.console.path.clone();
            let path = path.unwrap_or_else(|| self.run.file("console.sock"));
            return Ok(ConsoleAddress::Unix(path));
        }
        let list = self.qmp()?.execute("query-chardev", json!({}))?;
        let entries = list.as_array().map(Vec::as_slice).unwrap_or_default();
        let labels = ["console", "console-base"];
        let file_name = entries
            .iter()
            .filter(|it| labels.contains(&it["label"].as_str().unwrap_or_default()))
            .filter_map(|it| it["filename"].as_str())
            .find(|it| it.contains("pty:") || it.contains("tcp:"))
            .unwrap_or_default();
        let strange = || Error::Protocol {
            what: "query-chardev",
            answer: list.to_string().chars().take(400).collect(),
        };
        if let Some(path) = file_name.strip_prefix("pty:") {
            return Ok(ConsoleAddress::Pty(PathBuf::from(path)));
        }
        let port = file_name
            .split("127.0.0.1:")
            .nth(1)
            .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next())
            .and_then(|digits| digits.parse().ok());
        port.map(ConsoleAddress::Tcp).ok_or_else(strange)
    }

    /// The console's socket or terminal device; a TCP console has no path.
    pub fn console_path(&mut self) -> Result<PathBuf> {
        match self.console()? {
            ConsoleAddress::Unix(path) | ConsoleAddress::Pty(path) => Ok(path),
            ConsoleAddress::Tcp(port) => {
                Err(Error::Setup(format!("the console is on TCP port {port} and has no path")))
            }
        }
    }

    /// QEMU's own log of the console, where the builder kept one.
    pub fn console_log(&self) -> Option<PathBuf> {
        self.builder.console_log.then(|| self.run.file("console.log"))
    }

    /// All console text so far, from QEMU's log.
    pub fn console_text(&self) -> Result<String> {
        let path = self.run.file("console.log");
        let bytes = std::fs::read(&path).map_err(Error::io("cannot read", &path))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Asks the patient over its control port. A connection that failed is made anew next time,
    /// so that a late answer never meets the wrong question.
    pub fn control(&mut self, request: &str, wait: Duration) -> Result<Value> {
        let mut control = match self.control.take() {
            Some(control) => control,
            None => Control::connect(&self.run.file("control.sock"), wait)?,
        };
        let answer = control.ask(request, wait);
        if matches!(answer, Ok(_) | Err(Error::Control { .. })) {
            self.control = Some(control);
        }
        answer
    }

    /// Waits for a beat of the patient's control agent, which comes five times a second while the
    /// guest's user space runs. [`Error::Timeout`] is the proof that it stands still.
    pub fn next_beat(&mut self, wait: Duration) -> Result<u64> {
        let mut control = match self.control.take() {
            Some(control) => control,
            None => Control::connect(&self.run.file("control.sock"), wait)?,
        };
        let beat = control.next_beat(wait);
        self.control = Some(control);
        beat
    }

    /// The fixture's NBD server, when a disk is behind one.
    pub fn nbd(&self) -> Result<&NbdServer> {
        self.nbd.as_ref().ok_or_else(|| Error::Setup(format!("no disk of {} is on NBD", self.name())))
    }

    /// Waits until the console prints the ready mark.
    pub fn wait_ready(&mut self) -> Result<()> {
        let mark = self.builder.ready_mark.clone();
        let wait = self.builder.ready_wait;
        let mut watch = self.watch_console()?;
        let deadline = Instant::now() + wait;
        loop {
            watch.refresh();
            if watch.contains(&mark) {
                self.ready = true;
                return Ok(());
            }
            let dead = watch.line_with(&DEADLY);
            let ended = self.check_alive().err().map(|err| err.to_string());
            let late =
                (Instant::now() > deadline).then(|| format!("no `{mark}` within {} s", wait.as_secs()));
            if let Some(last) = dead.or(ended).or(late) {
                return Err(Error::Boot {
                    name: self.name().to_owned(),
                    attempts: self.boots,
                    last,
                    tail: watch.tail(6),
                });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the console has printed `mark` at any time so far.
    pub fn wait_console(&mut self, mark: &str, wait: Duration) -> Result<()> {
        let mut watch = self.watch_console()?;
        let deadline = Instant::now() + wait;
        loop {
            watch.refresh();
            if watch.contains(mark) {
                return Ok(());
            }
            self.check_alive()?;
            if Instant::now() > deadline {
                return Err(Error::Timeout {
                    what: format!("`{mark}` on the console, which ends with {}", watch.tail(4)),
                    waited: wait,
                });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn watch_console(&mut self) -> Result<Watch> {
        match (self.console_log(), self.console()?) {
            (Some(log), _) => Watch::log_file(&log),
            (None, ConsoleAddress::Unix(path)) => Watch::socket(&path),
            (None, other) => {
                Err(Error::Setup(format!("a console on {other:?} without a log file cannot be watched")))
            }
        }
    }

    /// Fails with [`Error::Voided`] when a ready guest took a double fault of the emulator's.
    /// Call it before anything that was seen is believed.
    pub fn check_not_void(&mut self) -> Result<()> {
        let Some(log) = self.console_log().filter(|_| self.ready) else {
            return Ok(());
        };
        let mut watch = Watch::log_file(&log)?;
        watch.refresh();
        watch.line_with(&["PANIC: double fault"]).map_or(Ok(()), |line| Err(Error::Voided { line }))
    }

    /// Fails with [`Error::Exited`] when QEMU ended.
    pub fn check_alive(&mut self) -> Result<()> {
        if self.process.ended.is_none() {
            let pid = self.pid();
            // Off the list for a moment, rather than on it with a number that is somebody else's.
            self.run.unlist(pid);
            match self.process.child.try_wait() {
                Ok(None) => {
                    self.run.list(pid);
                    return Ok(());
                }
                Ok(Some(status)) => self.process.ended = Some(status.to_string()),
                Err(err) => return Err(Error::io("cannot wait for QEMU in", self.run.path())(err)),
            }
        }
        let stderr = std::fs::read_to_string(self.run.file("stderr")).unwrap_or_default();
        Err(Error::Exited {
            status: self.process.ended.clone().unwrap_or_default(),
            stderr: stderr.lines().rev().take(3).collect::<Vec<_>>().join(" | "),
        })
    }

    /// Sends `signal` to QEMU.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.check_alive()?;
        kill(Pid::from_raw(self.pid().cast_signed()), signal)
            .map_err(|errno| Error::io("cannot signal QEMU in", self.run.path())(errno.into()))
    }

    /// Kills QEMU and waits for its end; the folder stays until the handle is dropped.
    pub fn kill(&mut self) -> Result<()> {
        self.qmp = None;
        self.control = None;
        let pid = self.pid();
        self.run.unlist(pid);
        self.process.end();
        Ok(())
    }

    /// Ends this QEMU and starts another in the same folder, with the same sockets and the same
    /// disks (their contents kept), that waits for a migration from `uri`: what a management
    /// layer does when it restores a saved guest.
    pub fn restart_incoming(&mut self, uri: &str) -> Result<()> {
        self.kill()?;
        // The monitor socket of the old one must not be taken for the new one's.
        let socket = self.run.file("fixture.sock");
        std::fs::remove_file(&socket).map_err(Error::io("cannot remove", &socket))?;
        let builder = self.builder.clone().incoming(uri);
        self.process = launch(&builder, &mut self.run)?;
        self.connect_monitor()
    }

    /// Keeps the QEMU that this guest was migrated to.
    pub fn keep_twin(&mut self, twin: Guest) {
        self.twin = Some(Box::new(twin));
    }

    /// The QEMU that this guest was migrated to.
    pub fn twin_guest(&mut self) -> Option<&mut Guest> {
        self.twin.as_deref_mut()
    }

    /// Ends this QEMU, and keeps on as the one that it was migrated to. This guest's disks are still
    /// served from its folder, which stays as long as the new one.
    pub fn become_twin(&mut self) -> Result<()> {
        let twin = self.twin.take();
        let twin = *twin.ok_or_else(|| Error::Setup("the guest was not migrated".to_owned()))?;
        self.kill()?;
        let old = std::mem::replace(self, twin);
        self.twin = Some(Box::new(old));
        Ok(())
    }

    /// A description of the same guest on the same disks, for the other end of a migration.
    pub fn twin(&self) -> Builder {
        let mut builder = self.builder.clone();
        for disk in &mut builder.disks {
            disk.source = match &disk.source {
                Source::CopyOf(_) => Source::File(disk_copy(self.run.path(), &disk.name)),
                Source::NbdCopyOf(_) => {
                    Source::NbdSocket { socket: self.run.file("nbd.sock"), export: disk.name.clone() }
                }
                other => other.clone(),
            };
        }
        builder
    }
}

impl Process {
    fn end(&mut self) {
        if self.ended.is_some() {
            return;
        }
        // SIGKILL ends a stopped process too. It fails only for one that has ended already.
        let _already_gone = self.child.kill();
        self.ended = Some(match self.child.wait() {
            Ok(status) => status.to_string(),
            Err(err) => err.to_string(),
        });
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let pid = self.pid();
        self.run.unlist(pid);
        self.process.end();
    }
}

/// Copies the disks that want it and starts the NBD server when one is needed.
fn provide_disks(builder: &Builder, folder: &Path) -> Result<Option<NbdServer>> {
    let mut exports = Vec::new();
    for disk in &builder.disks {
        let (Source::CopyOf(image) | Source::NbdCopyOf(image)) = &disk.source else {
            continue;
        };
        let copy = disk_copy(folder, &disk.name);
        std::fs::copy(image, &copy).map_err(Error::io("cannot copy", image))?;
        // Images in a cache are read-only; the guest's copy is not.
        let mut permissions =
            std::fs::metadata(&copy).map_err(Error::io("cannot stat", &copy))?.permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
        std::fs::set_permissions(&copy, permissions).map_err(Error::io("cannot chmod", &copy))?;
        if matches!(disk.source, Source::NbdCopyOf(_)) {
            exports.push((disk.name.clone(), copy));
        }
    }
    if exports.is_empty() {
        return Ok(None);
    }
    let socket = folder.join("nbd.sock");
    NbdServer::start(&socket, exports).map(Some).map_err(Error::io("cannot serve disks on", socket))
}

fn launch(builder: &Builder, run: &mut RunFolder) -> Result<Process> {
    let stderr = run.file("stderr");
    let stderr_file = File::create(&stderr).map_err(Error::io("cannot create", &stderr))?;
    let mut command = Command::new(builder.program());
    command.args(builder.to_args(run.path())?).stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr_file);
    let child = spawn(command).map_err(Error::io("cannot start", builder.program()))?;
    let mut process = Process { child, ended: None };
    if let Err(err) = run.watch(process.child.id()) {
        process.end();
        return Err(err);
    }
    Ok(process)
}
