//! `faults.toml`, read and checked.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Deserializer};

use crate::kernels::KERNELS;

/// The file, as it was when this crate was built.
const TEXT: &str = include_str!("../../faults.toml");

/// The final classes that a finding can set.
pub const CLASSES: [&str; 16] = [
    "panicked",
    "init-died",
    "kernel-oops",
    "cpu-spin",
    "irq-off-spin",
    "disk-stall",
    "lock-wait",
    "userspace-hung",
    "memory-thrash",
    "process-limit",
    "console-lost",
    "boot-stuck",
    "qemu-stuck",
    "qemu-gone",
    "busy",
    "well",
];

/// The scenarios that ship.
pub const SCENARIOS: [&str; 3] = ["kernel-trouble", "shell-answers", "app-label"];

/// What must come of one fault.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The fault's name.
    pub name: String,
    /// How it is made.
    pub made: String,
    /// The kernels that it is made on.
    pub kernels: Vec<String>,
    /// The scenario that must notice it. None for what must not be noticed.
    pub noticed_by: Option<String>,
    /// The scenarios that must stay well.
    #[serde(default)]
    pub stay_well: Vec<String>,
    /// The classes that the opening verdict may have.
    pub verdicts: Vec<String>,
    /// The exact class that the incident must end in.
    pub class: String,
    /// From the fault's proof to the notice, at most.
    #[serde(rename = "deadline_s", deserialize_with = "seconds")]
    pub deadline: Duration,
    /// Captures of the default diagnosis that must give something.
    #[serde(default)]
    pub captures_succeed: Vec<String>,
    /// Captures that cannot, and must say so.
    #[serde(default)]
    pub captures_fail: Vec<String>,
}

impl Entry {
    /// Whether nothing may come of it.
    pub fn is_harmless(&self) -> bool {
        self.noticed_by.is_none()
    }
}

/// All entries, in the order of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Catalogue {
    /// The entries.
    pub faults: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    fault: Vec<Entry>,
}

impl Catalogue {
    /// The catalogue that ships.
    ///
    /// # Errors
    /// When it is not well-formed or contradicts itself.
    pub fn shipped() -> Result<Self> {
        Self::parse(TEXT)
    }

    /// Reads and checks a catalogue.
    ///
    /// # Errors
    /// As for [`Catalogue::shipped`]; the error names the entry.
    pub fn parse(text: &str) -> Result<Self> {
        let file: File = toml::from_str(text).context("faults.toml is not well-formed")?;
        let mut names = BTreeSet::new();
        for entry in &file.fault {
            check(entry).with_context(|| format!("faults.toml, fault {:?}", entry.name))?;
            ensure!(names.insert(&entry.name), "faults.toml has {:?} twice", entry.name);
        }
        Ok(Self { faults: file.fault })
    }

    /// The entry of the fault `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn entry(&self, name: &str) -> Result<&Entry> {
        let found = self.faults.iter().find(|it| it.name == name);
        found.with_context(|| format!("faults.toml has no {name:?}"))
    }
}

fn check(entry: &Entry) -> Result<()> {
    ensure!(!entry.made.trim().is_empty(), "`made` is empty");
    ensure!(!entry.kernels.is_empty(), "no kernels");
    for kernel in &entry.kernels {
        ensure!(KERNELS.contains(&kernel.as_str()), "unknown kernel {kernel:?}");
    }
    ensure!(CLASSES.contains(&entry.class.as_str()), "unknown class {:?}", entry.class);
    ensure!(!entry.verdicts.is_empty(), "no verdicts allowed");
    for verdict in &entry.verdicts {
        let known = CLASSES.contains(&verdict.as_str()) || verdict == "suspect";
        ensure!(known, "unknown verdict {verdict:?}");
    }
    for scenario in entry.noticed_by.iter().chain(&entry.stay_well) {
        ensure!(SCENARIOS.contains(&scenario.as_str()), "unknown scenario {scenario:?}");
    }
    if let Some(scenario) = &entry.noticed_by {
        ensure!(!entry.stay_well.contains(scenario), "{scenario} must notice it and stay well");
    }
    let fine = matches!(entry.class.as_str(), "well" | "busy");
    ensure!(fine == entry.is_harmless(), "class {:?} and `noticed_by` contradict each other", entry.class);
    ensure!(!entry.deadline.is_zero(), "a deadline of nothing");
    let both: Vec<_> = entry.captures_succeed.iter().filter(|it| entry.captures_fail.contains(it)).collect();
    ensure!(both.is_empty(), "captures that must succeed and fail: {both:?}");
    Ok(())
}

fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    u64::deserialize(from).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::ALL;

    #[test]
    fn every_fault_has_an_entry_and_every_entry_a_fault() {
        let catalogue = Catalogue::shipped().unwrap();
        let described: Vec<_> = catalogue.faults.iter().map(|it| it.name.as_str()).collect();
        let made: Vec<_> = ALL.iter().map(|it| it.name()).collect();
        assert_eq!(described, made);
    }

    #[test]
    fn every_fault_is_made_on_the_main_kernel() {
        for entry in Catalogue::shipped().unwrap().faults {
            assert!(entry.kernels.iter().any(|it| it == "amd64-6.1"), "{}", entry.name);
        }
    }

    #[test]
    fn two_faults_share_a_class_only_where_the_file_says_why() {
        let mut classes = std::collections::BTreeMap::<_, Vec<_>>::new();
        for entry in Catalogue::shipped().unwrap().faults {
            if !entry.is_harmless() {
                classes.entry(entry.class).or_default().push(entry.name);
            }
        }
        for (class, names) in classes.into_iter().filter(|(_, names)| names.len() > 1) {
            let why = format!("# Class {class} is shared by {}:", names.join(", "));
            assert!(TEXT.contains(&why), "faults.toml does not say {why:?}");
        }
    }

    #[test]
    fn contradictions_are_refused_by_name() {
        let good = "[[fault]]\nname = 'x'\nmade = 'somehow'\nkernels = ['amd64-6.1']\n\
                    noticed_by = 'app-label'\nverdicts = ['suspect']\nclass = 'panicked'\ndeadline_s = 6\n";
        assert!(Catalogue::parse(good).is_ok());
        for (was, becomes, says) in [
            ("amd64-6.1", "amd64-1.0", "unknown kernel"),
            ("'panicked'", "'well'", "contradict"),
            ("'app-label'", "'my-feeling'", "unknown scenario"),
            ("deadline_s = 6", "deadline_s = 0", "deadline"),
            ("deadline_s = 6", "deadline_s = 6\ncolour = 'red'", "unknown field"),
            ("deadline_s = 6", "deadline_s = 6\nstay_well = ['app-label']", "stay well"),
        ] {
            let err = Catalogue::parse(&good.replace(was, becomes)).unwrap_err();
            assert!(format!("{err:#}").contains(says), "{err:#}");
        }
    }
}
