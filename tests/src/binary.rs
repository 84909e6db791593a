//! Where our programs are, building them when they are not there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

/// The program that belongs to this build.
///
/// # Errors
/// When it is not there and cannot be built.
pub fn vmward() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    once(&BUILT, "vmward", "vmward", &[])
}

/// The same as an older one: it does not know the newest protocol and some capabilities.
///
/// # Errors
/// When it is not there and cannot be built.
pub fn older_vmward() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    once(&BUILT, "vmward", "vmward-older", &["--features", "older-peer"])
}

/// The controller.
///
/// # Errors
/// When it is not there and cannot be built.
pub fn controller() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    once(&BUILT, "vmward-controller", "vmward-controller", &[])
}

/// The same as an older one: it does not know the newest protocol and some capabilities.
///
/// # Errors
/// When it is not there and cannot be built.
pub fn older_controller() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    once(&BUILT, "vmward-controller", "vmward-controller-older", &["--features", "older-peer"])
}

fn once(
    built: &OnceLock<Result<PathBuf, String>>,
    package: &str,
    name: &str,
    more: &[&str],
) -> Result<PathBuf> {
    let build = || build(package, name, more).map_err(|error| format!("{error:#}"));
    built.get_or_init(build).clone().map_err(anyhow::Error::msg)
}

/// Asks cargo for it, which is quick when it is current: a stale program would test the past.
fn build(package: &str, name: &str, more: &[&str]) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("while looking for the workspace")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root)
        .args(["build", "--quiet", "--package", package, "--bin", name, "--message-format", "json"])
        .args(more)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("while building {name}"))?;
    if !output.status.success() {
        bail!("{name} does not build: run `cargo build -p {package}`");
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo built {name} and did not say where it is"))
}
