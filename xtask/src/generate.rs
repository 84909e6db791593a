//! `cargo xtask gen`: references that are made from the code and committed.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::run::root;

/// Arguments of `cargo xtask gen`.
#[derive(clap::Args)]
pub struct Args {
    /// Write nothing; fail when a committed file is stale.
    #[arg(long)]
    pub check: bool,
}

/// Every generated file with the content that it should have.
fn files() -> Result<Vec<(PathBuf, String)>> {
    let mut files = Vec::new();
    for (name, schema) in vmward_model::schema::all() {
        let text = serde_json::to_string_pretty(&schema).context("while writing a schema")? + "\n";
        files.push((PathBuf::from(format!("docs/schema/{name}.json")), text));
    }
    Ok(files)
}

/// Writes or checks.
pub fn run(args: &Args) -> Result<ExitCode> {
    let mut stale = Vec::new();
    for (path, wanted) in files()? {
        let full = root().join(&path);
        if std::fs::read_to_string(&full).is_ok_and(|found| found == wanted) {
            continue;
        }
        if !args.check {
            if let Some(folder) = full.parent() {
                std::fs::create_dir_all(folder)
                    .with_context(|| format!("while making {}", folder.display()))?;
            }
            std::fs::write(&full, wanted).with_context(|| format!("while writing {}", full.display()))?;
            println!("wrote {}", path.display());
        }
        stale.push(path);
    }
    if args.check && !stale.is_empty() {
        for path in &stale {
            eprintln!("stale: {} (run `cargo xtask gen` and commit)", path.display());
        }
        return Ok(ExitCode::from(1));
    }
    Ok(ExitCode::SUCCESS)
}
