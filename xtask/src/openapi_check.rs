//! `cargo xtask openapi-check`: schemathesis calls everything that the controller's OpenAPI document names,
//! with what it allows and with what it does not; an answer of 500 or above is a fault of ours.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Result;
use vmward_tests::controller::Controller;

use crate::run::{root, step};

/// The release that is known to work.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";

/// Arguments of `cargo xtask openapi-check`.
#[derive(clap::Args)]
pub struct Args {
    /// Examples for each call.
    #[arg(long, default_value_t = 100)]
    examples: u32,
}

impl Default for Args {
    fn default() -> Args {
        Args { examples: 100 }
    }
}

/// Runs it.
pub fn run(args: &Args) -> Result<ExitCode> {
    let program = installed()?;
    let controller = Controller::start()?;
    // So that there is something to find.
    let whole = vmward_bundle::sample::harmful::harmless()?;
    controller.post("/api/v1/bundles", |to| to.write_all(&whole))?;
    let report = root().join("out/schemathesis");
    let status = Command::new(program)
        .arg("run")
        .arg(format!("{}/api/openapi.json", controller.url()))
        .args(["--checks", "not_a_server_error", "--phases", "examples,coverage,fuzzing"])
        .args(["--max-examples", &args.examples.to_string()])
        // One worker: Python 3.11 cannot parse in two threads at once. Streams never end; that is
        // what they are for.
        .args(["--exclude-path-regex", "/live$", "--request-timeout", "20", "--workers", "1"])
        .args(["--report", "junit", "--report-dir"])
        .arg(&report)
        .current_dir(root().join("out"))
        .status()?;
    if !status.success() {
        eprintln!("openapi-check: schemathesis ended with {status}; its report is in {}", report.display());
        return Ok(ExitCode::from(1));
    }
    Ok(ExitCode::SUCCESS)
}

/// Where it is, put into a folder of ours when it is not there.
fn installed() -> Result<PathBuf> {
    let folder = root().join("out/venv-schemathesis");
    let program = folder.join("bin/schemathesis");
    let mark = folder.join(SCHEMATHESIS);
    if !mark.is_file() {
        step("python venv", Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        step(SCHEMATHESIS, Command::new(folder.join("bin/pip")).args(["install", "--quiet", SCHEMATHESIS]))?;
        std::fs::write(&mark, "")?;
    }
    Ok(program)
}
