//! Running other programs: shown before, timed, and an error when they fail.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// The root of the checkout.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// The cargo that runs us.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs a step in the foreground and says how long it took.
pub fn step(name: &str, command: &mut Command) -> Result<()> {
    eprintln!("== {name}");
    let begun = Instant::now();
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("while starting {name}"))?;
    eprintln!(
        "== {name}: {} after {} s",
        if status.success() { "ok" } else { "FAILED" },
        begun.elapsed().as_secs()
    );
    if !status.success() {
        bail!("{name} failed ({status}): {command:?}");
    }
    Ok(())
}

/// Whether a program is on the PATH.
pub fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}
