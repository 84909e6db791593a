//! What can be broken from inside the guest: one file each, one line in [`ALL`].
//!
//! A fault answers only when `/proc` shows it. One after which nobody can answer says so just before
//! ([`Start::Armed`]), and the host sees the beats stop.

mod panic;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::role::Role;

/// A fault.
pub(crate) struct Fault {
    /// As the host names it.
    pub(crate) name: &'static str,
    /// Makes it.
    pub(crate) start: fn(&[&str]) -> Result<Start>,
    /// Undoes it, where that can be done.
    pub(crate) heal: Option<fn() -> Result<Value>>,
    /// The processes that it uses.
    pub(crate) roles: &'static [Role],
}

/// What to do once the reply is on its way.
pub(crate) type Action = Box<dyn FnOnce() -> Result<()>>;

/// How a fault began.
pub(crate) enum Start {
    /// It is there; the value shows it.
    Shown(Value),
    /// It comes when the action runs, and then nobody may be able to answer.
    Armed(Value, Action),
}

/// All faults, by name.
pub(crate) const ALL: &[Fault] = &[panic::FAULT];

fn find(name: &str) -> Result<&'static Fault> {
    ALL.iter().find(|it| it.name == name).context("no such fault")
}

/// Makes the fault `name`.
pub(crate) fn start(name: &str, arguments: &[&str]) -> Result<Start> {
    (find(name)?.start)(arguments)
}

/// Undoes the fault `name`.
pub(crate) fn heal(name: &str) -> Result<Value> {
    find(name)?.heal.context("this fault cannot be undone")?()
}
