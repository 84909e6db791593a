//! `userspace-stop`: the cgroup freezer stops every process but PID 1 and the shell; the control agent
//! comes last, after its reply. The kernel is well, the shell answers, the application does nothing.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::json;

use super::cgroup::Cgroup;
use super::{Fault, PATIENCE, Start};
use crate::proc;

/// See the file's header.
pub(super) const FAULT: Fault = Fault { name: "userspace-stop", start, heal: None, roles: &[] };

fn start(_: &[&str]) -> Result<Start> {
    let group = Cgroup::make("stopped", None)?;
    let ourselves = std::process::id();
    let shell = u32::try_from(proc::child("shell")?)?;
    let mut stopped = Vec::new();
    for task in proc::tasks() {
        let spared = task.pid == 1 || task.pid == shell || task.pid == ourselves;
        // Kernel threads cannot be moved; they are recognized by having no memory of their own.
        if spared || task.pid != task.tid || !has_memory(task.pid) {
            continue;
        }
        group.add(task.pid)?;
        stopped.push(task.comm);
    }
    if !stopped.iter().any(|it| it == "app") {
        bail!("the application does not run, so its stop would not be seen");
    }
    group.set("cgroup.freeze", "1")?;
    let asked = Instant::now();
    loop {
        let events = group.get("cgroup.events")?;
        if events.contains("frozen 1") {
            let proof = json!({ "stopped": stopped, "cgroup.events": events.trim() });
            let action = move || group.add(ourselves);
            return Ok(Start::Armed(proof, Box::new(action)));
        }
        if asked.elapsed() > PATIENCE {
            bail!("the group did not freeze: {}", events.trim());
        }
        sleep(Duration::from_millis(50));
    }
}

fn has_memory(pid: u32) -> bool {
    // `VmSize` is missing for kernel threads. `status` does not wait for the process's memory lock.
    std::fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|it| it.contains("VmSize"))
}
