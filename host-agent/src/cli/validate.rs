//! `vmward validate [FILE]`: checks the configuration and every scenario and diagnosis that it brings in,
//! before anything is done with them. Mistakes are drawn at their line and column.

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

use super::output::json;
use super::{Context, Exit, Form, Output};

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration file; else that of --config, else the usual one
    file: Option<PathBuf>,
}

#[derive(Serialize)]
struct Said {
    file: Option<PathBuf>,
    scenarios: Vec<String>,
    diagnoses: Vec<String>,
    problems: Vec<Mistake>,
}

#[derive(Serialize)]
struct Mistake {
    file: PathBuf,
    line: usize,
    column: usize,
    message: String,
    help: Option<String>,
}

pub(super) fn run(args: &Args, cx: &Context) -> Result<Exit> {
    let path = args.file.clone().or_else(|| cx.config_path().map(ToOwned::to_owned));
    let cx = Context { config: path.clone(), form: cx.form() };
    let (said, drawn) = match cx.try_load() {
        Ok(loaded) => {
            let scenarios = loaded.scenarios.into_keys().collect();
            let diagnoses = loaded.diagnoses.into_keys().collect();
            (Said { file: loaded.path, scenarios, diagnoses, problems: Vec::new() }, String::new())
        }
        Err(errors) => {
            let drawn = errors.render(std::io::stdout().is_terminal());
            let mistake = |it: &crate::config::Problem| Mistake {
                file: it.file.clone(),
                line: it.line,
                column: it.column,
                message: it.message.clone(),
                help: it.help.clone(),
            };
            let problems = errors.problems.iter().map(mistake).collect();
            (Said { file: path, scenarios: Vec::new(), diagnoses: Vec::new(), problems }, drawn)
        }
    };
    let wrong = said.problems.len();
    if cx.form() == Form::Json {
        json(&said)?;
    } else if wrong > 0 {
        let s = if wrong == 1 { "" } else { "s" };
        Output::new().safe(&drawn).safe(&format!("\n\n{wrong} mistake{s}\n")).write()?;
    } else {
        let file =
            said.file.map_or_else(|| "no file, all as built in".to_owned(), |it| it.display().to_string());
        let mut out = Output::new();
        out.line(&format!("well: {file}"));
        out.line(&format!("scenarios: {}", said.scenarios.join(", ")));
        out.line(&format!("diagnoses: {}", said.diagnoses.join(", ")));
        out.write()?;
    }
    Ok(if wrong == 0 { Exit::Well } else { Exit::Finding })
}
