//! `busy-cpu` (harmless): two ordinary spinners for each CPU. The guest is slow and well.

use anyhow::Result;
use serde_json::Value;

use super::{Fault, PATIENCE, Start, end_all};
use crate::proc;
use crate::role::{Role, spawn};

/// See the file's header.
pub(super) const FAULT: Fault =
    Fault { name: "busy-cpu", start, heal: Some(heal), roles: &[Role { name: "busy-spinner", run: spin }] };

fn start(_: &[&str]) -> Result<Start> {
    let n_spinners = 2 * proc::n_cpus();
    for _ in 0..n_spinners {
        spawn("busy-spinner", &[])?;
    }
    let ours = |it: &proc::Task| it.comm == "busy-spinner";
    proc::wait_for("every spinner with CPU time", n_spinners, PATIENCE, ours, |it| it.utime > 10)
        .map(Start::Shown)
}

fn spin(_: &[String]) -> Result<()> {
    loop {
        std::hint::spin_loop();
    }
}

fn heal() -> Result<Value> {
    end_all("busy-spinner")
}
