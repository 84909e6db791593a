//! From a description to a process: disks, QEMU, and boots that are tried again.

use super::args::disk_copy;
use super::builder::Builder;
use super::devices::Source;
use super::guest::Guest;
use super::run_folder::RunFolder;
use super::spawn::spawn;
use super::{Error, Result};
use crate::nbd::NbdServer;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Boots that are tried before a guest is given up: one, and three more.
const MOST_BOOTS: u32 = 4;

static BOOT_RETRIES: AtomicU32 = AtomicU32::new(0);

/// How many boots of this process died before READY and were tried again.
pub fn boot_retries() -> u32 {
    BOOT_RETRIES.load(Ordering::Relaxed)
}

/// A QEMU process and, once it was waited for, how it ended.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) child: Child,
    pub(super) ended: Option<String>,
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

    /// Starts QEMU and waits for the ready mark. A boot that dies before it is tried again, at
    /// most three times; the retries are counted in [`boot_retries`].
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

impl Process {
    pub(super) fn end(&mut self) {
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

/// Starts QEMU and puts it under the reaper's watch.
pub(super) fn launch(builder: &Builder, run: &mut RunFolder) -> Result<Process> {
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
