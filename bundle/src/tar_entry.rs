//! One header of a tar archive, of the few kinds that a packed bundle may hold.
//!
//! Our own reader, since a general one follows long-name and sparse extensions whose sizes an
//! attacker chooses. Format: POSIX.1-1988 ustar (pax(1), "ustar Interchange Format").

use vmward_model::Digest;

use crate::limits::OpenError;
use crate::name;

/// Size of a header, and what content is padded to.
pub(crate) const BLOCK: usize = 512;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// The manifest and its size.
    Manifest(u64),
    /// The folder of artifacts.
    Folder,
    /// An artifact and its size.
    Artifact(Digest, u64),
}

impl Entry {
    /// Bytes of content that follow the header, padding not counted.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Entry::Manifest(size) | Entry::Artifact(_, size) => *size,
            Entry::Folder => 0,
        }
    }
}

/// Reads one header; `None` for the block of zeros that ends an archive.
pub(crate) fn parse(block: &[u8; BLOCK]) -> Result<Option<Entry>, OpenError> {
    if block.iter().all(|it| *it == 0) {
        return Ok(None);
    }
    let broken = |what: &str| OpenError::Broken(what.to_owned());
    if &block[257..262] != b"ustar" {
        return Err(broken("not a ustar header"));
    }
    let sum: u64 = block
        .iter()
        .enumerate()
        .map(|(idx, it)| if (148..156).contains(&idx) { 32 } else { u64::from(*it) })
        .sum();
    if octal(&block[148..156]) != Some(sum) {
        return Err(broken("wrong header checksum"));
    }
    let size = octal(&block[124..136]).ok_or_else(|| broken("unreadable size"))?;
    let text = until_nul(&block[..100]);
    let unexpected = || {
        let name: String = String::from_utf8_lossy(text).chars().take(80).collect();
        Err(OpenError::Unexpected { name })
    };
    if block[345] != 0 && &block[257..263] == b"ustar\0" {
        return unexpected();
    }
    let Ok(text_utf8) = std::str::from_utf8(text) else { return unexpected() };
    match block[156] {
        b'5' if text_utf8.trim_end_matches('/') == name::ARTIFACTS && size == 0 => Ok(Some(Entry::Folder)),
        b'0' | 0 if text_utf8 == name::MANIFEST => Ok(Some(Entry::Manifest(size))),
        b'0' | 0 => {
            let digest = text_utf8
                .strip_prefix(name::ARTIFACTS)
                .and_then(|it| it.strip_prefix('/'))
                .and_then(|it| it.parse().ok());
            match digest {
                Some(digest) => Ok(Some(Entry::Artifact(digest, size))),
                None => unexpected(),
            }
        }
        _ => unexpected(),
    }
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|it| *it == 0).next().unwrap_or(field)
}

/// A number field: octal digits between blanks, ended by a blank or NUL. Sizes beyond 8 GiB
/// (base-256) are no number to us.
fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(until_nul(field)).ok()?.trim_matches(' ');
    u64::from_str_radix(text, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(name: &str, kind: tar::EntryType, size: u64) -> [u8; BLOCK] {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_cksum();
        *header.as_bytes()
    }

    #[test]
    fn what_the_tar_crate_writes_is_read() {
        let entry = parse(&header("manifest.json", tar::EntryType::Regular, 1234)).unwrap();
        assert_eq!(entry, Some(Entry::Manifest(1234)));
        let name = format!("artifacts/{}", "ab".repeat(32));
        let entry = parse(&header(&name, tar::EntryType::Regular, 7)).unwrap();
        assert_eq!(entry, Some(Entry::Artifact("ab".repeat(32).parse().unwrap(), 7)));
        assert_eq!(parse(&[0; BLOCK]).unwrap(), None);
    }

    #[test]
    fn names_that_lead_elsewhere_and_odd_kinds_are_refused() {
        for name in
            ["../manifest.json", "/etc/passwd", "artifacts/../../x", "artifacts/sub/x", "manifest.json/", ""]
        {
            assert!(parse(&header(name, tar::EntryType::Regular, 1)).is_err(), "{name}");
        }
        for kind in
            [tar::EntryType::Symlink, tar::EntryType::Link, tar::EntryType::GNULongName, tar::EntryType::Fifo]
        {
            assert!(parse(&header("manifest.json", kind, 1)).is_err(), "{kind:?}");
        }
    }

    proptest! {
        #[test]
        fn no_block_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), BLOCK)) {
            let block: [u8; BLOCK] = bytes.try_into().unwrap();
            prop_assert!(parse(&block).is_err() || block == [0; BLOCK]);
        }
    }
}
