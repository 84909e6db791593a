//! `idle`: nothing is done to the guest. Harmless, and the measure for all others.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::{Fault, Proof};
use crate::qemu::Guest;

/// See the file's header.
#[derive(Debug)]
pub struct Idle;

impl Fault for Idle {
    fn name(&self) -> &'static str {
        "idle"
    }

    fn inject(&self, guest: &mut Guest) -> Result<Proof> {
        let beat = guest.next_beat(Duration::from_secs(10))?;
        guest.check_not_void()?;
        Ok(Proof::new("the guest beats", json!({ "beat": beat })))
    }

    fn heal(&self, _guest: &mut Guest) -> Result<()> {
        Ok(())
    }
}
