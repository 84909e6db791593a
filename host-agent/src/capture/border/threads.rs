//! The threads of QEMU that may serve a device, and whether they do.

use vmward_kernel_facts::BorderThread;
use vmward_model::observed::{HostSide, HostThread, Observed, ThreadRole};

/// Threads told at most.
const MAX_THREADS: usize = 16;
/// Part of the time, in percent, from which a thread is said to spin.
const SPINS: u64 = 90;

/// The main loop and the I/O threads, and workers that wait for the host's disk.
pub(super) fn serving(observed: &Observed) -> Vec<BorderThread> {
    let Some(host) = &observed.host else { return Vec::new() };
    let serves = |it: &&HostThread| {
        matches!(it.role, ThreadRole::Main | ThreadRole::Io)
            || (it.role == ThreadRole::Other && it.state == 'D')
    };
    host.threads.iter().filter(serves).take(MAX_THREADS).map(|it| told(host, it)).collect()
}

fn told(host: &HostSide, thread: &HostThread) -> BorderThread {
    BorderThread {
        tid: thread.tid,
        comm: thread.comm.clone(),
        state: thread.state,
        wchan: thread.wchan.clone(),
        cpu_percent: (thread.cpu_ms * 100).checked_div(host.window_ms).unwrap_or(0),
    }
}

/// Why the threads that serve a device do not; `None` if nothing shows that.
pub(super) fn trouble(threads: &[BorderThread]) -> Option<String> {
    threads.iter().find_map(|it| {
        let does = match it.state {
            'T' | 't' => "is stopped".to_owned(),
            'Z' | 'X' => "has ended".to_owned(),
            // A worker that sleeps so waits for storage; the loop itself should never.
            'D' if !it.comm.starts_with("worker") => {
                format!("is blocked in the host's kernel{}", place(it))
            }
            _ if it.cpu_percent >= SPINS => format!("spins: {} % of a CPU", it.cpu_percent),
            // One look may find a lock held for a moment; a loop that did nothing all the while is none.
            'S' if it.cpu_percent == 0 && it.comm.starts_with("IO ") && in_futex(it) => {
                format!("waits for another thread{}", place(it))
            }
            _ => return None,
        };
        Some(format!("QEMU's thread {} ({}) {does}", it.tid, it.comm))
    })
}

/// What they do instead.
pub(super) fn sleep(threads: &[BorderThread]) -> Vec<String> {
    let one = |it: &BorderThread| {
        let place = place(it);
        format!(
            "QEMU's thread {} ({}) is in state {}{place}, {} % of a CPU",
            it.tid, it.comm, it.state, it.cpu_percent
        )
    };
    threads.iter().map(one).collect()
}

fn in_futex(thread: &BorderThread) -> bool {
    thread.wchan.as_deref().is_some_and(|it| it.starts_with("futex"))
}

fn place(thread: &BorderThread) -> String {
    thread.wchan.as_ref().map(|it| format!(" in {it}")).unwrap_or_default()
}
