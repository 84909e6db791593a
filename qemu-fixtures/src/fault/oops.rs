//! `oops`: an undefined instruction in the kernel, met once by an ordinary task.

use std::time::Duration;

use super::truth::{self, Spoil};
use super::{Fault, Proof};
use crate::qemu::{Arch, Guest};
use anyhow::Result;
use serde_json::json;

/// See the file's header.
#[derive(Debug)]
pub struct Oops;

impl Fault for Oops {
    fn name(&self) -> &'static str {
        "oops"
    }

    fn inject(&self, guest: &mut Guest) -> Result<Proof> {
        let address = truth::spoil_and_call(guest, Spoil::Undefined, "one-cpu")?;
        let mark = match guest.builder().arch() {
            Arch::X86_64 => "invalid opcode",
            Arch::Aarch64 => "Internal error",
        };
        guest.wait_console(mark, Duration::from_secs(30))?;
        guest.check_not_void()?;
        let facts = json!({ "entry": format!("{address:#x}"), "console": mark });
        Ok(Proof::new("the kernel printed an oops", facts))
    }
}
