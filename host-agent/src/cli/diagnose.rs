//! `vmward diagnose GUEST`: examines a guest now and says what is wrong and where the bundle is.

use anyhow::Result;

use super::output::json;
use super::{Context, Exit, Form, Output, ask};
use crate::agent::control::client::{self, ClientError};
use crate::agent::{once, paths};

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name or UUID of the guest
    guest: String,
}

pub(super) fn run(args: &Args, cx: &Context) -> Result<Exit> {
    let loaded = cx.load()?;
    let socket = paths::control(&loaded.config.state);
    let examined = super::agent::runtime()?.block_on(async {
        match client::diagnose(&socket, &args.guest).await {
            Err(ClientError::NoAgent { .. }) => {
                let target = ask::find(&loaded, &args.guest)?;
                once::diagnose(loaded, target).await
            }
            other => Ok(other?),
        }
    })?;
    if cx.form() == Form::Json {
        json(&examined)?;
    } else {
        let mut out = Output::new();
        out.line(&format!("{}: {}", examined.class, examined.summary));
        out.line(&format!("bundle: {}", examined.bundle.display()));
        out.line(&format!("see it: vmward report show {}", examined.bundle.display()));
        out.write()?;
    }
    Ok(ask::exit_of(examined.class))
}
