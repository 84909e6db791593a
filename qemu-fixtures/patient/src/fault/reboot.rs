//! `reboot` (harmless): restarts the machine by reboot(2), at once and in order.

use anyhow::{Context, Result};
use nix::sys::reboot::{RebootMode, reboot};
use serde_json::json;

use super::{Fault, Start};

/// See the file's header.
pub(super) const FAULT: Fault = Fault { name: "reboot", start, heal: None, roles: &[] };

fn start(_: &[&str]) -> Result<Start> {
    let action = || {
        nix::unistd::sync();
        reboot(RebootMode::RB_AUTOBOOT).map(drop).context("cannot reboot")
    };
    Ok(Start::Armed(json!({ "how": "RB_AUTOBOOT" }), Box::new(action)))
}
