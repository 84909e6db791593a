//! What a look at memory tells of CPUs.

use vmward_kernel_facts::{CpuStack, Frame};
use vmward_model::observed::ThreadRole;

use crate::Case;

/// Frames told of a stack.
const MAX_FRAMES: usize = 5;

fn stack(case: &Case, cpu: u32) -> Option<&CpuStack> {
    case.kernel.cpus.iter().flatten().find(|it| it.cpu == cpu)
}

/// What a CPU runs: `spinner (pid 93)`.
pub(crate) fn runs(case: &Case, cpu: u32) -> String {
    let queues = case.kernel.look.as_ref().and_then(|it| it.machine.run_queues.as_deref());
    let queue = queues.into_iter().flatten().find(|it| it.cpu == cpu);
    match (queue, stack(case, cpu)) {
        (Some(it), _) if it.idle => "its idle task".to_owned(),
        (Some(it), _) => format!("{} (pid {})", it.current.comm, it.current.pid),
        (None, Some(CpuStack { comm: Some(comm), pid: Some(pid), .. })) => format!("{comm} (pid {pid})"),
        _ => "something that could not be read".to_owned(),
    }
}

/// What a CPU runs, and where: `CPU 1, which runs spinner (pid 93) in a <- b <- c`.
pub(crate) fn cpu(case: &Case, cpu: u32) -> String {
    let mut text = format!("CPU {cpu}, which runs {}", runs(case, cpu));
    match stack(case, cpu) {
        Some(it) if it.user_mode => text.push_str(" in user mode"),
        Some(it) if !it.stack.is_empty() => text.push_str(&format!(" in {}", top(&it.stack))),
        _ => {}
    }
    text
}

/// The innermost frames.
pub(crate) fn top(stack: &[Frame]) -> String {
    let sure: Vec<&str> = stack.iter().filter(|it| it.sure && it.symbol.is_some()).map(Frame::name).collect();
    sure.into_iter().take(MAX_FRAMES).collect::<Vec<_>>().join(" <- ")
}

/// A sentence about vCPUs that wanted a host CPU and got none for most of the time.
pub(crate) fn starved(case: &Case) -> Option<String> {
    let host = case.observed.host.as_ref().filter(|it| it.window_ms > 0)?;
    let wants = |it: &&vmward_model::observed::HostThread| {
        matches!(it.role, ThreadRole::Vcpu(_)) && it.wait_ms.saturating_mul(2) >= host.window_ms
    };
    let thread = host.threads.iter().find(wants)?;
    Some(format!(
        "the host gave thread {} no CPU for {} of {} ms",
        thread.tid, thread.wait_ms, host.window_ms
    ))
}
