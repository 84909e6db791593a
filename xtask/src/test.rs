//! `cargo xtask test`: what CI runs, real guests included; `--all` adds what takes longer.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use crate::run::{cargo, on_path, root, step};
use crate::{fixtures, generate, openapi_check, setup, sweep, tidy};

/// Arguments of `cargo xtask test`.
#[derive(clap::Args)]
pub struct Args {
    /// Also run the tests whose names begin with `all_`: every fault three times, every kernel.
    #[arg(long)]
    all: bool,
    /// Only tests whose name contains this.
    filter: Option<String>,
}

/// Runs it. Exit code 3 when something is missing that cannot be installed from here.
pub fn run(args: &Args) -> Result<ExitCode> {
    if let Some(stop) = setup::ready(|_| Ok(true))? {
        return Ok(stop);
    }
    if args.filter.is_none() {
        step("rustfmt", cargo().args(["fmt", "--all", "--check"]))?;
        step(
            "clippy",
            cargo().args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]),
        )?;
        for (name, code) in
            [("gen --check", generate::run(&generate::Args { check: true })?), ("tidy", tidy::run()?)]
        {
            if code != ExitCode::SUCCESS {
                eprintln!("== {name}: FAILED");
                return Ok(code);
            }
            eprintln!("== {name}: ok");
        }
        if on_path("cargo-deny") {
            step("cargo deny", cargo().args(["deny", "--offline", "check", "bans", "licenses", "sources"]))?;
        } else {
            eprintln!(
                "== cargo deny: not on this machine (`cargo install --locked cargo-deny` brings it); bans, licences and sources were not checked"
            );
        }
    }
    if args.filter.is_none() {
        patient()?;
    }
    eprintln!("== fixtures");
    fixtures::prepare()?;
    tests(args)?;
    if let Some(corpora) = corpora().filter(|_| args.filter.is_none()) {
        step("accuracy", cargo().args(["xtask", "accuracy", "--corpus"]).arg(corpora))?;
    }
    if args.all && args.filter.is_none() {
        eprintln!("== openapi-check");
        let code = openapi_check::run(&openapi_check::Args::default())?;
        if code != ExitCode::SUCCESS {
            eprintln!("== openapi-check: FAILED");
            return Ok(code);
        }
        eprintln!("== sweep: every fault three times; resumes where it was cut off");
        return sweep::run(&sweep::Args::everything());
    }
    Ok(ExitCode::SUCCESS)
}

/// Tests and lints of the guest's own program, which is a workspace of its own: it is built for the
/// guest with other settings, and the workspace's commands do not see it.
fn patient() -> Result<()> {
    let manifest = root().join("qemu-fixtures/patient/Cargo.toml");
    let target = root().join("target/patient");
    let run = |chore: &[&str], rest: &[&str]| {
        let mut command = cargo();
        command.args(chore).arg("--manifest-path").arg(&manifest).args(rest);
        command.env("CARGO_TARGET_DIR", &target);
        command
    };
    step("rustfmt of the patient", &mut run(&["fmt"], &["--check"]))?;
    let deny = ["--all-targets", "--quiet", "--", "-D", "warnings"];
    step("clippy of the patient", &mut run(&["clippy"], &deny))?;
    step("tests of the patient", &mut run(&["test"], &["--quiet"]))
}

/// Runs the tests, the quick ones or all. Guests take both cores, so the tests that start them run
/// one after the other.
fn tests(args: &Args) -> Result<()> {
    let mut command = cargo();
    if on_path("cargo-nextest") {
        command.args(["nextest", "run", "--workspace", "--no-fail-fast"]);
        command.args(["--profile", if args.all { "all" } else { "default" }]);
        command.args(&args.filter);
        return step("tests", &mut command);
    }
    command.args(["test", "--workspace", "--no-fail-fast"]).args(&args.filter);
    command.args(["--", "--test-threads=1"]);
    if !args.all {
        command.args(["--skip", "all_"]);
    }
    step("tests", &mut command)
}

/// Labelled logs beside the checkout, where there are any.
fn corpora() -> Option<PathBuf> {
    let beside = root().parent()?.join("shared/corpora");
    beside.is_dir().then_some(beside)
}
