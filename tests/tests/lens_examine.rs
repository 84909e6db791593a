//! One look at a guest's memory tells what the guest says of itself, and a minicore of it tells the same.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use vmward_kernel_facts::{Examination, WaitKind};
use vmward_kernel_lens::minicore::{self, Policy};
use vmward_kernel_lens::{Options, Recorder, examine, open};
use vmward_tests::binary::vmward;
use vmward_tests::lens::{KERNELS, Pictured};

fn name_of(found: &Examination, pid: u32) -> &str {
    found.tasks.iter().find(|it| it.pid == Some(pid)).map_or("", |it| &it.comm)
}

/// Threads that did not run between what the guest told and the look.
fn tasks_are_those_that_the_guest_tells(kernel: &str, with_registers: bool) -> Result<()> {
    let guest = Pictured::of(kernel)?;
    let recorder = Recorder::new(guest.memory());
    let cpus = if with_registers { guest.cpus() } else { &[] };
    let found = examine(&recorder, cpus, Options::default())?;
    ensure!(found.cpus.len() == cpus.len(), "{:?}", found.cpus);
    ensure!(found.problems.is_empty(), "{:?}", found.problems);
    let release = guest.image().text("version")?;
    ensure!(found.kernel.banner == release.trim_end(), "{}", found.kernel.banner);
    let stat = guest.image().files("tasks")?;
    let mut compared = 0;
    for thread in guest.image().still_threads()? {
        let text = stat.of_thread(thread, "stat").with_context(|| format!("no stat of {thread:?}"))?;
        let (head, rest) = text.rsplit_once(')').context("no name in stat")?;
        let (_, comm) = head.split_once('(').context("no name in stat")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let task = found.tasks.iter().find(|it| it.pid == Some(thread.1));
        let task = task.with_context(|| format!("{comm} {thread:?} was not found"))?;
        let state = task.state.map(|it| it.letter().to_string()).unwrap_or_default();
        // The guest's own file shows the whole name of a kernel worker.
        ensure!(comm.starts_with(&task.comm) || task.comm.starts_with(comm), "{comm}: {}", task.comm);
        ensure!(fields[0] == state, "{comm}: {} {state}", fields[0]);
        ensure!(task.ppid.map(|it| it.to_string()).as_deref() == Some(fields[1]), "{comm}: {:?}", task.ppid);
        ensure!(task.stack.iter().any(|it| it.sure && it.name() == "__schedule"), "{comm}: {:?}", task.stack);
        compared += 1;
    }
    ensure!(compared > 30, "only {compared} threads stood still");
    Ok(())
}

#[test]
fn tasks_are_those_that_the_guest_tells_on_every_kernel() -> Result<()> {
    for kernel in KERNELS {
        tasks_are_those_that_the_guest_tells(kernel, true).with_context(|| kernel.to_owned())?;
    }
    Ok(())
}

#[test]
fn tasks_are_those_that_the_guest_tells_though_no_register_is_known() -> Result<()> {
    for kernel in KERNELS {
        tasks_are_those_that_the_guest_tells(kernel, false).with_context(|| kernel.to_owned())?;
    }
    Ok(())
}

#[test]
fn a_lock_chain_leads_to_the_task_that_waits_for_the_disk_live_and_from_its_minicore() -> Result<()> {
    let guest = Pictured::of_fault("lock-chain", "amd64-6.1")?;
    let recorder = Recorder::new(guest.memory());
    let live = examine(&recorder, guest.cpus(), Options::default())?;
    let [root] = live.waits.roots.as_slice() else { anyhow::bail!("{:?}", live.waits) };
    // So the fault names its tasks.
    ensure!(name_of(&live, root.task) == "lock-holder", "{root:?}");
    ensure!(root.waits_for == Some(WaitKind::PageIo), "{root:?}");
    ensure!(root.waiters.len() == 2, "{root:?}");
    ensure!(live.waits.cycles.is_empty());

    let folder = tempfile::tempdir()?;
    let path = folder.path().join("lock-chain.core");
    let (kernel, mut file) = (open(&recorder, guest.cpus())?, std::fs::File::create(&path)?);
    minicore::save(&mut file, &kernel, guest.cpus(), &live, Policy::Kernel, 8 << 20)?;

    let out = Command::new(vmward()?).args(["inspect", "-o", "json"]).arg(&path).arg("waits").output()?;
    ensure!(out.status.code() == Some(1), "{out:?}");
    let told: vmward_kernel_facts::WaitGraph = serde_json::from_slice(&out.stdout)?;
    ensure!(told == live.waits, "{told:?}");
    let out = Command::new(vmward()?).arg("inspect").arg(&path).arg("waits").output()?;
    let text = String::from_utf8(out.stdout)?;
    ensure!(text.contains(&format!("2 tasks wait for {} lock-holder", root_task(&live))), "{text}");
    Ok(())
}

fn root_task(found: &Examination) -> u32 {
    found.waits.roots.first().map_or(0, |it| it.task)
}

#[test]
fn a_file_that_is_no_core_is_named_as_what_it_is_not() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "no core\n")?;
    let out = Command::new(vmward()?).arg("inspect").arg(&path).output()?;
    ensure!(out.status.code() == Some(3) && out.stdout.is_empty(), "{out:?}");
    let told = String::from_utf8(out.stderr)?;
    ensure!(told.contains("notes.txt"), "{told}");
    Ok(())
}
