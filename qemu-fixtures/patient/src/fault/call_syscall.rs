//! `call-syscall NUMBER each-cpu|one-cpu`: calls a system call by number, with zeros.
//!
//! For faults that the host makes by overwriting the entry of a rarely used call (`oops`,
//! `irq-off-spin`). `acct` suits: 163 on x86-64, 89 on arm64, nobody else calls it, and with a null
//! path an unpatched kernel only switches process accounting off.

use anyhow::{Context, Result, bail};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use serde_json::json;

use super::{Fault, Start};
use crate::role::{Role, spawn};
use crate::{kmsg, proc, sys};

/// See the file's header.
pub(super) const FAULT: Fault =
    Fault { name: "call-syscall", start, heal: None, roles: &[Role { name: "syscall-caller", run: call }] };

fn start(arguments: &[&str]) -> Result<Start> {
    let [number, which] = arguments else { bail!("usage: fault call-syscall NUMBER each-cpu|one-cpu") };
    let number = number.parse::<u16>().context("no system call number")?.to_string();
    let n_cpus = proc::n_cpus();
    // One only: the last, since the first one serves most interrupts.
    let cpus = match *which {
        "each-cpu" => 0..n_cpus,
        "one-cpu" => n_cpus - 1..n_cpus,
        _ => bail!("each-cpu or one-cpu?"),
    };
    if *which == "one-cpu" {
        // Whether the application or the shell is hit must not be left to the scheduler.
        let tasks = proc::tasks();
        for task in tasks.iter().filter(|it| it.comm == "app" || it.comm.starts_with("app-writer")) {
            bind(task.tid.cast_signed(), cpus.start)?;
        }
    }
    let armed = json!({ "number": number, "cpus": cpus.clone().collect::<Vec<_>>() });
    let action = move || {
        // Each caller waits a moment by itself, so that the first one to call does not keep
        // the others from being started.
        for cpu in cpus {
            spawn("syscall-caller", &[&number, &cpu.to_string()])?;
        }
        Ok(())
    };
    Ok(Start::Armed(armed, Box::new(action)))
}

fn call(arguments: &[String]) -> Result<()> {
    let [number, cpu] = arguments else { bail!("number and CPU expected") };
    pin(cpu.parse()?)?;
    std::thread::sleep(std::time::Duration::from_millis(200));
    let result = sys::call(number.parse()?);
    kmsg::write(kmsg::INFO, &format!("syscall-caller: {number} on CPU {cpu} returned {result:?}"));
    Ok(())
}

/// Binds the calling thread to one CPU.
pub(super) fn pin(cpu: usize) -> Result<()> {
    bind(0, cpu)
}

/// Binds a thread to one CPU; 0 is the calling one.
fn bind(tid: i32, cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(tid), &set)
        .with_context(|| format!("cannot put thread {tid} on CPU {cpu}"))
}
