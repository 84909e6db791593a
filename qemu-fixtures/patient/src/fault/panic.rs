//! `panic`: SysRq `c`, which dereferences a null pointer on purpose (drivers/tty/sysrq.c,
//! `sysrq_handle_crash`; since 5.x it calls `panic()`).

use std::fs;

use anyhow::{Context, Result};
use serde_json::json;

use super::{Fault, Start};

/// See the file's header.
pub(super) const FAULT: Fault = Fault { name: "panic", start, heal: None, roles: &[] };

fn start(_: &[&str]) -> Result<Start> {
    // Writing to the file is not subject to the kernel.sysrq mask.
    let action = || fs::write("/proc/sysrq-trigger", "c").context("cannot trigger SysRq c");
    Ok(Start::Armed(json!({ "sysrq": "c" }), Box::new(action)))
}
