//! The state of the machine that the lens reads is what the guest says of itself.
//!
//! What changes was asked before the image was taken and afterwards: a count that only grows lies in between.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use vmward_kernel_facts::machine::Freeze;
use vmward_kernel_lens::{Kernel, Recorder, machine};
use vmward_qemu_fixtures::image::Files;
use vmward_tests::lens::Pictured;

/// The numbers in a text, in order.
fn numbers(text: &str) -> Vec<u64> {
    text.split(|it: char| !it.is_ascii_digit()).filter_map(|it| it.parse().ok()).collect()
}

/// Lines of a table by their first word, without the colon, with the numbers behind it.
fn rows(text: &str) -> BTreeMap<String, Vec<u64>> {
    let row = |line: &str| {
        let (name, rest) = line.trim().split_once(char::is_whitespace)?;
        let counts = rest.split_whitespace().map_while(|it| it.parse().ok()).collect();
        Some((name.trim_end_matches(':').to_owned(), counts))
    };
    text.lines().filter_map(row).collect()
}

fn grows(what: &str, ours: u64, before: u64, after: u64) -> Result<()> {
    ensure!((before..=after).contains(&ours), "{what}: we read {ours}, the guest {before} and then {after}");
    Ok(())
}

/// Counts of each row of ours lie between those of the guest; says how many rows were compared.
fn all_grow<'a>(
    ours: impl IntoIterator<Item = (String, &'a [u64])>,
    before: &str,
    after: &str,
) -> Result<usize> {
    let (before, after, mut compared) = (rows(before), rows(after), 0);
    for (name, counts) in ours {
        let (Some(low), Some(high)) = (before.get(&name), after.get(&name)) else { continue };
        ensure!(low.len() >= counts.len() && high.len() >= counts.len(), "{name}: {low:?} {counts:?}");
        for ((ours, low), high) in counts.iter().zip(low).zip(high) {
            grows(&name, *ours, *low, *high)?;
        }
        compared += 1;
    }
    Ok(compared)
}

struct Looked<'g, 'm> {
    guest: &'g Pictured,
    kernel: &'g Kernel<'m>,
    before: Files,
    after: Files,
}

impl Looked<'_, '_> {
    fn file(&self, path: &str) -> Result<&str> {
        self.before.get(path).with_context(|| format!("the guest did not tell {path}"))
    }

    fn later(&self, path: &str) -> Result<&str> {
        self.after.get(path).with_context(|| format!("the guest did not tell {path} again"))
    }

    fn system_and_clock(&self) -> Result<()> {
        let system = machine::system::read(self.kernel)?;
        let version = self.guest.image().text("version")?;
        ensure!(version.starts_with(&format!("Linux version {} ", system.release)), "{}", system.release);
        ensure!(version.trim_end().ends_with(&system.version), "{}", system.version);
        ensure!(system.command_line == self.guest.image().text("cmdline")?.trim_end());
        ensure!(system.tainted.to_string() == self.file("/proc/sys/kernel/tainted")?.trim_end());
        ensure!(system.online == [0, 1] && system.panic.cpu.is_none() && system.panic.oops_in_progress == 0);

        let clock = machine::clock::read(self.kernel)?;
        let hundredths = |text: &str| text.split('.').take(2).collect::<String>();
        let uptime = |text: String| -> Result<u64> {
            Ok(hundredths(text.split_whitespace().next().context("no uptime")?).parse::<u64>()?)
        };
        let (before, after) = (self.guest.image().text("uptime")?, self.guest.image().text_after("uptime")?);
        // The clock was brought forward at the last tick.
        grows("uptime", clock.uptime_nsec / 10_000_000 + 1, uptime(before)?, uptime(after)? + 1)?;
        ensure!(clock.hz == Some(250), "{:?}", clock.hz);
        Ok(())
    }

    fn cpus(&self) -> Result<()> {
        let queues = machine::run_queue::read(self.kernel)?;
        let switches: u64 = queues.iter().map(|it| it.nr_switches).sum();
        let counted = |text: &str| rows(text).get("ctxt").and_then(|it| it.first().copied());
        let before = counted(self.file("/proc/stat")?).context("no count")?;
        let after = counted(self.later("/proc/stat")?).context("no count")?;
        grows("switches", switches, before, after)?;
        for queue in &queues {
            ensure!(queue.idle == (queue.current.comm == format!("swapper/{}", queue.cpu)), "{queue:?}");
            ensure!(queue.idle == (queue.current.pid == 0), "{queue:?}");
            let of_classes = queue.fair + queue.real_time + queue.deadline;
            ensure!(queue.nr_running >= of_classes.saturating_sub(1), "{queue:?}");
        }
        let rcu = machine::rcu::read(self.kernel)?;
        ensure!(!rcu.stalled && rcu.waiting_cpus.iter().all(|it| *it < 2), "{rcu:?}");
        let kthread = rcu.kthread.context("no kthread of RCU")?;
        ensure!(self.guest.image().text("ps")?.contains(&kthread.comm), "{kthread:?}");
        let watchdog = machine::watchdog::read(self.kernel)?;
        ensure!(watchdog.cpus.iter().all(|it| !it.soft_lockup), "{watchdog:?}");
        ensure!(watchdog.threshold_sec == 10);
        // Workers that are tasks: those of soft interrupts are none, rescuers are of no pool.
        let pools = machine::workqueue::read(self.kernel)?;
        let in_soft_interrupts = if self.kernel.symbol("bh_worker_pools").is_some() { 4 } else { 0 };
        let ours = pools.iter().map(|it| it.workers).sum::<u32>() - in_soft_interrupts;
        let tasks = self.guest.image().text("ps")?;
        let workers = tasks.lines().filter(|it| it.contains("kworker/") && !it.contains("kworker/R-"));
        ensure!(workers.count().abs_diff(ours as usize) <= 1, "{ours} workers");
        for cpu in machine::timers::read(self.kernel)? {
            ensure!(cpu.pending > 0 && cpu.overdue == 0 && !cpu.next.is_empty(), "{cpu:?}");
            ensure!(cpu.next.iter().all(|it| !it.function.starts_with("0x")), "{cpu:?}");
        }
        Ok(())
    }

    fn memory(&self) -> Result<()> {
        let memory = machine::memory::read(self.kernel)?;
        let told = rows(&self.guest.image().text("meminfo")?);
        ensure!(memory.meminfo_kib()["MemTotal"] == told["MemTotal"][0]);
        let ours = memory.events.iter().map(|(name, count)| (name.clone(), std::slice::from_ref(count)));
        let compared = all_grow(ours, self.file("/proc/vmstat")?, self.later("/proc/vmstat")?)?;
        ensure!(compared > 10, "only {compared} events");
        // Zones by their order: the marks do not change.
        let zones = self.file("/proc/zoneinfo")?;
        for part in zones.split("Node ").skip(1).filter(|it| it.contains("pages free")) {
            let name = part.lines().next().and_then(|it| it.split_whitespace().last()).context("no name")?;
            // Behind "pagesets" the same words are of something else.
            let told = rows(part.split("pagesets").next().unwrap_or(part));
            let Some(zone) = memory.zones.iter().find(|it| it.name == name) else {
                ensure!(told["present"] == [0], "zone {name} is missing");
                continue;
            };
            let marks =
                [("min", zone.min), ("low", zone.low), ("high", zone.high), ("managed", zone.managed)];
            for (mark, ours) in marks {
                ensure!(told[mark] == [ours], "{mark} of {name}: {ours}, not {:?}", told[mark]);
            }
            let free: u64 = zone.free_blocks.iter().zip(0..).map(|(count, order)| count << order).sum();
            ensure!(free <= zone.managed && zone.free <= zone.managed, "{zone:?}");
        }
        let slab = machine::slab::read(self.kernel)?;
        for line in self.guest.image().text("slabinfo")?.lines().skip(2) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let cache = slab.iter().find(|it| it.name == words[0]).with_context(|| format!("no {line}"))?;
            ensure!(cache.object_size.to_string() == words[3], "{cache:?} is not {line}");
            // Slabs come and go; most caches have those that they had.
            ensure!(cache.slabs.abs_diff(words[14].parse()?) <= 40, "{cache:?} is not {line}");
        }
        let pressure = machine::pressure::read(self.kernel)?.context("no pressure")?;
        let total = |text: &str| text.split("total=").nth(1).and_then(|it| numbers(it).first().copied());
        for (path, ours) in [("cpu", pressure.cpu_some), ("io", pressure.io_some)] {
            let path = format!("/proc/pressure/{path}");
            let (before, after) = (total(self.file(&path)?), total(self.later(&path)?));
            // Asking brings the totals forward, so that ours may be older than the first answer by two seconds.
            let before = before.context("no total")?.saturating_sub(2_000_000);
            grows(&path, ours.total_usec, before, after.context("no total")?)?;
        }
        Ok(())
    }

    fn interrupts(&self) -> Result<()> {
        let read = machine::interrupts::read(self.kernel)?;
        let (before, after) =
            (self.guest.image().text("interrupts")?, self.guest.image().text_after("interrupts")?);
        let lines = read.lines.iter().map(|it| (it.irq.to_string(), it.counts.as_slice()));
        let compared = all_grow(lines, &before, &after)?;
        let told = before.lines().filter(|it| it.trim().starts_with(|first: char| first.is_ascii_digit()));
        ensure!(compared == told.count(), "{compared} lines of {before}");
        for line in &read.lines {
            let number = format!("{}:", line.irq);
            let told = before.lines().find(|it| it.trim().starts_with(&number)).context("no such line")?;
            ensure!(
                told.contains(&line.chip) && told.ends_with(&line.handlers.join(", ")),
                "{told}: {line:?}"
            );
        }
        let soft = read.soft.iter().map(|it| (it.name.clone(), it.counts.as_slice()));
        ensure!(all_grow(soft, self.file("/proc/softirqs")?, self.later("/proc/softirqs")?)? == 10);
        Ok(())
    }

    fn devices_and_mounts(&self) -> Result<()> {
        let disks = machine::block::read(self.kernel)?;
        ensure!(disks.iter().any(|it| it.name == "vda"));
        for disk in &disks {
            ensure!(
                disk.sectors.to_string() == self.file(&format!("/sys/block/{}/size", disk.name))?.trim_end()
            );
            ensure!(!disk.quiesced && !disk.frozen && disk.stopped_queues.is_empty(), "{disk:?}");
        }
        let lo = machine::net::read(self.kernel)?;
        let lo = lo.first().context("no network device")?;
        ensure!(lo.name == "lo" && lo.mtu.to_string() == self.file("/sys/class/net/lo/mtu")?.trim_end());
        let flags = self.file("/sys/class/net/lo/flags")?.trim_end();
        ensure!(lo.up == (u64::from_str_radix(flags.trim_start_matches("0x"), 16)? & 1 != 0), "{lo:?}");

        let mounts = machine::mounts::read(self.kernel)?;
        ensure!(mounts.frozen().next().is_none());
        let told = self.guest.image().text("mounts")?;
        ensure!(told.lines().count() == mounts.mounts.len(), "{:?}", mounts.mounts);
        for (line, ours) in told.lines().zip(&mounts.mounts) {
            let text = format!("{} {} {} {}", ours.source, ours.path, ours.filesystem, ours.options);
            ensure!(line.starts_with(&text), "{text:?} is not {line:?}");
            ensure!(mounts.super_blocks.iter().any(|it| it.address == ours.super_block), "{ours:?}");
        }
        Ok(())
    }
}

fn reads_the_machine(kernel: &str) -> Result<()> {
    let guest = Pictured::of(kernel)?;
    let recorder = Recorder::new(guest.memory());
    let found = guest.kernel(&recorder)?;
    let before = guest.image().files("machine")?;
    let after = Files::parse(&guest.image().text_after("machine")?);
    let looked = Looked { guest: &guest, kernel: &found, before, after };
    looked.system_and_clock()?;
    looked.cpus()?;
    looked.memory()?;
    looked.interrupts()?;
    looked.devices_and_mounts()
}

#[test]
fn the_machine_of_5_10_is_as_it_says() -> Result<()> {
    reads_the_machine("amd64-5.10")
}

#[test]
fn the_machine_of_6_1_is_as_it_says() -> Result<()> {
    reads_the_machine("amd64-6.1")
}

#[test]
fn the_machine_of_6_12_is_as_it_says() -> Result<()> {
    reads_the_machine("amd64-6.12")
}

#[test]
fn the_machine_of_7_is_as_it_says() -> Result<()> {
    reads_the_machine("amd64-7.x")
}

/// The kernel's own list in debugfs has one request, and so has ours.
#[test]
fn a_request_that_a_disk_owes_is_found() -> Result<()> {
    for kernel in ["amd64-6.1", "amd64-7.x"] {
        let guest = Pictured::of_fault("lock-chain", kernel)?;
        let recorder = Recorder::new(guest.memory());
        let disks = machine::block::read(&guest.kernel(&recorder)?)?;
        let told = guest.image().files("machine")?;
        for disk in disks {
            let ours: Vec<_> =
                disk.in_flight.iter().map(|it| (it.queue, it.tag, it.operation.as_str())).collect();
            let mut theirs = Vec::new();
            for queue in 0..disk.hardware_queues {
                let path = format!("/sys/kernel/debug/block/{}/hctx{queue}/busy", disk.name);
                for line in
                    told.get(&path).into_iter().flat_map(str::lines).filter(|it| it.contains(".op=READ"))
                {
                    let tag = line.split(".tag=").nth(1).and_then(|it| numbers(it).first().copied());
                    theirs.push((queue, tag.context("no tag")? as u32, "read"));
                }
            }
            ensure!(ours == theirs, "{kernel} {}: we read {ours:?}, the guest {theirs:?}", disk.name);
            ensure!(disk.in_flight.iter().all(|it| it.age_ms.is_some() && !it.completed && it.bytes > 0));
            ensure!(disk.name != "vdb" || disk.in_flight.len() == 1, "{disk:?}");
        }
    }
    Ok(())
}

/// While the filesystem is frozen, its superblock says so.
#[test]
fn a_frozen_filesystem_is_found() -> Result<()> {
    let guest = Pictured::of_fault("fs-freeze", "amd64-6.1")?;
    let recorder = Recorder::new(guest.memory());
    let mounts = machine::mounts::read(&guest.kernel(&recorder)?)?;
    let frozen: Vec<_> = mounts.frozen().map(|it| (it.filesystem.as_str(), it.freeze)).collect();
    ensure!(frozen == [("ext4", Freeze::Complete)], "{frozen:?}");
    Ok(())
}
