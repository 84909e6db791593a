//! `fs-freeze`: freezes the file system on /data (FIFREEZE, as `fsfreeze` and a guest agent do). The
//! application's writers wait in `percpu_rwsem_wait` for a thaw that nobody sends.

use std::fs::File;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Fault, PATIENCE, Start};
use crate::role::{Role, spawn};
use crate::{proc, sys};

/// See the file's header.
pub(super) const FAULT: Fault =
    Fault { name: "fs-freeze", start, heal: Some(heal), roles: &[Role { name: "fs-freezer", run: freeze }] };

fn start(_: &[&str]) -> Result<Start> {
    spawn("fs-freezer", &[])?;
    let is_writer = |it: &proc::Task| it.comm.starts_with("app-writer");
    proc::wait_for("every writer in D", 3, PATIENCE, is_writer, |it| it.state == 'D').map(Start::Shown)
}

/// In a process of its own: freezing writes everything out first, which may take as long as the disk likes.
fn freeze(_: &[String]) -> Result<()> {
    let folder = File::open("/data").context("cannot open /data")?;
    sys::freeze(&folder).context("cannot freeze /data")
}

fn heal() -> Result<Value> {
    let folder = File::open("/data").context("cannot open /data")?;
    sys::thaw(&folder).context("cannot thaw /data")?;
    let is_writer = |it: &proc::Task| it.comm.starts_with("app-writer");
    // They may be in D for their own writes; what they must have left is the freeze's semaphore.
    proc::wait_for("the writers at work again", 3, PATIENCE, is_writer, |it| {
        !it.wchan.contains("percpu_rwsem")
    })
}
