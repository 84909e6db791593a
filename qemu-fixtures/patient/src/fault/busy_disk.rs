//! `busy-disk` (harmless): eight processes that write past the page cache without a rest. The disk is
//! slow and answers.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Fault, PATIENCE, Start, end_all};
use crate::proc;
use crate::role::{Role, spawn};

const N_WRITERS: usize = 8;
const BLOCK: usize = 64 << 10;
const N_BLOCKS: u64 = 32;

/// See the file's header.
pub(super) const FAULT: Fault =
    Fault { name: "busy-disk", start, heal: Some(heal), roles: &[Role { name: "busy-writer", run: write }] };

/// Direct writes want memory aligned to the disk's block.
#[repr(align(4096))]
struct Block([u8; BLOCK]);

fn start(_: &[&str]) -> Result<Start> {
    let before = sectors_written()?;
    for writer in 0..N_WRITERS {
        spawn("busy-writer", &[&writer.to_string()])?;
    }
    let enough = before + 4 * N_WRITERS as u64 * BLOCK as u64 / 512;
    let ours = |it: &proc::Task| it.comm == "busy-writer";
    proc::wait_for("every writer at work on the disk", N_WRITERS, PATIENCE, ours, |_| {
        sectors_written().is_ok_and(|now| now > enough)
    })
    .map(Start::Shown)
}

/// Field 7 of `/sys/block/vda/stat`, see Documentation/block/stat.rst.
fn sectors_written() -> Result<u64> {
    let stat = fs::read_to_string("/sys/block/vda/stat").context("no disk statistics")?;
    let field = stat.split_whitespace().nth(6).context("short disk statistics")?;
    Ok(field.parse()?)
}

fn write(arguments: &[String]) -> Result<()> {
    let path = format!("/data/busy-{}", arguments.first().context("no number")?);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(libc::O_DIRECT)
        .open(&path)
        .with_context(|| format!("cannot create {path}"))?;
    let block = Box::new(Block([0x5a; BLOCK]));
    for round in 0_u64.. {
        file.write_all_at(&block.0, round % N_BLOCKS * BLOCK as u64)?;
    }
    Ok(())
}

fn heal() -> Result<Value> {
    end_all("busy-writer")
}
