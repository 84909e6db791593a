//! The operations of rung L2, each under a guardian: registers by one-page dump and by gdb stub.

use std::path::{Path, PathBuf};
use std::time::Duration;

use qapi::qmp;

use super::client::{Guardian, GuardianCommand, GuardianError};
use super::dump::{self, DumpError};
use super::ownership::{Decision, Operation, decide};
use super::protocol::{Reply, Report, Request, from_hex};
use crate::transport::qmp::{Book, Deadlines, HmpGdbServer, L2Permit, Monitor, Qmp, Settings};
use crate::transport::rsp::{Gdb, RspError, VcpuRegisters};

/// How L2 is done on this host.
#[derive(Debug, Clone)]
pub struct L2Settings {
    /// How the guardian is started.
    pub command: GuardianCommand,
    /// Folder for the gdb socket's 0700 folder; QEMU must be able to make a socket in what the agent
    /// makes there (same user, or root).
    pub run_dir: PathBuf,
    /// Longest pause.
    pub budget: Duration,
}

impl L2Settings {
    /// The usual: this binary as guardian, a budget of one second.
    #[must_use]
    pub fn new(run_dir: PathBuf) -> Self {
        Self { command: GuardianCommand::default(), run_dir, budget: Duration::from_secs(1) }
    }
}

/// What an L2 operation brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// Registers of each vCPU, all of one moment.
    pub vcpus: Vec<VcpuRegisters>,
    /// The guest kernel's VMCOREINFO (dump only).
    pub vmcoreinfo: Option<Vec<u8>>,
    /// The dump as QEMU wrote it (dump only).
    pub elf: Option<Vec<u8>>,
    /// How long the guest stood still, from STOP to RESUME.
    pub paused: Duration,
}

/// Why an L2 operation brought nothing. The guest runs unless a variant says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum L2Error {
    /// Refused before anything was stopped.
    #[error("not done, nothing was stopped: {0}")]
    Refused(String),
    /// The guardian could not be used; nothing was stopped, or it was undone.
    #[error(transparent)]
    Guardian(#[from] GuardianError),
    /// It failed on the way.
    #[error("{why} (the guest is {}{})", .report.state, if .report.settled { "" } else { "; the guardian keeps trying" })]
    Failed {
        /// What.
        why: String,
        /// How the guest was left.
        report: Report,
    },
    /// The gdb session failed; the guardian has undone the stop.
    #[error("the gdb session failed")]
    Session(#[from] RspError),
    /// The dump could not be read.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// The guardian said something else than it should.
    #[error("the guardian answered out of turn")]
    OutOfTurn,
}

/// Registers of all vCPUs by a one-page dump: QEMU stops and resumes the guest within one command, about
/// a millisecond. `begin` must be RAM (0 on x86, 0x4000_0000 on aarch64 `virt`).
///
/// # Errors
/// [`L2Error`].
pub async fn registers_by_dump(
    monitor: &Monitor,
    _permit: &L2Permit,
    settings: &L2Settings,
    begin: u64,
) -> Result<Captured, L2Error> {
    let lease = monitor.lend().await;
    let mut guardian = start(monitor.settings(), settings).await?;
    let request = Request::Dump { begin: i64::try_from(begin).unwrap_or(0), length: 4096 };
    // The check before and the clean-up after come on top of the pause.
    let reply = guardian.ask(&request, settings.budget + Duration::from_secs(20)).await;
    guardian.leave().await;
    drop(lease);
    match reply? {
        Reply::Dump { elf, paused_ns } => {
            let elf = from_hex(&elf).ok_or(L2Error::OutOfTurn)?;
            let notes = dump::read(&elf)?;
            Ok(Captured {
                vcpus: notes.vcpus,
                vmcoreinfo: notes.vmcoreinfo,
                elf: Some(elf),
                paused: Duration::from_nanos(paused_ns),
            })
        }
        other => Err(refusal(other)),
    }
}

/// Registers of all vCPUs by QEMU's gdb stub, control registers included; the guest stands still while
/// the session lasts (tens of milliseconds for a few vCPUs).
///
/// # Errors
/// [`L2Error`].
pub async fn registers_by_gdb(
    monitor: &Monitor,
    permit: &L2Permit,
    settings: &L2Settings,
) -> Result<Captured, L2Error> {
    let lease = monitor.lend().await;
    let mut guardian = start(monitor.settings(), settings).await?;
    let session = gdb_session(&mut guardian, permit, settings).await;
    let end = match &session {
        Err(L2Error::Refused(_) | L2Error::Guardian(_)) => None,
        _ => Some(guardian.ask(&Request::Close, Duration::from_secs(10)).await),
    };
    let lost = matches!(session, Err(L2Error::Guardian(_))) || matches!(end, Some(Err(_)));
    guardian.leave().await;
    if lost {
        // Its end may have been unnatural: undo our stop ourselves, as it would have.
        undo_without_guardian(monitor.settings(), permit).await;
    }
    drop(lease);
    let vcpus = session?;
    match end.ok_or(L2Error::OutOfTurn)?? {
        Reply::Closed(report) if report.settled && report.left_alone.is_none() => Ok(Captured {
            vcpus,
            vmcoreinfo: None,
            elf: None,
            paused: Duration::from_nanos(report.paused_ns),
        }),
        Reply::Closed(report) => {
            let why = report.left_alone.clone().unwrap_or_default();
            Err(L2Error::Failed { why, report })
        }
        other => Err(refusal(other)),
    }
}

async fn gdb_session(
    guardian: &mut Guardian,
    permit: &L2Permit,
    settings: &L2Settings,
) -> Result<Vec<VcpuRegisters>, L2Error> {
    let within = Duration::from_secs(10);
    let path = match guardian.ask(&Request::OpenGdb, within).await? {
        Reply::GdbReady { path } => path,
        other => return Err(refusal(other)),
    };
    match guardian.ask(&Request::Connecting, within).await? {
        Reply::Ok => {}
        other => return Err(refusal(other)),
    }
    let mut gdb = Gdb::attach(Path::new(&path), permit, settings.budget).await?;
    let layout = gdb.layout().await?;
    let vcpus = gdb.registers(&layout).await?;
    // It ran before: the guardian made sure of it.
    gdb.detach().await?;
    Ok(vcpus)
}

async fn start(monitor: &Settings, settings: &L2Settings) -> Result<Guardian, L2Error> {
    let (path, pid) = (&monitor.path, monitor.pid);
    let (command, dir) = (&settings.command, &settings.run_dir);
    match Guardian::start(command, path, pid, dir, settings.budget).await? {
        (guardian, Reply::Ready) => Ok(guardian),
        (guardian, Reply::Unreachable(why)) => {
            guardian.leave().await;
            Err(L2Error::Refused(format!("the guardian cannot reach the monitor: {why}")))
        }
        (guardian, _) => {
            guardian.leave().await;
            Err(L2Error::OutOfTurn)
        }
    }
}

/// The guardian was killed inside the pause: the agent lives, so it does the guardian's part.
async fn undo_without_guardian(monitor: &Settings, permit: &L2Permit) {
    let step = Duration::from_secs(2);
    let connected = Qmp::connect(&monitor.path, Book::default(), Deadlines::default(), monitor.pid).await;
    let qmp = match connected {
        Ok(qmp) => qmp,
        Err(e) => {
            tracing::error!(error = %e, path = %monitor.path.display(), "the guardian is lost and the monitor cannot be reached: the guest may be paused");
            return;
        }
    };
    let undone = async {
        qmp.gdb_server(permit, &HmpGdbServer::None, step).await?;
        let now = qmp.ask(qmp::query_status {}, step).await?.status;
        let migrates = super::in_flight::migrating(&qmp, step).await?;
        let before = qmp::RunState::running;
        if decide(Operation::Gdb, before, &[], false, migrates, now) == Decision::Continue {
            qmp.pause_rung(permit, qmp::cont {}, None, step).await?;
        }
        Ok::<_, crate::transport::qmp::AskError>(())
    };
    if let Err(e) = undone.await {
        tracing::error!(error = %e, path = %monitor.path.display(), "the guardian is lost and the guest may be paused");
    }
    qmp.leave().await;
}

fn refusal(reply: Reply) -> L2Error {
    match reply {
        Reply::Refused(why) | Reply::Unreachable(why) => L2Error::Refused(why),
        Reply::Failed { why, report } => L2Error::Failed { why, report },
        _ => L2Error::OutOfTurn,
    }
}
