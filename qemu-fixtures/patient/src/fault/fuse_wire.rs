//! The few messages of `/dev/fuse` that a server with an empty root folder needs
//! (include/uapi/linux/fuse.h, protocol 7).

use std::fs::File;
use std::io::{Read, Write};

use anyhow::{Context, Result};

const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const MKDIR: u32 = 9;
const INIT: u32 = 26;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;
const FOLDER: u32 = 0o040_755;
const HEADER: usize = 40;
/// The kernel refuses reads into less than this.
const LONGEST: usize = 1 << 20;

/// A request, as much of it as we look at.
pub(super) struct Request {
    opcode: u32,
    unique: u64,
    body: Vec<u8>,
}

impl Request {
    /// Waits for the next one.
    pub(super) fn read(mut device: &File) -> Result<Self> {
        let mut bytes = vec![0; LONGEST];
        let n = device.read(&mut bytes).context("cannot read /dev/fuse")?;
        bytes.truncate(n);
        let opcode = bytes.get(4..8).and_then(|it| it.try_into().ok()).map(u32::from_ne_bytes);
        let unique = bytes.get(8..16).and_then(|it| it.try_into().ok()).map(u64::from_ne_bytes);
        Ok(Self {
            opcode: opcode.context("short FUSE request")?,
            unique: unique.context("short FUSE request")?,
            body: bytes.get(HEADER..).unwrap_or_default().to_vec(),
        })
    }

    /// Does it ask for the name `wanted` in the root folder, or want to make it?
    pub(super) fn is_about(&self, wanted: &str) -> bool {
        // MKDIR has two words before the name.
        let at = match self.opcode {
            LOOKUP => 0,
            MKDIR => 8,
            _ => return false,
        };
        self.body.get(at..).and_then(|it| it.split(|byte| *byte == 0).next()) == Some(wanted.as_bytes())
    }

    /// Answers as a server whose root folder is empty.
    pub(super) fn answer(&self, device: &File) -> Result<()> {
        match self.opcode {
            INIT => self.reply(device, 0, &init_out()),
            GETATTR => self.reply(device, 0, &attr_out()),
            LOOKUP => self.reply(device, -libc::ENOENT, &[]),
            FORGET | BATCH_FORGET | INTERRUPT => Ok(()),
            _ => self.reply(device, -libc::ENOSYS, &[]),
        }
    }

    fn reply(&self, mut device: &File, error: i32, body: &[u8]) -> Result<()> {
        let mut bytes = Vec::new();
        bytes.extend(u32::try_from(16 + body.len())?.to_ne_bytes());
        bytes.extend(error.to_ne_bytes());
        bytes.extend(self.unique.to_ne_bytes());
        bytes.extend(body);
        device.write_all(&bytes).context("cannot write /dev/fuse")
    }
}

/// `struct fuse_init_out`: version 7.31, everything else at its smallest.
fn init_out() -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [7_u32, 31, 4096, 0] {
        bytes.extend(word.to_ne_bytes());
    }
    // max_background and congestion_threshold, 16 bits each; then max_write, time_gran.
    bytes.extend([12_u16, 9].iter().flat_map(|it| it.to_ne_bytes()));
    bytes.extend([4096_u32, 1].iter().flat_map(|it| it.to_ne_bytes()));
    bytes.resize(64, 0);
    bytes
}

/// `struct fuse_attr_out` of the root folder, valid for an hour.
fn attr_out() -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(3600_u64.to_ne_bytes());
    bytes.extend([0_u32; 2].iter().flat_map(|it| it.to_ne_bytes()));
    // struct fuse_attr: ino, size, blocks, three times; then 32 bits each: their nanoseconds, mode, nlink, ...
    for long in [1_u64, 0, 0, 0, 0, 0] {
        bytes.extend(long.to_ne_bytes());
    }
    for word in [0_u32, 0, 0, FOLDER, 2, 0, 0, 0, 4096, 0] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_have_the_kernels_sizes() {
        // sizeof(struct fuse_init_out) and sizeof(struct fuse_attr_out) of protocol 7.23 and later.
        assert_eq!(init_out().len(), 64);
        assert_eq!(attr_out().len(), 104);
    }

    #[test]
    fn a_name_is_found_in_lookups_and_new_folders() {
        let request = |opcode, body: &[u8]| Request { opcode, unique: 1, body: body.to_vec() };
        assert!(request(LOOKUP, b"bait\0").is_about("bait"));
        assert!(request(MKDIR, b"\0\0\0\0\0\0\0\0bait\0").is_about("bait"));
        assert!(!request(GETATTR, b"bait\0").is_about("bait"));
        assert!(!request(LOOKUP, b"other\0").is_about("bait"));
    }
}
