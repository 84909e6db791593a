//! What is told of a task by the structures that it points to.

use vmward_kernel_facts::{Syscall, SyscallFile, Task, TaskKind};

use super::syscall::Entry;
use super::text::TextLimit;
use super::{TaskOptions, cgroup::Cgroups, files::Files, layout::Layout, mm::Processes, read::Raw};
use super::{files::WORKING_DIRECTORY, syscall_files::file_arguments};
use crate::Kernel;

/// Nested PID namespaces at most (`MAX_PID_NS_LEVEL`).
const MAX_LEVEL: u32 = 32;

/// Readers of all that lies outside of `task_struct`, each of which reads a shared thing once.
pub(super) struct Details<'a, 'm> {
    kernel: &'a Kernel<'m>,
    layout: &'a Layout,
    entry: Option<Entry>,
    processes: Processes<'a, 'm>,
    cgroups: Cgroups<'a, 'm>,
    files: Files<'a, 'm>,
    level: Option<u64>,
    numbers: Option<u64>,
    number_size: u64,
    text: TextLimit,
}

impl<'a, 'm> Details<'a, 'm> {
    pub(super) fn new(kernel: &'a Kernel<'m>, layout: &'a Layout, options: TaskOptions<'a>) -> Self {
        Self {
            kernel,
            layout,
            entry: Entry::new(kernel),
            processes: Processes::new(kernel, options.user_pages),
            cgroups: Cgroups::new(kernel),
            files: Files::new(kernel),
            level: kernel.offset("pid", "level"),
            numbers: kernel.offset("pid", "numbers"),
            number_size: kernel.types.size("upid").unwrap_or(16),
            text: TextLimit::new(),
        }
    }

    /// Adds to a task what its pointers lead to. What cannot be read stays out.
    pub(super) fn add(&mut self, raw: &Raw<'_>, task: &mut Task) {
        let layout = self.layout;
        task.uid = raw.pointer(layout.cred).and_then(|it| {
            let offset = self.kernel.offset("cred", "euid")?;
            self.kernel.space.u32(it.wrapping_add(offset)).ok()
        });
        if task.kind == Some(TaskKind::Idle) {
            return;
        }
        task.ns_pids = self.ns_pids(raw).unwrap_or_default();
        if let Some(set) = raw.pointer(layout.cgroups) {
            let membership = self.cgroups.of(set);
            let len = membership.v1.iter().map(|it| it.path.len() + it.controllers.len() * 64).sum();
            task.cgroup = self.text.keep(membership.path);
            task.cgroups_v1 = if self.text.allows(len) { membership.v1 } else { Vec::new() };
        }
        if task.kind != Some(TaskKind::User) {
            return;
        }
        if let Some(mm) = raw.pointer(layout.mm) {
            let process = self.processes.process(mm);
            task.command_line = self.text.keep(process.command_line);
            task.memory = process.memory;
        }
        // Who is on a CPU may be in user space, where these registers are those of its last call.
        if !raw.is_on_cpu() {
            task.syscall = self.syscall(raw);
        }
    }

    /// The system call, with what its descriptors are.
    pub(super) fn syscall(&mut self, raw: &Raw<'_>) -> Option<Syscall> {
        let stack = raw.pointer(self.layout.stack)?;
        let mut call = self.entry.as_ref()?.read(self.kernel, stack)?;
        let files = raw.pointer(self.layout.files).unwrap_or(0);
        let fs = raw.pointer(self.layout.fs).unwrap_or(0);
        for argument in file_arguments(call.name.as_deref().unwrap_or_default()) {
            let Some(word) = call.args.get(usize::from(*argument)) else { continue };
            let fd = (*word as u32).cast_signed();
            if fd >= 0 || fd == WORKING_DIRECTORY {
                let path = self.files.path(files, fs, fd).ok().flatten();
                let path = self.text.keep(path);
                call.files.push(SyscallFile { argument: *argument, fd, path });
            }
        }
        Some(call)
    }

    /// `struct pid` holds a number for each namespace that the task can be seen from, outermost first.
    fn ns_pids(&self, raw: &Raw<'_>) -> Option<Vec<u32>> {
        let pid = raw.pointer(self.layout.thread_pid)?;
        let level = self.kernel.space.u32(pid.wrapping_add(self.level?)).ok()?;
        if level == 0 || level > MAX_LEVEL {
            return None;
        }
        let numbers = pid.wrapping_add(self.numbers?);
        (0..=u64::from(level))
            .map(|it| self.kernel.space.u32(numbers.wrapping_add(it.wrapping_mul(self.number_size))).ok())
            .collect()
    }
}
