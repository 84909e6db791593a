//! What comes back from a bundle, and what a bundle made to harm is answered with.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::sample::{folder, incident};
use crate::*;

fn packed(dir: &Path) -> PathBuf {
    let bundle = open(&folder(dir).unwrap()).unwrap();
    let to = dir.join("b.tar.zst");
    pack(&bundle, &to).unwrap();
    to
}

/// A packed file of these entries, made with the tar crate as anybody might.
fn archive_of(dir: &Path, entries: &[(&str, tar::EntryType, &[u8])]) -> PathBuf {
    let mut tar = tar::Builder::new(zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap());
    for (name, kind, bytes) in entries {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        tar.append(&header, *bytes).unwrap();
    }
    let path = dir.join("hostile.tar.zst");
    fs::write(&path, tar.into_inner().unwrap().finish().unwrap()).unwrap();
    path
}

fn manifest_bytes(dir: &Path) -> Vec<u8> {
    let made = folder(dir).unwrap();
    fs::read(made.join("manifest.json")).unwrap()
}

const FILE: tar::EntryType = tar::EntryType::Regular;

#[test]
fn a_bundle_reads_back_from_its_folder_and_packed() {
    let dir = tempfile::tempdir().unwrap();
    let folder = open(&folder(dir.path()).unwrap()).unwrap();
    let packed = open(&packed(dir.path())).unwrap();
    for bundle in [folder, packed] {
        assert_eq!(bundle.manifest().incident, incident());
        assert_eq!(bundle.artifact_of_kind("console").unwrap().unwrap(), b"Kernel panic");
        assert_eq!(bundle.digests().count(), 2, "equal contents are stored once");
        let checked = bundle.verify().unwrap();
        assert!(checked.is_whole(), "{checked:?}");
        assert_eq!((checked.good, checked.bytes), (2, 17));
    }
}

#[test]
fn the_name_of_an_artifact_is_what_sha256sum_says() {
    let dir = tempfile::tempdir().unwrap();
    let made = folder(dir.path()).unwrap();
    let names: Vec<_> = fs::read_dir(made.join("artifacts")).unwrap().map(|it| it.unwrap().path()).collect();
    assert_eq!(names.len(), 2);
    for path in names {
        let out = std::process::Command::new("sha256sum").arg(&path).output().unwrap();
        let said = String::from_utf8(out.stdout).unwrap();
        assert!(said.starts_with(path.file_name().unwrap().to_str().unwrap()), "{said}");
    }
}

#[test]
fn gnu_tar_lists_a_packed_bundle() {
    let dir = tempfile::tempdir().unwrap();
    let path = packed(dir.path());
    let raw = zstd::stream::decode_all(fs::File::open(path).unwrap()).unwrap();
    fs::write(dir.path().join("b.tar"), raw).unwrap();
    let out = std::process::Command::new("tar").arg("-tf").arg(dir.path().join("b.tar")).output().unwrap();
    let listed = String::from_utf8(out.stdout).unwrap();
    assert!(listed.starts_with("manifest.json\nartifacts/"), "{listed}");
    assert_eq!(listed.lines().count(), 3);
}

#[test]
fn changed_missing_and_extra_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let made = folder(dir.path()).unwrap();
    let files: Vec<_> = fs::read_dir(made.join("artifacts")).unwrap().map(|it| it.unwrap().path()).collect();
    let mut changed = fs::read(&files[0]).unwrap();
    changed[0] ^= 1;
    fs::write(&files[0], changed).unwrap();
    fs::remove_file(&files[1]).unwrap();
    fs::write(made.join("artifacts/\u{1b}[2Jx"), b"").unwrap();
    fs::write(made.join("readme"), b"").unwrap();
    let problems = open(&made).unwrap().verify().unwrap().problems;
    assert_eq!(problems.len(), 4, "{problems:?}");
    assert!(problems.iter().any(|it| it.contains("does not match")));
    assert!(problems.iter().any(|it| it.contains("is missing")));
    assert!(problems.iter().all(|it| !it.contains('\u{1b}')), "names are quoted: {problems:?}");
}

#[test]
fn links_and_pipes_in_place_of_files_are_refused_without_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let made = folder(dir.path()).unwrap();
    let files: Vec<_> = fs::read_dir(made.join("artifacts")).unwrap().map(|it| it.unwrap().path()).collect();
    for file in &files {
        fs::remove_file(file).unwrap();
    }
    std::os::unix::fs::symlink("/etc/passwd", &files[0]).unwrap();
    nix::unistd::mkfifo(&files[1], nix::sys::stat::Mode::S_IRWXU).unwrap();
    let checked = open(&made).unwrap().verify().unwrap();
    assert_eq!((checked.good, checked.problems.len()), (0, 2), "{checked:?}");
}

#[test]
fn paths_that_lead_elsewhere_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = manifest_bytes(dir.path());
    let odd: [(&str, tar::EntryType); 5] = [
        ("../evil", FILE),
        ("/etc/cron.d/evil", FILE),
        ("artifacts/../../evil", FILE),
        ("artifacts/deep/er", FILE),
        ("manifest.json", tar::EntryType::Symlink),
    ];
    for (name, kind) in odd {
        let path = archive_of(dir.path(), &[("manifest.json", FILE, &manifest), (name, kind, b"")]);
        let err = open(&path).unwrap().verify().unwrap_err();
        assert!(matches!(err, OpenError::Unexpected { .. }), "{name}: {err}");
    }
}

#[test]
fn content_that_is_not_what_its_name_says_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = manifest_bytes(dir.path());
    let bundle = open(&packed(dir.path())).unwrap();
    let known = bundle.digests().next().unwrap();
    let size = bundle.artifact(known).unwrap().len();
    let path = archive_of(
        dir.path(),
        &[("manifest.json", FILE, &manifest), (&format!("artifacts/{known}"), FILE, &vec![b'x'; size])],
    );
    let hostile = open(&path).unwrap();
    assert!(matches!(hostile.artifact(known), Err(OpenError::Mismatch { .. })));
    assert!(!hostile.verify().unwrap().is_whole());
}

#[test]
fn a_bomb_is_refused_before_it_goes_off() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = manifest_bytes(dir.path());
    let name = format!("artifacts/{}", "0".repeat(64));
    let path = dir.path().join("bomb.tar.zst");
    let mut file = zstd::stream::write::Encoder::new(fs::File::create(&path).unwrap(), 1).unwrap();
    for (name, size, bytes) in
        [("manifest.json", manifest.len() as u64, &manifest[..]), (&name, 4 << 30, b"")]
    {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(size);
        header.set_cksum();
        file.write_all(header.as_bytes()).unwrap();
        file.write_all(bytes).unwrap();
        file.write_all(&vec![0; bytes.len().next_multiple_of(512) - bytes.len()]).unwrap();
    }
    for _ in 0..1024 {
        file.write_all(&[0; 1 << 18]).unwrap();
    }
    file.finish().unwrap();
    let begun = Instant::now();
    let err = open(&path).unwrap().verify().unwrap_err();
    assert!(matches!(err, OpenError::OverLimit { what: "an artifact's size", .. }), "{err}");
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[test]
fn many_entries_and_high_ratios_stop_at_their_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = manifest_bytes(dir.path());
    let mut entries = vec![("manifest.json", FILE, &manifest[..])];
    entries.extend(std::iter::repeat_n(("artifacts/", tar::EntryType::Directory, &b""[..]), 10_000));
    let path = archive_of(dir.path(), &entries);
    let err = open(&path).unwrap().verify().unwrap_err();
    assert!(matches!(err, OpenError::OverLimit { what: "the number of entries", .. }), "{err}");

    let tight = Limits { ratio: 1, free_unpacked: 1024, ..Limits::default() };
    let err = Bundle::open_with(&path, tight).unwrap_err();
    assert!(matches!(err, OpenError::OverLimit { what: "the unpacked size", .. }), "{err}");
}

#[test]
fn a_huge_manifest_is_refused_unread() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("huge");
    fs::create_dir(&folder).unwrap();
    fs::File::create(folder.join("manifest.json")).unwrap().set_len(1 << 30).unwrap();
    let begun = Instant::now();
    let err = open(&folder).unwrap_err();
    assert!(matches!(err, OpenError::OverLimit { what: "the manifest's size", .. }), "{err}");
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_frame_that_asks_for_a_huge_window_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.tar.zst");
    let mut file = zstd::stream::write::Encoder::new(fs::File::create(&path).unwrap(), 1).unwrap();
    file.window_log(27).unwrap();
    file.write_all(&vec![7; 1 << 20]).unwrap();
    file.finish().unwrap();
    let err = open(&path).unwrap_err();
    assert!(matches!(err, OpenError::Broken(_)), "{err}");
}

#[test]
fn cut_and_garbled_archives_are_errors_and_never_panics() {
    let dir = tempfile::tempdir().unwrap();
    let whole = fs::read(packed(dir.path())).unwrap();
    let path = dir.path().join("cut.tar.zst");
    for at in (0..whole.len()).step_by(7) {
        fs::write(&path, &whole[..at]).unwrap();
        let verified = open(&path).and_then(|it| it.verify());
        assert!(!verified.is_ok_and(|it| it.is_whole()), "cut at {at}");
        let mut garbled = whole.clone();
        garbled[at] ^= 0x55;
        fs::write(&path, &garbled).unwrap();
        // Either an error, or a problem, or a byte that carries no meaning; but an answer.
        let _answer = open(&path).and_then(|it| it.verify());
    }
}
