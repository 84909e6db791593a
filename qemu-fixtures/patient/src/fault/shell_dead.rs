//! `shell-dead`: the shell is stopped by SIGSTOP. The guest is well, only its console is lost.

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{Fault, PATIENCE, Start};
use crate::proc;

/// See the file's header.
pub(super) const FAULT: Fault = Fault { name: "shell-dead", start, heal: Some(heal), roles: &[] };

fn start(_: &[&str]) -> Result<Start> {
    let shell = proc::child("shell")?;
    kill(Pid::from_raw(shell), Signal::SIGSTOP).context("cannot stop the shell")?;
    let is_shell = |it: &proc::Task| i32::try_from(it.pid) == Ok(shell);
    proc::wait_for("the shell in state T", 1, PATIENCE, is_shell, |it| it.state == 'T').map(Start::Shown)
}

fn heal() -> Result<Value> {
    let shell = proc::child("shell")?;
    kill(Pid::from_raw(shell), Signal::SIGCONT).context("cannot continue the shell")?;
    let is_shell = |it: &proc::Task| i32::try_from(it.pid) == Ok(shell);
    proc::wait_for("the shell not in state T", 1, PATIENCE, is_shell, |it| it.state != 'T')
}
