//! A guest's memory is the same through every source, and looking at it leaves it as it was.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use vmward::transport::memory::{MemoryMap, registers};
use vmward_kernel_lens::minicore::{self, Contents, Window};
use vmward_kernel_lens::source::{Format, Segment, open, open_bytes, open_raw};
use vmward_kernel_lens::{Arch, Cpu, PAGE_SIZE, PhysicalMemory, ReadError, Recorder, Registers};
use vmward_qemu_fixtures::fault;
use vmward_qemu_fixtures::image;
use vmward_qemu_fixtures::qemu::{Builder, Guest, Memory};
use vmward_qemu_fixtures::standard::standard_patient;
use vmward_qemu_fixtures::unikernel::{self, Mode};
use vmward_tests::memory_sources::{Place, check_same, dump, scan};
use vmward_tests::still::resident;

/// Registers without what only some sources tell.
fn common(mut cpu: Cpu) -> Cpu {
    if let Registers::X86_64(it) = &mut cpu.registers {
        it.kernel_gs_base = None;
        it.idt_base = None;
        it.halted = None;
    }
    if let Registers::Aarch64(it) = &mut cpu.registers {
        it.system = None;
    }
    cpu
}

/// One guest, paused, through everything. `step`: a page in so many is compared where reads are slow.
async fn conforms(guest: &mut Guest, step: u64) -> Result<()> {
    guest.qmp()?.execute("stop", json!({}))?;
    let place = Place::of(guest)?;
    let before = resident(guest)?;
    let memory = place.shared()?;
    let seen = scan(&memory)?;
    ensure!(seen >= 1 << 20 && seen <= before + (4 << 20), "{seen} bytes of {before} were scanned");
    for range in memory.ranges() {
        // All of it, not only what is populated.
        let mut buf = vec![0; 1 << 20];
        for at in (range.start..range.end).step_by(buf.len()) {
            let len = usize::try_from(range.end - at)?.min(buf.len());
            memory.read(at, &mut buf[..len])?;
        }
    }
    ensure!(resident(guest)? == before, "reading made the guest's memory grow from {before} bytes");

    // The guest ran in this QEMU only, so that what it touched is in its tables.
    let private = place.private()?;
    check_same(&memory, &private, 1).context("through /proc/PID/mem")?;
    check_same(&private, &memory, 1).context("through /proc/PID/mem, the other way")?;
    ensure!(resident(guest)? == before, "reading through /proc made the guest's memory grow");

    let text = guest.qmp()?.human("info registers -a")?;
    let (live, problems) = registers::from_text(&text);
    ensure!(problems.is_empty(), "{problems:?}");
    for format in ["elf", "kdump-zlib"] {
        let opened = dump(guest, format)?;
        let said = if format == "elf" { Format::Elf } else { Format::Kdump };
        ensure!(opened.format == said, "a dump in {format} was taken for {:?}", opened.format);
        ensure!(opened.arch == Some(Arch::X86_64), "the dump is of {:?}", opened.arch);
        check_same(&memory, opened.memory.as_ref(), if format == "elf" { 1 } else { step })
            .with_context(|| format!("in a dump in {format}"))?;
        let cpus: Vec<_> = opened.cpus.into_iter().map(common).collect();
        let expected: Vec<_> = live.iter().cloned().map(common).collect();
        ensure!(cpus == expected, "registers in {format}: {cpus:x?}\nand live: {expected:x?}");
    }

    let (stub, vcpus) = place.by_stub(guest).await?;
    let cpus: Vec<_> = vcpus.iter().filter_map(registers::from_stub).map(common).collect();
    let expected: Vec<_> = live.iter().cloned().map(common).collect();
    ensure!(cpus == expected, "registers of the stub: {cpus:x?}\nand live: {expected:x?}");
    let monitor = place.by_monitor(guest);
    // Reads of these wait, which a thread of the runtime may not.
    let memory = tokio::task::spawn_blocking(move || {
        check_same(&memory, &stub, step).context("through the gdb stub")?;
        check_same(&memory, &monitor, step * 64).context("through the monitor")?;
        ensure!(stub.populated(0).is_none() && monitor.populated(0).is_none());
        anyhow::Ok((memory, stub))
    });
    let (memory, stub) = memory.await??;
    drop(stub.finish().await?);
    guest.qmp()?.human("gdbserver none")?;
    the_minicore_holds_what_was_read(&memory, &live)
}

fn the_minicore_holds_what_was_read(memory: &dyn PhysicalMemory, cpus: &[Cpu]) -> Result<()> {
    let recorder = Recorder::new(memory);
    let run = memory.populated(1 << 20).context("nothing above 1 MiB")?;
    let mut page = [0; PAGE_SIZE as usize];
    recorder.read(run.start, &mut page)?;
    let window = Window { virt: 0xffff_8880_0000_0000, phys: 0, len: 1 << 40 };
    let contents = Contents { arch: Arch::X86_64, cpus, vmcoreinfo: None, windows: &[window], extra: &[] };
    let mut file = Vec::new();
    let counts = minicore::write(&mut file, &recorder, &contents, |_| true)?;
    ensure!(counts.kept == 1, "{counts:?}");
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("mini.core");
    std::fs::write(&path, &file)?;
    let opened = open_bytes(Box::new(file))?;
    ensure!(opened.cpus == cpus && opened.memory.ranges() == memory.ranges());
    let mut kept = [0; PAGE_SIZE as usize];
    opened.memory.read(run.start, &mut kept)?;
    ensure!(kept == page);
    let other = opened.memory.read(run.start + PAGE_SIZE, &mut kept);
    ensure!(matches!(other, Err(ReadError::NotKept { .. }) | Err(ReadError::NotRam { .. })));

    // A debugger of others sees the same registers and bytes.
    let virt = window.virt + run.start;
    let output = Command::new("gdb")
        .args(["-batch", "-nx", "-core"])
        .arg(&path)
        .args(["-ex", "info threads", "-ex", "p/x $rip", "-ex", &format!("x/2gx {virt:#x}")])
        .output()
        .context("gdb is needed for this test")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let Some(Registers::X86_64(first)) = cpus.first().map(|it| &it.registers) else { bail!("no registers") };
    let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|it| page[at + it]));
    for expected in [format!("{:#x}", first.rip), format!("0x{:016x}\t0x{:016x}", word(0), word(8))] {
        ensure!(said.contains(&expected), "gdb does not say {expected}: {said}{output:?}");
    }
    let threads = said.lines().filter(|it| it.contains("LWP")).count();
    ensure!(threads >= cpus.len(), "gdb sees {threads} threads: {said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_of_bare_metal_is_the_same_through_every_source() -> Result<()> {
    let mut guest = unikernel::guest("source-bare", Mode::Idle)?.boot()?;
    conforms(&mut guest, 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_linux_guest_is_the_same_through_every_source() -> Result<()> {
    let mut guest = standard_patient("amd64-6.1", fault::find("idle")?)?.boot()?;
    conforms(&mut guest, 61).await
}

#[tokio::test(flavor = "multi_thread")]
async fn anonymous_memory_is_read_without_touching_what_is_not_there() -> Result<()> {
    let builder = unikernel::guest("source-private", Mode::Idle)?.memory(Memory::anonymous(512));
    let mut guest = builder.boot()?;
    guest.qmp()?.execute("stop", json!({}))?;
    let place = Place::of(&mut guest)?;
    ensure!(place.shared().is_err(), "anonymous memory was found in a file");
    let before = rss_kib(guest.pid())?;
    let private = place.private()?;
    let seen = scan(&private)?;
    let mut buf = vec![0; 1 << 20];
    for at in ((1 << 20)..(512 << 20)).step_by(buf.len()) {
        private.read(at, &mut buf)?;
    }
    let after = rss_kib(guest.pid())?;
    ensure!(after < before + 1024, "QEMU grew from {before} to {after} KiB");
    ensure!((1 << 20..256 << 20).contains(&seen), "{seen} bytes are populated");
    let dumped = dump(&mut guest, "elf")?;
    check_same(&private, dumped.memory.as_ref(), 1)?;
    Ok(())
}

fn rss_kib(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Two nodes of 3 GiB and a DIMM that is plugged in: marks that are written into QEMU's files are seen by
/// QEMU (`xp`) and by us at the same guest-physical addresses.
#[tokio::test(flavor = "multi_thread")]
async fn several_blocks_lie_where_qemu_has_them() -> Result<()> {
    let backend = |id: &str| format!("memory-backend-memfd,id={id},size=3G,share=on,reserve=off");
    let builder = Builder::q35("source-blocks").memory(Memory::anonymous(6144)).arguments([
        "-vga".to_owned(),
        "std".to_owned(),
        "-m".to_owned(),
        "slots=2,maxmem=16G".to_owned(),
        "-object".to_owned(),
        backend("node0"),
        "-object".to_owned(),
        backend("node1"),
        "-numa".to_owned(),
        "node,memdev=node0".to_owned(),
        "-numa".to_owned(),
        "node,memdev=node1".to_owned(),
    ]);
    let mut guest = builder.start()?;
    let qmp = guest.qmp()?;
    let dimm =
        json!({ "qom-type": "memory-backend-memfd", "id": "dimm0", "size": 1u64 << 30, "share": true });
    qmp.execute("object-add", dimm)?;
    qmp.execute("device_add", json!({ "driver": "pc-dimm", "id": "d0", "memdev": "dimm0" }))?;
    qmp.execute("stop", json!({}))?;
    let place = Place::of(&mut guest)?;
    ensure!(place.blocks() == ["node0", "node1", "dimm0"], "{:?}", place.blocks());

    // Marks by QEMU's own mapping: host address and block are QEMU's word, not ours.
    let mem = File::options().write(true).open(format!("/proc/{}/mem", guest.pid()))?;
    let places =
        [0x9_0000, 0x7fff_f000, 1 << 32, (5 << 30) - 8, 5 << 30, (8 << 30) - 8, 8 << 30, (9 << 30) - 8];
    for (at, mark) in places.iter().zip(1u64..) {
        let answer = guest.qmp()?.human(&format!("gpa2hva {at:#x}"))?;
        let host = vmward::transport::memory::host_address(&answer).context(answer)?;
        mem.write_all_at(&(mark * 0x0101_0101_0101_0101).to_le_bytes(), host)?;
    }
    let memory = place.shared()?;
    for (at, mark) in places.iter().zip(1u8..) {
        let mut seen = [0; 8];
        memory.read(*at, &mut seen)?;
        ensure!(seen == [mark; 8], "at {at:#x} there is {seen:x?}, not {mark}");
    }
    let ranges: Vec<_> =
        memory.ranges().iter().filter(|it| it.start >= 1 << 20).map(|it| (it.start, it.end)).collect();
    ensure!(ranges.contains(&(4 << 30, 9 << 30)), "{ranges:x?}");
    ensure!(memory.read(0xa_0000, &mut [0]).is_err(), "the video window is RAM");
    ensure!(memory.read(0xfffc_0000, &mut [0]).is_err(), "the firmware's flash is RAM");
    ensure!(scan(&memory)? < 64 << 20, "an untouched guest has much to scan");
    let monitor = place.by_monitor(&guest);
    tokio::task::spawn_blocking(move || check_same(&memory, &monitor, 97)).await??;
    Ok(())
}

/// The formats of arm64: status notes of 392 bytes, blocks of 64 KiB.
#[test]
fn dumps_of_an_arm_machine_are_read() -> Result<()> {
    let mut guest = Builder::virt("source-arm").vcpus(2).paused().start()?;
    let place = Place::of(&mut guest)?;
    let memory = place.shared()?;
    let text = guest.qmp()?.human("info registers -a")?;
    let (live, problems) = registers::from_text(&text);
    ensure!(problems.is_empty() && live.len() == 2, "{problems:?}");
    for format in ["elf", "kdump-zlib"] {
        let opened = dump(&mut guest, format)?;
        ensure!(opened.arch == Some(Arch::Aarch64), "the dump is of {:?}", opened.arch);
        check_same(&memory, opened.memory.as_ref(), 1).with_context(|| format!("in a dump in {format}"))?;
        ensure!(opened.cpus == live, "registers in {format}: {:x?}\nand live: {live:x?}", opened.cpus);
    }
    Ok(())
}

/// What a real kernel's dump tells, and that all of its image is where the map says.
#[test]
fn an_image_is_read_by_its_map_and_its_notes() -> Result<()> {
    let image = image::of("amd64-6.1")?;
    let map = MemoryMap::parse(&image.mtree()?)?;
    let blocks = map.likely_blocks();
    let layout =
        map.ram(&blocks).map(|row| Segment { phys: row.start, len: row.len(), file: 0, offset: row.offset });
    let raw = open_raw(&image.ram(), layout.collect())?;
    let notes = open(&image.folder().join("one-page.elf"))?;
    // A dump of one page speaks of that page only.
    let [page] = notes.memory.ranges() else { bail!("the dump is of {:x?}", notes.memory.ranges()) };
    ensure!(page.len() == PAGE_SIZE, "{page:x?}");
    let (mut dumped, mut imaged) = ([1; PAGE_SIZE as usize], [2; PAGE_SIZE as usize]);
    notes.memory.read(page.start, &mut dumped)?;
    raw.memory.read(page.start, &mut imaged)?;
    ensure!(dumped == imaged, "the page at {:#x} differs", page.start);
    let (live, _) = registers::from_text(&image.registers()?);
    let dumped: Vec<_> = notes.cpus.iter().cloned().map(common).collect();
    ensure!(dumped == live.into_iter().map(common).collect::<Vec<_>>(), "{dumped:x?}");
    let text = String::from_utf8_lossy(notes.vmcoreinfo.as_deref().context("no VMCOREINFO")?).into_owned();
    ensure!(text.contains(&format!("OSRELEASE={}", image.meta().version)), "{text}");
    Ok(())
}
