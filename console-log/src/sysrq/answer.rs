//! The first line of an answer to a SysRq key: which key, or that it was refused.

use serde::{Deserialize, Serialize};

/// A key whose answer is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SysrqKey {
    /// `t`: all tasks with their stacks.
    ShowTasks,
    /// `w`: tasks in uninterruptible sleep.
    ShowBlocked,
    /// `l`: stacks of all CPUs.
    ShowCpus,
    /// `p`: registers of the CPU that took the interrupt.
    ShowRegisters,
    /// `m`: memory.
    ShowMemory,
    /// `q`: timers.
    ShowTimers,
    /// `d`: held locks (needs lockdep).
    ShowLocks,
    /// `z`: ftrace's ring.
    DumpFtrace,
    /// `h`, or any key that nothing is bound to.
    Help,
    /// `c`: crash.
    Crash,
    /// `b`: restart.
    Restart,
    /// `o`: power off.
    PowerOff,
    /// `s`: sync.
    Sync,
    /// `u`: remount read-only.
    Remount,
    /// `0` to `9`: console log level.
    LogLevel,
    /// Some other key.
    Other,
}

/// What the first line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SysrqAnswer {
    /// This key's answer begins.
    Key(SysrqKey),
    /// `This sysrq operation is disabled.`: `kernel.sysrq` does not have this key's bit. Debian's
    /// default, 438, allows 2 (log level), 4 (SAK, unraw), 16 (sync), 32 (remount), 128 (restart) and
    /// 256 (nice); it lacks 8 (dumps: `w l m p q t z`) and 64 (signals).
    Refused,
    /// The list of keys: no key of ours had this letter.
    Help,
}

impl SysrqKey {
    /// The letter that asks for it; `None` for those that have no letter of their own.
    pub fn letter(self) -> Option<char> {
        Some(match self {
            Self::ShowTasks => 't',
            Self::ShowBlocked => 'w',
            Self::ShowCpus => 'l',
            Self::ShowRegisters => 'p',
            Self::ShowMemory => 'm',
            Self::ShowTimers => 'q',
            Self::ShowLocks => 'd',
            Self::DumpFtrace => 'z',
            Self::Help => 'h',
            Self::Crash => 'c',
            Self::Restart => 'b',
            Self::PowerOff => 'o',
            Self::Sync => 's',
            Self::Remount => 'u',
            Self::LogLevel | Self::Other => return None,
        })
    }
}

/// Reads the first line of an answer: `sysrq: Show State`, before v4.20 `SysRq : Show State`.
pub fn read_answer(text: &str) -> Option<SysrqAnswer> {
    const ACTIONS: &[(&str, SysrqKey)] = &[
        ("Show State", SysrqKey::ShowTasks),
        ("Show Blocked State", SysrqKey::ShowBlocked),
        ("Show backtrace of all active CPUs", SysrqKey::ShowCpus),
        ("Show Regs", SysrqKey::ShowRegisters),
        ("Show Memory", SysrqKey::ShowMemory),
        ("Show clockevent devices & pending hrtimers", SysrqKey::ShowTimers),
        ("Show Locks Held", SysrqKey::ShowLocks),
        ("Dump ftrace buffer", SysrqKey::DumpFtrace),
        ("Trigger a crash", SysrqKey::Crash),
        ("Resetting", SysrqKey::Restart),
        ("Power Off", SysrqKey::PowerOff),
        ("Emergency Sync", SysrqKey::Sync),
        ("Emergency Remount R/O", SysrqKey::Remount),
        ("Changing Loglevel", SysrqKey::LogLevel),
        ("Manual OOM execution", SysrqKey::Other),
        ("Terminate All Tasks", SysrqKey::Other),
        ("Kill All Tasks", SysrqKey::Other),
        ("Keyboard mode set to", SysrqKey::Other),
        ("Nice All RT Tasks", SysrqKey::Other),
    ];
    let text = text.trim_start();
    let action = text.strip_prefix("sysrq: ").or_else(|| text.strip_prefix("SysRq : "))?;
    if action.starts_with("HELP : ") {
        return Some(SysrqAnswer::Help);
    }
    if action.starts_with("This sysrq operation is disabled") {
        return Some(SysrqAnswer::Refused);
    }
    // "Show State" is how no other action begins; the longest match is not needed.
    ACTIONS.iter().find(|it| action.starts_with(it.0)).map(|it| SysrqAnswer::Key(it.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_the_header_are_read() {
        let key = Some(SysrqAnswer::Key(SysrqKey::ShowTasks));
        assert_eq!(read_answer("sysrq: Show State"), key);
        assert_eq!(read_answer("SysRq : Show State"), key);
        assert_eq!(read_answer("sysrq: This sysrq operation is disabled."), Some(SysrqAnswer::Refused));
        assert_eq!(read_answer("sysrq: HELP : loglevel(0-9) reboot(b)"), Some(SysrqAnswer::Help));
        assert_eq!(read_answer("sysrq: CPU0:"), None);
        assert_eq!(read_answer("echo sysrq: Show State"), None);
    }
}
