//! `qemu-killed`: the QEMU process is killed (SIGKILL), as the host's OOM killer does it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use serde_json::json;

use super::{Fault, Proof};
use crate::qemu::{Error, Guest};

/// See the file's header.
#[derive(Debug)]
pub struct QemuKilled;

impl Fault for QemuKilled {
    fn name(&self) -> &'static str {
        "qemu-killed"
    }

    fn inject(&self, guest: &mut Guest) -> Result<Proof> {
        guest.signal(Signal::SIGKILL)?;
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match guest.check_alive() {
                Err(Error::Exited { status, .. }) => {
                    return Ok(Proof::new("the process ended", json!({ "status": status })));
                }
                Err(err) => return Err(err.into()),
                Ok(()) => ensure!(Instant::now() < deadline, "QEMU survived SIGKILL"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
