//! `vmward round [GUEST]`: asks every scenario of a guest, or of all guests, now.

use anyhow::Result;

use super::{Context, Exit, ask};

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name or UUID of the guest; all guests when left out
    guest: Option<String>,
}

pub(super) fn run(args: &Args, cx: &Context) -> Result<Exit> {
    let answers = ask::round(cx, args.guest.as_deref(), None)?;
    ask::show(&answers, cx.form())
}
