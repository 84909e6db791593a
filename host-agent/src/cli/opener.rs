//! `vmward opener` (hidden): the small process with the capabilities; see [`crate::opener`].

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::{Context, Exit};
use crate::opener::{Policy, serve};

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to listen, unless the service manager passes a socket
    #[arg(long, default_value = "/run/vmward-opener.sock")]
    socket: PathBuf,
    /// Name or number of a user who may ask, beside our own; may be repeated
    #[arg(long = "user")]
    users: Vec<String>,
}

pub(super) fn run(args: &Args, _: &Context) -> Result<Exit> {
    let users = args.users.iter().map(|it| user(it)).collect::<Result<_>>()?;
    let policy = Policy { socket: args.socket.clone(), users };
    let never = serve(&policy).context("while serving files of QEMU processes")?;
    match never {}
}

fn user(name: &str) -> Result<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let found =
        nix::unistd::User::from_name(name).with_context(|| format!("while looking up user {name:?}"))?;
    Ok(found.with_context(|| format!("there is no user {name:?}"))?.uid.as_raw())
}
