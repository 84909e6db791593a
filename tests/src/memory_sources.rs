//! A paused guest's memory through every source that there is, beside each other.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use vmward::node::fds;
use vmward::transport::memory::{
    BlockFile, Mapping, MemoryMap, MonitorMemory, PrivateMemory, PrivateRun, StubMemory, block_files,
    host_address, mappings, shared,
};
use vmward::transport::qmp::{Deadlines, L2Permit, Monitor, Policy, Settings};
use vmward::transport::rsp::{Gdb, VcpuRegisters};
use vmward_kernel_lens::PhysicalMemory;
use vmward_kernel_lens::source::{FileBytes, Opened, SegmentMemory, open};
use vmward_qemu_fixtures::qemu::Guest;

/// A deadline on a busy machine.
const WAIT: Duration = Duration::from_secs(60);

/// What QEMU and the host say of a guest's memory.
pub struct Place {
    /// The map.
    pub map: MemoryMap,
    /// QEMU's mappings.
    pub mappings: Vec<Mapping>,
    /// Host address of each block's first byte.
    pub hosts: BTreeMap<String, u64>,
    pid: u32,
}

impl Place {
    /// Asks QEMU and the host.
    ///
    /// # Errors
    /// When one of them does not tell.
    pub fn of(guest: &mut Guest) -> Result<Self> {
        let pid = guest.pid();
        let text = guest.qmp()?.human("info mtree -f")?;
        let map = MemoryMap::parse(&text)?;
        let mut hosts = BTreeMap::new();
        for block in map.likely_blocks() {
            let row = map.first_of(block).context("a block that is nowhere")?;
            let answer = guest.qmp()?.human(&format!("gpa2hva {:#x}", row.start))?;
            let host = host_address(&answer).with_context(|| format!("no host address in {answer:?}"))?;
            hosts.insert(block.to_owned(), host - row.offset);
        }
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
        Ok(Self { mappings: mappings(&maps), map, hosts, pid })
    }

    /// The guest's RAM blocks.
    pub fn blocks(&self) -> Vec<&str> {
        self.map.likely_blocks()
    }

    /// Its memory through QEMU's shared files.
    ///
    /// # Errors
    /// When a block is in none.
    pub fn shared(&self) -> Result<SegmentMemory<FileBytes>> {
        let mut files = Vec::new();
        for fd in fds::list(&format!("/proc/{}", self.pid))? {
            if !fd.link.starts_with("/memfd:") {
                continue;
            }
            let meta = std::fs::metadata(self.path(fd.fd))?;
            files.push(BlockFile { fd: fd.fd, inode: meta.ino(), size: meta.len() });
        }
        let hosts = |block: &str| self.hosts.get(block).copied();
        let found = block_files(&self.map, &self.blocks(), &files, &self.mappings, hosts)?;
        let opened = found.into_iter().map(|(backing, fd)| Ok((backing, File::open(self.path(fd))?)));
        Ok(shared(&self.map, opened.collect::<Result<_>>()?)?)
    }

    fn path(&self, fd: u32) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{fd}", self.pid))
    }

    /// Its memory through QEMU's own.
    ///
    /// # Errors
    /// When it may not be read.
    pub fn private(&self) -> Result<PrivateMemory> {
        let blocks = self.blocks();
        let runs = self.map.ram(&blocks).filter_map(|row| {
            let host = self.hosts.get(&row.block)? + row.offset;
            Some(PrivateRun { phys: row.start, len: row.len(), host })
        });
        let open = |name| File::open(format!("/proc/{}/{name}", self.pid));
        Ok(PrivateMemory::new(open("mem")?, open("pagemap")?, runs.collect()))
    }

    /// Its memory through the monitor that is free for the agent. To be called in a runtime.
    pub fn by_monitor(&self, guest: &Guest) -> MonitorMemory {
        let monitor = Monitor::new(Settings {
            path: guest.qmp_path(),
            policy: Policy::Hold,
            deadlines: Deadlines::default(),
            pid: Some(self.pid),
        });
        let blocks = self.blocks();
        MonitorMemory::new(monitor, WAIT, self.map.ram(&blocks))
    }

    /// Its memory and registers through a gdb stub. The guest must be paused and stays so.
    ///
    /// # Errors
    /// When the stub does not answer.
    pub async fn by_stub(&self, guest: &mut Guest) -> Result<(StubMemory, Vec<VcpuRegisters>)> {
        let socket = guest.folder().join("gdb.sock");
        guest.qmp()?.human(&format!("gdbserver unix:{},server=on,wait=off", socket.display()))?;
        let mut gdb = Gdb::attach(&socket, &L2Permit::opted_in("a test"), WAIT).await?;
        let layout = gdb.layout().await?;
        let registers = gdb.registers(&layout).await?;
        let blocks = self.blocks();
        Ok((StubMemory::new(gdb, self.map.ram(&blocks)).await?, registers))
    }
}

/// Dumps a paused guest; `format` is QMP's (`elf`, `kdump-zlib`).
///
/// # Errors
/// When QEMU or the lens refuses.
pub fn dump(guest: &mut Guest, format: &str) -> Result<Opened> {
    let path = guest.folder().join(format!("{format}.core"));
    let mut arguments = json!({ "paging": false, "protocol": format!("file:{}", path.display()) });
    if format != "elf" {
        arguments["format"] = json!(format);
    }
    guest.qmp()?.execute_within("dump-guest-memory", arguments, WAIT)?;
    let opened = open(&path).with_context(|| format!("while opening the {format} dump"))?;
    std::fs::remove_file(&path)?;
    Ok(opened)
}

/// Reads all that is populated; gives bytes and a sum.
///
/// # Errors
/// When a read fails.
pub fn scan(memory: &dyn PhysicalMemory) -> Result<u64> {
    let (mut from, mut seen) = (0, 0);
    let mut buf = vec![0; 1 << 20];
    while let Some(run) = memory.populated(from) {
        ensure!(run.start >= from && !run.is_empty(), "a run that goes back: {run:x?}");
        for at in (run.start..run.end).step_by(buf.len()) {
            let len = usize::try_from(run.end - at)?.min(buf.len());
            memory.read(at, &mut buf[..len])?;
            seen += len as u64;
        }
        from = run.end;
    }
    Ok(seen)
}

/// Checks that `other` has the bytes of `one`, looking at a page in each `step` of what is populated, and
/// at the edges of RAM. Gives the number of pages.
///
/// # Errors
/// At the first that differs.
pub fn check_same(one: &dyn PhysicalMemory, other: &dyn PhysicalMemory, step: u64) -> Result<u64> {
    let (mut from, mut pages, mut with_content) = (0, 0, 0);
    let mut compare = |phys: u64, len: usize| -> Result<()> {
        let (mut ours, mut theirs) = (vec![1; len], vec![2; len]);
        one.read(phys, &mut ours)?;
        other.read(phys, &mut theirs)?;
        ensure!(ours == theirs, "the bytes at {phys:#x} differ");
        pages += 1;
        with_content += u64::from(ours.iter().any(|it| *it != 0));
        Ok(())
    };
    while let Some(run) = one.populated(from) {
        for at in (run.start..run.end).step_by(usize::try_from(step * 4096)?) {
            compare(at, usize::try_from((run.end - at).min(4096))?)?;
        }
        from = run.end;
    }
    for range in one.ranges() {
        compare(range.start, 100)?;
        compare(range.end - 100, 100)?;
        // Across pages, at odd addresses.
        let middle = (range.start + range.len() / 2) | 0xff1;
        if range.end - middle > 3000 {
            compare(middle, 3000)?;
        }
        ensure!(other.read(range.end - 1, &mut [0; 2]).is_err(), "RAM goes on behind {:#x}", range.end);
    }
    ensure!(with_content > 0, "nothing but zeros was compared");
    Ok(pages)
}
