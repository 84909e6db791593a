//! Reads the recorded exchanges of this folder: what an older agent or controller said and was told, one
//! file a request and one an answer. Controller and agent include this file in their tests.
//!
//! A file is its first line (`METHOD TARGET`, or the status), `content-type: KIND`, an empty line and the
//! body. In place of a body of an artifact that is large there is `@artifact DIGEST SIZE`: it lies in
//! `artifacts/`, once for both directions.

use std::path::{Path, PathBuf};

/// A request and its answer.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    /// The files' name without its end.
    pub(crate) name: String,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) kind: String,
    pub(crate) body: Vec<u8>,
    pub(crate) status: u16,
    pub(crate) answer: Vec<u8>,
}

/// Every release on record that has this direction, each with its exchanges in their order.
pub(crate) fn all(direction: &str) -> Vec<(String, Vec<Recorded>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/exchanges");
    let folders = sorted(&root).into_iter().filter(|it| it.join(direction).is_dir());
    let one = |folder: PathBuf| (folder.display().to_string(), release(&folder, direction));
    let found: Vec<_> = folders.map(one).collect();
    assert!(!found.is_empty(), "no {direction} is on record: cargo xtask record-exchanges");
    found
}

fn release(folder: &Path, direction: &str) -> Vec<Recorded> {
    let files = sorted(&folder.join(direction));
    let requests = files.iter().filter(|it| it.extension().is_some_and(|it| it == "request"));
    let found: Vec<Recorded> = requests.map(|it| exchange(folder, it)).collect();
    assert!(!found.is_empty(), "{} has no {direction}", folder.display());
    found
}

fn exchange(folder: &Path, request: &Path) -> Recorded {
    let (call, kind, body) = parts(folder, request);
    let (status, _, answer) = parts(folder, &request.with_extension("response"));
    let (method, target) = call.split_once(' ').unwrap();
    let name = request.file_stem().unwrap().to_string_lossy().into_owned();
    let (method, target) = (method.to_owned(), target.to_owned());
    Recorded { name, method, target, kind, body, status: status.parse().unwrap(), answer }
}

/// First line, media type, body.
fn parts(folder: &Path, file: &Path) -> (String, String, Vec<u8>) {
    let bytes = std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let at = bytes.windows(2).position(|it| it == b"\n\n").unwrap();
    let head = std::str::from_utf8(&bytes[..at]).unwrap();
    let (first, kind) = head.split_once('\n').unwrap();
    let kind = kind.strip_prefix("content-type:").unwrap().trim();
    let (kind, body) = (kind.to_owned(), &bytes[at + 2..]);
    let Some(rest) = body.strip_prefix(b"@artifact ") else { return (first.to_owned(), kind, body.to_vec()) };
    let (digest, size) = std::str::from_utf8(rest).unwrap().trim().split_once(' ').unwrap();
    let body = std::fs::read(folder.join("artifacts").join(digest)).unwrap();
    assert_eq!(body.len().to_string(), size, "{digest}");
    (first.to_owned(), kind, body)
}

fn sorted(folder: &Path) -> Vec<PathBuf> {
    let listed = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut found: Vec<PathBuf> = listed.map(|it| it.unwrap().path()).collect();
    found.sort();
    found
}
