//! What a child gives up before it sees a byte of a guest.
//!
//! * seccomp: of the system calls only reading, writing and seeking in descriptors that it holds, its own
//!   memory (never executable), and ending. Anything else kills it.
//! * landlock, where the host's kernel has it: no file can be reached by name.
//! * resource limits: memory, CPU time, size of what it writes, no process, no core dump.
//! * it dies with the agent.

use nix::libc;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// Bytes of memory that a look may take for its own: four times what the largest guests need.
pub(super) const MAX_MEMORY: u64 = 256 << 20;
/// Bytes of address space: the program itself and what shares its pages come on top.
const MAX_SPACE: u64 = MAX_MEMORY + (256 << 20);
/// Bytes that a child may write into a file.
pub(super) const MAX_RESULT: u64 = 256 << 20;
/// Seconds of CPU time; the deadline by the clock is the parent's.
const MAX_CPU: u64 = 20;

/// Why a child cannot be shut in. It then looks at nothing.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A limit could not be set.
    #[error("cannot limit {what}")]
    Limit {
        /// Which.
        what: &'static str,
        /// The cause.
        source: nix::Error,
    },
    /// The filter of system calls could not be made or set.
    #[error("cannot filter system calls: {0}")]
    Seccomp(String),
    /// Files could not be shut off, although the kernel has the means.
    #[error("cannot shut off files: {0}")]
    Landlock(String),
}

/// Shuts this process in. It must have one thread only.
///
/// # Errors
/// [`SandboxError`]; the process may then be shut in half and must end.
pub fn enter() -> Result<(), SandboxError> {
    // The library looks for the vDSO at the first question for the time, by calls that are not allowed later.
    let _ = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let failed = |what| move |source| SandboxError::Limit { what, source };
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(failed("its life to the agent's"))?;
    nix::sys::prctl::set_no_new_privs().map_err(failed("new privileges"))?;
    nix::sys::prctl::set_dumpable(false).map_err(failed("core dumps"))?;
    for (resource, most, what) in [
        (Resource::RLIMIT_DATA, MAX_MEMORY, "memory"),
        (Resource::RLIMIT_AS, MAX_SPACE, "address space"),
        (Resource::RLIMIT_CPU, MAX_CPU, "CPU time"),
        (Resource::RLIMIT_FSIZE, MAX_RESULT, "file size"),
        (Resource::RLIMIT_NPROC, 0, "processes"),
        (Resource::RLIMIT_CORE, 0, "core dumps"),
    ] {
        setrlimit(resource, most, most).map_err(failed(what))?;
    }
    no_files()?;
    let filter = filter().map_err(|it| SandboxError::Seccomp(it.to_string()))?;
    let program: seccompiler::BpfProgram =
        filter.try_into().map_err(|it: seccompiler::BackendError| SandboxError::Seccomp(it.to_string()))?;
    seccompiler::apply_filter(&program).map_err(|it| SandboxError::Seccomp(it.to_string()))
}

/// No file is reachable by name. Kernels before 5.13 have no landlock: there seccomp alone refuses to open.
fn no_files() -> Result<(), SandboxError> {
    use landlock::{ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr};
    let restricted = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V3))
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self);
    restricted.map(drop).map_err(|it| SandboxError::Landlock(it.to_string()))
}

/// The system calls that the lens makes. `recvmsg` takes the order, `sendmsg` asks for
/// registers, `fcntl` is the standard library's
/// check of a descriptor, `writev` and `write` tell what went wrong on stderr.
fn filter() -> Result<SeccompFilter, seccompiler::BackendError> {
    const FREE: [i64; 28] = [
        libc::SYS_read,
        libc::SYS_pread64,
        libc::SYS_write,
        libc::SYS_writev,
        libc::SYS_pwrite64,
        libc::SYS_lseek,
        libc::SYS_fstat,
        libc::SYS_statx,
        libc::SYS_ftruncate,
        libc::SYS_fcntl,
        libc::SYS_close,
        libc::SYS_recvmsg,
        libc::SYS_sendmsg,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_brk,
        libc::SYS_futex,
        libc::SYS_sched_yield,
        libc::SYS_clock_gettime,
        libc::SYS_getrandom,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_restart_syscall,
        libc::SYS_gettid,
    ];
    // Memory that can be executed is never asked for.
    let never_code = || -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
        let code = SeccompCondition::new(
            2,
            SeccompCmpArgLen::Dword,
            SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64),
            0,
        )?;
        Ok(vec![SeccompRule::new(vec![code])?])
    };
    let mut rules: std::collections::BTreeMap<i64, Vec<SeccompRule>> =
        FREE.iter().map(|it| (*it, Vec::new())).collect();
    rules.insert(libc::SYS_mmap, never_code()?);
    rules.insert(libc::SYS_mprotect, never_code()?);
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, arch)
}
