//! Asking a running agent through the command line, as a person would.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

use crate::binary;
use crate::ward::Ward;

/// Runs `vmward --config CONFIG ARGS...` against the ward's agent.
///
/// # Errors
/// When the program cannot be started.
pub fn vmward(ward: &Ward, args: &[&str]) -> Result<Output> {
    Command::new(binary::vmward()?)
        .arg("--config")
        .arg(ward.config())
        .args(args)
        .output()
        .with_context(|| format!("while running vmward {args:?}"))
}

/// Examines a guest on request and returns the path of the bundle.
///
/// # Errors
/// When the examination fails or says no path.
pub fn diagnose(ward: &Ward, guest: &str) -> Result<PathBuf> {
    let output = vmward(ward, &["-o", "json", "diagnose", guest])?;
    let text = String::from_utf8_lossy(&output.stdout);
    let said: serde_json::Value = serde_json::from_str(&text).with_context(|| {
        format!("vmward diagnose said no JSON: {text}{}", String::from_utf8_lossy(&output.stderr))
    })?;
    match said["bundle"].as_str() {
        Some(path) => Ok(PathBuf::from(path)),
        None => bail!("vmward diagnose named no bundle: {said}"),
    }
}

/// Asks for an examination and does not wait for it.
///
/// # Errors
/// When the program cannot be started.
pub fn spawn_diagnose(ward: &Ward, guest: &str) -> Result<()> {
    Command::new(binary::vmward()?)
        .arg("--config")
        .arg(ward.config())
        .args(["diagnose", guest])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("while asking for an examination")?;
    Ok(())
}
