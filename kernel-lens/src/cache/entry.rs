//! One entry: what is known of one kernel, and its form in a file.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::build_id::{BuildId, HEAD, in_image};
use crate::arch::{Aarch64Paging, Granule};
use crate::btf::KnownTypes;
use crate::find::ImageRun;
use crate::kallsyms::{KallsymsAddresses, KnownNames};
use crate::{Kernel, Recorder};

/// How a file begins; the number is the version of what follows.
const MAGIC: &str = "vmward-lens 1 ";
/// Bytes of an image at most: no place lies farther from its start.
const MAX_IMAGE: u64 = 1 << 30;

/// Page tables of an arm64 kernel, by their place in its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Bytes from the image's start to the top table.
    pub at: u64,
    /// Size of a page.
    pub granule: Granule,
    /// Bits of an address that the tables look at.
    pub virt_bits: u32,
    /// Descriptors carry 52-bit addresses.
    pub phys_52: bool,
}

impl Root {
    /// The tables of an image at a guest-physical address.
    pub fn paging(self, image: u64) -> Aarch64Paging {
        Aarch64Paging {
            root: image.wrapping_add(self.at),
            granule: self.granule,
            virt_bits: self.virt_bits,
            phys_52: self.phys_52,
        }
    }
}

/// What is known of one kernel. All places are bytes from the start of its image ([`ImageRun`]), so that
/// randomization does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The kernel's build id.
    pub build_id: BuildId,
    /// Where the note with it lies.
    pub note: u64,
    /// Where the tables of symbols lie.
    pub kallsyms: KallsymsAddresses,
    /// Where the page tables lie: on arm64 they are looked for.
    pub root: Option<Root>,
    /// How the names of its symbols are laid out, and what was asked of them.
    pub names: Option<KnownNames>,
    /// How its types are laid out, and what was asked of them.
    pub types: Option<KnownTypes>,
}

/// Why bytes are no entry.
#[derive(Debug, Error)]
pub enum EntryError {
    /// Not our file, or one of another version.
    #[error("it is not an entry of this version")]
    Magic,
    /// It has been cut off or overwritten.
    #[error("it is damaged: its checksum is wrong")]
    Damaged,
    /// It is none of ours.
    #[error("it is no entry")]
    Form(#[from] serde_json::Error),
    /// A place lies outside of any image.
    #[error("it says what cannot be")]
    Nonsense,
}

impl Entry {
    /// What was learned of the places of a kernel; `None` if it has no build id in its image.
    pub fn of(kernel: &Kernel<'_>, image: &ImageRun, kallsyms: &KallsymsAddresses) -> Option<Self> {
        let (note, build_id) = in_image(kernel)?;
        let root = match kernel.space.paging() {
            crate::arch::Paging::X86_64(_) => None,
            crate::arch::Paging::Aarch64(it) => Some(Root {
                at: it.root.wrapping_sub(image.phys),
                granule: it.granule,
                virt_bits: it.virt_bits,
                phys_52: it.phys_52,
            }),
        };
        let entry = Self {
            build_id,
            note: note.wrapping_sub(image.virt),
            kallsyms: kallsyms.moved(image.virt, 0),
            root: root.filter(|it| it.at < MAX_IMAGE),
            names: None,
            types: None,
        };
        entry.is_sane().then_some(entry)
    }

    /// Whether an image has this build id at its place. Looks past the record.
    pub fn is_of(&self, memory: &Recorder<'_>, image: u64) -> bool {
        let expected = self.build_id.to_note();
        let mut found = vec![0; expected.len()];
        image.checked_add(self.note).is_some_and(|it| memory.scan(it, &mut found).is_ok())
            && found == expected
    }

    /// Where the tables of symbols lie in an image at a guest-virtual address.
    pub fn kallsyms_at(&self, image: u64) -> KallsymsAddresses {
        self.kallsyms.moved(0, image)
    }

    /// Tells apart entries of one build id: by their places.
    pub(super) fn hash(&self) -> u64 {
        let places = (self.note, &self.kallsyms, self.root);
        checksum(serde_json::to_string(&places).unwrap_or_default().as_bytes())
    }

    /// As a file holds it: a line with a checksum, and JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        let json = serde_json::to_string(self).unwrap_or_default();
        format!("{MAGIC}{:016x}\n{json}\n", checksum(json.as_bytes())).into_bytes()
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`EntryError`], for every change of a byte.
    pub fn parse(bytes: &[u8]) -> Result<Self, EntryError> {
        let rest = bytes.strip_prefix(MAGIC.as_bytes()).ok_or(EntryError::Magic)?;
        let (sum, json) = rest.split_at_checked(17).ok_or(EntryError::Damaged)?;
        let json = json.strip_suffix(b"\n").ok_or(EntryError::Damaged)?;
        if sum != format!("{:016x}\n", checksum(json)).as_bytes() {
            return Err(EntryError::Damaged);
        }
        let entry: Self = serde_json::from_slice(json)?;
        if entry.is_sane() { Ok(entry) } else { Err(EntryError::Nonsense) }
    }

    /// Whether its places can be.
    pub(crate) fn is_sane(&self) -> bool {
        let it = &self.kallsyms;
        let required = [self.note, it.num_syms, it.names, it.token_table, it.token_index];
        let optional = [it.offsets, it.relative_base, it.addresses, self.root.map(|it| it.at)];
        let mut places = required.into_iter().chain(optional.into_iter().flatten());
        let bits = self.root.is_none_or(|it| (it.granule.shift() + 1..=52).contains(&it.virt_bits));
        bits && places.all(|it| it < MAX_IMAGE) && self.note + (HEAD as u64) < MAX_IMAGE
    }
}

/// FNV-1a, against accidents only: whoever can write the folder can write the sum.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::memory::test_memory::TestMemory;

    pub(in crate::cache) fn entry(id: u8, names: u64) -> Entry {
        Entry {
            build_id: BuildId::new(&[id; 20]).unwrap(),
            note: 0x1234,
            kallsyms: KallsymsAddresses {
                num_syms: 0x100,
                names,
                token_table: 0x3000,
                token_index: 0x4000,
                offsets: Some(0x5000),
                relative_base: None,
                addresses: None,
            },
            root: Some(Root { at: 0x6000, granule: Granule::K16, virt_bits: 47, phys_52: false }),
            names: None,
            types: None,
        }
    }

    #[test]
    fn an_entry_comes_back_as_it_was() {
        let with = entry(7, 0x200);
        let without = Entry { root: None, ..with.clone() };
        for entry in [with, without] {
            assert_eq!(Entry::parse(&entry.to_bytes()).unwrap(), entry);
        }
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_noticed() {
        let bytes = entry(7, 0x200).to_bytes();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(Entry::parse(&changed).is_err(), "byte {at}");
            assert!(Entry::parse(&bytes[..at]).is_err(), "cut at {at}");
        }
        assert!(Entry::parse(&[]).is_err());
        let mut wild = entry(7, 0x200);
        wild.kallsyms.names = 1 << 40;
        assert!(matches!(Entry::parse(&wild.to_bytes()), Err(EntryError::Nonsense)));
    }

    #[test]
    fn an_image_is_known_by_the_note_at_its_place() {
        let memory = TestMemory::new(0x4000);
        let entry = entry(7, 0x200);
        memory.write(0x1000 + entry.note, &entry.build_id.to_note());
        let recorder = Recorder::new(&memory);
        assert!(entry.is_of(&recorder, 0x1000));
        assert!(!entry.is_of(&recorder, 0x1004));
        assert!(!entry.is_of(&recorder, u64::MAX));
        assert!(recorder.recorded().is_empty());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_stumble(bytes: Vec<u8>) {
            assert!(Entry::parse(&bytes).is_err());
            let mut whole = format!("{MAGIC}{:016x}\n", checksum(&bytes)).into_bytes();
            whole.extend(&bytes);
            whole.push(b'\n');
            if let Ok(entry) = Entry::parse(&whole) {
                assert!(entry.is_sane());
            }
        }
    }
}
