//! The build id of a kernel: what its linker wrote into `.notes`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::vmcoreinfo::{MAX_TEXT, VmcoreInfo};
use crate::{Kernel, PAGE_SIZE};

/// Bytes of all notes of an image at most; they have a few hundred.
const MAX_NOTES: u64 = 64 << 10;
/// `NT_GNU_BUILD_ID` of the name `GNU`.
const GNU_BUILD_ID: u32 = 3;
/// Header and name of that note.
pub(super) const HEAD: usize = 16;

/// A build id: 20 bytes of SHA-1 as a rule.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct BuildId(Vec<u8>);

impl BuildId {
    /// Bytes at least and at most.
    const LEN: std::ops::RangeInclusive<usize> = 8..=64;

    /// Takes the bytes; `None` if there are too few or too many.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        Self::LEN.contains(&bytes.len()).then(|| Self(bytes.to_vec()))
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |it: u8| char::from(it).to_digit(16).and_then(|it| u8::try_from(it).ok());
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let bytes: Option<Vec<u8>> =
            pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
        Self::new(&bytes.filter(|_| rest.is_empty())?)
    }

    /// The note that holds it.
    pub(super) fn to_note(&self) -> Vec<u8> {
        let mut note = Vec::new();
        for word in [4, self.0.len() as u32, GNU_BUILD_ID] {
            note.extend(word.to_le_bytes());
        }
        note.extend(b"GNU\0");
        note.extend(&self.0);
        note
    }
}

impl From<BuildId> for String {
    fn from(id: BuildId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for BuildId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("it is no build id")
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|it| write!(f, "{it:02x}"))
    }
}

impl fmt::Debug for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BuildId({self})")
    }
}

/// The build id of a kernel: from its notes, or else from its `VMCOREINFO`. It is what the guest says: two
/// kernels may claim the same one.
pub fn build_id(kernel: &Kernel<'_>) -> Option<BuildId> {
    in_image(kernel).map(|it| it.1).or_else(|| in_vmcoreinfo(kernel))
}

/// The build id in the notes of the image, and the guest-virtual address of its note.
pub(super) fn in_image(kernel: &Kernel<'_>) -> Option<(u64, BuildId)> {
    let (start, stop) = (kernel.symbol("__start_notes")?, kernel.symbol("__stop_notes")?);
    let len = stop.checked_sub(start).filter(|it| *it <= MAX_NOTES)?;
    let notes = kernel.space.bytes(start, usize::try_from(len).ok()?).ok()?;
    let (at, id) = in_notes(&notes)?;
    Some((start + at as u64, id))
}

/// Finds the build id among ELF notes, whose names and contents are padded to words.
fn in_notes(notes: &[u8]) -> Option<(usize, BuildId)> {
    let word = |at: usize| Some(u32::from_le_bytes(*notes.get(at..)?.first_chunk()?));
    let mut at = 0;
    loop {
        let (name, content, kind) = (word(at)? as usize, word(at + 4)? as usize, word(at + 8)?);
        let from = (at + 12).checked_add(name.checked_next_multiple_of(4)?)?;
        let found = notes.get(from..from.checked_add(content)?)?;
        if kind == GNU_BUILD_ID && notes.get(at + 12..from) == Some(b"GNU\0") {
            return Some((at, BuildId::new(found)?));
        }
        at = from.checked_add(content.checked_next_multiple_of(4)?)?;
    }
}

fn in_vmcoreinfo(kernel: &Kernel<'_>) -> Option<BuildId> {
    let text = kernel.space.u64(kernel.symbol("vmcoreinfo_data")?).ok()?;
    let mut bytes = Vec::new();
    while bytes.len() < MAX_TEXT && !bytes.contains(&0) {
        let at = text.checked_add(bytes.len() as u64)?;
        bytes.extend(kernel.space.bytes(at, (PAGE_SIZE - at % PAGE_SIZE) as usize).ok()?);
    }
    BuildId::parse(VmcoreInfo::parse(&bytes).ok()?.build_id()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(name: &[u8], kind: u32, content: &[u8]) -> Vec<u8> {
        let mut note = Vec::new();
        for word in [name.len() as u32, content.len() as u32, kind] {
            note.extend(word.to_le_bytes());
        }
        note.extend(name);
        note.resize(note.len().next_multiple_of(4), 0);
        note.extend(content);
        note.resize(note.len().next_multiple_of(4), 0);
        note
    }

    #[test]
    fn the_build_id_is_one_of_several_notes() {
        let mut notes = note(b"Linux\0", 0x101, b"LINUX");
        let at = notes.len();
        notes.extend(note(b"GNU\0", 3, &[0xab; 20]));
        let (place, id) = in_notes(&notes).unwrap();
        assert_eq!((place, id.to_string()), (at, "ab".repeat(20)));
        assert_eq!(notes[at..], id.to_note());
        assert_eq!(BuildId::parse(&id.to_string()), Some(id));
    }

    #[test]
    fn notes_that_lie_about_their_lengths_have_none() {
        let mut wild = note(b"Linux\0", 0x101, b"LINUX");
        wild[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        wild.extend(note(b"GNU\0", 3, &[0xab; 20]));
        assert_eq!(in_notes(&wild), None);
        assert_eq!(in_notes(&note(b"GNU\0", 3, &[1; 4])), None);
        assert_eq!(in_notes(&[]), None);
        assert_eq!(BuildId::parse("abc"), None);
        assert_eq!(BuildId::parse("zz00000000000000000000"), None);
    }
}
