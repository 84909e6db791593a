//! Bundles that were made to harm whoever reads them, each written as a stream: none is ever stored.

use std::io::{self, Write};

use tar::EntryType;
use vmward_findings::CASE_KIND;
use vmward_model::{Class, Confidence, Event, EventKind, FORMAT, Manifest, Severity};

use super::{CONTENTS, manifest, stamp};
use crate::digest::digest;
use crate::limits::Limits;
use crate::name;

/// One such bundle.
#[derive(Clone, Copy, Debug)]
pub struct Harm {
    /// What it is.
    pub name: &'static str,
    /// What the refusal says, in part; empty where it may be taken as long as it costs no more.
    pub says: &'static str,
    write: fn(&mut dyn Write) -> io::Result<()>,
}

impl Harm {
    /// Writes it. Some have no end to speak of: the reader has to stop.
    ///
    /// # Errors
    /// When nobody takes it any more.
    pub fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        (self.write)(to)
    }
}

/// All of them.
pub const ALL: &[Harm] = &[
    Harm { name: "zeros, packed as tightly as zstd can", says: "the unpacked size is", write: bomb },
    Harm {
        name: "a name that begins with ../",
        says: "unexpected entry",
        write: |to| odd(to, "../evil", FILE),
    },
    Harm {
        name: "an absolute name",
        says: "unexpected entry",
        write: |to| odd(to, "/etc/cron.d/evil", FILE),
    },
    Harm {
        name: "a name with ../ within",
        says: "unexpected entry",
        write: |to| odd(to, "artifacts/../../evil", FILE),
    },
    Harm { name: "a symlink", says: "unexpected entry", write: |to| odd(to, &known(), EntryType::Symlink) },
    Harm { name: "a hard link", says: "unexpected entry", write: |to| odd(to, &known(), EntryType::Link) },
    Harm { name: "a device", says: "unexpected entry", write: |to| odd(to, &known(), EntryType::Char) },
    Harm { name: "a pipe", says: "unexpected entry", write: |to| odd(to, &known(), EntryType::Fifo) },
    Harm { name: "ten million entries", says: "the number of entries is", write: entries },
    Harm { name: "a content of another digest", says: "does not match its digest", write: wrong_digest },
    Harm {
        name: "a header that lies about its size",
        says: "does not match its digest or size",
        write: size_lie,
    },
    Harm { name: "a manifest that lies about a size", says: "an artifact's size is", write: listed_lie },
    Harm { name: "a manifest of 1 GiB", says: "the manifest's size is", write: huge_manifest },
    Harm { name: "a manifest nested without end", says: "the number of values", write: nested },
    Harm {
        name: "a manifest of nothing but small things",
        says: "the number of values",
        write: |to| wide_manifest(to, usize::MAX),
    },
    Harm { name: "a case of nothing but small things", says: "", write: |to| wide_case(to, 32 << 20) },
    Harm { name: "a smaller one of the same kind", says: "", write: |to| wide_case(to, 7 << 20) },
    Harm {
        name: "as many values as a manifest may have",
        says: "",
        write: |to| wide_manifest(to, usize::try_from(Limits::default().parts).unwrap_or(0) - 64),
    },
    Harm {
        name: "as many values as a case may have",
        says: "",
        write: |to| wide_case(to, usize::try_from(Limits::default().case_parts).unwrap_or(0) * 2 - 256),
    },
    Harm { name: "a case nested without end", says: "", write: nested_case },
    Harm { name: "an artifact that comes twice", says: "comes twice", write: twice },
    Harm { name: "an artifact that never comes", says: "has no artifact", write: missing },
    Harm { name: "a frame that is cut off", says: "cut off after", write: cut },
    Harm { name: "garbage behind the frame", says: "data after the end of the compressed", write: trailing },
    Harm {
        name: "garbage behind the archive",
        says: "data after the end of the archive",
        write: behind_archive,
    },
    Harm { name: "a window of 2 GiB", says: "too much memory", write: window },
    Harm { name: "blocks that hold nothing, without end", says: "the packed size is", write: empty_blocks },
    Harm { name: "a frame to skip of 4 GiB", says: "the packed size is", write: skippable },
    Harm { name: "no archive at all", says: "refused", write: |to| to.write_all(&[b'x'; 4096]) },
    Harm { name: "a format of the future", says: "use a newer", write: newer },
];

const FILE: EntryType = EntryType::Regular;
/// What an endless one stops at in the end.
const ENDLESS: u64 = 8 << 30;

fn known() -> String {
    name::artifact(&digest(CONTENTS[0].1))
}

/// A frame with what `fill` puts into the archive.
fn packed(
    to: &mut dyn Write,
    fill: impl FnOnce(&mut zstd::stream::write::Encoder<'static, &mut dyn Write>) -> io::Result<()>,
) -> io::Result<()> {
    let mut frame = zstd::stream::write::Encoder::new(to, 1)?;
    fill(&mut frame)?;
    frame.write_all(&[0; 1024])?;
    frame.finish()?.flush()
}

fn header(to: &mut dyn Write, name: &str, kind: EntryType, size: u64) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    for (to, from) in header.as_mut_bytes().iter_mut().zip(name.bytes()) {
        *to = from;
    }
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_cksum();
    to.write_all(header.as_bytes())
}

fn entry(to: &mut dyn Write, name: &str, bytes: &[u8]) -> io::Result<()> {
    header(to, name, FILE, bytes.len() as u64)?;
    to.write_all(bytes)?;
    to.write_all(&vec![0; bytes.len().next_multiple_of(512) - bytes.len()])
}

fn head(to: &mut dyn Write, manifest: &Manifest) -> io::Result<()> {
    entry(to, name::MANIFEST, &serde_json::to_vec(manifest)?)
}

fn zeros(to: &mut dyn Write, mut bytes: u64) -> io::Result<()> {
    let block = [0; 64 << 10];
    while bytes > 0 {
        let n = bytes.min(block.len() as u64);
        to.write_all(block.get(..usize::try_from(n).unwrap_or(0)).unwrap_or_default())?;
        bytes -= n;
    }
    Ok(())
}

/// As many artifacts of zeros as a report may have, each as large as may be, all with the right names.
fn bomb(to: &mut dyn Write) -> io::Result<()> {
    let limits = Limits::default();
    let sizes: Vec<u64> = (0..limits.unpacked / limits.artifact).map(|n| limits.artifact - n).collect();
    let whole = vec![0; usize::try_from(limits.artifact).unwrap_or(0)];
    let contents: Vec<(&str, &[u8])> = sizes
        .iter()
        .map(|it| ("raw", whole.get(..usize::try_from(*it).unwrap_or(0)).unwrap_or_default()))
        .collect();
    let manifest = manifest(&contents);
    packed(to, |frame| {
        head(frame, &manifest)?;
        for it in &manifest.artifacts {
            header(frame, &name::artifact(&it.sha256), FILE, it.size)?;
            zeros(frame, it.size.next_multiple_of(512))?;
        }
        Ok(())
    })
}

fn odd(to: &mut dyn Write, name: &str, kind: EntryType) -> io::Result<()> {
    packed(to, |frame| {
        head(frame, &manifest(&CONTENTS))?;
        header(frame, name, kind, 0)
    })
}

fn entries(to: &mut dyn Write) -> io::Result<()> {
    packed(to, |frame| {
        head(frame, &manifest(&CONTENTS))?;
        (0..10_000_000).try_for_each(|_| header(frame, "artifacts/", EntryType::Directory, 0))
    })
}

fn wrong_digest(to: &mut dyn Write) -> io::Result<()> {
    packed(to, |frame| {
        head(frame, &manifest(&CONTENTS))?;
        entry(frame, &known(), &vec![b'x'; CONTENTS[0].1.len()])
    })
}

fn size_lie(to: &mut dyn Write) -> io::Result<()> {
    packed(to, |frame| {
        head(frame, &manifest(&CONTENTS))?;
        header(frame, &known(), FILE, Limits::default().artifact)?;
        zeros(frame, Limits::default().artifact)
    })
}

fn listed_lie(to: &mut dyn Write) -> io::Result<()> {
    let mut listed = manifest(&CONTENTS);
    for it in &mut listed.artifacts {
        it.size = u64::MAX;
    }
    packed(to, |frame| head(frame, &listed))
}

fn huge_manifest(to: &mut dyn Write) -> io::Result<()> {
    packed(to, |frame| {
        header(frame, name::MANIFEST, FILE, 1 << 30)?;
        zeros(frame, 1 << 30)
    })
}

fn nested(to: &mut dyn Write) -> io::Result<()> {
    let size = usize::try_from(Limits::default().manifest).unwrap_or(0);
    let text = format!("{{\"format\":1,\"future\":{}", "[".repeat(size - 64));
    packed(to, |frame| entry(frame, name::MANIFEST, text.as_bytes()))
}

/// One finding with as many details as fit, each of a few bytes.
fn wide_manifest(to: &mut dyn Write, values: usize) -> io::Result<()> {
    let mut document = serde_json::to_value(manifest(&[]))?;
    let most = usize::try_from(Limits::default().manifest).unwrap_or(0);
    let room = most.saturating_sub(serde_json::to_vec(&document)?.len() + 256) / br#""0abcd":"","#.len();
    let details: serde_json::Map<_, _> =
        (0..room.min(values)).map(|n| (format!("{n:05x}"), "".into())).collect();
    if let Some(findings) = document.pointer_mut("/incident/findings") {
        *findings = serde_json::json!([{ "code": "", "rule": "", "class": Class::Suspect, "evidence": [],
            "confidence": Confidence::Likely, "details": details }]);
    }
    packed(to, |frame| entry(frame, name::MANIFEST, &serde_json::to_vec(&document)?))
}

/// A case with one event of QEMU whose data is an array as large as fits.
fn wide_case(to: &mut dyn Write, most: usize) -> io::Result<()> {
    let of = manifest(&[]).incident;
    let mut case = vmward_findings::Case::new(of.guest, of.incarnation, of.guest_state, of.opening);
    case.events.push(Event {
        format: FORMAT,
        seq: 1,
        at: stamp(1),
        severity: Severity::Info,
        guest: None,
        name: None,
        incarnation: None,
        kind: EventKind::Qemu { name: "STOP".into(), data: serde_json::json!([0]) },
    });
    let text = serde_json::to_string(&case)?;
    let (before, after) = text.split_once("[0]").unwrap_or_default();
    let data = "0,".repeat((most - text.len()) / 2);
    let bytes = [before, "[", &data, "0]", after].concat().into_bytes();
    let listed = manifest(&[(CASE_KIND, &bytes)]);
    packed(to, |frame| {
        head(frame, &listed)?;
        entry(frame, &name::artifact(&digest(&bytes)), &bytes)
    })
}

/// A case with one event of QEMU whose data is nested as deep as fits.
fn nested_case(to: &mut dyn Write) -> io::Result<()> {
    let depth = usize::try_from(Limits::default().artifact / 4).unwrap_or(0);
    let text = format!("{{\"format\":1,\"events\":[{{\"event\":\"qemu\",\"data\":{}", "[".repeat(depth));
    let listed = manifest(&[(CASE_KIND, text.as_bytes())]);
    packed(to, |frame| {
        head(frame, &listed)?;
        entry(frame, &name::artifact(&digest(text.as_bytes())), text.as_bytes())
    })
}

fn twice(to: &mut dyn Write) -> io::Result<()> {
    packed(to, |frame| {
        head(frame, &manifest(&CONTENTS))?;
        entry(frame, &known(), CONTENTS[0].1)?;
        entry(frame, &known(), CONTENTS[0].1)
    })
}

fn missing(to: &mut dyn Write) -> io::Result<()> {
    packed(to, |frame| {
        head(frame, &manifest(&CONTENTS))?;
        entry(frame, &known(), CONTENTS[0].1)
    })
}

fn whole() -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    packed(&mut bytes, |frame| {
        head(frame, &manifest(&CONTENTS))?;
        CONTENTS.iter().take(2).try_for_each(|(_, it)| entry(frame, &name::artifact(&digest(it)), it))
    })?;
    Ok(bytes)
}

fn cut(to: &mut dyn Write) -> io::Result<()> {
    let whole = whole()?;
    to.write_all(whole.get(..whole.len() - 8).unwrap_or_default())
}

fn trailing(to: &mut dyn Write) -> io::Result<()> {
    to.write_all(&whole()?)?;
    to.write_all(b"garbage")
}

fn behind_archive(to: &mut dyn Write) -> io::Result<()> {
    packed(to, |frame| {
        head(frame, &manifest(&CONTENTS))?;
        CONTENTS.iter().take(2).try_for_each(|(_, it)| entry(frame, &name::artifact(&digest(it)), it))?;
        frame.write_all(&[0; 1024])?;
        frame.write_all(b"garbage")
    })
}

/// RFC 8878: magic number, then a frame header whose window is 2^31 bytes.
fn window(to: &mut dyn Write) -> io::Result<()> {
    to.write_all(&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3])?;
    to.write_all(&[0; 4096])
}

/// A frame with a window of 1 KiB, then raw blocks of size 0, none of them the last.
fn empty_blocks(to: &mut dyn Write) -> io::Result<()> {
    to.write_all(&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x00])?;
    zeros(to, ENDLESS)
}

fn skippable(to: &mut dyn Write) -> io::Result<()> {
    to.write_all(&[0x50, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0xff])?;
    zeros(to, u64::from(u32::MAX))
}

fn newer(to: &mut dyn Write) -> io::Result<()> {
    let future = Manifest { format: FORMAT + 1, ..manifest(&CONTENTS) };
    packed(to, |frame| head(frame, &future))
}

/// The bundle that all of these pretend to be, whole.
///
/// # Errors
/// When it cannot be packed.
pub fn harmless() -> io::Result<Vec<u8>> {
    whole()
}
