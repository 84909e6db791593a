//! `cargo xtask`: the project's only script language. One file a subcommand, one line here.
#![expect(clippy::print_stdout, reason = "a command line tool prints its results")]
#![expect(clippy::print_stderr, reason = "a command line tool says on stderr what it is doing")]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod accuracy;
mod bench;
mod demo;
mod fixtures;
mod generate;
mod measured;
mod openapi_check;
mod record_exchanges;
mod run;
mod setup;
mod sweep;
mod test;
mod tidy;

/// What a contributor runs.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "vmward's own chores: demo, test, bench, accuracy, fixtures, gen, openapi-check, record-exchanges, tidy"
)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Boot a real guest, break it, and show how vmward finds out.
    Demo(demo::Args),
    /// Measure: prints each figure with value, unit, target and whether it is met.
    Bench(bench::Args),
    /// Run what CI runs: formatting, lints, generated files, tests with real guests.
    Test(test::Args),
    /// Fetch the pinned guest kernels, or refresh their pins.
    Fixtures(fixtures::Args),
    /// Score the console reader on labelled logs.
    Accuracy(accuracy::Args),
    /// Write the generated references; with --check only say which are stale.
    Gen(generate::Args),
    /// Call everything that the controller's OpenAPI document names; no answer may be 500 or above.
    OpenapiCheck(openapi_check::Args),
    /// Record what today's programs and their older selves say to each other, for tests of later releases.
    RecordExchanges(record_exchanges::Args),
    /// Every fault on every kernel, several times, held against what is promised of it.
    Sweep(sweep::Args),
    /// Run one program to its end and say what it took.
    #[command(hide = true)]
    Measured(measured::Args),
    /// Check house rules that no other tool checks.
    Tidy,
}

fn main() -> ExitCode {
    let outcome: Result<ExitCode> = match Cli::parse().chore {
        Chore::Demo(args) => demo::run(&args),
        Chore::Bench(args) => bench::run(&args),
        Chore::Test(args) => test::run(&args),
        Chore::Fixtures(args) => fixtures::run(&args),
        Chore::Accuracy(args) => accuracy::run(&args),
        Chore::Gen(args) => generate::run(&args),
        Chore::OpenapiCheck(args) => openapi_check::run(&args),
        Chore::RecordExchanges(args) => record_exchanges::run(&args),
        Chore::Sweep(args) => sweep::run(&args),
        Chore::Measured(args) => measured::run(&args),
        Chore::Tidy => tidy::run(),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(3)
        }
    }
}
