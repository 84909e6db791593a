//! `abba`: two writers of the application take two mutexes in opposite order, and wait for each other for
//! ever. The mutexes are those of a small module (`qemu-fixtures/abba/`), which the host has put into
//! the initramfs; reading its files takes them.

use anyhow::{Context, Result};

use super::{Fault, Start, app_waits};
use crate::init;

const MODULE: &str = "/modules/abba.ko";

/// See the file's header.
pub(super) const FAULT: Fault = Fault { name: "abba", start, heal: None, roles: &[] };

fn start(_: &[&str]) -> Result<Start> {
    init::load_module(MODULE, "").context("cannot load the module: was the guest prepared for abba?")?;
    app_waits(["/proc/abba-1", "/proc/abba-2"], &[]).map(Start::Shown)
}
