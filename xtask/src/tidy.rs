//! `cargo xtask tidy`: house rules that no other tool checks.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::run::root;

/// A file of code may not be longer: split it (CONTRIBUTING.md, "Size").
const MOST_LINES: usize = 800;

/// Runs every rule over every tracked file.
pub fn run() -> Result<ExitCode> {
    let listed = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root())
        .output()
        .context("while asking git for the files")?;
    if !listed.status.success() {
        bail!("git ls-files failed: {}", String::from_utf8_lossy(&listed.stderr));
    }
    let mut problems = Vec::new();
    for name in String::from_utf8_lossy(&listed.stdout).split('\0').filter(|name| !name.is_empty()) {
        let path = root().join(name);
        let Ok(bytes) = std::fs::read(&path) else { continue };
        let Ok(text) = String::from_utf8(bytes) else { continue };
        check(Path::new(name), &text, &mut problems);
    }
    for problem in &problems {
        eprintln!("{problem}");
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Paths that only this machine has: the checkout's, and the folder around it unless every machine has one
/// of that name.
fn places(root: &Path) -> Vec<String> {
    const COMMON: [&str; 8] = ["/", "/tmp", "/home", "/root", "/usr", "/var", "/opt", "/srv"];
    let around = root.parent().filter(|it| !COMMON.iter().any(|common| it == &Path::new(common)));
    [Some(root), around].into_iter().flatten().map(|it| format!("{}/", it.display())).collect()
}

fn check(name: &Path, text: &str, problems: &mut Vec<String>) {
    let at = |line: usize| format!("{}:{}", name.display(), line + 1);
    let extension = name.extension().and_then(|it| it.to_str()).unwrap_or_default();
    let lines = text.lines().count();
    if matches!(extension, "rs" | "js" | "css" | "html") && lines > MOST_LINES {
        problems.push(format!("{}: {lines} lines, more than {MOST_LINES}: split it", name.display()));
    }
    if extension == "rs" && !text.starts_with("//!") && !text.starts_with("#![no_std]") {
        problems.push(format!("{}: no //! header that says what the file is for", name.display()));
    }
    // Spelled in two parts so that this file does not find itself.
    let ignored = concat!("#[", "ignore");
    let places = places(&root());
    let hosts = ["crates", "pypi", "npmjs", "deb.debian", "snapshot.debian"];
    // Recorded and golden files hold what a program printed, blanks included.
    let blanks = matches!(extension, "md" | "log" | "txt")
        || name.starts_with("host-agent/tests/cmd")
        || name.starts_with("tests/exchanges");
    for (index, line) in text.lines().enumerate() {
        if line.trim_end() != line && !blanks {
            problems.push(format!("{}: trailing blanks", at(index)));
        }
        if extension == "rs" && line.contains(ignored) {
            problems.push(format!(
                "{}: an ignored test; a test that needs something says how to get it",
                at(index)
            ));
        }
        if places.iter().any(|place| line.contains(place)) {
            problems.push(format!("{}: a path of this machine", at(index)));
        }
        for host in hosts {
            for scheme in ["http", "https"] {
                if line.contains(&format!("{scheme}://{host}.")) {
                    problems.push(format!("{}: the address of a package registry", at(index)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, text: &str) -> Vec<String> {
        let mut problems = Vec::new();
        check(Path::new(name), text, &mut problems);
        problems
    }

    #[test]
    fn a_file_without_header_is_named() {
        assert_eq!(found("a.rs", "fn a() {}\n").len(), 1);
        assert!(found("a.rs", "//! A.\n\nfn a() {}\n").is_empty());
    }

    #[test]
    fn an_ignored_test_is_named_with_its_line() {
        let text = format!("//! A.\n{}\nfn a() {{}}\n", concat!("#[", "ignore]"));
        assert!(found("a.rs", &text)[0].starts_with("a.rs:2:"));
    }

    #[test]
    fn trailing_blanks_are_named_but_in_what_a_program_printed() {
        assert_eq!(found("a.toml", "a = 1 \n").len(), 1);
        assert!(found("host-agent/tests/cmd/a.toml", "a = 1 \n").is_empty());
        assert!(found("tests/exchanges/0.1.0/a.request", "content-type: \n").is_empty());
    }

    #[test]
    fn the_folder_around_the_checkout_counts_unless_every_machine_has_it() {
        assert_eq!(places(Path::new("/tmp/clone")), ["/tmp/clone/"]);
        assert_eq!(places(Path::new("/data/ci/clone")), ["/data/ci/clone/", "/data/ci/"]);
    }

    #[test]
    fn a_file_over_the_limit_is_named() {
        let text = "//! A.\n".to_owned() + &"\n".repeat(MOST_LINES);
        assert_eq!(found("a.rs", &text).len(), 1);
    }
}
