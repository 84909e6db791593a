//! One task, out of its `task_struct`.

use vmward_kernel_facts::{SchedPolicy, Scheduling, Task, TaskKind, TaskState};

use super::clock::{Clock, Times};
use super::{KernelTask, again::Again, field::Field, layout::Layout, state};
use crate::{Kernel, ReadError};

/// Task flag of a kernel thread (`PF_KTHREAD`), the same in every version.
const PF_KTHREAD: u64 = 0x20_0000;
/// Largest thread id (`PID_MAX_LIMIT`).
const MAX_PID: u64 = 4 << 20;
/// Number of a CPU at most (`CONFIG_NR_CPUS` of the largest kernels).
const MAX_CPU: u64 = 8191;
/// Nice 0 in `static_prio`, and what lies below is real time (`MAX_RT_PRIO`).
const DEFAULT_PRIO: i32 = 120;
const MAX_RT_PRIO: i32 = 100;
/// Bytes of a kernel thread's full name.
const MAX_NAME: usize = 64;

/// A task's own bytes, that all else is read from.
pub(super) struct Raw<'l> {
    bytes: Vec<u8>,
    layout: &'l Layout,
    pub(super) address: u64,
    pub(super) leader: u64,
}

impl<'l> Raw<'l> {
    /// Reads a task, and a second time if it does not look like one: a running guest was writing to it.
    pub(super) fn read(
        kernel: &Kernel<'_>,
        layout: &'l Layout,
        again: &Again,
        address: u64,
        leader: u64,
    ) -> Result<Self, ReadError> {
        let from = address.wrapping_add(layout.from as u64);
        let len = layout.to - layout.from;
        let once = || {
            let raw = Self { bytes: kernel.space.bytes(from, len)?, layout, address, leader };
            if raw.is_whole() {
                Ok(raw)
            } else {
                Err(ReadError::Inconsistent { what: "the task", virt: address })
            }
        };
        once().or_else(
            |error| {
                if again.forget(&kernel.space, from, len as u64) { once() } else { Err(error) }
            },
        )
    }

    /// A member's value; `None` if this kernel has no such member.
    pub(super) fn get(&self, field: Field) -> Option<u64> {
        field.get(&self.bytes, self.layout.from)
    }

    /// A member that is a pointer, unless it is NULL.
    pub(super) fn pointer(&self, field: Field) -> Option<u64> {
        self.get(field).filter(|it| *it != 0)
    }

    pub(super) fn number(&self, field: Field) -> Option<u32> {
        self.get(field).and_then(|it| u32::try_from(it).ok())
    }

    pub(super) fn is_on_cpu(&self) -> bool {
        self.get(self.layout.on_cpu).is_some_and(|it| it != 0)
    }

    /// The addresses of what belongs to it, without what is told of it.
    pub(super) fn addresses(&self) -> KernelTask {
        let pointer = |field| self.get(field).unwrap_or(0);
        KernelTask {
            address: self.address,
            leader: self.leader,
            signal: pointer(self.layout.signal),
            parent: pointer(self.layout.real_parent),
            stack: pointer(self.layout.stack),
            mm: pointer(self.layout.mm),
            task: Task::new(0, "", TaskState::R),
        }
    }

    /// Whether a kernel could have written this: a name with an end, ids and a state within their limits, and
    /// the same leader that it was found by.
    fn is_whole(&self) -> bool {
        let layout = self.layout;
        let within = |field, max| self.get(field).is_none_or(|it| it <= max);
        layout.comm(&self.bytes).is_some()
            && within(layout.pid, MAX_PID)
            && within(layout.tgid, MAX_PID)
            && within(layout.cpu, MAX_CPU)
            && within(layout.on_cpu, 1)
            && self.get(layout.leader).is_none_or(|it| it == self.leader)
            && state::is_possible(
                self.get(layout.state).unwrap_or(0),
                self.get(layout.exit_state).unwrap_or(0),
            )
    }

    /// All that lies in the structure itself.
    pub(super) fn task(&self, kernel: &Kernel<'_>, clock: &Clock) -> Task {
        let layout = self.layout;
        let bits = self.get(layout.state).unwrap_or(0);
        let state = state::letter(bits, self.get(layout.exit_state).unwrap_or(0));
        let comm = layout.comm(&self.bytes).unwrap_or_default();
        let pid = self.number(layout.pid).unwrap_or(0);
        let cpu = self.number(layout.cpu);
        let on_cpu = self.is_on_cpu();
        let kind = self.kind(clock);
        let mut task = Task::new(pid, String::from_utf8_lossy(comm), state);
        task.tgid = self.number(layout.tgid);
        task.address = Some(self.address);
        task.kind = Some(kind);
        task.state_bits = u32::try_from(bits).ok();
        task.cpu = cpu;
        task.on_cpu = cpu.filter(|_| on_cpu);
        task.running = state == TaskState::R;
        task.flags = self.get(layout.thread_flags);
        task.task_flags = self.get(layout.flags);
        task.scheduling = Some(self.scheduling());
        task.started_ns = self.get(layout.started);
        task.in_state = self.times(on_cpu).and_then(|it| clock.in_state(state, it));
        if kind == TaskKind::Kernel {
            task.full_name = self.full_name(kernel, comm);
        }
        task
    }

    fn kind(&self, clock: &Clock) -> TaskKind {
        if clock.idle.contains(&self.address) {
            TaskKind::Idle
        } else if self.get(self.layout.flags).is_some_and(|it| it & PF_KTHREAD != 0)
            && self.pointer(self.layout.mm).is_none()
        {
            TaskKind::Kernel
        } else {
            TaskKind::User
        }
    }

    fn times(&self, on_cpu: bool) -> Option<Times> {
        let arrived = self.get(self.layout.last_arrival)?;
        Some(Times { arrived, queued: self.get(self.layout.last_queued).unwrap_or(0), on_cpu })
    }

    fn scheduling(&self) -> Scheduling {
        let layout = self.layout;
        let signed = |field| self.number(field).map(|it| it.cast_signed());
        let above = |field, zero: i32| signed(field).map_or(0, |it| it.wrapping_sub(zero));
        Scheduling {
            policy: self.get(layout.policy).and_then(SchedPolicy::from_number),
            nice: above(layout.static_prio, DEFAULT_PRIO),
            priority: above(layout.prio, MAX_RT_PRIO),
            rt_priority: self.number(layout.rt_priority).unwrap_or(0),
            voluntary_switches: self.get(layout.voluntary).unwrap_or(0),
            involuntary_switches: self.get(layout.involuntary).unwrap_or(0),
        }
    }

    /// The name of a kernel thread that `comm` cuts: `kthread.full_name`, since commit d6986ce24fc0 (v5.17).
    fn full_name(&self, kernel: &Kernel<'_>, comm: &[u8]) -> Option<String> {
        let offset = kernel.offset("kthread", "full_name").filter(|_| comm.len() == 15)?;
        let thread = self.pointer(self.layout.kthread)?;
        let name = kernel.space.u64(thread.wrapping_add(offset)).ok().filter(|it| *it != 0)?;
        let name = kernel.space.text(name, MAX_NAME).ok()?;
        name.as_bytes().starts_with(comm).then_some(name)
    }
}
