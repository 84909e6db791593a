//! `cargo xtask fixtures fetch|update`: the pinned guest kernels.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

/// Arguments of `cargo xtask fixtures`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Fetch every pinned kernel into the cache, so that later runs need no network.
    Fetch,
    /// Pin the current kernels of each suite in `kernels.lock`; commit the change.
    Update,
}

/// Runs it.
pub fn run(args: &Args) -> Result<ExitCode> {
    match args.what {
        What::Fetch | What::Update => anyhow::bail!("kernels land with the fixtures crate"),
    }
}
