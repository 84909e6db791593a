//! Rules: one file each, one line in [`RULES`] each, one entry in the message catalogue each.
//!
//! A rule reads a [`Case`] and says `Yes` with its evidence, `No`, or `Unknown` with what it would
//! have needed. Evidence against is part of a `Yes`; a capture that is absent is never a sign.

mod boot_stuck;
mod busy;
mod console_lost;
mod console_unreachable;
mod cpu_spin;
mod deadlock;
mod disk_overdue;
mod disk_stall;
mod fs_frozen;
mod host_pressure;
mod init_died;
mod io_errors;
mod irq_off_spin;
mod kernel_oops;
mod lock_chain;
mod lock_wait;
mod memory_exhausted;
mod memory_thrash;
mod monitor_busy;
mod monitor_unusable;
mod not_running;
mod oops_in_memory;
mod panic_in_memory;
mod panicked;
mod process_limit;
mod qemu_gone;
mod qemu_stuck;
mod qemu_thread_blocked;
mod rcu_stall;
mod soft_lockup;
mod sysrq_refused;
mod userspace_hung;
mod well;
mod workqueue_hung;

use std::collections::BTreeMap;

use vmward_model::{Class, Confidence, Evidence};

use crate::Case;

/// One thing that a case may show.
pub trait Rule: Sync {
    /// Stable short name, for configuration and tests.
    fn name(&self) -> &'static str;

    /// The class that it gives to an incident; [`Class::Suspect`] for one that decides nothing.
    fn class(&self) -> Class;

    /// Looks.
    fn check(&self, case: &Case) -> Checked;
}

/// What a rule says.
#[derive(Clone, Debug, PartialEq)]
pub enum Checked {
    /// It is so.
    Yes(Draft),
    /// It is not so.
    No,
    /// It cannot be told; the text says what is missing.
    Unknown(String),
}

/// A finding before its rule's name and code are put on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// How sure the rule is.
    pub confidence: Confidence,
    /// What it rests on, for and against.
    pub evidence: Vec<Evidence>,
    /// Values for the blanks of the catalogue's sentences.
    pub details: BTreeMap<String, String>,
}

impl Draft {
    /// A conclusion without evidence yet.
    pub fn new(confidence: Confidence) -> Draft {
        Draft { confidence, evidence: Vec::new(), details: BTreeMap::new() }
    }

    /// Adds a sign for it.
    #[must_use]
    pub fn because(mut self, source: &str, text: impl Into<String>) -> Draft {
        self.evidence.push(Evidence { source: source.to_owned(), text: text.into(), supports: true });
        self
    }

    /// Adds a sign against it.
    #[must_use]
    pub fn although(mut self, source: &str, text: impl Into<String>) -> Draft {
        self.evidence.push(Evidence { source: source.to_owned(), text: text.into(), supports: false });
        self
    }

    /// Adds signs that others wrote down.
    #[must_use]
    pub fn with(mut self, evidence: impl IntoIterator<Item = Evidence>) -> Draft {
        self.evidence.extend(evidence);
        self
    }

    /// Fills a blank of the catalogue's sentences.
    #[must_use]
    pub fn detail(mut self, blank: &str, value: impl ToString) -> Draft {
        self.details.insert(blank.to_owned(), value.to_string());
        self
    }
}

/// What a finding is to the incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// It may set the class; where several may, the smallest number does.
    Decides(u16),
    /// It stands beside and never sets the class.
    Adds,
}

/// A rule with its stable code.
pub struct Registered {
    /// `VW` and four digits. Never given to another rule, not even when this one is removed.
    pub code: &'static str,
    /// Whether it may decide, and before whom.
    pub weight: Weight,
    /// The rule.
    pub rule: &'static dyn Rule,
}

const fn decides(code: &'static str, before: u16, rule: &'static dyn Rule) -> Registered {
    Registered { code, weight: Weight::Decides(before), rule }
}

const fn adds(code: &'static str, rule: &'static dyn Rule) -> Registered {
    Registered { code, weight: Weight::Adds, rule }
}

/// Every rule. What makes others meaningless comes first: without QEMU there is no guest, a dead
/// kernel explains every silence, memory and disks explain tasks that wait, and so on down to
/// "nothing is wrong".
pub static RULES: &[Registered] = &[
    decides("VW1001", 10, &qemu_gone::QemuGone),
    decides("VW1002", 20, &qemu_stuck::QemuStuck),
    decides("VW1101", 30, &init_died::InitDied),
    decides("VW1102", 40, &panicked::Panicked),
    decides("VW1104", 45, &panic_in_memory::PanicInMemory),
    decides("VW1103", 50, &kernel_oops::KernelOops),
    decides("VW1003", 55, &not_running::NotRunning),
    decides("VW1201", 60, &irq_off_spin::IrqOffSpin),
    decides("VW1401", 70, &process_limit::ProcessLimit),
    decides("VW1403", 78, &memory_exhausted::MemoryExhausted),
    decides("VW1402", 80, &memory_thrash::MemoryThrash),
    decides("VW1203", 81, &soft_lockup::SoftLockup),
    decides("VW1204", 82, &rcu_stall::RcuStall),
    decides("VW1304", 84, &deadlock::Deadlock),
    decides("VW1305", 85, &fs_frozen::FsFrozen),
    decides("VW1303", 86, &lock_chain::LockChain),
    decides("VW1302", 90, &lock_wait::LockWait),
    decides("VW1306", 98, &disk_overdue::DiskOverdue),
    decides("VW1301", 100, &disk_stall::DiskStall),
    decides("VW1601", 110, &boot_stuck::BootStuck),
    decides("VW1202", 120, &cpu_spin::CpuSpin),
    decides("VW1105", 125, &oops_in_memory::OopsInMemory),
    decides("VW1701", 130, &busy::Busy),
    decides("VW1502", 140, &console_lost::ConsoleLost),
    decides("VW1501", 150, &userspace_hung::UserspaceHung),
    decides("VW1000", 160, &well::Well),
    adds("VW1901", &sysrq_refused::SysrqRefused),
    adds("VW1902", &monitor_busy::MonitorBusy),
    adds("VW1903", &monitor_unusable::MonitorUnusable),
    adds("VW1904", &console_unreachable::ConsoleUnreachable),
    adds("VW1905", &host_pressure::HostPressure),
    adds("VW1906", &qemu_thread_blocked::QemuThreadBlocked),
    adds("VW1907", &io_errors::IoErrors),
    adds("VW1908", &workqueue_hung::WorkqueueHung),
];
