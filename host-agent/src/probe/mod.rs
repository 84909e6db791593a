//! Probes: one question each, answered `Pass | Fail | Unknown`.
//!
//! A probe is pure: it reads the agent's [`View`] of the guest, and where it has to ask the guest
//! it says what to type and later reads what came of it. Deadlines, transports and rounds are the
//! actor's. A new probe is one file here and one line in [`PROBES`].

mod console_command;
mod console_label;
pub mod kernel_trouble;
mod qmp_status;

use std::time::Duration;

use tokio::time::Instant;
use vmward_model::{Answer, Class, Confidence, TransportKind};

use crate::agent::guest::seen::{Seen, ShellReply};
use crate::agent::guest::view::View;

/// Every probe, by the name that scenarios use.
pub static PROBES: &[&dyn Probe] = &[
    &console_command::ConsoleCommand,
    &console_label::ConsoleLabel,
    &kernel_trouble::KernelTrouble,
    &qmp_status::QmpStatus,
];

/// The probe of that name.
pub fn named(name: &str) -> Option<&'static dyn Probe> {
    PROBES.iter().copied().find(|it| it.name() == name)
}

/// One question.
pub trait Probe: Sync {
    /// Its name in scenarios.
    fn name(&self) -> &'static str;

    /// The way it goes.
    fn transport(&self) -> TransportKind;

    /// Whether its failure is excused while the guest is paused, migrating, saving or rebooting.
    fn excused(&self) -> bool {
        true
    }

    /// Whether it is to be asked at once when this was seen, without waiting for its round.
    fn wakes_on(&self, _seen: &Seen) -> bool {
        false
    }

    /// Answers from what is known, or says what to type.
    fn begin(&self, view: &View, settings: &Settings, now: Instant) -> Step;

    /// Reads what came of the typing. Only called after [`Step::Shell`].
    fn read(&self, _view: &View, _settings: &Settings, _reply: &ShellReply, _now: Instant) -> Said {
        Said::unknown("this probe types nothing")
    }
}

/// What a probe does first.
#[derive(Debug)]
pub enum Step {
    /// It knows the answer.
    Say(Said),
    /// The scenario's command is to be typed on the console.
    Shell,
}

/// An answer, and what a failure says of the class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The answer.
    pub answer: Answer,
    /// The class that a failure points at; as coarse as [`Class::Suspect`].
    pub class: Class,
    /// How sure it is of that class.
    pub confidence: Confidence,
    /// The failure counts although the scenario has never passed.
    pub alarms_untried: bool,
}

impl Said {
    /// The guest did what was asked.
    pub fn pass() -> Said {
        Said {
            answer: Answer::Pass,
            class: Class::Well,
            confidence: Confidence::Certain,
            alarms_untried: false,
        }
    }

    /// The question could not be put.
    pub fn unknown(why: impl Into<String>) -> Said {
        Said { answer: Answer::Unknown(why.into()), ..Said::fail("") }
    }

    /// The guest did not do what was asked; what is wrong is not known.
    pub fn fail(why: impl Into<String>) -> Said {
        Said {
            answer: Answer::Fail(why.into()),
            class: Class::Suspect,
            confidence: Confidence::Possible,
            alarms_untried: false,
        }
    }

    /// The same, pointing at a class.
    pub fn of(mut self, class: Class, confidence: Confidence) -> Said {
        (self.class, self.confidence) = (class, confidence);
        self
    }

    /// The same, said by QEMU, the host or the guest's kernel itself.
    pub fn at_once(mut self) -> Said {
        self.alarms_untried = true;
        self
    }
}

/// What a scenario says to its probes. Each probe reads its own part.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Deadline of one answer.
    pub timeout: Duration,
    /// `console-command`: what is typed.
    pub command: String,
    /// `console-label`: name of the rule that recognises the label.
    pub label: String,
    /// `console-label`: the longest time between two labels.
    pub max_gap: Duration,
    /// `kernel-trouble`: kinds of trouble on the console that count. Where `events` is empty as well,
    /// those that stop or corrupt the kernel do.
    pub kinds: Vec<String>,
    /// `kernel-trouble`: QMP events that count.
    pub events: Vec<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            timeout: Duration::from_secs(5),
            command: "uptime".to_owned(),
            label: String::new(),
            max_gap: Duration::from_secs(10),
            kinds: Vec::new(),
            events: Vec::new(),
        }
    }
}

/// Seconds with one digit, for evidence.
pub(crate) fn seconds(it: Duration) -> String {
    format!("{:.1} s", it.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_probe_is_found_by_its_name_and_names_are_in_order() {
        let names: Vec<&str> = PROBES.iter().map(|it| it.name()).collect();
        assert_eq!(names, ["console-command", "console-label", "kernel-trouble", "qmp-status"]);
        assert!(names.iter().all(|it| named(it).is_some_and(|probe| probe.name() == *it)));
        assert!(named("ping").is_none());
    }
}
