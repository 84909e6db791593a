//! What a stream gives, and that a bundle made to harm is refused at the first thing that is wrong.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use vmward_model::{Digest, Manifest};

use crate::import::CHUNK;
use crate::sample::{CONTENTS, manifest};
use crate::*;

/// Keeps what it gets, and forgets a content that never ends.
#[derive(Default)]
struct Kept {
    manifest: Option<Manifest>,
    current: Vec<u8>,
    whole: BTreeMap<Digest, Vec<u8>>,
    /// Fails when this content begins.
    full_at: Option<Digest>,
}

impl Receiver for Kept {
    type Error = &'static str;

    fn manifest(&mut self, manifest: &Manifest) -> Result<(), Self::Error> {
        self.manifest = Some(manifest.clone());
        Ok(())
    }

    fn begin(&mut self, name: &Digest, _size: u64) -> Result<(), Self::Error> {
        self.current.clear();
        if self.full_at.as_ref() == Some(name) { Err("the disk is full") } else { Ok(()) }
    }

    fn chunk(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        assert!(bytes.len() <= CHUNK);
        self.current.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self, name: &Digest) -> Result<(), Self::Error> {
        self.whole.insert(name.clone(), self.current.clone());
        Ok(())
    }
}

/// A packed stream of these entries.
fn packed(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap());
    for (name, bytes) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, *bytes).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

fn manifest_of(contents: &[(&str, &[u8])]) -> Vec<u8> {
    serde_json::to_vec(&manifest(contents)).unwrap()
}

fn artifact(bytes: &[u8]) -> String {
    name::artifact(&digest(bytes))
}

fn refusal(stream: impl Read) -> OpenError {
    match import(stream, &Limits::default(), &mut Kept::default()) {
        Err(ImportError::Refused(err)) => err,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_packed_bundle_comes_through_a_stream() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("b.tar.zst");
    pack(&open(&sample::folder(dir.path()).unwrap()).unwrap(), &to).unwrap();
    let mut kept = Kept::default();
    let imported = import(std::fs::File::open(&to).unwrap(), &Limits::default(), &mut kept).unwrap();
    assert_eq!(kept.manifest, Some(manifest(&CONTENTS)));
    assert_eq!(imported.packed, std::fs::metadata(&to).unwrap().len());
    for (_, bytes) in CONTENTS {
        assert_eq!(kept.whole[&digest(bytes)], bytes);
    }
    assert_eq!(kept.whole.len(), 2, "equal contents come once");
}

#[test]
fn a_large_content_comes_in_chunks() {
    let noise: Vec<u8> = (0..1_000_001u32).map(|it| (it.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let listed = [("raw", &noise[..]), ("empty", &b""[..])];
    let stream = packed(&[
        ("manifest.json", &manifest_of(&listed)),
        (&artifact(&noise), &noise),
        (&artifact(b""), b""),
    ]);
    let mut kept = Kept::default();
    import(&stream[..], &Limits::default(), &mut kept).unwrap();
    assert_eq!(kept.whole[&digest(&noise)], noise);
    assert_eq!(kept.whole[&digest(b"")], b"");
}

#[test]
fn what_is_missing_twice_wrong_or_extra_is_refused() {
    let listed = [("a", &b"one"[..]), ("b", &b"two"[..])];
    let manifest = manifest_of(&listed);
    let (first, second) = (artifact(b"one"), artifact(b"two"));
    let head = ("manifest.json", &manifest[..]);
    let one = (&first[..], &b"one"[..]);
    let err = refusal(&packed(&[head, one])[..]);
    assert!(matches!(err, OpenError::NoSuchArtifact(_)), "{err}");
    let err = refusal(&packed(&[head, one, one])[..]);
    assert!(err.to_string().contains("comes twice"), "{err}");
    let err = refusal(&packed(&[head, one, (&second, b"tow")])[..]);
    assert!(matches!(err, OpenError::Mismatch { .. }), "{err}");
    let err = refusal(&packed(&[head, one, (&second, b"two and more")])[..]);
    assert!(matches!(err, OpenError::Mismatch { .. }), "{err}");
    let err = refusal(&packed(&[head, one, (&artifact(b"three"), b"three")])[..]);
    assert!(matches!(err, OpenError::Mismatch { .. }), "{err}");
    let err = refusal(&packed(&[one, head])[..]);
    assert!(err.to_string().contains("not its first entry"), "{err}");
    let err = refusal(&packed(&[head, head])[..]);
    assert!(err.to_string().contains("second manifest"), "{err}");
}

#[test]
fn a_stream_cut_at_any_byte_is_refused() {
    let listed = [("a", &b"one"[..])];
    let whole = packed(&[("manifest.json", &manifest_of(&listed)), (&artifact(b"one"), b"one")]);
    for end in 0..whole.len() {
        let err = refusal(&whole[..end]);
        assert!(matches!(err, OpenError::Broken(_)), "cut at {end}: {err}");
    }
    let mut more = whole;
    more.push(b'x');
    assert!(refusal(&more[..]).to_string().contains("after the end"));
}

#[test]
fn a_manifest_nested_without_end_is_refused() {
    let nested = "[".repeat(100_000);
    let err = refusal(&packed(&[("manifest.json", nested.as_bytes())])[..]);
    assert!(err.to_string().contains("manifest.json"), "{err}");
    let within = format!("{{\"format\":1,\"future\":{nested}");
    let err = refusal(&packed(&[("manifest.json", within.as_bytes())])[..]);
    assert!(err.to_string().contains("manifest.json"), "{err}");
}

#[test]
fn zeros_that_pack_a_thousandfold_are_refused_after_the_free_part() {
    let zeros = vec![0; 32 << 20];
    let listed: Vec<Vec<u8>> = (0..4u8).map(|it| [&[it], &zeros[..]].concat()[..32 << 20].to_vec()).collect();
    let contents: Vec<(&str, &[u8])> = listed.iter().map(|it| ("raw", &it[..])).collect();
    let names: Vec<String> = listed.iter().map(|it| artifact(it)).collect();
    let manifest = manifest_of(&contents);
    let mut entries = vec![("manifest.json", &manifest[..])];
    entries.extend(names.iter().zip(&listed).map(|(name, bytes)| (&name[..], &bytes[..])));
    let err = refusal(&packed(&entries)[..]);
    let free = Limits::default().free_unpacked;
    let within = |found: u64| found > free && found < free + (8 << 20);
    assert!(
        matches!(err, OpenError::OverLimit { what: "the unpacked size", found, .. } if within(found)),
        "{err}"
    );
}

#[test]
fn a_receiver_that_fails_ends_the_import() {
    let listed = [("a", &b"one"[..])];
    let stream = packed(&[("manifest.json", &manifest_of(&listed)), (&artifact(b"one"), b"one")]);
    let mut kept = Kept { full_at: Some(digest(b"one")), ..Kept::default() };
    let err = import(&stream[..], &Limits::default(), &mut kept).unwrap_err();
    assert_eq!(err.to_string(), "the report could not be taken: the disk is full");
}

#[test]
fn a_source_that_breaks_is_no_fault_of_the_bundle() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from(io::ErrorKind::ConnectionReset))
        }
    }
    let mut head = Vec::new();
    zstd::stream::write::Encoder::new(&mut head, 1).unwrap().write_all(b"").unwrap();
    assert!(matches!(refusal(head.chain(Broken)), OpenError::Source(_)));
}

#[test]
fn bundles_made_to_harm_are_refused_at_their_bounds() {
    for case in sample::harmful::ALL {
        // The reader has the say over how much is written.
        let (reader, mut writer) = io::pipe().unwrap();
        let outcome = std::thread::scope(|scope| {
            scope.spawn(move || drop(case.write(&mut writer)));
            import(reader, &Limits::default(), &mut Nobody)
        });
        match outcome {
            Err(ImportError::Refused(err)) => {
                let said = err.to_string();
                assert!(said.contains(case.says) && !case.says.is_empty(), "{}: {said}", case.name);
            }
            Ok(_) => assert!(case.says.is_empty(), "{}: taken", case.name),
            Err(ImportError::Receiver(never)) => match never {},
        }
    }
}

/// Takes everything and keeps nothing.
struct Nobody;

impl Receiver for Nobody {
    type Error = std::convert::Infallible;

    fn manifest(&mut self, _: &Manifest) -> Result<(), Self::Error> {
        Ok(())
    }

    fn begin(&mut self, _: &Digest, _: u64) -> Result<(), Self::Error> {
        Ok(())
    }

    fn chunk(&mut self, _: &[u8]) -> Result<(), Self::Error> {
        Ok(())
    }

    fn end(&mut self, _: &Digest) -> Result<(), Self::Error> {
        Ok(())
    }
}
