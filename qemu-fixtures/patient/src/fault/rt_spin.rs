//! `rt-spin`: one SCHED_FIFO 99 spinner on each CPU, nothing else gets to run.
//! `rt-spin-throttled`: the same with the kernel's defaults, under which a busy guest still answers.
//!
//! What the kernel does against such a spinner has to be switched off: the realtime throttle
//! (`sched_rt_runtime_us`), since 5f6bd380c7bd (v6.12) the fair server, and where there is one the
//! `sched_ext` server. Which of these exist is seen in debugfs.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::call_syscall::pin;
use super::{Fault, PATIENCE, Start, end_all};
use crate::role::{Role, spawn};
use crate::{proc, sys};

const RUNTIME: &str = "/proc/sys/kernel/sched_rt_runtime_us";
const SERVERS: [&str; 2] = ["/sys/kernel/debug/sched/fair_server", "/sys/kernel/debug/sched/ext_server"];
/// Between a spinner's start and its first turn, so that all of them get to start.
const HEAD_START: Duration = Duration::from_millis(1500);

/// See the file's header.
pub(super) const FAULT: Fault =
    Fault { name: "rt-spin", start, heal: None, roles: &[Role { name: "rt-spinner", run: spin }] };

/// See the file's header.
pub(super) const THROTTLED: Fault =
    Fault { name: "rt-spin-throttled", start: start_throttled, heal: Some(heal), roles: &[] };

fn start(_: &[&str]) -> Result<Start> {
    fs::write(RUNTIME, "-1").context("cannot switch the realtime throttle off")?;
    let mut servers = Vec::new();
    for folder in SERVERS {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let runtime: PathBuf = entry?.path().join("runtime");
            fs::write(&runtime, "0").with_context(|| format!("cannot write {}", runtime.display()))?;
            let now = fs::read_to_string(&runtime)?;
            if now.trim() != "0" {
                bail!("{} is {} after writing 0", runtime.display(), now.trim());
            }
            servers.push(runtime.display().to_string());
        }
    }
    let runtime = fs::read_to_string(RUNTIME)?;
    if runtime.trim() != "-1" {
        bail!("{RUNTIME} is {} after writing -1", runtime.trim());
    }
    let n_cpus = proc::n_cpus();
    spawn_spinners(n_cpus)?;
    let is_spinner = |it: &proc::Task| it.comm == "rt-spinner";
    let spinners = proc::wait_for("the spinners ready", n_cpus, HEAD_START / 2, is_spinner, |_| true)?;
    // They are on their way; there is nothing left to do but to reply quickly.
    Ok(Start::Armed(json!({ "spinners": spinners, "servers_off": servers }), Box::new(|| Ok(()))))
}

fn start_throttled(_: &[&str]) -> Result<Start> {
    let runtime = fs::read_to_string(RUNTIME)?;
    if runtime.trim() == "-1" {
        bail!("the realtime throttle is off");
    }
    let n_cpus = proc::n_cpus();
    spawn_spinners(n_cpus)?;
    let is_spinner = |it: &proc::Task| it.comm == "rt-spinner";
    proc::wait_for("every spinner with a second of CPU time", n_cpus, PATIENCE, is_spinner, |it| {
        it.utime > 100
    })
    .map(Start::Shown)
}

fn heal() -> Result<Value> {
    end_all("rt-spinner")
}

fn spawn_spinners(n_cpus: usize) -> Result<()> {
    for cpu in 0..n_cpus {
        spawn("rt-spinner", &[&cpu.to_string()])?;
    }
    Ok(())
}

fn spin(arguments: &[String]) -> Result<()> {
    let began = Instant::now();
    pin(arguments.first().context("no CPU named")?.parse()?)?;
    sys::become_realtime(99).context("cannot get SCHED_FIFO 99")?;
    std::thread::sleep(HEAD_START.saturating_sub(began.elapsed()));
    loop {
        std::hint::spin_loop();
    }
}
