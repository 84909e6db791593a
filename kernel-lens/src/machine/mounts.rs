//! What is mounted, and which filesystems are frozen.
//!
//! Mounts of a namespace are a list until v6.7 and a tree by their number since (commit 2eea9ce4310d).

use std::collections::HashSet;

use vmward_kernel_facts::machine::{Freeze, Mount, Mounts, SuperBlock};

use super::object::{Object, list, symbol};
use crate::{Kernel, ReadError};

/// Mounts at most.
const MAX_MOUNTS: usize = 1 << 14;
/// Names in a path at most, with the mounts that it leads through.
const MAX_NAMES: usize = 512;
/// Bytes of a name at most (`NAME_MAX`).
const MAX_NAME: usize = 255;
/// `MNT_READONLY` and `SB_RDONLY`.
const MOUNT_READ_ONLY: u64 = 0x40;
const READ_ONLY: u64 = 1;
/// `SB_*` in the order of `show_sb_opts()`, `fs/proc_namespace.c`.
const OF_SUPER_BLOCK: [(u64, &str); 4] =
    [(1 << 4, "sync"), (1 << 7, "dirsync"), (1 << 6, "mand"), (1 << 25, "lazytime")];
/// `MNT_*` in the order of `show_mnt_opts()`.
const OF_MOUNT: [(u64, &str); 7] = [
    (0x01, "nosuid"),
    (0x02, "nodev"),
    (0x04, "noexec"),
    (0x08, "noatime"),
    (0x10, "nodiratime"),
    (0x20, "relatime"),
    (0x80, "nosymfollow"),
];

/// Reads the mounts that process 1 sees, and all filesystems.
///
/// # Errors
/// What a read of the lists said; a mount that cannot be read is left out.
pub fn read(kernel: &Kernel<'_>) -> Result<Mounts, ReadError> {
    let task = first_process(kernel)?;
    let missing = || ReadError::Inconsistent { what: "mnt_namespace", virt: task.at };
    let proxy = task.follow("nsproxy", "nsproxy")?.ok_or_else(missing)?;
    let namespace = proxy.follow("mnt_ns", "mnt_namespace")?.ok_or_else(missing)?;
    let root = task.follow("fs", "fs_struct")?.ok_or_else(missing)?.number("root.mnt")?;
    let seen = |it: Object<'_, '_>| read_mount(it, root).ok().flatten();
    let mounts = links(namespace)?.into_iter().filter_map(seen).collect();
    let mut super_blocks = Vec::new();
    for link in list(kernel, symbol(kernel, "super_blocks")?)? {
        super_blocks.push(read_super_block(Object::around(kernel, "super_block", "s_list", link)?)?);
    }
    Ok(Mounts { mounts, super_blocks })
}

/// Process 1 is the first behind the idle task; without it that one.
fn first_process<'k, 'm>(kernel: &'k Kernel<'m>) -> Result<Object<'k, 'm>, ReadError> {
    let idle = Object::symbol(kernel, "task_struct", "init_task")?;
    let next = Object::around(kernel, "task_struct", "tasks", idle.number("tasks.next")?)?;
    Ok(if next.number("pid")? == 1 { next } else { idle })
}

fn links<'k, 'm>(namespace: Object<'k, 'm>) -> Result<Vec<Object<'k, 'm>>, ReadError> {
    let kernel = namespace.kernel;
    // A counter had the name `mounts` before the tree took it.
    if !namespace.has("mounts.rb_node") {
        let links = namespace.list("list")?;
        let mount = |link| Object::around(kernel, "mount", "mnt_list", link);
        return links.into_iter().take(MAX_MOUNTS).map(mount).collect();
    }
    let nodes = in_order(kernel, namespace.number("mounts.rb_node")?)?;
    nodes.into_iter().map(|it| Object::around(kernel, "mount", "mnt_node", it)).collect()
}

/// Nodes of a red-black tree from left to right. One that comes again ends its branch.
fn in_order(kernel: &Kernel<'_>, root: u64) -> Result<Vec<u64>, ReadError> {
    let (mut found, mut path, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
    let mut at = root;
    loop {
        while at != 0 && seen.len() < MAX_MOUNTS && seen.insert(at) {
            path.push(at);
            at = Object::new(kernel, "rb_node", at).number("rb_left")?;
        }
        let Some(node) = path.pop() else { return Ok(found) };
        found.push(node);
        at = Object::new(kernel, "rb_node", node).number("rb_right")?;
    }
}

/// A mount; `None` if it is above or outside of the root.
fn read_mount(mount: Object<'_, '_>, root: u64) -> Result<Option<Mount>, ReadError> {
    let Some(path) = path_of(mount, root)? else { return Ok(None) };
    let missing = || ReadError::Inconsistent { what: "mount", virt: mount.at };
    let inside = mount.inside("mnt", "vfsmount")?;
    let block = inside.follow("mnt_sb", "super_block")?.ok_or_else(missing)?;
    let (flags, of_block) = (inside.number("mnt_flags")?, block.number("s_flags")?);
    let read_only = flags & MOUNT_READ_ONLY != 0 || of_block & READ_ONLY != 0;
    let mut options = vec![if read_only { "ro" } else { "rw" }];
    options.extend(OF_SUPER_BLOCK.iter().filter(|(bit, _)| of_block & bit != 0).map(|(_, name)| *name));
    options.extend(OF_MOUNT.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name));
    Ok(Some(Mount {
        source: mount.text_behind("mnt_devname")?.unwrap_or_else(|| "none".into()),
        path,
        filesystem: filesystem(block)?,
        options: options.join(","),
        super_block: block.at,
    }))
}

fn filesystem(block: Object<'_, '_>) -> Result<String, ReadError> {
    let of = block.follow("s_type", "file_system_type")?;
    Ok(of.map(|it| it.text_behind("name")).transpose()?.flatten().unwrap_or_default())
}

/// Where a mount is, as seen from the root: names up to the root of the mount that it is in, and so on up
/// to the mount that is the root. `None` if the way up does not meet it, as for the rootfs below a system's
/// real root, or the `nullfs` that v7.2 has above it: the kernel does
/// not list these either.
fn path_of(mount: Object<'_, '_>, root: u64) -> Result<Option<String>, ReadError> {
    let kernel = mount.kernel;
    let (mut names, mut at, mut steps) = (Vec::new(), mount, 0);
    let mut step = || {
        steps += 1;
        let wrong = ReadError::Inconsistent { what: "the path of a mount", virt: mount.at };
        if steps > MAX_NAMES { Err(wrong) } else { Ok(()) }
    };
    while at.address("mnt")? != root {
        let parent = at.follow("mnt_parent", "mount")?.filter(|it| it.at != at.at);
        let Some(parent) = parent else { return Ok(None) };
        let top = parent.inside("mnt", "vfsmount")?.number("mnt_root")?;
        let mut entry = at.number("mnt_mountpoint")?;
        while entry != top {
            step()?;
            let dentry = Object::new(kernel, "dentry", entry);
            let len = (dentry.small("d_name.len")? as usize).min(MAX_NAME);
            names.push(kernel.space.text(dentry.number("d_name.name")?, len)?);
            entry = dentry.number("d_parent")?;
        }
        step()?;
        at = parent;
    }
    let path: String = names.iter().rev().flat_map(|name| ["/", name.as_str()]).collect();
    Ok(Some(if path.is_empty() { "/".into() } else { path }))
}

fn read_super_block(block: Object<'_, '_>) -> Result<SuperBlock, ReadError> {
    // A device number has 20 bits of minor (`MINORBITS`).
    let device = block.small("s_dev")?;
    Ok(SuperBlock {
        filesystem: filesystem(block)?,
        id: block.text("s_id")?,
        device: (device >> 20, device & 0xf_ffff),
        read_only: block.number("s_flags")? & READ_ONLY != 0,
        freeze: match block.number("s_writers.frozen")? {
            0 => Freeze::No,
            1 => Freeze::Writes,
            2 => Freeze::PageFaults,
            3 => Freeze::Internal,
            4 => Freeze::Complete,
            _ => return Err(ReadError::Inconsistent { what: "super_block", virt: block.at }),
        },
        address: block.at,
    })
}
