//! What gdb asks of a target, answered from a file.

use std::num::NonZeroUsize;

use gdbstub::arch::{Arch as GdbArch, RegId};
use gdbstub::common::Tid;
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::multithread::MultiThreadBase;
use gdbstub::target::ext::monitor_cmd::{ConsoleOutput, MonitorCmd, MonitorCmdOps};
use gdbstub::target::ext::target_description_xml_override::{
    TargetDescriptionXmlOverride, TargetDescriptionXmlOverrideOps,
};
use gdbstub::target::ext::thread_extra_info::{ThreadExtraInfo, ThreadExtraInfoOps};
use gdbstub::target::{Target, TargetError, TargetResult};
use vmward_kernel_facts::Examination;
use vmward_kernel_lens::{AddressSpace, Cpu, Kernel, PAGE_SIZE};

use super::monitor;
use super::registers::{RegisterFile, description};
use super::threads::{self, Thread, Threads};

/// A guest as a file shows it.
pub struct Snapshot<'k, 'm> {
    kernel: &'k Kernel<'m>,
    found: &'k Examination,
    threads: Threads,
    xml: String,
}

impl<'k, 'm> Snapshot<'k, 'm> {
    /// Of a kernel and what was found in it; with `tasks` each is a thread, not only the vCPUs.
    pub fn new(kernel: &'k Kernel<'m>, cpus: &[Cpu], found: &'k Examination, tasks: bool) -> Self {
        let threads = threads::all(kernel, cpus, found, tasks);
        Self { kernel, found, threads, xml: description(kernel.arch) }
    }

    /// gdb's number of each thread, and the thread.
    pub fn threads(&self) -> impl Iterator<Item = (usize, &Thread)> {
        self.threads.iter().map(|(number, thread)| (*number, thread))
    }

    fn thread(&self, tid: Tid) -> Option<&Thread> {
        self.threads.get(&tid.get())
    }

    /// Fills the front of `data`; says how much.
    fn read(&self, at: u64, data: &mut [u8], tid: Tid) -> Option<usize> {
        let kernel_half = at >> 63 != 0;
        let own;
        let space = if kernel_half {
            &self.kernel.space
        } else {
            own = self.user_space(tid)?;
            &own
        };
        let mut done = 0;
        while done < data.len() {
            let from = at.checked_add(done as u64)?;
            let len = (data.len() - done).min((PAGE_SIZE - from % PAGE_SIZE) as usize);
            if space.scan(from, data.get_mut(done..done + len)?).is_err() {
                break;
            }
            done += len;
        }
        (done > 0).then_some(done)
    }

    /// The space of the process that a thread belongs to.
    fn user_space(&self, tid: Tid) -> Option<AddressSpace<'m>> {
        let task = self.thread(tid)?.task?;
        let mm = self.kernel.word(task, "task_struct", "mm").ok().filter(|it| *it != 0)?;
        let root = self.kernel.space.phys(self.kernel.word(mm, "mm_struct", "pgd").ok()?).ok()?;
        let paging = self.kernel.space.paging().with_root(root);
        Some(AddressSpace::new(self.kernel.space.memory(), paging))
    }
}

/// Either architecture: the description says which registers there are.
pub enum Described {}

/// A register by its number, which is never asked for alone.
#[derive(Debug)]
pub struct AnyRegister;

impl RegId for AnyRegister {
    fn from_raw_id(_: usize) -> Option<(Self, Option<NonZeroUsize>)> {
        None
    }
}

impl GdbArch for Described {
    type Usize = u64;
    type Registers = RegisterFile;
    type BreakpointKind = usize;
    type RegId = AnyRegister;
}

impl Target for Snapshot<'_, '_> {
    type Arch = Described;
    type Error = std::io::Error;

    fn base_ops(&mut self) -> BaseOps<'_, Described, Self::Error> {
        BaseOps::MultiThread(self)
    }

    /// Without it gdbstub refuses the session: it fears for breakpoints that gdb would write into memory.
    fn guard_rail_implicit_sw_breakpoints(&self) -> bool {
        true
    }

    /// Refusals are answered beside gdbstub, which would lose count of acknowledgements otherwise.
    fn use_no_ack_mode(&self) -> bool {
        false
    }

    fn support_monitor_cmd(&mut self) -> Option<MonitorCmdOps<'_, Self>> {
        Some(self)
    }

    fn support_target_description_xml_override(
        &mut self,
    ) -> Option<TargetDescriptionXmlOverrideOps<'_, Self>> {
        Some(self)
    }
}

impl MultiThreadBase for Snapshot<'_, '_> {
    fn read_registers(&mut self, registers: &mut RegisterFile, tid: Tid) -> TargetResult<(), Self> {
        let found = self.thread(tid).and_then(|it| it.registers.clone());
        *registers = found.ok_or(TargetError::NonFatal)?;
        Ok(())
    }

    fn write_registers(&mut self, _: &RegisterFile, _: Tid) -> TargetResult<(), Self> {
        Err(TargetError::NonFatal)
    }

    fn read_addrs(&mut self, at: u64, data: &mut [u8], tid: Tid) -> TargetResult<usize, Self> {
        self.read(at, data, tid).ok_or(TargetError::NonFatal)
    }

    fn write_addrs(&mut self, _: u64, _: &[u8], _: Tid) -> TargetResult<(), Self> {
        Err(TargetError::NonFatal)
    }

    fn list_active_threads(&mut self, each: &mut dyn FnMut(Tid)) -> Result<(), Self::Error> {
        // vCPUs first: the first thread is the one that gdb selects.
        let (vcpus, tasks): (Vec<_>, Vec<_>) = self.threads.iter().partition(|it| it.1.is_vcpu());
        vcpus.into_iter().chain(tasks).filter_map(|it| Tid::new(*it.0)).for_each(each);
        Ok(())
    }

    fn is_thread_alive(&mut self, tid: Tid) -> Result<bool, Self::Error> {
        Ok(self.thread(tid).is_some())
    }

    fn support_thread_extra_info(&mut self) -> Option<ThreadExtraInfoOps<'_, Self>> {
        Some(self)
    }
}

impl ThreadExtraInfo for Snapshot<'_, '_> {
    fn thread_extra_info(&self, tid: Tid, buf: &mut [u8]) -> Result<usize, Self::Error> {
        let name = self.thread(tid).map_or("", |it| it.name.as_str());
        // Two hexadecimal digits a byte have to fit as well.
        let room = buf.len().min(512) / 2;
        let end = (0..=name.len().min(room)).rev().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
        for (to, from) in buf.iter_mut().zip(name.bytes().take(end)) {
            *to = from;
        }
        Ok(end)
    }
}

impl TargetDescriptionXmlOverride for Snapshot<'_, '_> {
    fn target_description_xml(
        &self,
        annex: &[u8],
        offset: u64,
        length: usize,
        buf: &mut [u8],
    ) -> TargetResult<usize, Self> {
        if annex != b"target.xml" {
            return Err(TargetError::NonFatal);
        }
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.xml.len());
        let rest = self.xml.as_bytes().get(from..).unwrap_or_default();
        let len = rest.len().min(length).min(buf.len());
        for (to, from) in buf.iter_mut().zip(rest.iter().take(len)) {
            *to = *from;
        }
        Ok(len)
    }
}

impl MonitorCmd for Snapshot<'_, '_> {
    fn handle_monitor_cmd(&mut self, command: &[u8], mut out: ConsoleOutput<'_>) -> Result<(), Self::Error> {
        for part in monitor::answer(self.found, command) {
            out.write_raw(part.as_bytes());
            out.flush();
        }
        Ok(())
    }
}
