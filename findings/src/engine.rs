//! Puts every rule to a case and says which finding decides.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vmward_model::{Class, Confidence, Finding};

use crate::Case;
use crate::rule::{Checked, RULES, Weight};

/// What the engine concludes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Conclusion {
    /// The incident's final class: that of the deciding finding, or where no rule says yes, the
    /// class of the opening verdict.
    pub class: Class,
    /// Findings, the deciding one first; those that never decide last.
    pub findings: Vec<Finding>,
    /// Rules that could not tell.
    pub undecided: Vec<Undecided>,
}

/// A rule that could not tell, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Undecided {
    /// Its code.
    pub code: String,
    /// Its name.
    pub rule: String,
    /// What it would have needed.
    pub why: String,
}

/// Judges a case. Pure: the same case gives the same conclusion everywhere.
///
/// Among findings that may decide, one that is merely possible gives way to any that is likely;
/// otherwise the order of [`RULES`] holds.
pub fn conclude(case: &Case) -> Conclusion {
    let mut ranked = Vec::new();
    let mut undecided = Vec::new();
    for it in RULES {
        match it.rule.check(case) {
            Checked::No => {}
            Checked::Unknown(why) => {
                undecided.push(Undecided { code: it.code.to_owned(), rule: it.rule.name().to_owned(), why });
            }
            Checked::Yes(draft) => {
                let finding = Finding {
                    code: it.code.to_owned(),
                    rule: it.rule.name().to_owned(),
                    class: it.rule.class(),
                    confidence: draft.confidence,
                    evidence: draft.evidence,
                    details: draft.details,
                };
                let rank = match it.weight {
                    Weight::Decides(before) => (0u8, finding.confidence == Confidence::Possible, before),
                    Weight::Adds => (1, false, 0),
                };
                ranked.push((rank, finding));
            }
        }
    }
    // Stable: rules that add keep the order of the registry.
    ranked.sort_by_key(|it| it.0);
    let class = match ranked.first() {
        Some(((0, ..), finding)) => finding.class,
        _ => case.opening.class,
    };
    Conclusion { class, findings: ranked.into_iter().map(|it| it.1).collect(), undecided }
}
