//! Kinds of kernel trouble: one file each, registered in [`RULES`].
//!
//! A rule looks at one line without its prefix and says whether a report of its kind starts there.
//! What belongs to the report is found by the reader ([`crate::block`]). Each file's head has example
//! lines by kernel version. Rules ask for the kernel's whole wording, not for a word of it, so that
//! firmware, boot loaders and scripts are not taken for kernels.

mod bug;
mod double_fault;
mod hung_task;
mod io_error;
mod lockdep;
mod lockup;
mod nmi;
mod oom;
mod oops;
mod panic;
mod pids_limit;
mod rcu_stall;
mod root_wait;
mod sanitizer;
mod warning;

pub(crate) use oom::victim as oom_victim;
use serde::{Deserialize, Serialize};

/// A kind of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TroubleKind {
    /// The kernel gave up.
    Panic,
    /// The kernel gave up since its first program died.
    InitDied,
    /// No root file system could be mounted, or no first program found.
    NoRoot,
    /// The kernel waits for its root device to appear.
    RootWait,
    /// Access through a null pointer.
    NullDeref,
    /// Access to an address that is not mapped.
    PageFault,
    /// General protection fault.
    GeneralProtection,
    /// A fault while handling a fault; often the end of a kernel stack.
    DoubleFault,
    /// A kernel stack overflowed.
    StackOverflow,
    /// Another exception in the kernel: invalid opcode, divide error, arm64 `Internal error`.
    Oops,
    /// A check in the kernel failed: `kernel BUG at`, `BUG:`.
    Bug,
    /// A check in the kernel failed that it lives with.
    Warning,
    /// A report of a checking kernel: KASAN, KMSAN, KCSAN, KFENCE, UBSAN.
    Sanitizer,
    /// A report of the lock validator.
    Lockdep,
    /// A CPU did not schedule for long.
    SoftLockup,
    /// A CPU took no interrupts for long.
    HardLockup,
    /// A grace period of RCU did not end.
    RcuStall,
    /// Work that was queued did not run.
    WorkqueueLockup,
    /// A task was in uninterruptible sleep for long.
    HungTask,
    /// The kernel killed a process to get memory.
    OomKill,
    /// A cgroup's limit of tasks was reached.
    PidsLimit,
    /// A disk or file system gave an error.
    IoError,
    /// An interrupt that nobody knows came.
    UnknownNmi,
}

impl TroubleKind {
    /// Every kind.
    pub const ALL: [Self; 23] = [
        Self::Panic,
        Self::InitDied,
        Self::NoRoot,
        Self::RootWait,
        Self::NullDeref,
        Self::PageFault,
        Self::GeneralProtection,
        Self::DoubleFault,
        Self::StackOverflow,
        Self::Oops,
        Self::Bug,
        Self::Warning,
        Self::Sanitizer,
        Self::Lockdep,
        Self::SoftLockup,
        Self::HardLockup,
        Self::RcuStall,
        Self::WorkqueueLockup,
        Self::HungTask,
        Self::OomKill,
        Self::PidsLimit,
        Self::IoError,
        Self::UnknownNmi,
    ];

    /// Its name in scenario files and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::InitDied => "init-died",
            Self::NoRoot => "no-root",
            Self::RootWait => "root-wait",
            Self::NullDeref => "null-deref",
            Self::PageFault => "page-fault",
            Self::GeneralProtection => "general-protection",
            Self::DoubleFault => "double-fault",
            Self::StackOverflow => "stack-overflow",
            Self::Oops => "oops",
            Self::Bug => "bug",
            Self::Warning => "warning",
            Self::Sanitizer => "sanitizer",
            Self::Lockdep => "lockdep",
            Self::SoftLockup => "soft-lockup",
            Self::HardLockup => "hard-lockup",
            Self::RcuStall => "rcu-stall",
            Self::WorkqueueLockup => "workqueue-lockup",
            Self::HungTask => "hung-task",
            Self::OomKill => "oom-kill",
            Self::PidsLimit => "pids-limit",
            Self::IoError => "io-error",
            Self::UnknownNmi => "unknown-nmi",
        }
    }

    /// The kind of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    /// The kernel, or a part of it, is dead: it will not heal.
    pub fn is_crash(self) -> bool {
        matches!(
            self,
            Self::Panic
                | Self::InitDied
                | Self::NoRoot
                | Self::NullDeref
                | Self::PageFault
                | Self::GeneralProtection
                | Self::DoubleFault
                | Self::StackOverflow
                | Self::Oops
                | Self::Bug
        )
    }

    /// A kind of exception: the lines `Oops:` and `Internal error:` that follow belong to it.
    pub(crate) fn is_exception(self) -> bool {
        matches!(
            self,
            Self::NullDeref
                | Self::PageFault
                | Self::GeneralProtection
                | Self::DoubleFault
                | Self::StackOverflow
                | Self::Oops
                | Self::Bug
                | Self::Sanitizer
        )
    }
}

/// How bad trouble is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth a look.
    Warning,
    /// Something failed.
    Error,
    /// The guest is dead or as good as dead.
    Critical,
}

/// What a rule found in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found<'a> {
    pub kind: TroubleKind,
    pub severity: Severity,
    /// What the kernel gives as the reason.
    pub reason: &'a str,
    /// Task name and pid, where the line has them.
    pub task: Option<(&'a str, u32)>,
    /// The CPU, where the line has it.
    pub cpu: Option<u32>,
    /// It only starts a report where none of an exception is open.
    pub secondary: bool,
    /// More lines follow.
    pub block: bool,
    /// Others print such lines too: only a line that is surely the kernel's counts.
    pub weak: bool,
}

impl<'a> Found<'a> {
    /// Trouble with a report of several lines.
    fn block(kind: TroubleKind, severity: Severity, reason: &'a str) -> Self {
        Self { kind, severity, reason, task: None, cpu: None, secondary: false, block: true, weak: false }
    }

    /// Trouble that is one line.
    fn line(kind: TroubleKind, severity: Severity, reason: &'a str) -> Self {
        Self { block: false, ..Self::block(kind, severity, reason) }
    }
}

/// A kind of trouble, as the reader uses it.
pub(crate) struct Rule {
    /// A line of it contains one of these.
    pub needles: &'static [&'static str],
    /// Whether a report starts with this line.
    pub recognise: for<'a> fn(&'a str) -> Option<Found<'a>>,
}

/// The registry; the first that finds something counts.
const RULES: &[Rule] = &[
    panic::RULE,
    double_fault::RULE,
    oops::RULE,
    sanitizer::RULE,
    lockup::RULE,
    lockdep::RULE,
    bug::RULE,
    warning::RULE,
    rcu_stall::RULE,
    hung_task::RULE,
    oom::RULE,
    pids_limit::RULE,
    root_wait::RULE,
    io_error::RULE,
    nmi::RULE,
];

/// Whether a report of trouble starts with this line (without its prefix).
pub(crate) fn recognise(text: &str) -> Option<Found<'_>> {
    // A report never begins with a blank: its continuation lines do.
    if text.starts_with([' ', '\t']) {
        return None;
    }
    RULES
        .iter()
        .filter(|it| it.needles.iter().any(|it| text.contains(it)))
        .find_map(|it| (it.recognise)(text))
}

/// The digits at the start of a text as a number.
fn leading_number(text: &str) -> Option<u32> {
    let end = text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

/// Tests of a rule: each line with the kind that it is, or nothing.
#[cfg(test)]
fn check(cases: &[(&str, Option<TroubleKind>)]) {
    for (text, kind) in cases {
        assert_eq!(recognise(text).map(|it| it.kind), *kind, "{text}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_in_json_and_lead_back() {
        for kind in TroubleKind::ALL {
            let value: serde::de::value::StrDeserializer<'_, serde::de::value::Error> =
                serde::de::IntoDeserializer::into_deserializer(kind.name());
            assert_eq!(TroubleKind::deserialize(value), Ok(kind));
            assert_eq!(TroubleKind::from_name(kind.name()), Some(kind));
        }
    }

    #[test]
    fn harmless_lines_are_no_trouble() {
        for text in [
            "NMI watchdog: Shutting down hard lockup detector on all cpus",
            "watchdog: Delayed init of the lockup detector failed: -19",
            "rcu: RCU calculated value of scheduler-enlistment delay is 25 jiffies.",
            "INFO: NMI handler (nmi_cpu_backtrace_handler) took too long to run: 2.122 msecs",
            "WARNING: RO_VPD is uninitialized or empty.",
            "WARNING: Optional imports not found",
            "INFO:    BL31: Initializing BL31",
            "ERROR: could not find panic",
            "Kernel command line: panic=-1 oops=panic",
            "Panic handler registered",
            "traps: app[12] general protection fault ip:401000 sp:7ffe error:0 in app[400000+1000]",
            "app[12]: segfault at 0 ip 0000000000401136 sp 00007ffd error 4",
            "ERST DBG: no BUG: here",
            "printk: console [ttyS0] enabled, BUG: reports are welcome",
            "oom_reaper: reaped process 12 (x), now anon-rss:0kB",
            "### KEY w",
            "systemd[1]: Started Kernel panic watcher.",
            "hung_task: tasks are checked",
        ] {
            assert_eq!(recognise(text).map(|it| it.kind), None, "{text}");
        }
    }
}
