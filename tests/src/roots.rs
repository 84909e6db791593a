//! What the lens must name of those faults in which tasks wait: the root, the ring, the disk, the file system.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use vmward_kernel_facts::machine::Freeze;
use vmward_kernel_facts::{Examination, WaitEnd, WaitTarget};

/// The faults, each with the kernels that it can be made on. A module of its own makes `abba`, which is built
/// for the kernel whose headers are pinned.
pub const FAULTS: [(&str, &[&str]); 4] =
    [("lock-chain", &ALL), ("abba", &["amd64-6.1"]), ("disk-stall", &ALL), ("fs-freeze", &ALL)];

const ALL: [&str; 5] = ["amd64-5.10", "amd64-6.1", "amd64-6.12", "amd64-7.x", "arm64-6.12"];

/// Whether the cause of `fault` is named in a look at the guest.
///
/// # Errors
/// What is told instead.
pub fn check(fault: &str, found: &Examination) -> Result<()> {
    let waits = &found.waits;
    match fault {
        "lock-chain" => {
            let [root] = waits.roots.as_slice() else { bail!("{:?}", waits.roots) };
            ensure!(name(found, root.task) == "lock-holder", "{root:?}");
            ensure!(names(found, &root.waiters) == ["app-writer-1", "app-writer-2"], "{root:?}");
            let end = disk(found, "vdb").context("no disk is named")?;
            ensure!(end.waiters.contains(&root.task) && end.waiters.len() == 3, "{end:?}");
        }
        "abba" => {
            let [ring] = waits.cycles.as_slice() else { bail!("{:?}", waits.cycles) };
            ensure!(names(found, ring) == ["app-writer-1", "app-writer-2"], "{ring:?}");
        }
        "disk-stall" => {
            let end = disk(found, "vda").context("no disk is named")?;
            let blocked = blocked(found);
            ensure!(!blocked.is_empty(), "nobody waits");
            let left: Vec<_> = blocked.iter().filter(|it| !end.waiters.contains(it)).collect();
            ensure!(left.is_empty(), "{left:?} wait for something else: {:#?}", waits.edges);
            let request = |it: &WaitTarget| matches!(it, WaitTarget::Disk { request: Some(_), .. });
            ensure!(waits.edges.iter().filter_map(|it| it.what.as_ref()).any(request), "no request is named");
        }
        "fs-freeze" => {
            let frozen = |it: &&WaitEnd| matches!(&it.on, WaitTarget::FileSystem { .. });
            let end = waits.ends.iter().find(frozen).context("no file system is named")?;
            let WaitTarget::FileSystem { id, filesystem, freeze, .. } = &end.on else { bail!("{end:?}") };
            ensure!((id.as_str(), filesystem.as_str()) == ("vda", "ext4"), "{end:?}");
            ensure!(*freeze == Freeze::Complete, "{end:?}");
            let writers = ["app-writer-1", "app-writer-2", "app-writer-3"];
            ensure!(names(found, &end.waiters) == writers, "{end:?}");
        }
        other => bail!("what the lens must name of {other} is not known"),
    }
    if fault != "abba" {
        ensure!(waits.cycles.is_empty(), "{:?}", waits.cycles);
    }
    Ok(())
}

fn name(found: &Examination, pid: u32) -> &str {
    found.tasks.iter().find(|it| it.pid == Some(pid)).map_or("", |it| &it.comm)
}

fn names<'f>(found: &'f Examination, pids: &[u32]) -> Vec<&'f str> {
    let names: BTreeSet<&str> = pids.iter().map(|it| name(found, *it)).collect();
    names.into_iter().collect()
}

fn disk<'f>(found: &'f Examination, wanted: &str) -> Option<&'f WaitEnd> {
    let is_it = |it: &&WaitEnd| matches!(&it.on, WaitTarget::Disk { name, .. } if name == wanted);
    found.waits.ends.iter().find(is_it)
}

/// Tasks in uninterruptible sleep.
fn blocked(found: &Examination) -> Vec<u32> {
    found.tasks.iter().filter(|it| it.is_blocked()).filter_map(|it| it.pid).collect()
}
