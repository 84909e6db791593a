//! `qemu-stopped`: the QEMU process is stopped (SIGSTOP), as an operator or a debugger leaves it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::json;

use super::{Fault, Proof};
use crate::qemu::Guest;

/// See the file's header.
#[derive(Debug)]
pub struct QemuStopped;

impl Fault for QemuStopped {
    fn name(&self) -> &'static str {
        "qemu-stopped"
    }

    fn inject(&self, guest: &mut Guest) -> Result<Proof> {
        guest.signal(Signal::SIGSTOP)?;
        let path = format!("/proc/{}/stat", guest.pid());
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let stat = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
            // The state follows the name, which is in brackets (proc(5)).
            let state = stat.rsplit(") ").next().and_then(|it| it.chars().next());
            if state == Some('T') {
                return Ok(Proof::new("the host shows the process stopped", json!({ "state": "T" })));
            }
            ensure!(Instant::now() < deadline, "QEMU is not stopped: {stat}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn heal(&self, guest: &mut Guest) -> Result<()> {
        Ok(guest.signal(Signal::SIGCONT)?)
    }
}
