//! `vmward report show|html|verify|pack FILE`: a bundle, as a folder or as `.tar.zst`, on any machine.

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Subcommand;
use vmward_findings::catalogue::Catalogue;
use vmward_report_view::{html, terminal};

use super::output::json;
use super::{Context, Exit, Form, Output};
use crate::report::{Bundle, chart, open, pack};

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show it on the terminal; with -o json, its manifest
    Show {
        /// The bundle: a folder or a .tar.zst
        bundle: PathBuf,
    },
    /// Make a page of it that stands alone
    Html {
        /// The bundle: a folder or a .tar.zst
        bundle: PathBuf,
        /// Where to write the page; stdout when left out
        #[arg(long = "output", value_name = "FILE")]
        page: Option<PathBuf>,
    },
    /// Check that every part is there and what it was when it was written
    Verify {
        /// The bundle: a folder or a .tar.zst
        bundle: PathBuf,
    },
    /// Make one file of it, to be carried to a controller
    Pack {
        /// The bundle: a folder or a .tar.zst
        bundle: PathBuf,
        /// Where to write it; the name ends in .tar.zst
        #[arg(long = "output", value_name = "FILE")]
        file: PathBuf,
    },
}

pub(super) fn run(args: &Args, cx: &Context) -> Result<Exit> {
    let (What::Show { bundle: path }
    | What::Html { bundle: path, .. }
    | What::Verify { bundle: path }
    | What::Pack { bundle: path, .. }) = &args.what;
    let bundle = open(path).with_context(|| format!("while opening {}", path.display()))?;
    match &args.what {
        What::Show { .. } if cx.form() == Form::Json => json(bundle.manifest())?,
        What::Show { .. } => {
            let colour = std::io::stdout().is_terminal();
            let width = columns().unwrap_or(100);
            let text = terminal::render(&document(&bundle)?, terminal::Options { width, colour });
            Output::new().safe(&text).write()?;
        }
        What::Html { page, .. } => {
            let text = html::render(&document(&bundle)?).context("while drawing the page")?;
            match page {
                Some(page) => {
                    std::fs::write(page, text).with_context(|| format!("while writing {}", page.display()))?
                }
                None => Output::new().safe(&text).write()?,
            }
        }
        What::Verify { .. } => return verify(&bundle, cx),
        What::Pack { file, .. } => {
            pack(&bundle, file).with_context(|| format!("while packing {}", path.display()))?;
            return Ok(Exit::Well);
        }
    }
    Ok(super::ask::exit_of(bundle.manifest().incident.class))
}

fn document(bundle: &Bundle) -> Result<vmward_report_view::Document> {
    let catalogue = Catalogue::built_in().context("while reading the catalogue of findings")?;
    chart(bundle, &catalogue).context("while reading the case")
}

fn verify(bundle: &Bundle, cx: &Context) -> Result<Exit> {
    let checked = bundle.verify().context("while checking the bundle")?;
    if cx.form() == Form::Json {
        json(&serde_json::json!({
            "whole": checked.is_whole(),
            "good": checked.good,
            "bytes": checked.bytes,
            "problems": checked.problems,
        }))?;
    } else {
        let mut out = Output::new();
        out.lines(checked.problems.iter().map(|it| format!("problem: {it}")));
        let whole = if checked.is_whole() { "whole" } else { "damaged" };
        out.line(&format!("{whole}: {} parts, {} bytes are as written", checked.good, checked.bytes));
        out.write()?;
    }
    Ok(if checked.is_whole() { Exit::Well } else { Exit::Finding })
}

/// Columns of the terminal, where the shell says.
fn columns() -> Option<usize> {
    std::env::var("COLUMNS").ok()?.parse().ok()
}
