//! `lock-chain [DISK]`: two tasks queue behind a kernel lock whose holder waits for a disk.
//!
//! The holder drops the disk's cached blocks and reads its partition table again (BLKRRPART), which is
//! done under the lock that every open of a disk takes: `bd_mutex` in 5.10, the disk's `open_mutex`
//! since a8698707a183 (v5.14). Two openers queue behind it, uninterruptibly. The host must have stopped
//! answering on that disk before; while it answers, the fault cannot be made and says so. The disk must
//! not be mounted: since 6.x a claimed disk refuses the request.

use std::fs::OpenOptions;

use anyhow::{Context, Result, bail};

use super::{Fault, PATIENCE, Start, stay};
use crate::role::{Role, spawn};
use crate::{proc, sys};

const WAITERS: [&str; 2] = ["lock-waiter-1", "lock-waiter-2"];

/// See the file's header.
pub(super) const FAULT: Fault = Fault {
    name: "lock-chain",
    start,
    heal: None,
    roles: &[
        Role { name: "lock-holder", run: hold },
        Role { name: WAITERS[0], run: queue },
        Role { name: WAITERS[1], run: queue },
    ],
};

fn start(arguments: &[&str]) -> Result<Start> {
    let disk = format!("/dev/{}", arguments.first().unwrap_or(&"vdb"));
    let holder = spawn("lock-holder", &[&disk])?.id();
    let is_holder = |it: &proc::Task| it.pid == holder;
    proc::wait_for("lock-holder in D (does the disk still answer?)", 1, PATIENCE, is_holder, |it| {
        it.state == 'D'
    })?;
    // Only now, so that the openers are not the ones who wait for the disk.
    let mut pids = vec![holder];
    for waiter in WAITERS {
        pids.push(spawn(waiter, &[&disk])?.id());
    }
    let ours = |it: &proc::Task| pids.contains(&it.pid);
    proc::wait_for("holder and waiters in D", 3, PATIENCE, ours, |it| it.state == 'D').map(Start::Shown)
}

fn disk(arguments: &[String]) -> Result<&String> {
    arguments.first().context("no disk named")
}

fn hold(arguments: &[String]) -> Result<()> {
    let path = disk(arguments)?;
    let file = OpenOptions::new().read(true).open(path).with_context(|| format!("cannot open {path}"))?;
    sys::flush_buffers(&file).context("cannot drop the disk's cached blocks")?;
    sys::reread_partitions(&file).context("cannot read the partition table again")?;
    bail!("{path} answered")
}

fn queue(arguments: &[String]) -> Result<()> {
    let path = disk(arguments)?;
    let _file = OpenOptions::new().read(true).open(path).with_context(|| format!("cannot open {path}"))?;
    stay()
}
