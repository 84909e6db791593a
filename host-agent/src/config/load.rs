//! Reads everything: `vmward.toml`, the shipped files, and the folders that it names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::check;
use super::diagnosis::Diagnosis;
use super::error::{ConfigErrors, Problem};
use super::file::Config;
use super::scenario::Scenario;
use super::source::Source;

/// Where the configuration is when nothing else is said; it need not be there.
pub const DEFAULT_PATH: &str = "/etc/vmward/vmward.toml";

/// The shipped scenarios; part of the program, so that the binary works alone.
const SCENARIOS: &[(&str, &str)] = &[
    ("app-label.toml", include_str!("../../../scenarios/app-label.toml")),
    ("kernel-trouble.toml", include_str!("../../../scenarios/kernel-trouble.toml")),
    ("shell-answers.toml", include_str!("../../../scenarios/shell-answers.toml")),
];

/// The shipped diagnoses.
const DIAGNOSES: &[(&str, &str)] = &[
    ("default.toml", include_str!("../../../scenarios/diagnosis/default.toml")),
    ("quick.toml", include_str!("../../../scenarios/diagnosis/quick.toml")),
];

/// Most files that are read from one folder.
const MAX_FILES: usize = 1000;

/// Everything that was configured, checked as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The file that was read; none when there is none and all is as built in.
    pub path: Option<PathBuf>,
    /// `vmward.toml`.
    pub config: Config,
    /// Scenarios by name.
    pub scenarios: BTreeMap<String, Scenario>,
    /// Diagnoses by name.
    pub diagnoses: BTreeMap<String, Diagnosis>,
}

/// Reads and checks the configuration at `path`, or at [`DEFAULT_PATH`] where there is one, else what is
/// built in. `captures` are the names of the captures that there are.
///
/// # Errors
/// Everything that is wrong in any of the files, with file, line and column.
pub fn load(path: Option<&Path>, captures: &[&str]) -> Result<Loaded, ConfigErrors> {
    let default = Path::new(DEFAULT_PATH);
    match path.or_else(|| default.exists().then_some(default)) {
        Some(path) => {
            let source = Source::read(path).map_err(|it| ConfigErrors { problems: vec![it] })?;
            assemble(&source, Some(path), captures)
        }
        None => assemble(&Source::built_in("vmward.toml", ""), None, captures),
    }
}

fn assemble(source: &Source, path: Option<&Path>, captures: &[&str]) -> Result<Loaded, ConfigErrors> {
    let config: Config = source.parse().map_err(|it| ConfigErrors { problems: vec![it] })?;
    let mut problems = Vec::new();
    let mut scenario_files = shipped(SCENARIOS, "");
    let mut diagnosis_files = shipped(DIAGNOSES, "diagnosis");
    let base = path.and_then(Path::parent).unwrap_or(Path::new("/"));
    for folder in &config.scenario_folders {
        // A relative folder lies beside the file that names it.
        let folder = base.join(folder);
        scenario_files.extend(files_of(&folder, true, &mut problems));
        diagnosis_files.extend(files_of(&folder.join("diagnosis"), false, &mut problems));
    }
    let diagnoses = parse_all(diagnosis_files, |it: &Diagnosis| it.name.clone(), &mut problems);
    let scenarios = parse_all(scenario_files, |it: &Scenario| it.name.clone(), &mut problems);
    let diagnoses_only = strip(&diagnoses);
    let scenarios_only = strip(&scenarios);
    for (it, source) in diagnoses.values() {
        problems.extend(check::diagnosis(it, source, captures));
    }
    for (it, source) in scenarios.values() {
        problems.extend(check::scenario(it, source, &diagnoses_only));
    }
    problems.extend(check::config(&config, source, &scenarios_only));
    if problems.is_empty() {
        let path = path.map(Path::to_owned);
        Ok(Loaded { path, config, scenarios: scenarios_only, diagnoses: diagnoses_only })
    } else {
        Err(ConfigErrors { problems })
    }
}

fn shipped(files: &[(&str, &str)], folder: &str) -> Vec<Source> {
    files
        .iter()
        .map(|(name, text)| Source::built_in(&Path::new(folder).join(name).to_string_lossy(), text))
        .collect()
}

/// The `*.toml` of a folder in order of their names.
fn files_of(folder: &Path, must_be: bool, problems: &mut Vec<Problem>) -> Vec<Source> {
    if !must_be && !folder.exists() {
        return Vec::new();
    }
    let listed = std::fs::read_dir(folder).and_then(|dir| {
        dir.take(MAX_FILES).map(|entry| entry.map(|it| it.path())).collect::<std::io::Result<Vec<_>>>()
    });
    let mut paths = match listed {
        Ok(paths) => paths,
        Err(e) => {
            problems.push(Problem::of_file(folder, format!("scenarios cannot be read: {e}")));
            return Vec::new();
        }
    };
    paths.retain(|it| it.extension().is_some_and(|ext| ext == "toml"));
    paths.sort();
    let mut sources = Vec::new();
    for path in paths {
        match Source::read(&path) {
            Ok(source) => sources.push(source),
            Err(problem) => problems.push(problem),
        }
    }
    sources
}

/// By name; a later file takes the place of an earlier one.
fn parse_all<T: DeserializeOwned>(
    sources: Vec<Source>,
    name: impl Fn(&T) -> String,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, (T, Source)> {
    let mut all = BTreeMap::new();
    for source in sources {
        match source.parse::<T>() {
            Ok(it) => {
                all.insert(name(&it), (it, source));
            }
            Err(problem) => problems.push(problem),
        }
    }
    all
}

fn strip<T: Clone>(all: &BTreeMap<String, (T, Source)>) -> BTreeMap<String, T> {
    all.iter().map(|(name, (it, _))| (name.clone(), it.clone())).collect()
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
