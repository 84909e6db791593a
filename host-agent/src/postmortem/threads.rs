//! What gdb sees as threads: vCPUs, and where it is asked for every task of the kernel.

use std::collections::BTreeMap;

use vmward_kernel_facts::{CpuStack, Examination, Task};
use vmward_kernel_lens::unwind::Unwinder;
use vmward_kernel_lens::{Cpu, Kernel};
use vmward_report_view::escape::visible;

use super::RegisterFile;

/// Number of a vCPU's thread where tasks have their own: above every process id (`PID_MAX_LIMIT`).
const VCPUS_ABOVE: usize = 4 << 20;
/// The same for idle tasks, which have no number.
const IDLE_ABOVE: usize = 8 << 20;

/// One thread of gdb's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// What it is: `vCPU 0: 123 kworker/0:1`, `123 kworker/0:1 [D]`. Guest text, made safe.
    pub name: String,
    /// Its registers; `None` where nothing was saved that makes sense.
    pub registers: Option<RegisterFile>,
    /// The task that it is.
    pub task: Option<u64>,
    /// Whether it is a vCPU's.
    vcpu: bool,
}

impl Thread {
    /// Whether it is a vCPU.
    #[must_use]
    pub fn is_vcpu(&self) -> bool {
        self.vcpu
    }
}

/// Threads by gdb's numbers of them.
pub(super) type Threads = BTreeMap<usize, Thread>;

/// The vCPUs in their order, then the tasks.
pub(super) fn all(kernel: &Kernel<'_>, cpus: &[Cpu], found: &Examination, tasks: bool) -> Threads {
    let mut threads = Threads::new();
    let stacks = Stacks::of(cpus, found);
    let base = if tasks { VCPUS_ABOVE } else { 0 };
    for cpu in cpus {
        let runs = stacks.of_cpu(cpu);
        let what = runs.map_or_else(|| "a task that is not known".to_owned(), does);
        let thread = Thread {
            name: format!("vCPU {}: {what}", cpu.index),
            registers: Some(RegisterFile::of_cpu(&cpu.registers)),
            task: runs.and_then(|it| task_of(found, it)?.address),
            vcpu: true,
        };
        threads.insert(base + cpu.index as usize + 1, thread);
    }
    if tasks {
        let unwinder = Unwinder::new(kernel);
        for task in &found.tasks {
            let Some((number, thread)) = of_task(&unwinder, task, cpus, found, &stacks) else { continue };
            threads.entry(number).or_insert(thread);
        }
    }
    threads
}

fn of_task(
    unwinder: &Unwinder<'_, '_>,
    task: &Task,
    cpus: &[Cpu],
    found: &Examination,
    stacks: &Stacks<'_>,
) -> Option<(usize, Thread)> {
    let address = task.address?;
    let on = cpus.iter().find(|cpu| {
        stacks.of_cpu(cpu).and_then(|it| task_of(found, it)).is_some_and(|it| it.address == Some(address))
    });
    let number = match task.pid {
        Some(0) | None => IDLE_ABOVE + task.cpu.unwrap_or(0) as usize + 1,
        Some(pid) => pid as usize,
    };
    let registers = match on {
        Some(cpu) => Some(RegisterFile::of_cpu(&cpu.registers)),
        None => unwinder.saved_registers(address).as_ref().map(RegisterFile::of_task),
    };
    let state = task.state.map_or('?', |it| it.letter());
    let place = on.map_or_else(String::new, |it| format!(" on vCPU {}", it.index));
    let pid = task.pid.unwrap_or(0);
    let name = visible(task.full_name.as_deref().unwrap_or(&task.comm));
    let name = format!("{pid} {name} [{state}]{place}");
    Some((number, Thread { name, registers, task: Some(address), vcpu: false }))
}

fn does(stack: &CpuStack) -> String {
    let name = stack.comm.as_deref().map(visible).unwrap_or_default();
    match (stack.idle, stack.pid) {
        (true, _) => format!("idle, {name}"),
        (_, Some(pid)) => format!("{pid} {name}{}", if stack.user_mode { ", in user mode" } else { "" }),
        (_, None) => "a task that is not known".to_owned(),
    }
}

fn task_of<'a>(found: &'a Examination, stack: &CpuStack) -> Option<&'a Task> {
    found.tasks.iter().find(|it| it.pid == stack.pid && (it.pid != Some(0) || it.cpu == Some(stack.cpu)))
}

/// Which of the guest's CPUs a vCPU is: by the instruction that it executes.
struct Stacks<'a> {
    by_cpu: BTreeMap<u32, &'a CpuStack>,
}

impl<'a> Stacks<'a> {
    fn of(cpus: &[Cpu], found: &'a Examination) -> Self {
        let mut left: Vec<&CpuStack> = found.cpus.iter().collect();
        let mut by_cpu = BTreeMap::new();
        for cpu in cpus {
            let at = RegisterFile::of_cpu(&cpu.registers).instruction();
            let same = |it: &&CpuStack| it.pc.as_ref().and_then(|it| it.address) == Some(at);
            // Two that execute the same are taken in the order in which both sides count them.
            let exact = left.iter().position(|it| same(it) && it.cpu == cpu.index);
            let Some(place) = exact.or_else(|| left.iter().position(same)) else { continue };
            by_cpu.insert(cpu.index, left.remove(place));
        }
        for cpu in cpus {
            if let Some(place) = left.iter().position(|it| it.cpu == cpu.index) {
                by_cpu.entry(cpu.index).or_insert_with(|| left.remove(place));
            }
        }
        Self { by_cpu }
    }

    fn of_cpu(&self, cpu: &Cpu) -> Option<&'a CpuStack> {
        self.by_cpu.get(&cpu.index).copied()
    }
}
