//! `cargo xtask measured -- PROGRAM ...`: runs one program to its end and says what it took, as a line of
//! JSON: wall time, exit status, and the largest resident size of it and of whatever it waited for.
//!
//! A process of its own, because the kernel keeps that size over all children of a process together
//! (getrusage(2), `RUSAGE_CHILDREN`), and a benchmark has a QEMU among its own.

use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::{Value, json};

/// Arguments of `cargo xtask measured`.
#[derive(clap::Args)]
pub struct Args {
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Runs it.
pub fn run(args: &Args) -> Result<ExitCode> {
    let (program, words) = args.command.split_first().context("no program")?;
    let begun = Instant::now();
    let status = Command::new(program).args(words).stdin(Stdio::null()).stdout(Stdio::null()).status();
    let status = status.with_context(|| format!("while running {program}"))?;
    let ms = begun.elapsed().as_secs_f64() * 1000.0;
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("while asking what it took")?;
    println!("{}", json!({ "ms": ms, "exit": status.code(), "rss_kib": usage.max_rss() }));
    Ok(ExitCode::SUCCESS)
}

/// Has a program measured.
pub fn measure(program: &str, words: &[&str]) -> Result<Value> {
    let us = std::env::current_exe().context("while looking for this program")?;
    let out = Command::new(us)
        .args(["measured", "--", program])
        .args(words)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("while measuring {program}"))?;
    ensure!(out.status.success(), "measuring {program} failed: {}", out.status);
    serde_json::from_slice(&out.stdout).context("while reading what was measured")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_run_to_its_end() {
        let command = ["sh", "-c", "exit 7"].map(str::to_owned).to_vec();
        assert_eq!(run(&Args { command }).unwrap(), ExitCode::SUCCESS);
        assert!(run(&Args { command: vec!["/no/such/program".to_owned()] }).is_err());
    }
}
