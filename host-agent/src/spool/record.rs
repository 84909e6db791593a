//! The file of an entry: JSON for people, named by severity, number and kind.

use serde::{Deserialize, Serialize};
use vmward_model::{Class, Event, GuestId, IncidentId, Manifest, Severity, Stamp};

use crate::verdict::weight;

/// How the file of an entry ends.
const ENDING: &str = ".json";
/// Digits of a number in a name, so that names sort.
const DIGITS: usize = 12;

/// One entry as it lies on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Number in this spool; rises by one and never repeats.
    pub seq: u64,
    /// How much it matters: the lowest are dropped first.
    pub severity: Severity,
    /// What it holds.
    #[serde(flatten)]
    pub body: Body,
}

/// What an entry holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub enum Body {
    /// An event, whole.
    Event {
        /// It.
        event: Box<Event>,
    },
    /// A report, which stays where it is.
    Report {
        /// What the bundle is called in the folder of reports.
        bundle: String,
        /// The incident.
        incident: IncidentId,
        /// Whose.
        guest: GuestId,
        /// Its name. Chosen by whoever started it: escape before showing.
        guest_name: String,
        /// What the findings made of it.
        class: Class,
        /// When it was written.
        written: Stamp,
        /// Bytes of the whole bundle.
        bundle_bytes: u64,
    },
}

impl Body {
    /// Of a bundle with this manifest.
    pub fn of_bundle(name: &str, manifest: &Manifest, bytes: u64) -> Body {
        Body::Report {
            bundle: name.to_owned(),
            incident: manifest.incident.id,
            guest: manifest.incident.guest,
            guest_name: manifest.incident.guest_name.clone(),
            class: manifest.incident.class,
            written: manifest.written,
            bundle_bytes: bytes,
        }
    }

    /// One word, for the name of the file.
    pub fn kind(&self) -> String {
        match self {
            Body::Report { .. } => "report".to_owned(),
            Body::Event { event } => {
                let value = serde_json::to_value(&event.kind).unwrap_or_default();
                value.get("event").and_then(|it| it.as_str()).unwrap_or("event").to_owned()
            }
        }
    }
}

impl Record {
    /// What its file is called.
    pub fn file_name(&self) -> String {
        file_name(self.severity, self.seq, &self.body.kind())
    }
}

/// What the file of an entry is called.
pub(super) fn file_name(severity: Severity, seq: u64, kind: &str) -> String {
    format!("{}-{seq:0DIGITS$}-{kind}{ENDING}", word(severity))
}

/// Whether a file of this name holds an entry, and of which number.
pub(super) fn number(name: &str) -> Option<u64> {
    let (severity, rest) = name.strip_suffix(ENDING)?.split_once('-')?;
    let (seq, _) = rest.split_once('-')?;
    let known = ALL.iter().any(|it| word(*it) == severity);
    seq.parse().ok().filter(|_| known && seq.len() >= DIGITS)
}

/// Every severity, the lowest first.
pub const ALL: [Severity; 5] =
    [Severity::Debug, Severity::Info, Severity::Warn, Severity::Error, Severity::Crit];

/// The word for a severity.
pub fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Debug => "DEBUG",
        Severity::Info => "INFO",
        Severity::Warn => "WARN",
        Severity::Error => "ERROR",
        Severity::Crit => "CRIT",
    }
}

/// How much a report matters. One that somebody asked for of a guest that is well matters least.
pub fn severity_of(manifest: &Manifest) -> Severity {
    let (class, opening) = (manifest.incident.class, manifest.incident.opening.class);
    if weight(class).max(weight(opening)) >= 4 {
        Severity::Crit
    } else if class == Class::Well {
        Severity::Info
    } else {
        Severity::Error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_severity_number_and_kind_and_is_known_again() {
        let name = file_name(Severity::Crit, 42, "incident");
        assert_eq!(name, "CRIT-000000000042-incident.json");
        assert_eq!(number(&name), Some(42));
        assert_eq!(number(&file_name(Severity::Info, u64::MAX, "a-b")), Some(u64::MAX));
        for other in ["ledger", "ledger.part", "LOUD-000000000042-x.json", "CRIT-42-x.json", "notes.json"] {
            assert_eq!(number(other), None, "{other}");
        }
    }
}
