//! `lock-chain [DISK]`: two writers of the application queue behind a kernel lock whose holder waits for a
//! disk.
//!
//! The holder drops the disk's cached blocks and reads its partition table again (BLKRRPART), which is
//! done under the lock that every open of a disk takes: `bd_mutex` in 5.10, the disk's `open_mutex`
//! since a8698707a183 (v5.14). The writers open the disk and queue behind it, uninterruptibly. The host
//! must have stopped answering on that disk before; while it answers, the fault cannot be made and says
//! so. The disk must not be mounted: since 6.x a claimed disk refuses the request.

use std::fs::OpenOptions;

use anyhow::{Context, Result, bail};

use super::{Fault, PATIENCE, Start, app_waits};
use crate::role::{Role, spawn};
use crate::{proc, sys};

/// See the file's header.
pub(super) const FAULT: Fault =
    Fault { name: "lock-chain", start, heal: None, roles: &[Role { name: "lock-holder", run: hold }] };

fn start(arguments: &[&str]) -> Result<Start> {
    let disk = format!("/dev/{}", arguments.first().unwrap_or(&"vdb"));
    let holder = spawn("lock-holder", &[&disk])?.id();
    let is_holder = |it: &proc::Task| it.pid == holder;
    proc::wait_for("lock-holder in D (does the disk still answer?)", 1, PATIENCE, is_holder, |it| {
        it.state == 'D'
    })?;
    // Only now, so that the writers are not the ones who wait for the disk.
    app_waits([&disk, &disk], &[holder]).map(Start::Shown)
}

fn hold(arguments: &[String]) -> Result<()> {
    let path = arguments.first().context("no disk named")?;
    let file = OpenOptions::new().read(true).open(path).with_context(|| format!("cannot open {path}"))?;
    sys::flush_buffers(&file).context("cannot drop the disk's cached blocks")?;
    sys::reread_partitions(&file).context("cannot read the partition table again")?;
    bail!("{path} answered")
}
