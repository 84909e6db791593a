//! Boots a guest, asks it, holds it still, and writes down what memory and monitor hold.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::questions::{self, Question, When};
use super::shell::Shell;
use super::{FORMAT, Files, Meta, Stillness, ram};
use crate::fault::Fault;
use crate::qemu::{Error, Guest};
use crate::standard::{MEMORY_MIB, Patient};

/// How often a guest that the emulator killed is started anew.
const MOST_VOID: usize = 3;
/// A monitor command on a host that is busy.
const MONITOR: Duration = Duration::from_secs(30);

/// Takes an image of `patient`, broken by `fault`, into the folder `to`, which is there and empty.
pub(super) fn take(patient: Patient, fault: &dyn Fault, to: &Path) -> Result<()> {
    let kernel = patient.kernel.clone();
    let builder = patient.with(Shell::port).finish()?;
    let mut voids = Vec::new();
    while voids.len() < MOST_VOID {
        let began = Instant::now();
        let mut guest = if fault.boots() { builder.boot()? } else { builder.start()? };
        let booted_s = began.elapsed().as_secs_f64();
        let taken = take_of(&mut guest, fault, to);
        if let Err(Error::Voided { line }) = guest.check_not_void() {
            voids.push(line);
            continue;
        }
        let Taken { proof, stillness, untold } = taken.with_context(|| {
            let text = guest.console_text().unwrap_or_default();
            let tail: Vec<_> = text.lines().rev().take(10).collect();
            format!("no image of {} with {}; console ends with {tail:#?}", kernel.name, fault.name())
        })?;
        let meta = Meta {
            format: FORMAT,
            kernel: kernel.name.clone(),
            version: kernel.version.clone(),
            fault: fault.name().to_owned(),
            stillness,
            vcpus: builder.n_vcpus(),
            memory_mib: MEMORY_MIB,
            qemu: qemu_version(&mut guest),
            proof,
            untold,
            booted_s,
            taken_s: began.elapsed().as_secs_f64(),
        };
        return write(to, "meta.json", serde_json::to_string_pretty(&meta)?.as_bytes());
    }
    bail!("no image of {} with {}: every run void: {voids:?}", kernel.name, fault.name())
}

struct Taken {
    proof: Value,
    stillness: Stillness,
    untold: Vec<String>,
}

fn take_of(guest: &mut Guest, fault: &dyn Fault, to: &Path) -> Result<Taken> {
    let mut asking = Asking { shell: None, untold: Vec::new(), to };
    if fault.boots() {
        let mut shell = Shell::start(guest)?;
        shell.ask(questions::QUIET, MONITOR)?;
        asking.shell = Some(shell);
        asking.all(|it| it.when == When::Early, "");
    }
    let proof = fault.inject(guest)?;
    asking.all(|it| it.when != When::Early, "");
    let stillness = still(guest)?;
    monitor(guest, to, stillness)?;
    if stillness == Stillness::Held {
        guest.signal(Signal::SIGSTOP)?;
        stopped(guest.pid())?;
    }
    let copied = ram::memfd(guest.pid()).and_then(|memfd| ram::copy(&memfd, &to.join("ram.raw")));
    match stillness {
        Stillness::Held => guest.signal(Signal::SIGCONT)?,
        Stillness::Paused => drop(guest.qmp()?.execute_within("cont", json!({}), MONITOR)?),
        Stillness::Already => {}
    }
    copied?;
    if stillness != Stillness::Already {
        asking.all(|it| it.when == When::Twice, "-after");
    }
    if let Some(log) = guest.console_log() {
        std::fs::copy(log, to.join("console.log")).context("cannot copy the console's log")?;
    }
    // A healthy guest that does not answer is no truth to compare with.
    if fault.name() == "idle" && !asking.untold.is_empty() {
        bail!("the guest did not tell: {}", asking.untold.join("; "));
    }
    Ok(Taken { proof: json!({ "text": proof.text, "facts": proof.facts }), stillness, untold: asking.untold })
}

/// Brings the vCPUs to a stand.
///
/// QEMU's `stop` waits until all requests to disks are done. With a disk that never answers it would wait for
/// ever and take the monitor with it, so such a guest's whole process is stopped instead.
fn still(guest: &mut Guest) -> Result<Stillness> {
    if guest.qmp()?.status()? != "running" {
        return Ok(Stillness::Already);
    }
    for disk in ["vda", "vdb"] {
        // A guest of another fixture may have no such disk.
        let owed = guest.nbd().ok().and_then(|it| it.swallowed(disk).ok()).unwrap_or(0);
        if owed > 0 {
            return Ok(Stillness::Held);
        }
    }
    guest.qmp()?.execute_within("stop", json!({}), MONITOR)?;
    Ok(Stillness::Paused)
}

/// What the monitor says of registers and memory.
fn monitor(guest: &mut Guest, to: &Path, stillness: Stillness) -> Result<()> {
    let first = match guest.builder().arch() {
        crate::qemu::Arch::X86_64 => 0x10_0000_u64,
        crate::qemu::Arch::Aarch64 => 0x4000_0000,
    };
    let qmp = guest.qmp()?;
    for (name, command) in [
        ("mtree.txt", "info mtree -f"),
        ("ramblock.txt", "info ramblock"),
        ("registers.txt", "info registers -a"),
    ] {
        write(to, name, qmp.human(command)?.as_bytes())?;
    }
    let cpus = qmp.execute("query-cpus-fast", json!({}))?;
    write(to, "query-cpus-fast.json", serde_json::to_string_pretty(&cpus)?.as_bytes())?;
    if stillness == Stillness::Paused {
        // For its notes: all registers of each vCPU. A dump stops a guest, so only one that is paused.
        let file = format!("file:{}", to.join("one-page.elf").display());
        let arguments = json!({ "paging": false, "protocol": file, "begin": first, "length": 4096 });
        qmp.execute_within("dump-guest-memory", arguments, MONITOR)?;
    }
    Ok(())
}

/// Waits until every thread of a process that was told to stop has done so.
fn stopped(pid: u32) -> Result<()> {
    let deadline = Instant::now() + MONITOR;
    let folder = format!("/proc/{pid}/task");
    loop {
        let mut running = 0;
        for task in std::fs::read_dir(&folder).with_context(|| format!("cannot list {folder}"))? {
            let stat = std::fs::read_to_string(task?.path().join("stat")).unwrap_or_default();
            // The state follows the name, which is in brackets (proc(5)).
            running +=
                usize::from(!stat.is_empty() && !stat.rsplit(") ").next().unwrap_or("").starts_with('T'));
        }
        if running == 0 {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("QEMU does not stop");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn qemu_version(guest: &mut Guest) -> String {
    let version = guest.qmp().and_then(|qmp| qmp.execute("query-version", json!({}))).unwrap_or_default();
    let part = |name: &str| version["qemu"][name].as_u64().unwrap_or(0);
    format!("{}.{}.{}", part("major"), part("minor"), part("micro"))
}

/// Puts questions for as long as the guest answers.
struct Asking<'a> {
    shell: Option<Shell>,
    untold: Vec<String>,
    to: &'a Path,
}

impl Asking<'_> {
    fn all(&mut self, wanted: impl Fn(&Question) -> bool, suffix: &str) {
        for question in questions::ALL.iter().filter(|it| wanted(it)) {
            if let Err(error) = self.one(question, suffix) {
                self.untold.push(format!("{}{suffix}: {error:#}", question.name));
                // Its answer may still come and would be taken for the next one's.
                self.shell = None;
            }
        }
    }

    fn one(&mut self, question: &Question, suffix: &str) -> Result<()> {
        let shell = self.shell.as_mut().context("the guest's shell does not answer any more")?;
        let answer = shell.ask(question.command, question.wait())?;
        write(self.to, &format!("{}{suffix}.txt", question.name), &answer)?;
        if question.name == "tasks" {
            // The same by process, for whoever needs no more.
            let files = Files::parse(&String::from_utf8_lossy(&answer));
            for (name, text) in
                [("stat", files.stat()), ("status", files.status()), ("syscall", files.syscall())]
            {
                write(self.to, &format!("{name}{suffix}.txt"), text.as_bytes())?;
            }
        }
        Ok(())
    }
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = folder.join(name);
    std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
}
