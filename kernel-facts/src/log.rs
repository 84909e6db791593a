//! The kernel's log as records, and as the text that `dmesg` prints.

use std::fmt::{self, Write};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who wrote a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogCaller {
    /// A task, by its thread id.
    Task(u32),
    /// A CPU that ran no task's own work: an interrupt.
    Cpu(u32),
}

impl LogCaller {
    /// The kernel's word for both: bit 31 tells a CPU (commit 15ff2069cb7f, v5.1).
    pub fn from_id(id: u32) -> Self {
        match id >> 31 {
            0 => Self::Task(id),
            _ => Self::Cpu(id & !(1 << 31)),
        }
    }
}

/// As the kernel prints it: `T12`, `C0`.
impl fmt::Display for LogCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task(id) => write!(f, "T{id}"),
            Self::Cpu(id) => write!(f, "C{id}"),
        }
    }
}

/// One record of the kernel's log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogRecord {
    /// Number of the record since boot.
    pub seq: u64,
    /// Nanoseconds of the guest's own clock since boot, as in `[    1.234567]`.
    pub ts_nsec: u64,
    /// Level: 0 emergency to 7 debug.
    pub level: u8,
    /// Facility as in syslog: 0 the kernel, 1 user space.
    pub facility: u8,
    /// Who wrote it; kernels before v5.10 keep that only with `CONFIG_PRINTK_CALLER`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<LogCaller>,
    /// Name of the task that wrote it, where the kernel keeps it (`CONFIG_PRINTK_EXECUTION_CTX`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comm: Option<String>,
    /// Text without a newline at its end; several lines may be in it. Bytes that are no UTF-8 are written
    /// `\xNN`, as `/dev/kmsg` writes them.
    pub text: String,
    /// The writer ended it with a newline.
    #[serde(default)]
    pub newline: bool,
    /// It continues a line that the record before it began.
    #[serde(default)]
    pub continues: bool,
    /// The kernel had not finished it: more may follow, or its writer stopped there.
    #[serde(default)]
    pub open: bool,
    /// Subsystem of the device that it is about (`pci`, `block`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subsystem: Option<String>,
    /// The device, as the kernel names it there (`+pci:0000:00:01.0`, `b254:0`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// The kernel's log as somebody read it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KernelLog {
    /// Records, oldest first.
    pub records: Vec<LogRecord>,
    /// Records that were being written at that moment. One that stays so has a writer that is stuck.
    #[serde(default)]
    pub unfinished: u64,
    /// Records whose text the kernel itself could not keep.
    #[serde(default)]
    pub lost: u64,
    /// Records that made no sense: overwritten by a running guest while they were read, or damaged.
    #[serde(default)]
    pub torn: u64,
    /// Older records that are there but were left out, for a log that is very large.
    #[serde(default)]
    pub left_out: u64,
    /// Wall clock at the zero of `ts_nsec`, in nanoseconds since 1970, where the guest's clock was found.
    /// Time that the guest was suspended for is not in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_nsec: Option<i64>,
}

/// How a log is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogStyle {
    /// Facility and level before each line, as `dmesg -r` has them: `<6>`.
    pub raw: bool,
    /// Who wrote it, as kernels with `CONFIG_PRINTK_CALLER` have it: `[    T1]`.
    pub caller: bool,
}

impl LogRecord {
    /// Prints it as the kernel does (`record_print_text()`): every line with the same prefix.
    ///
    /// # Errors
    /// What `out` says.
    pub fn print(&self, out: &mut impl Write, style: LogStyle) -> fmt::Result {
        for line in self.text.split('\n') {
            if style.raw {
                write!(out, "<{}>", u32::from(self.facility) << 3 | u32::from(self.level))?;
            }
            let micros = self.ts_nsec / 1000;
            write!(out, "[{:5}.{:06}]", micros / 1_000_000, micros % 1_000_000)?;
            if let Some(caller) = self.caller.filter(|_| style.caller) {
                write!(out, "[{:>6}]", caller.to_string())?;
            }
            writeln!(out, " {line}")?;
        }
        Ok(())
    }
}

impl KernelLog {
    /// The log as `dmesg` prints it.
    pub fn to_text(&self, style: LogStyle) -> String {
        let mut text = String::new();
        for record in &self.records {
            // Writing to a string does not fail.
            let _ = record.print(&mut text, style);
        }
        text
    }

    /// Wall clock of a record in nanoseconds since 1970.
    pub fn wall_nsec(&self, record: &LogRecord) -> Option<i64> {
        self.boot_nsec?.checked_add(i64::try_from(record.ts_nsec).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> LogRecord {
        LogRecord {
            ts_nsec: 19_097_684_999,
            level: 6,
            facility: 1,
            caller: Some(LogCaller::from_id(141)),
            text: "app: one\n\ntwo".into(),
            ..Default::default()
        }
    }

    #[test]
    fn every_line_of_a_record_has_its_prefix() {
        let log = KernelLog { records: vec![record()], ..Default::default() };
        assert_eq!(
            log.to_text(LogStyle { raw: true, caller: false }),
            "<14>[   19.097684] app: one\n<14>[   19.097684] \n<14>[   19.097684] two\n"
        );
        assert_eq!(
            log.to_text(LogStyle { raw: false, caller: true }).lines().next(),
            Some("[   19.097684][  T141] app: one")
        );
    }

    #[test]
    fn a_caller_is_a_task_or_a_cpu() {
        assert_eq!(LogCaller::from_id(7).to_string(), "T7");
        assert_eq!(LogCaller::from_id(0x8000_0003), LogCaller::Cpu(3));
    }

    #[test]
    fn wall_time_is_counted_from_boot() {
        let mut log = KernelLog::default();
        assert_eq!(log.wall_nsec(&record()), None);
        log.boot_nsec = Some(1_000);
        assert_eq!(log.wall_nsec(&record()), Some(19_097_685_999));
        log.boot_nsec = Some(i64::MAX);
        assert_eq!(log.wall_nsec(&record()), None);
    }
}
