//! The threads of a QEMU process: state, CPU time, where they wait in the host's kernel.

use std::io;

use vmward_model::observed::ThreadRole;

use super::{read, stat};

/// Threads read at most; QEMU has a few per vCPU and up to 64 workers.
const MAX_THREADS: usize = 4096;
/// Bytes of one kernel stack read at most.
const MAX_STACK: usize = 16 << 10;
/// Frames of one kernel stack kept at most.
const MAX_FRAMES: usize = 64;

/// One thread at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Thread id.
    pub tid: u32,
    /// Name.
    pub comm: String,
    /// State letter.
    pub state: char,
    /// CPU time so far, in microseconds.
    pub cpu_us: u64,
    /// Time so far in which it wanted a CPU and got none, in microseconds; zero where the host's kernel
    /// does not count it.
    pub wait_us: u64,
}

/// Lists the threads of the process whose proc folder is `proc`. Blocking, but takes no lock of the
/// process.
///
/// # Errors
/// As reading `task/`: `NotFound` when the process is gone.
pub fn list(proc: &str) -> io::Result<Vec<Thread>> {
    let mut threads = Vec::new();
    for entry in std::fs::read_dir(format!("{proc}/task"))?.take(MAX_THREADS) {
        let entry = entry?;
        let Some(tid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        // A worker may have ended since the folder was read.
        let Ok(line) = read::file(format!("{proc}/task/{tid}/stat"), 4096) else { continue };
        let Some(stat) = stat::parse(&line) else { continue };
        let exact =
            read::text(format!("{proc}/task/{tid}/schedstat"), 256).ok().and_then(|it| schedstat(&it));
        // USER_HZ is 100 on every architecture that runs KVM.
        let (cpu_us, wait_us) = exact.unwrap_or_else(|| (stat.cpu_ticks.saturating_mul(10_000), 0));
        threads.push(Thread { tid, comm: stat.comm, state: stat.state, cpu_us, wait_us });
    }
    threads.sort_by_key(|it| it.tid);
    Ok(threads)
}

/// `schedstat`: nanoseconds on a CPU, nanoseconds waiting for one, time slices (sched-stats.rst). The
/// first two, in microseconds.
fn schedstat(text: &str) -> Option<(u64, u64)> {
    let mut fields = text.split_ascii_whitespace().map(|field| field.parse::<u64>().ok());
    Some((fields.next()?? / 1000, fields.next()?? / 1000))
}

/// State letter of one thread. Blocking, but takes no lock of the process.
///
/// # Errors
/// As reading `stat`.
pub fn state(proc: &str, tid: u32) -> io::Result<char> {
    let line = read::file(format!("{proc}/task/{tid}/stat"), 4096)?;
    stat::parse(&line).map(|it| it.state).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Kernel function that the thread sleeps in. `None` when it does not sleep or when we may not know:
/// the kernel writes `0` for both. Blocking.
pub fn wchan(proc: &str, tid: u32) -> Option<String> {
    clean_wchan(&read::text(format!("{proc}/task/{tid}/wchan"), 256).ok()?)
}

/// The name in a `wchan` file.
pub fn clean_wchan(text: &str) -> Option<String> {
    let name = text.trim();
    (!name.is_empty() && name != "0").then(|| name.to_owned())
}

/// Kernel stack of the thread, innermost first. Blocking.
///
/// # Errors
/// As reading `stack`: `PermissionDenied` without CAP_SYS_ADMIN.
pub fn stack(proc: &str, tid: u32) -> io::Result<Vec<String>> {
    Ok(clean_stack(&read::text(format!("{proc}/task/{tid}/stack"), MAX_STACK)?))
}

/// The frames in a `stack` file: `[<0>] schedule+0x1/0x2` becomes `schedule+0x1/0x2`.
pub fn clean_stack(text: &str) -> Vec<String> {
    let frame = |line: &str| line.split_once("] ").map_or(line, |(_, frame)| frame).trim().to_owned();
    text.lines().map(frame).filter(|it| !it.is_empty()).take(MAX_FRAMES).collect()
}

/// What a thread is for, by the names that QEMU gives with `-name debug-threads=on`. Without it every
/// thread has the program's name, and only `query-cpus-fast` tells which runs a vCPU.
pub fn role_by_name(pid: u32, tid: u32, comm: &str) -> ThreadRole {
    if tid == pid {
        return ThreadRole::Main;
    }
    let vcpu = comm
        .strip_prefix("CPU ")
        .and_then(|rest| rest.split_once('/'))
        .and_then(|(index, _)| index.parse::<u32>().ok());
    match vcpu {
        Some(index) => ThreadRole::Vcpu(index),
        None if comm.starts_with("IO ") => ThreadRole::Io,
        None => ThreadRole::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_threads_are_listed_and_a_busy_one_uses_cpu_time() {
        let before = list("/proc/thread-self").or_else(|_| list("/proc/self")).unwrap();
        let began = std::time::Instant::now();
        while began.elapsed() < std::time::Duration::from_millis(60) {
            std::hint::spin_loop();
        }
        let after = list("/proc/self").unwrap();
        let sum = |list: &[Thread]| list.iter().map(|it| it.cpu_us).sum::<u64>();
        assert!(!before.is_empty() && sum(&after) > 0);
        assert!(after.iter().any(|it| it.tid == std::process::id()));
    }

    #[test]
    fn roles_follow_from_the_names_that_qemu_gives() {
        assert_eq!(role_by_name(10, 10, "qemu-system-x86"), ThreadRole::Main);
        assert_eq!(role_by_name(10, 12, "CPU 3/KVM"), ThreadRole::Vcpu(3));
        assert_eq!(role_by_name(10, 12, "CPU 0/TCG"), ThreadRole::Vcpu(0));
        assert_eq!(role_by_name(10, 13, "IO mon_iothread"), ThreadRole::Io);
        assert_eq!(role_by_name(10, 14, "CPU x/KVM"), ThreadRole::Other);
        assert_eq!(role_by_name(10, 14, "worker"), ThreadRole::Other);
    }

    #[test]
    fn frames_and_wait_channels_are_taken_out_of_their_files() {
        // As read from Linux 6.18.
        let text = "[<0>] futex_do_wait+0x46/0x90\n[<0>] __futex_wait+0x8a/0x100\n";
        assert_eq!(clean_stack(text), ["futex_do_wait+0x46/0x90", "__futex_wait+0x8a/0x100"]);
        assert_eq!(clean_wchan("0"), None);
        assert_eq!(clean_wchan("do_sys_poll\n").as_deref(), Some("do_sys_poll"));
    }
}
