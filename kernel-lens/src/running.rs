//! What each vCPU does: its registers, followed through the stacks that they point into.

use vmward_kernel_facts::{CpuStack, Frame};

use crate::machine::run_queue;
use crate::unwind::{Place, Unwinder, Unwound};
use crate::{Cpu, Kernel, Opened, Registers};

/// The task on a CPU.
pub(crate) struct Current {
    /// Guest-virtual address of its `task_struct`.
    pub(crate) address: u64,
    /// Thread id.
    pub(crate) pid: Option<u32>,
    /// Name.
    pub(crate) comm: String,
}

/// What the running vCPUs do, and nothing else: for a picture over time, many of these are taken.
///
/// The record that the kernel was opened with must be a new one for each picture: it holds what it has read.
pub fn sample(opened: &Opened<'_>, cpus: &[Cpu]) -> Vec<CpuStack> {
    let kernel = &opened.kernel;
    let queues = run_queue::read(kernel).unwrap_or_default();
    let current = |cpu: u32| {
        let it = &queues.iter().find(|it| it.cpu == cpu)?.current;
        Some(Current { address: it.address, pid: Some(it.pid), comm: it.comm.clone() })
    };
    let ran = running(kernel, &Unwinder::new(kernel), cpus, &current);
    ran.into_iter().map(|(_, it)| it).collect()
}

/// Names what was unwound.
pub(crate) fn named(kernel: &Kernel<'_>, unwound: &Unwound) -> Vec<Frame> {
    unwound.named(|address| {
        let (symbol, module) = kernel.symbol_at(address)?;
        Some(Place { symbol, module })
    })
}

/// What each vCPU does, by the guest's number of the CPU, with the task that it runs. A guest's CPU is told
/// from a vCPU by its per-CPU area.
pub(crate) fn running(
    kernel: &Kernel<'_>,
    unwinder: &Unwinder<'_, '_>,
    cpus: &[Cpu],
    current: &dyn Fn(u32) -> Option<Current>,
) -> Vec<(Option<u64>, CpuStack)> {
    let mut left: Vec<u32> = kernel.cpus().to_vec();
    let by_base = |it: &Cpu| {
        let Registers::X86_64(registers) = &it.registers else { return None };
        let bases = [Some(registers.gs_base), registers.kernel_gs_base];
        let online = kernel.cpus().iter().copied();
        online.into_iter().find(|cpu| {
            let offset = kernel.per_cpu_offset(*cpu);
            offset.is_some() && bases.contains(&offset)
        })
    };
    let mut numbers: Vec<Option<u32>> = cpus.iter().map(by_base).collect();
    left.retain(|cpu| !numbers.contains(&Some(*cpu)));
    // A vCPU in user mode shows no per-CPU area: what is left over goes to it in order, which is how both
    // sides count them.
    for number in numbers.iter_mut().filter(|it| it.is_none()) {
        if !left.is_empty() {
            *number = Some(left.remove(0));
        }
    }
    let mut found = Vec::new();
    for (cpu, number) in cpus.iter().zip(numbers) {
        let Some(number) = number else { continue };
        let current = current(number);
        let unwound = unwinder.running(&cpu.registers, current.as_ref().map(|it| it.address));
        let stack = named(kernel, &unwound);
        let user_mode = cpu.registers.in_user_mode();
        let it = CpuStack {
            cpu: number,
            pid: current.as_ref().and_then(|it| it.pid),
            comm: current.as_ref().map(|it| it.comm.clone()),
            idle: current.as_ref().is_some_and(|it| it.pid == Some(0)),
            user_mode,
            pc: stack.first().cloned(),
            stack: if user_mode { Vec::new() } else { stack },
            registers: Default::default(),
        };
        found.push((current.map(|it| it.address), it));
    }
    found.sort_by_key(|(_, it)| it.cpu);
    found
}
