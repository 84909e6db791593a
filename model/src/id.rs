//! Who is who: guests, their incarnations, incidents and content digests.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A guest that stays the same across restarts: its UUID where it has one, else a UUID (v5) made
/// from its name and the identity of its disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct GuestId(pub Uuid);

impl GuestId {
    /// The identity of a guest that was given no UUID. `disks` is put in order first, so that a
    /// reordered command line is the same guest.
    pub fn from_name_and_disks(name: &str, disks: &[String]) -> GuestId {
        let mut sorted: Vec<&str> = disks.iter().map(String::as_str).collect();
        sorted.sort_unstable();
        let mut text = String::from(name);
        for disk in sorted {
            text.push('\n');
            text.push_str(disk);
        }
        GuestId(Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes()))
    }
}

impl fmt::Display for GuestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One life of a guest: one QEMU process and one boot within it. A socket path or a pid that is
/// used again is never the same incarnation, because the start time differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Incarnation {
    /// Process id of QEMU.
    pub pid: u32,
    /// Start time of that process in clock ticks since host boot: field 22 of `/proc/PID/stat`
    /// (proc_pid_stat(5)).
    pub start_ticks: u64,
    /// Resets seen since the process started, so that evidence of one boot is not taken for the next.
    pub boot: u32,
}

impl Incarnation {
    /// Whether both are the same QEMU process, whatever boot it is in.
    pub fn same_process(&self, other: &Incarnation) -> bool {
        self.pid == other.pid && self.start_ticks == other.start_ticks
    }
}

/// An incident, named by a UUID v7 so that names sort by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct IncidentId(pub Uuid);

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A SHA-256 digest, written as 64 lower-case hexadecimal digits. Being parsed is being checked:
/// a `Digest` can be used as a file name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// A text that is not 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a sha-256 digest: expected 64 lower-case hexadecimal digits, found {length} characters")]
pub struct BadDigest {
    /// How many characters the text had.
    pub length: usize,
}

impl Digest {
    /// The digest of these 32 bytes.
    pub fn from_bytes(bytes: &[u8; 32]) -> Digest {
        let mut text = String::with_capacity(64);
        for byte in bytes {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
            }
        }
        Digest(text)
    }

    /// The 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Digest {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Digest, BadDigest> {
        Digest::try_from(text.to_owned())
    }
}

impl TryFrom<String> for Digest {
    type Error = BadDigest;

    fn try_from(text: String) -> Result<Digest, BadDigest> {
        let hex = |b: &u8| b.is_ascii_digit() || (b'a'..=b'f').contains(b);
        if text.len() == 64 && text.as_bytes().iter().all(hex) {
            Ok(Digest(text))
        } else {
            Err(BadDigest { length: text.chars().count() })
        }
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_without_uuid_keeps_its_identity_when_its_disks_are_reordered() {
        let a = GuestId::from_name_and_disks("web", &["/a".into(), "/b".into()]);
        let b = GuestId::from_name_and_disks("web", &["/b".into(), "/a".into()]);
        assert_eq!(a, b);
        assert_ne!(a, GuestId::from_name_and_disks("web", &["/a".into()]));
    }

    #[test]
    fn a_reused_pid_is_another_incarnation() {
        let first = Incarnation { pid: 7, start_ticks: 100, boot: 0 };
        let later = Incarnation { pid: 7, start_ticks: 900, boot: 0 };
        assert!(!first.same_process(&later));
    }

    #[test]
    fn a_digest_is_refused_unless_it_can_be_a_file_name() {
        assert!("../../../etc/passwd".parse::<Digest>().is_err());
        assert!("A".repeat(64).parse::<Digest>().is_err());
        assert_eq!(Digest::from_bytes(&[0xab; 32]).as_str(), "ab".repeat(32));
    }
}
