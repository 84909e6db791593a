//! The roles that this program can be started in, and how to start them.

use std::fs;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{app, control, fault, shell};

/// One job of the program, in a process of its own.
pub(crate) struct Role {
    /// Its argument and its `comm` (at most 15 bytes).
    pub(crate) name: &'static str,
    /// What it does; returns when the process may end.
    pub(crate) run: fn(&[String]) -> Result<()>,
}

const ROLES: &[Role] = &[
    Role { name: "app", run: app::run },
    Role { name: "control", run: control::run },
    Role { name: "shell", run: shell::run },
];

/// Runs the role `name` in this process.
pub(crate) fn run(name: &str, arguments: &[String]) -> Result<()> {
    let faults = fault::ALL.iter().flat_map(|it| it.roles);
    let Some(role) = ROLES.iter().chain(faults).find(|it| it.name == name) else {
        bail!("no such role");
    };
    // Writing the own thread's name is prctl(PR_SET_NAME) by another way.
    fs::write("/proc/self/comm", name).context("cannot take the role's name")?;
    (role.run)(arguments)
}

/// Starts the role `name` in a process of its own.
pub(crate) fn spawn(name: &str, arguments: &[&str]) -> Result<Child> {
    Command::new("/init")
        .arg(name)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {name}"))
}
