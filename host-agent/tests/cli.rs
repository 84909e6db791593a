//! The command line as people see it: each `cmd/NAME.toml` is a command with its exit status, stdout and
//! stderr (the form of the trycmd tool), run in a copy of `cmd/NAME.in` where there is one.
//! After a wanted change, `VMWARD_BLESS=1 cargo test -p vmward --test cli` writes them anew.

#![expect(clippy::unwrap_used, reason = "helpers of tests, not only test functions")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    args: Vec<String>,
    bin: BTreeMap<String, String>,
    status: BTreeMap<String, i32>,
    stdout: String,
    stderr: String,
}

/// Runs the command of a case and gives the case as it turned out.
fn run(case: &Case, input: &Path) -> Case {
    let dir = tempfile::tempdir().unwrap();
    if input.is_dir() {
        for entry in std::fs::read_dir(input).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
        }
    }
    let output = Command::new(env!("CARGO_BIN_EXE_vmward"))
        .args(&case.args)
        .current_dir(dir.path())
        .env_remove("VMWARD_CONFIG")
        .env("VMWARD_LOG", "off")
        .env("COLUMNS", "100")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        text.replace(env!("CARGO_PKG_VERSION"), "[VERSION]")
    };
    Case {
        args: case.args.clone(),
        bin: case.bin.clone(),
        status: BTreeMap::from([("code".to_owned(), output.status.code().unwrap())]),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

#[test]
fn every_command_says_what_its_file_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cmd");
    let bless = std::env::var_os("VMWARD_BLESS").is_some();
    let mut wrong = Vec::new();
    let mut n_cases = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|it| it != "toml") {
            continue;
        }
        n_cases += 1;
        let case: Case = toml::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let found = run(&case, &path.with_extension("in"));
        if found == case {
            continue;
        }
        // The exit status is decided by people, never by blessing.
        if bless && found.status == case.status {
            std::fs::write(&path, toml::to_string_pretty(&found).unwrap()).unwrap();
        } else {
            wrong.push(format!("{}\nwant {case:#?}\nfound {found:#?}", path.display()));
        }
    }
    assert!(n_cases > 10, "the cases were not found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
