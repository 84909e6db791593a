//! Where the `vmward` program is, building it when it is not there.

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
    BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}"))).clone().map_err(anyhow::Error::msg)
}

/// Asks cargo for it, which is quick when it is current: a stale program would test the past.
fn build() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("while looking for the workspace")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root)
        .args(["build", "--quiet", "--package", "vmward", "--bin", "vmward", "--message-format", "json"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("while building vmward")?;
    if !output.status.success() {
        bail!("vmward does not build: run `cargo build -p vmward`");
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "vmward")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo built vmward and did not say where it is")
}
