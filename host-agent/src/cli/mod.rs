//! The command line: one file a subcommand, one line each in [`subcommands!`].
//!
//! Results go to stdout, logs to stderr. Exit status: 0 well, 1 a finding, 2 unknown, 3 the tool failed
//! (wrong usage included).

mod agent;
mod ask;
mod console;
mod diagnose;
mod discover;
mod doctor;
mod events;
mod explain;
mod gdb;
mod inspect;
mod opener;
mod output;
mod probe;
mod report;
mod round;
mod spool;
mod validate;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use crate::config::{ConfigErrors, Loaded};

pub use output::Output;

/// How a command ended; the number is the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// All is well.
    Well = 0,
    /// There is a finding.
    Finding = 1,
    /// It cannot be told.
    Unknown = 2,
    /// The tool itself failed, or was called wrongly.
    Failed = 3,
}

impl From<Exit> for ExitCode {
    fn from(it: Exit) -> ExitCode {
        ExitCode::from(it as u8)
    }
}

/// Watches guests on a KVM/QEMU host and examines from outside those that hang.
#[derive(Debug, Parser)]
#[command(
    name = "vmward",
    version,
    after_help = "Exit status: 0 well, 1 a finding, 2 unknown, 3 the tool failed (wrong usage included)."
)]
struct Cli {
    /// The configuration file; without it, /etc/vmward/vmward.toml where there is one
    #[arg(long, global = true, value_name = "FILE", env = "VMWARD_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// How results are written
    #[arg(short = 'o', long = "format", global = true, value_enum, default_value_t, value_name = "FORM")]
    format: Form,
    #[command(subcommand)]
    command: Command,
}

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For people
    #[default]
    Table,
    /// For people, with everything that is known
    Wide,
    /// For programs
    Json,
}

/// Declares the subcommands: name, and the file with its `Args` and `run`.
macro_rules! subcommands {
    ($($(#[$meta:meta])* $name:ident($module:ident)),* $(,)?) => {
        #[derive(Debug, Subcommand)]
        enum Command {
            $($(#[$meta])* $name($module::Args),)*
        }

        impl Command {
            fn run(&self, cx: &Context) -> Result<Exit> {
                match self { $(Command::$name(args) => $module::run(args, cx),)* }
            }
        }
    };
}

subcommands! {
    /// Watch the guests of this host until ended
    Agent(agent),
    /// Find the guests of this host and say how each can be reached
    Discover(discover),
    /// Ask every scenario of a guest, or of all guests, now
    Round(round),
    /// Ask one scenario of a guest now
    Probe(probe),
    /// Examine a guest now, whether it is well or not
    Diagnose(diagnose),
    /// Show a report, make a page of it, or check that it is whole
    Report(report),
    /// Read from a core of a guest's memory what its kernel was doing, with no symbols given
    Inspect(inspect),
    /// Serve a report's minicore, or a core, to gdb
    Gdb(gdb),
    /// Show what happened
    Events(events),
    /// Show what waits for a controller, and how many went which way
    Spool(spool),
    /// Attach to a guest's console; probes pause meanwhile
    Console(console),
    /// Check the configuration, the scenarios and the diagnoses
    Validate(validate),
    /// Explain a finding or a class
    Explain(explain),
    /// Say what is missing on this host, what it costs and how to get it
    Doctor(doctor),
    /// Serve files of QEMU processes to the agent (started by the service manager)
    #[command(hide = true)]
    Opener(opener),
}

/// What every subcommand gets.
#[derive(Debug)]
pub struct Context {
    config: Option<PathBuf>,
    form: Form,
}

impl Context {
    /// How results are to be written.
    #[must_use]
    pub fn form(&self) -> Form {
        self.form
    }

    /// The configuration file that was named.
    #[must_use]
    pub fn config_path(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// The configuration.
    ///
    /// # Errors
    /// Everything that is wrong in it, drawn with its lines.
    pub fn load(&self) -> Result<Loaded> {
        self.try_load().map_err(|errors| {
            let drawn = errors.render(std::io::stderr().is_terminal());
            anyhow::anyhow!("the configuration cannot be used\n{drawn}")
        })
    }

    /// The configuration, with its errors as they are.
    ///
    /// # Errors
    /// Everything that is wrong in it.
    pub fn try_load(&self) -> Result<Loaded, ConfigErrors> {
        let registry = crate::capture::registry();
        let captures: Vec<&str> = registry.iter().map(|it| it.name()).collect();
        crate::config::load(self.config.as_deref(), &captures)
    }
}

/// The command line as a description, for the reference that is made of it.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command line `args`, the program's name first.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    // The guardian is no command for people: it is started by the agent, speaks its own protocol and has
    // its own exit status.
    if args.get(1).is_some_and(|it| it == "guardian") {
        return crate::guardian::main(args.into_iter().skip(2));
    }
    // Nor is the child that looks at memory: it gives up its rights before anything else.
    if args.get(1).is_some_and(|it| it == "look") {
        return crate::look::main();
    }
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(said) => {
            // Help and version are results, everything else is wrong usage.
            let exit = if said.use_stderr() { Exit::Failed } else { Exit::Well };
            return match said.print() {
                Ok(()) => exit.into(),
                Err(_) => Exit::Failed.into(),
            };
        }
    };
    logs();
    let cx = Context { config: cli.config, form: cli.format };
    match cli.command.run(&cx) {
        Ok(exit) => exit.into(),
        Err(error) if output::is_closed_pipe(&error) => Exit::Well.into(),
        Err(error) => {
            output::complain(&format!("vmward: {}", words(&error)));
            Exit::Failed.into()
        }
    }
}

/// The error and its causes; a cause that the words before it end in is not told twice.
fn words(error: &anyhow::Error) -> String {
    let mut said = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if said.is_empty() {
            said = cause;
        } else if !said.ends_with(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
}

/// One form of log lines, on stderr. `VMWARD_LOG` says how much, as `tracing`'s filters do.
fn logs() {
    use tracing_subscriber::EnvFilter;
    let filter =
        EnvFilter::try_from_env("VMWARD_LOG").unwrap_or_else(|_| EnvFilter::new("info,gdbstub=warn"));
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .try_init();
    if let Err(error) = started {
        output::complain(&format!("vmward: no log: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let cause = std::io::Error::from_raw_os_error(2);
        let path = PathBuf::from("/x");
        let error = anyhow::Error::from(crate::report::OpenError::Disk { what: "open", path, source: cause });
        let said = words(&error.context("while opening /x"));
        assert_eq!(said, "while opening /x: cannot open /x: No such file or directory (os error 2)");
    }

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }
}
