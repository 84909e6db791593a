//! `vmward probe GUEST SCENARIO`: asks one scenario of a guest now.

use anyhow::Result;

use super::{Context, Exit, ask};

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name or UUID of the guest
    guest: String,
    /// Name of the scenario; the guest must be bound to it
    scenario: String,
}

pub(super) fn run(args: &Args, cx: &Context) -> Result<Exit> {
    let answers = ask::round(cx, Some(&args.guest), Some(&args.scenario))?;
    ask::show(&answers, cx.form())
}
