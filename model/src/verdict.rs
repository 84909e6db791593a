//! What the answers over time say, and the classes that an incident can end in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Stamp;

macro_rules! classes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What is wrong with a guest. A verdict from probes alone may be as coarse as
        /// [`Class::Suspect`]; the final class of an incident is set by its findings.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "kebab-case")]
        pub enum Class {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl Class {
            /// Every class.
            pub const ALL: &'static [Class] = &[$(Class::$variant,)*];

            /// The name used everywhere outside the code.
            pub fn name(self) -> &'static str {
                match self { $(Class::$variant => $name,)* }
            }
        }
    };
}

classes! {
    /// Nothing is wrong.
    Well = "well",
    /// Slow under load, but everything moves.
    Busy = "busy",
    /// Something is wrong; the probes alone do not say what.
    Suspect = "suspect",
    /// The kernel panicked.
    Panicked = "panicked",
    /// PID 1 ended, and the kernel panicked for it.
    InitDied = "init-died",
    /// The kernel oopsed and went on.
    KernelOops = "kernel-oops",
    /// CPUs spin with interrupts on, and what needs them does not get to run.
    CpuSpin = "cpu-spin",
    /// One or more vCPUs spin with interrupts off.
    IrqOffSpin = "irq-off-spin",
    /// The disk owes answers and tasks wait for it.
    DiskStall = "disk-stall",
    /// Tasks wait for a lock or for a frozen or dead file system.
    LockWait = "lock-wait",
    /// The kernel works, user space does not.
    UserspaceHung = "userspace-hung",
    /// Memory is short and the guest swaps instead of working.
    MemoryThrash = "memory-thrash",
    /// No new process can be made.
    ProcessLimit = "process-limit",
    /// The console does not answer, the guest works.
    ConsoleLost = "console-lost",
    /// It never finished booting.
    BootStuck = "boot-stuck",
    /// The QEMU process is there and does not answer.
    QemuStuck = "qemu-stuck",
    /// The QEMU process ended.
    QemuGone = "qemu-gone",
}

impl std::fmt::Display for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Class {
    type Err = String;

    fn from_str(text: &str) -> Result<Class, String> {
        Class::ALL
            .iter()
            .copied()
            .find(|class| class.name() == text)
            .ok_or_else(|| format!("no class is called {text:?}"))
    }
}

/// How sure a conclusion is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// One sign, and other causes would look the same.
    Possible,
    /// Several signs agree and none speaks against it.
    Likely,
    /// The guest, its kernel or QEMU said so itself.
    Certain,
}

/// One sign, for or against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// Where it comes from: a probe, a capture, an event, the console (`probe:shell-answers`,
    /// `capture:registers`, `event:GUEST_PANICKED`).
    pub source: String,
    /// What was seen, in a sentence. May hold guest text: escape before showing.
    pub text: String,
    /// Whether it speaks for (`true`) or against the conclusion.
    pub supports: bool,
}

/// What the probes of a scenario say over time. Kept as it was when the incident opened; captures
/// never change it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// The coarse class.
    pub class: Class,
    /// How sure it is.
    pub confidence: Confidence,
    /// Scenario whose failure opened it.
    pub scenario: String,
    /// When it was reached.
    pub at: Stamp,
    /// What it rests on.
    pub evidence: Vec<Evidence>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_read_back_by_its_name() {
        for class in Class::ALL {
            assert_eq!(class.name().parse::<Class>(), Ok(*class));
            assert_eq!(serde_json::to_string(class).unwrap(), format!("\"{}\"", class.name()));
        }
    }
}
