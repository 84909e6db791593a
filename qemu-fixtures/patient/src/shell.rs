//! The shell on the console: an ordinary busybox `sh` with the console as its controlling terminal.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Becomes the shell.
pub(crate) fn run(_: &[String]) -> Result<()> {
    // `active` lists the consoles; the last one is what /dev/console stands for.
    let active = fs::read_to_string("/sys/class/tty/console/active").context("cannot ask for the console")?;
    let Some(name) = active.split_whitespace().last() else { bail!("there is no console") };
    nix::unistd::setsid().context("cannot start a session")?;
    // The first terminal that a session leader opens becomes its controlling terminal.
    let tty = OpenOptions::new()
        .read(true)
        .write(true)
        .open(format!("/dev/{name}"))
        .with_context(|| format!("cannot open the console {name}"))?;
    let error = Command::new("/bin/sh")
        .arg("-i")
        .env_clear()
        .envs([("PATH", "/bin"), ("HOME", "/root"), ("PS1", "patient# "), ("TERM", "dumb")])
        .stdin(tty.try_clone()?)
        .stdout(tty.try_clone()?)
        .stderr(tty)
        .exec();
    Err(error).context("cannot execute /bin/sh")
}
