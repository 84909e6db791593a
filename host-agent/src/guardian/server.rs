//! The guardian process itself. See the module's words for why it is as it is.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use qapi::qmp;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, sleep_until, timeout};

use super::in_flight::{check, migrating};
use super::ownership::{Decision, Operation, Seen, decide};
use super::protocol::{MAX_LINE, Reply, Report, Request, to_hex};
use crate::transport::qmp::{AskError, Book, Deadlines, GdbSocketPath, HmpGdbServer, L2Permit, Qmp};
use crate::transport::rsp::Gdb;

/// How long the guardian tries to undo a stop while QEMU does not answer.
pub const LINGER: Duration = Duration::from_secs(600);
/// Deadline of each question to QEMU.
const STEP: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Args {
    qmp: PathBuf,
    run_dir: PathBuf,
    budget: Duration,
    pid: Option<u32>,
}

fn parse(args: impl IntoIterator<Item = OsString>) -> Option<Args> {
    let mut it = args.into_iter();
    let (mut qmp, mut run_dir, mut budget, mut pid) = (None, None, None, None);
    while let Some(name) = it.next() {
        let value = it.next()?;
        match name.to_str()? {
            "--qmp" => qmp = Some(PathBuf::from(value)),
            "--run-dir" => run_dir = Some(PathBuf::from(value)),
            "--budget-ms" => budget = value.to_str()?.parse().ok().map(Duration::from_millis),
            "--pid" => pid = Some(value.to_str()?.parse().ok()?),
            _ => return None,
        }
    }
    Some(Args { qmp: qmp?, run_dir: run_dir?, budget: budget?, pid })
}

/// Entry of the hidden subcommand; `args` are those after its name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let Some(args) = parse(args) else {
        return ExitCode::from(3);
    };
    // Our own session: the agent's terminal or process group does not take us along. It fails only
    // where we lead one already.
    let _ = nix::unistd::setsid();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => {
            let done = runtime.block_on(run(args));
            // A blocked /proc read of a helper thread must not keep us.
            runtime.shutdown_timeout(Duration::from_millis(100));
            done
        }
        Err(_) => ExitCode::from(3),
    }
}

async fn run(args: Args) -> ExitCode {
    // Registered and never acted upon: these signals do not end us.
    let ignored = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
    let _ignored: Vec<_> = ignored.into_iter().map(signal).collect();
    let Some(control) = control_socket() else {
        return ExitCode::from(3);
    };
    let (read, write) = control.into_split();
    let mut agent = Agent { read: BufReader::new(read), write, gone: false };
    let book = Book::default();
    let connected = Qmp::connect(&args.qmp, book.clone(), Deadlines::default(), args.pid).await;
    let qmp = match connected {
        Ok(qmp) => qmp,
        Err(e) => {
            agent.say(&Reply::Unreachable(e.to_string())).await;
            return ExitCode::from(3);
        }
    };
    agent.say(&Reply::Ready).await;
    let permit = L2Permit::opted_in("checked by the agent that started this guardian");
    let mut guard = Guard { args, book, qmp, permit, armed: None, complete: true };
    guard.serve(&mut agent).await;
    guard.qmp.leave().await;
    ExitCode::SUCCESS
}

/// Standard input is our end of the socket pair.
fn control_socket() -> Option<UnixStream> {
    let owned = std::io::stdin().as_fd().try_clone_to_owned().ok()?;
    let stream = std::os::unix::net::UnixStream::from(owned);
    stream.set_nonblocking(true).ok()?;
    UnixStream::from_std(stream).ok()
}

struct Agent {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
    gone: bool,
}

impl Agent {
    /// The next request; `None` when the agent is gone (or talks nonsense, which is as good).
    async fn next(&mut self) -> Option<Request> {
        let mut line = Vec::new();
        let mut limited = (&mut self.read).take(1 << 16);
        let count = limited.read_until(b'\n', &mut line).await.ok()?;
        if count == 0 {
            return None;
        }
        serde_json::from_slice(&line).ok()
    }

    async fn say(&mut self, reply: &Reply) {
        let Ok(mut line) = serde_json::to_vec(reply) else {
            return;
        };
        line.push(b'\n');
        // An agent that does not read must not hold us up.
        let sent = timeout(Duration::from_secs(2), self.write.write_all(&line)).await;
        self.gone |= !matches!(sent, Ok(Ok(())));
    }
}

/// What may have to be undone.
struct Armed {
    operation: Operation,
    before: qmp::RunState,
    /// Events from this sequence number on count.
    since: u64,
    /// The gdb server's folder and socket.
    gdb: Option<(PathBuf, GdbSocketPath)>,
    physical: bool,
    deadline: Option<Instant>,
}

struct Guard {
    args: Args,
    book: Book,
    qmp: Qmp,
    permit: L2Permit,
    armed: Option<Armed>,
    complete: bool,
}

impl Guard {
    async fn serve(&mut self, agent: &mut Agent) {
        loop {
            let deadline = self.armed.as_ref().and_then(|a| a.deadline);
            let far = Instant::now() + LINGER;
            let request = tokio::select! {
                request = agent.next() => request,
                () = sleep_until(deadline.unwrap_or(far).into()), if deadline.is_some() => {
                    let report = self.undo().await;
                    let why = format!("the pause budget of {:?} is spent", self.args.budget);
                    agent.say(&Reply::Failed { why, report }).await;
                    continue;
                }
            };
            let Some(request) = request else {
                self.undo().await;
                return;
            };
            let reply = match request {
                Request::Dump { begin, length } => self.dump(begin, length).await,
                Request::OpenGdb => self.open_gdb().await,
                Request::Connecting => self.connecting().await,
                Request::PhysicalMode => self.physical(true),
                Request::PhysicalModeOff => self.physical(false),
                Request::Close => Reply::Closed(self.undo().await),
            };
            agent.say(&reply).await;
            if agent.gone {
                self.undo().await;
                return;
            }
        }
    }

    async fn arm(&mut self, operation: Operation) -> Result<(), Reply> {
        if self.armed.is_some() {
            return Err(Reply::Refused("an operation is on already".to_owned()));
        }
        let since = self.next_seq();
        if let Err(refusal) = check(&self.qmp, STEP).await {
            return Err(Reply::Refused(refusal.to_string()));
        }
        // The check ends with the guest seen running.
        self.armed = Some(Armed {
            operation,
            before: qmp::RunState::running,
            since,
            gdb: None,
            physical: false,
            deadline: None,
        });
        Ok(())
    }

    async fn dump(&mut self, begin: i64, length: i64) -> Reply {
        if let Err(refused) = self.arm(Operation::Dump).await {
            return refused;
        }
        let taken = self.take_dump(begin, length).await;
        let report = self.undo().await;
        match taken {
            Ok(elf) if report.settled => Reply::Dump { elf: to_hex(&elf), paused_ns: report.paused_ns },
            Ok(_) => Reply::Failed { why: "the guest was left stopped".to_owned(), report },
            Err(why) => Reply::Failed { why, report },
        }
    }

    async fn take_dump(&self, begin: i64, length: i64) -> Result<Vec<u8>, String> {
        use nix::sys::memfd::{MFdFlags, memfd_create};
        let memfd = memfd_create("vmward-dump", MFdFlags::MFD_CLOEXEC).map_err(|e| e.to_string())?;
        let theirs = memfd.try_clone().map_err(|e| e.to_string())?;
        let fdname = "vmward-dump".to_owned();
        let get = qmp::getfd { fdname: fdname.clone() };
        let words = |e: AskError| e.to_string();
        self.qmp.pause_rung(&self.permit, get, Some(theirs), STEP).await.map_err(words)?;
        let dump = qmp::dump_guest_memory {
            paging: false,
            protocol: format!("fd:{fdname}"),
            begin: Some(begin),
            length: Some(length),
            detach: None,
            format: None,
        };
        let dumped = self.qmp.pause_rung(&self.permit, dump, None, self.args.budget).await;
        if let Err(e) = dumped {
            // QEMU keeps the descriptor after a refusal; after a success it has used it up.
            let close = qmp::closefd { fdname };
            let _ = self.qmp.pause_rung(&self.permit, close, None, STEP).await;
            return Err(e.to_string());
        }
        let mut file = std::fs::File::from(memfd);
        let mut elf = Vec::new();
        std::io::Seek::rewind(&mut file).map_err(|e| e.to_string())?;
        let limited = std::io::Read::take(file, MAX_LINE as u64 / 2 - 1024);
        std::io::Read::read_to_end(&mut { limited }, &mut elf).map_err(|e| e.to_string())?;
        Ok(elf)
    }

    async fn open_gdb(&mut self) -> Reply {
        let folder = self.args.run_dir.join(format!("gdb-{}", std::process::id()));
        let Some(socket) = folder.join("s").to_str().and_then(GdbSocketPath::new) else {
            return Reply::Refused(format!("{} is no path for a gdb socket", folder.display()));
        };
        if let Err(refused) = self.arm(Operation::Gdb).await {
            return refused;
        }
        if let Err(e) = std::fs::DirBuilder::new().mode(0o700).create(&folder) {
            self.armed = None;
            return Reply::Refused(format!("cannot make {}: {e}", folder.display()));
        }
        if let Some(armed) = &mut self.armed {
            armed.gdb = Some((folder, socket.clone()));
        }
        let server = HmpGdbServer::Unix(socket.clone());
        let opened = self.qmp.gdb_server(&self.permit, &server, STEP).await;
        if !Path::new(socket.as_str()).exists() {
            let why = match opened {
                Ok(words) => words.trim().to_owned(),
                Err(e) => e.to_string(),
            };
            let report = self.undo_stop().await;
            return Reply::Failed { why: format!("the gdb server did not open: {why}"), report };
        }
        Reply::GdbReady { path: socket.as_str().to_owned() }
    }

    /// The last look before the stop: still running, and nobody stopped it since we armed.
    async fn connecting(&mut self) -> Reply {
        if self.armed.as_ref().is_none_or(|a| a.gdb.is_none()) {
            return Reply::Refused("no gdb server is open".to_owned());
        }
        let checked = check(&self.qmp, STEP).await;
        let stopped = !self.seen().is_empty();
        let refused = match checked {
            Err(refusal) => Some(refusal.to_string()),
            Ok(()) if stopped => Some("somebody else stopped the guest just now".to_owned()),
            Ok(()) => None,
        };
        if let Some(why) = refused {
            // Whatever stopped it was not us: our part ends without a `cont`.
            self.undo_stop().await;
            return Reply::Refused(why);
        }
        if let Some(armed) = &mut self.armed {
            armed.deadline = Some(Instant::now() + self.args.budget);
        }
        Reply::Ok
    }

    fn physical(&mut self, on: bool) -> Reply {
        match &mut self.armed {
            Some(armed) => {
                armed.physical = on;
                Reply::Ok
            }
            None => Reply::Refused("no gdb server is open".to_owned()),
        }
    }

    /// Undoes what is ours; see [`Guard::undo_stop`]. Puts physical mode back afterwards, so that the
    /// guest is not kept waiting for that.
    async fn undo(&mut self) -> Report {
        let physical = self.armed.as_ref().is_some_and(|a| a.physical);
        let report = self.undo_stop().await;
        if physical && report.settled {
            self.reset_physical_mode().await;
        }
        report
    }

    /// Ends our operation and lets the guest run where the stop is ours; tries as long as it takes, at
    /// most [`LINGER`].
    async fn undo_stop(&mut self) -> Report {
        let Some(armed) = self.armed.take() else {
            return Report { settled: true, ..Report::default() };
        };
        let began = Instant::now();
        let mut report = Report::default();
        while began.elapsed() < LINGER {
            match self.try_undo(&armed, &mut report).await {
                Ok(()) => {
                    report.settled = true;
                    break;
                }
                Err(e) => report.state = e.to_string(),
            }
            if self.qmp_is_over() {
                "its QEMU is gone".clone_into(&mut report.state);
                report.settled = true;
                break;
            }
            sleep(Duration::from_millis(200)).await;
            self.reconnect().await;
        }
        if let Some((folder, socket)) = &armed.gdb {
            remove(folder, socket);
        }
        report.paused_ns = self.paused_ns(armed.since);
        report
    }

    async fn try_undo(&self, armed: &Armed, report: &mut Report) -> Result<(), AskError> {
        if armed.gdb.is_some() {
            // Closes the server and its session: after this no stop of ours can come.
            self.qmp.gdb_server(&self.permit, &HmpGdbServer::None, STEP).await?;
        }
        let now = self.qmp.ask(qmp::query_status {}, STEP).await?.status;
        let migrates = now != qmp::RunState::running && migrating(&self.qmp, STEP).await?;
        let seen = self.seen_since(armed.since);
        // A gdb session that was never let go cannot have stopped anything.
        let ours = armed.gdb.is_none() || armed.deadline.is_some();
        let before = if ours { armed.before } else { qmp::RunState::paused };
        match decide(armed.operation, before, &seen, self.complete, migrates, now) {
            Decision::Running => {}
            Decision::LeaveAlone(why) => report.left_alone = Some(why.to_owned()),
            Decision::Continue => {
                self.qmp.pause_rung(&self.permit, qmp::cont {}, None, STEP).await?;
                report.continued = true;
            }
        }
        let now = self.qmp.ask(qmp::query_status {}, STEP).await?.status;
        report.state = format!("{now:?}");
        Ok(())
    }

    /// The stub's physical mode outlives the session: one more short session, with its own check.
    async fn reset_physical_mode(&mut self) {
        let Reply::GdbReady { path } = self.open_gdb().await else {
            return;
        };
        if self.connecting().await == Reply::Ok {
            let step = self.args.budget;
            let session = async {
                let mut gdb = Gdb::attach(Path::new(&path), &self.permit, step).await?;
                gdb.physical_mode(false).await?;
                gdb.detach().await
            };
            // Whatever came of it, the clean-up below lets the guest run.
            let _ = timeout(step, session).await;
        }
        self.undo_stop().await;
    }

    fn qmp_is_over(&self) -> bool {
        use crate::transport::process::process_state;
        let pid = self.args.pid.or(self.qmp.qemu_pid());
        pid.is_some_and(|pid| process_state(pid).is_over())
    }

    async fn reconnect(&mut self) {
        if self.qmp.is_open() {
            return;
        }
        self.complete = false;
        let d = Deadlines::default();
        if let Ok(qmp) = Qmp::connect(&self.args.qmp, self.book.clone(), d, self.args.pid).await {
            self.qmp = qmp;
        }
    }

    fn next_seq(&self) -> u64 {
        self.book.history().events.last().map_or(0, |e| e.seq + 1)
    }

    fn seen(&self) -> Vec<Seen> {
        self.armed.as_ref().map(|a| self.seen_since(a.since)).unwrap_or_default()
    }

    fn seen_since(&self, since: u64) -> Vec<Seen> {
        let history = self.book.history();
        let new = history.events.iter().filter(|e| e.seq >= since);
        new.filter_map(|e| Seen::of(&e.name)).collect()
    }

    /// Sum of the stretches from STOP to RESUME.
    fn paused_ns(&self, since: u64) -> u64 {
        let history = self.book.history();
        let (mut sum, mut stopped) = (0, None);
        for event in history.events.iter().filter(|e| e.seq >= since) {
            match (Seen::of(&event.name), stopped) {
                (Some(Seen::Stop), None) => stopped = Some(event.at.monotonic_ns),
                (Some(Seen::Resume), Some(from)) => {
                    sum += event.at.monotonic_ns.saturating_sub(from);
                    stopped = None;
                }
                _ => {}
            }
        }
        sum
    }
}

fn remove(folder: &Path, socket: &GdbSocketPath) {
    // QEMU removes the socket itself when it closes the server.
    let _ = std::fs::remove_file(socket.as_str());
    let _ = std::fs::remove_dir(folder);
}
