//! `rt-spin`: one SCHED_FIFO 99 spinner on each CPU, nothing else gets to run.
//! `rt-spin-throttled`: the same with the kernel's defaults, under which a busy guest still answers.
//!
//! What the kernel does against such a spinner has to be switched off: the realtime throttle
//! (`sched_rt_runtime_us`), since 5f6bd380c7bd (v6.12) the fair server, and where there is one the
//! `sched_ext` server. Which of these exist is seen in debugfs.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::call_syscall::pin;
use super::{Fault, PATIENCE, Start, end_all};
use crate::role::{Role, spawn};
use crate::{proc, sys};

const RUNTIME: &str = "/proc/sys/kernel/sched_rt_runtime_us";
const SERVERS: [&str; 2] = ["/sys/kernel/debug/sched/fair_server", "/sys/kernel/debug/sched/ext_server"];
/// The spinners' starting signal: without one, the first of them would keep the others from starting.
const GO: &str = "/run/rt-spin.go";

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
    let spinners = ready_spinners()?;
    let action = || fs::write(GO, "").context("cannot start the spinners");
    Ok(Start::Armed(json!({ "spinners": spinners, "servers_off": servers }), Box::new(action)))
}

fn start_throttled(_: &[&str]) -> Result<Start> {
    let runtime = fs::read_to_string(RUNTIME)?;
    if runtime.trim() == "-1" {
        bail!("the realtime throttle is off");
    }
    ready_spinners()?;
    fs::write(GO, "").context("cannot start the spinners")?;
    let enough = |it: &proc::Task| it.utime > 100;
    proc::wait_for("every spinner with a second of CPU time", proc::n_cpus(), PATIENCE, is_spinner, enough)
        .map(Start::Shown)
}

fn heal() -> Result<Value> {
    fs::remove_file(GO).context("there was no starting signal")?;
    end_all("rt-spinner")
}

fn is_spinner(task: &proc::Task) -> bool {
    task.comm == "rt-spinner"
}

/// One spinner bound to each CPU, with its priority, waiting for [`GO`].
fn ready_spinners() -> Result<Value> {
    let n_cpus = proc::n_cpus();
    for cpu in 0..n_cpus {
        spawn("rt-spinner", &[&cpu.to_string()])?;
    }
    proc::wait_for("the spinners at SCHED_FIFO 99", n_cpus, PATIENCE, is_spinner, |it| {
        // Field 40 of stat, see proc_pid_stat(5).
        it.rt_priority == 99
    })
}

fn spin(arguments: &[String]) -> Result<()> {
    pin(arguments.first().context("no CPU named")?.parse()?)?;
    sys::become_realtime(99).context("cannot get SCHED_FIFO 99")?;
    while !Path::new(GO).exists() {
        sleep(Duration::from_millis(10));
    }
    loop {
        std::hint::spin_loop();
    }
}
