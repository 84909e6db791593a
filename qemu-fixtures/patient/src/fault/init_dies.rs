//! `init-dies`: PID 1 returns from `main`, and the kernel panics with "Attempted to kill init!"
//! (kernel/exit.c, `do_exit`).

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::{Fault, Start};

/// See the file's header.
pub(super) const FAULT: Fault = Fault { name: "init-dies", start, heal: None, roles: &[] };

fn start(_: &[&str]) -> Result<Start> {
    // PID 1 gets only the signals that it waits for; see init.rs.
    let action = || kill(Pid::from_raw(1), Signal::SIGUSR1).context("cannot signal PID 1");
    Ok(Start::Armed(json!({ "signal": "SIGUSR1" }), Box::new(action)))
}
