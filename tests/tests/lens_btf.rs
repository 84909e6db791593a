//! Types out of the memory of real guests, against what the guests tell: the sizes of objects in
//! `/proc/slabinfo`, the list of `/proc/modules`, and a name that only a right offset leads to.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use vmward_kernel_lens::Recorder;
use vmward_tests::lens::Pictured;

/// Slab caches, and what is in them. `task_struct` is not here: its end depends on the CPU.
const CACHES: [(&str, &str); 7] = [
    ("inode_cache", "inode"),
    ("proc_inode_cache", "proc_inode"),
    ("dentry", "dentry"),
    ("filp", "file"),
    ("vm_area_struct", "vm_area_struct"),
    ("signal_cache", "signal_struct"),
    ("sighand_cache", "sighand_struct"),
];
/// A slab rounds up to a line of the cache, and keeps a pointer behind some objects.
const ROUNDED: u64 = 72;

/// `modules`: whether this kernel keeps the BTF of its modules (since v5.11).
fn types_are_right(kernel: &str, modules: bool) -> Result<()> {
    let guest = Pictured::of(kernel)?;
    let recorder = Recorder::new(guest.memory());
    let mut found = guest.kernel(&recorder)?;

    let slabs = guest.image().text("slabinfo")?;
    let mut seen = 0;
    for (cache, of) in CACHES {
        // Name, active objects, objects, bytes of one.
        let line = slabs.lines().find(|it| it.split_whitespace().next() == Some(cache));
        let Some(told) = line.and_then(|it| it.split_whitespace().nth(3)) else { continue };
        let told: u64 = told.parse()?;
        let size = found.types.size(of).with_context(|| format!("no {of}"))?;
        ensure!((size..=size + ROUNDED).contains(&told), "{of} has {size} bytes, in its slab {told}");
        seen += 1;
    }
    ensure!(seen >= 4, "only {seen} of the caches are in slabinfo:\n{slabs}");

    let task = found.symbol("init_task").context("no init_task")?;
    let member = found.types.member("task_struct", "comm").context("no task_struct.comm")?;
    ensure!(member.type_name == "char[16]", "comm is {member:?}");
    let comm = found.space.text(task + member.offset, 16)?;
    ensure!(comm == "swapper/0" || comm == "swapper", "the first task is {comm:?}");
    let text = found.types.describe("task_struct").context("no description")?;
    ensure!(text.contains(" comm[16];"), "{text}");

    let kept = found.types.guest_modules(&found.space, &found.symbols)?;
    let names: BTreeSet<&str> = kept.iter().map(|it| it.module.as_str()).collect();
    let told = guest.image().text("modules")?;
    let loaded: BTreeSet<&str> = told.lines().filter_map(|it| it.split_whitespace().next()).collect();
    ensure!(names == if modules { loaded } else { BTreeSet::new() }, "{names:?}, and loaded are:\n{told}");
    for module in &kept {
        found.types.add_guest_module(&found.space, module).with_context(|| module.module.clone())?;
    }
    if names.contains("virtio_blk") {
        // A type of a module that goes on in one of vmlinux.
        let disk = found.types.pointee("struct virtio_blk", "disk");
        ensure!(disk.as_deref() == Some("struct gendisk"), "virtio_blk.disk leads to {disk:?}");
    }
    Ok(())
}

#[test]
fn types_of_5_10_are_right() -> Result<()> {
    types_are_right("amd64-5.10", false)
}

#[test]
fn types_of_6_1_are_right() -> Result<()> {
    types_are_right("amd64-6.1", true)
}

#[test]
fn types_of_6_12_are_right() -> Result<()> {
    types_are_right("amd64-6.12", true)
}

#[test]
fn types_of_7_are_right() -> Result<()> {
    types_are_right("amd64-7.x", true)
}
