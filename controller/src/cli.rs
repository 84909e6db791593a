//! `vmward-controller`: takes what agents send, keeps it, and shows it. Its command line; here and not in
//! `main.rs`, so that the older self that is tested against agents has the same.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::Config;
use crate::run::Exposed;
use crate::store::Store;
use crate::store::tokens::Role;
use crate::{backup, openapi, run, token};
use anyhow::Context as _;
use clap::{Parser, Subcommand};

/// Exit code for what is not safe to serve.
const REFUSED: u8 = 3;

/// Takes what vmward agents send, keeps it, and shows it.
#[derive(Debug, Parser)]
#[command(
    name = "vmward-controller",
    version,
    after_help = "Exit codes: 0 done; 1 failed; 2 wrong arguments; 3 refused, because others could reach it \
                  without tokens or TLS."
)]
struct Arguments {
    /// Configuration file (TOML). Nothing has to be set.
    #[arg(long, global = true, env = "VMWARD_CONTROLLER_CONFIG")]
    config: Option<PathBuf>,
    /// Data folder, in place of the configured one.
    #[arg(long, global = true)]
    data: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until told to stop.
    Serve {
        /// Address and port, in place of the configured ones; port 0 takes any.
        #[arg(long)]
        listen: Option<SocketAddr>,
    },
    /// Copy database and artifacts to a new folder, while the controller runs.
    Backup {
        /// The folder; must not be there.
        to: PathBuf,
    },
    /// Make, list and take back tokens. Where there is one, every request needs one.
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Take in packed reports (.tar.zst) from files, for hosts that were without a network. While a
    /// controller runs, POST them to it instead.
    Import {
        /// The packed reports.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Print the OpenAPI document.
    Openapi,
    /// Print what `/metrics` tells, with one of everything.
    Metrics,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token and print it: this is the only time that it is seen.
    Add {
        /// A name to know it by.
        name: String,
        /// `agent` sends, `reader` reads.
        #[arg(long)]
        role: Role,
    },
    /// List tokens, without themselves.
    List,
    /// Take a token back, at once.
    Remove {
        /// Its name.
        name: String,
    },
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    match begin(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where even that cannot be written the code has to tell.
            let _ = writeln!(std::io::stderr(), "vmward-controller: {error:#}");
            if error.is::<Exposed>() { ExitCode::from(REFUSED) } else { ExitCode::FAILURE }
        }
    }
}

/// Threads that do what blocks. More would cost memory and make no disk faster.
const BLOCKING: usize = 16;

fn begin(arguments: Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(BLOCKING)
        .enable_all()
        .build()
        .context("while starting the runtime")?;
    runtime.block_on(act(arguments))
}

async fn act(arguments: Arguments) -> anyhow::Result<()> {
    let mut config = match &arguments.config {
        Some(path) => Config::read(path)?,
        None => Config::default(),
    };
    if let Some(data) = arguments.data {
        config.data = data;
    }
    let mut out = std::io::stdout();
    match arguments.command {
        Command::Serve { listen } => {
            let filter = tracing_subscriber::EnvFilter::try_from_env("VMWARD_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
            tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
            config.listen = listen.unwrap_or(config.listen);
            run::serve(config).await
        }
        Command::Backup { to } => backup::run(&config.data, &to, &mut out).await,
        Command::Token { command } => {
            run::data_folder(&config.data)?;
            let store = Store::open(&config.data)
                .await
                .with_context(|| format!("while opening {}", config.data.display()))?;
            let done = match command {
                TokenCommand::Add { name, role } => token::add(&store, &name, role, &mut out).await,
                TokenCommand::List => token::list(&store, &mut out).await,
                TokenCommand::Remove { name } => token::remove(&store, &name).await,
            };
            store.close().await;
            done
        }
        Command::Import { files } => {
            for path in &files {
                let about = || format!("while importing {}", path.display());
                let file = std::fs::File::open(path).with_context(about)?;
                let it = run::import(config.clone(), file).await.with_context(about)?;
                let what = if it.duplicate { "was here before" } else { "is stored" };
                writeln!(out, "{}: incident {} {what}", path.display(), it.incident)?;
            }
            Ok(())
        }
        Command::Metrics => {
            write!(out, "{}", crate::metrics::specimen()?)?;
            Ok(())
        }
        Command::Openapi => {
            let text = serde_json::to_string_pretty(&openapi::document())?;
            writeln!(out, "{text}")?;
            Ok(())
        }
    }
}
