//! Where a kernel keeps what is asked of a task.

use super::{TaskError, field::Field};
use crate::Kernel;

const TASK: &str = "task_struct";

/// Members of `task_struct`, with what they are called by version.
#[derive(Debug)]
pub(super) struct Layout {
    /// `state`, a long, until v5.13; `__state`, 32 bits, since commit 2f064a59a11f (v5.14).
    pub(super) state: Field,
    pub(super) exit_state: Field,
    pub(super) flags: Field,
    pub(super) stack: Field,
    /// An `int`; a single byte in v7.2.
    pub(super) on_cpu: Field,
    /// In `thread_info` since commit bcf9033e5449 (v5.16), on arm64 as well.
    pub(super) cpu: Field,
    pub(super) thread_flags: Field,
    pub(super) prio: Field,
    pub(super) static_prio: Field,
    pub(super) rt_priority: Field,
    pub(super) policy: Field,
    pub(super) last_arrival: Field,
    pub(super) last_queued: Field,
    pub(super) tasks: u64,
    /// `thread_node` hangs on `signal->thread_head`; before v3.14 there was only the ring `thread_group`,
    /// which v6.7 took out (commit 8e1f385104ac).
    pub(super) thread_node: Option<u64>,
    pub(super) thread_group: Option<u64>,
    pub(super) thread_head: u64,
    pub(super) signal: Field,
    pub(super) mm: Field,
    pub(super) pid: Field,
    pub(super) tgid: Field,
    pub(super) real_parent: Field,
    pub(super) leader: Field,
    /// A pointer since v4.19 (commit 2c4704756cab).
    pub(super) thread_pid: Field,
    pub(super) voluntary: Field,
    pub(super) involuntary: Field,
    /// Called `real_start_time` before commit cf25e24db61c (v5.5).
    pub(super) started: Field,
    pub(super) cred: Field,
    comm: Field,
    pub(super) fs: Field,
    pub(super) files: Field,
    pub(super) cgroups: Field,
    /// Of a kernel thread its `struct kthread`: in `worker_private` since commit e32cf5dfbe22 (v5.17), in
    /// `set_child_tid` before.
    pub(super) kthread: Field,
    /// The bytes of the structure that hold all of this.
    pub(super) from: usize,
    pub(super) to: usize,
}

/// Bytes of a task's name, the NUL among them.
const COMM: usize = 16;

/// Bytes of a `task_struct` at most: the largest distribution kernels have 14 KiB.
const MAX_TASK: usize = 64 << 10;

impl Layout {
    pub(super) fn new(kernel: &Kernel<'_>) -> Result<Self, TaskError> {
        let field = |paths: &[&str]| Field::find(kernel, TASK, paths);
        let offset = |of: &'static str, path: &'static str| {
            kernel.offset(of, path).ok_or(TaskError::NoMember { of, path })
        };
        let mut layout = Self {
            state: field(&["__state", "state"]),
            exit_state: field(&["exit_state"]),
            flags: field(&["flags"]),
            stack: field(&["stack"]),
            on_cpu: field(&["on_cpu"]),
            cpu: field(&["thread_info.cpu", "cpu"]),
            thread_flags: field(&["thread_info.flags"]),
            prio: field(&["prio"]),
            static_prio: field(&["static_prio"]),
            rt_priority: field(&["rt_priority"]),
            policy: field(&["policy"]),
            last_arrival: field(&["sched_info.last_arrival"]),
            last_queued: field(&["sched_info.last_queued"]),
            tasks: offset(TASK, "tasks")?,
            thread_node: kernel.offset(TASK, "thread_node"),
            thread_group: kernel.offset(TASK, "thread_group"),
            thread_head: kernel.offset("signal_struct", "thread_head").unwrap_or(0),
            signal: field(&["signal"]),
            mm: field(&["mm"]),
            pid: field(&["pid"]),
            tgid: field(&["tgid"]),
            real_parent: field(&["real_parent"]),
            leader: field(&["group_leader"]),
            thread_pid: field(&["thread_pid"]),
            voluntary: field(&["nvcsw"]),
            involuntary: field(&["nivcsw"]),
            started: field(&["start_boottime", "real_start_time"]),
            cred: field(&["cred"]),
            comm: Field::place(kernel, TASK, "comm"),
            fs: field(&["fs"]),
            files: field(&["files"]),
            cgroups: field(&["cgroups"]),
            kthread: field(&["worker_private", "set_child_tid"]),
            from: 0,
            to: 0,
        };
        for (found, path) in
            [(layout.state, "state"), (layout.pid, "pid"), (layout.comm, "comm"), (layout.signal, "signal")]
        {
            found.range().ok_or(TaskError::NoMember { of: TASK, path })?;
        }
        layout.bound()?;
        Ok(layout)
    }

    /// The name, up to its NUL; `None` if it has none, which no kernel writes.
    pub(super) fn comm<'b>(&self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        let from = self.comm.range()?.0.checked_sub(self.from)?;
        let comm = bytes.get(from..from.checked_add(COMM)?)?;
        Some(&comm[..memchr::memchr(0, comm)?])
    }

    /// The bytes from the first member to the last one, so that one read sees all of them.
    fn bound(&mut self) -> Result<(), TaskError> {
        let all = [
            self.state,
            self.exit_state,
            self.flags,
            self.stack,
            self.on_cpu,
            self.cpu,
            self.thread_flags,
            self.prio,
            self.static_prio,
            self.rt_priority,
            self.policy,
            self.last_arrival,
            self.last_queued,
            self.signal,
            self.mm,
            self.pid,
            self.tgid,
            self.real_parent,
            self.leader,
            self.thread_pid,
            self.voluntary,
            self.involuntary,
            self.started,
            self.cred,
            self.fs,
            self.files,
            self.cgroups,
            self.kthread,
        ];
        let comm = self.comm.range().map(|(from, _)| (from, from + COMM));
        let ranges = all.iter().filter_map(|it| it.range()).chain(comm);
        let (from, to) = ranges.fold((usize::MAX, 0), |(from, to), it| (from.min(it.0), to.max(it.1)));
        if to > MAX_TASK {
            return Err(TaskError::NoMember { of: TASK, path: "comm" });
        }
        (self.from, self.to) = (from.min(to), to);
        Ok(())
    }
}
