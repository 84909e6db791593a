//! What kernel it is, and whether it is still well.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Load averages in hundredths, rounded as `/proc/loadavg` rounds them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Load {
    /// Of one minute.
    pub one: u64,
    /// Of five minutes.
    pub five: u64,
    /// Of fifteen minutes.
    pub fifteen: u64,
}

/// One reason why the kernel calls itself tainted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Taint {
    /// Bit of `/proc/sys/kernel/tainted`.
    pub bit: u32,
    /// Its letter in an oops.
    pub letter: char,
    /// What it says.
    pub reason: String,
}

impl Taint {
    /// Letters and meanings: `Documentation/admin-guide/tainted-kernels.rst` (v7.2).
    const ALL: [(char, &'static str); 20] = [
        ('P', "a proprietary module was loaded"),
        ('F', "a module was loaded by force"),
        ('S', "the kernel runs on a system out of its specification"),
        ('R', "a module was unloaded by force"),
        ('M', "the processor reported a machine check"),
        ('B', "a page was in a bad state"),
        ('U', "user space asked for it"),
        ('D', "the kernel died before: an oops or a BUG"),
        ('A', "an ACPI table was overridden"),
        ('W', "the kernel issued a warning"),
        ('C', "a staging driver was loaded"),
        ('I', "a bug of the firmware was worked around"),
        ('O', "a module from outside of the kernel was loaded"),
        ('E', "an unsigned module was loaded"),
        ('L', "a soft lockup occurred"),
        ('K', "the kernel was live-patched"),
        ('X', "the distribution marks it"),
        ('T', "the kernel was built with a random structure layout"),
        ('N', "an in-kernel test was run"),
        ('J', "user space changed a device's firmware state"),
    ];

    /// The reasons in a mask.
    pub fn of(mask: u64) -> Vec<Self> {
        let set = (0..).zip(Self::ALL).filter(|(bit, _)| mask & (1 << bit) != 0);
        set.map(|(bit, (letter, reason))| Self { bit, letter, reason: reason.into() }).collect()
    }
}

/// Whether the kernel is dying.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PanicState {
    /// The CPU that panics; `None` if none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// Oopses being printed at that moment.
    pub oops_in_progress: i32,
    /// Oopses since boot, where the kernel counts them (v6.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oops_count: Option<u32>,
    /// Warnings since boot, where the kernel counts them (v6.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warn_count: Option<u32>,
    /// An oops makes it panic.
    pub panic_on_oops: bool,
    /// Seconds until it reboots after a panic: 0 never, negative at once.
    pub panic_timeout: i32,
}

/// What kernel it is, and whether it is still well.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct System {
    /// Release (`uname -r`).
    pub release: String,
    /// Build (`uname -v`).
    pub version: String,
    /// Host name of the initial namespace.
    pub node: String,
    /// Machine (`uname -m`).
    pub machine: String,
    /// The kernel's command line.
    pub command_line: String,
    /// Load averages.
    pub load: Load,
    /// Mask of `/proc/sys/kernel/tainted`.
    pub tainted: u64,
    /// What the mask says.
    #[serde(default)]
    pub taints: Vec<Taint>,
    /// Whether it is dying.
    pub panic: PanicState,
    /// CPUs that are online.
    pub online: Vec<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_of_taints_is_spelled_out() {
        let letters = |mask| Taint::of(mask).iter().map(|it| it.letter).collect::<String>();
        // As Documentation/admin-guide/tainted-kernels.rst counts them.
        assert_eq!(letters(0), "");
        assert_eq!(letters(512), "W");
        assert_eq!(letters(4609), "PWO");
        assert_eq!(letters(1 << 14 | 1 << 19 | 1 << 63), "LJ");
    }
}
