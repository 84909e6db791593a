//! The words about findings, as data: a built-in catalogue and what an organisation puts over it.
//!
//! A text may have blanks, `{name}`, filled from the finding's details, and parts in square brackets
//! that are left out when a blank in them has no value: `The kernel panicked[: {title}].` For other
//! blanks the entry has general words (`blanks`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vmward_model::Finding;

use crate::rule::RULES;

/// The catalogue that ships with vmward.
const BUILT_IN: &str = include_str!("../../scenarios/messages/en.toml");
/// Longest value that is put into a blank, in characters: it may be guest text.
const MAX_VALUE: usize = 300;

/// Words about every finding, by code.
#[derive(Clone, Debug)]
pub struct Catalogue {
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    rule: Option<String>,
    sentence: Option<String>,
    detail: Option<String>,
    causes: Option<Vec<String>>,
    next_steps: Option<Vec<String>>,
    links: Option<Vec<String>>,
    /// What stands in a blank that the finding has no value for.
    blanks: Option<BTreeMap<String, String>>,
}

/// The words about one finding, blanks filled. They may hold guest text: escape before showing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Words {
    /// What is wrong, for whoever owns the guest.
    pub sentence: String,
    /// What was seen and how it was judged, for a developer.
    pub detail: String,
    /// What usually causes it.
    pub causes: Vec<String>,
    /// What to do.
    pub next_steps: Vec<String>,
    /// Where to read on.
    pub links: Vec<String>,
}

/// A catalogue that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// Not TOML of the right shape; the message has line and column.
    #[error("the message catalogue cannot be read: {0}")]
    Syntax(#[from] toml::de::Error),
    /// A code that no rule has.
    #[error(
        "the message catalogue has words about {code}, which no rule has; `vmward explain` lists the codes"
    )]
    UnknownCode {
        /// The code.
        code: String,
    },
    /// A name that is not that of the code's rule.
    #[error("the message catalogue calls {code} {found:?}, its rule is {rule:?}")]
    WrongRule {
        /// The code.
        code: String,
        /// The name in the file.
        found: String,
        /// The rule's name.
        rule: &'static str,
    },
}

impl Catalogue {
    /// The catalogue that ships with vmward.
    ///
    /// # Errors
    /// Only when the file that was compiled in is broken, which a test rules out.
    pub fn built_in() -> Result<Catalogue, CatalogueError> {
        let mut catalogue = Catalogue { entries: BTreeMap::new() };
        catalogue.overlay(BUILT_IN)?;
        Ok(catalogue)
    }

    /// Puts an organisation's words over those that are there: what its file names is replaced, the
    /// rest stays. Nothing changes when the file is refused.
    ///
    /// # Errors
    /// TOML that cannot be read, or an entry that fits no rule.
    pub fn overlay(&mut self, text: &str) -> Result<(), CatalogueError> {
        let entries: BTreeMap<String, Entry> = toml::from_str(text)?;
        for (code, entry) in &entries {
            let Some(registered) = RULES.iter().find(|it| it.code == code) else {
                return Err(CatalogueError::UnknownCode { code: code.clone() });
            };
            let rule = registered.rule.name();
            if let Some(found) = entry.rule.as_ref().filter(|it| *it != rule) {
                return Err(CatalogueError::WrongRule { code: code.clone(), found: found.clone(), rule });
            }
        }
        for (code, new) in entries {
            let old = self.entries.entry(code).or_default();
            old.rule = new.rule.or(old.rule.take());
            old.sentence = new.sentence.or(old.sentence.take());
            old.detail = new.detail.or(old.detail.take());
            old.causes = new.causes.or(old.causes.take());
            old.next_steps = new.next_steps.or(old.next_steps.take());
            old.links = new.links.or(old.links.take());
            old.blanks.get_or_insert_default().extend(new.blanks.into_iter().flatten());
        }
        Ok(())
    }

    /// The words about a finding. A blank outside square brackets that it has no value for gets the
    /// catalogue's general word, so that a finding without details reads as what it usually means. One that the catalogue does not know (made by a newer vmward) is
    /// told by its rule's name.
    pub fn words(&self, finding: &Finding) -> Words {
        let Some(entry) = self.entries.get(&finding.code) else {
            return Words { sentence: finding.rule.replace('-', " "), ..Words::default() };
        };
        let values = Values { details: &finding.details, general: entry.blanks.as_ref() };
        let fill = |text: &String| fill(text, values);
        // An item that is all in brackets may have nothing to say.
        let all = |texts: &Option<Vec<String>>| {
            texts.iter().flatten().map(fill).filter(|it| !it.is_empty()).collect()
        };
        Words {
            sentence: entry.sentence.as_ref().map(fill).unwrap_or_default(),
            detail: entry.detail.as_ref().map(fill).unwrap_or_default(),
            causes: all(&entry.causes),
            next_steps: all(&entry.next_steps),
            links: entry.links.clone().unwrap_or_default(),
        }
    }
}

/// What goes into blanks.
#[derive(Clone, Copy)]
struct Values<'a> {
    /// Of this finding.
    details: &'a BTreeMap<String, String>,
    /// Of no finding in particular.
    general: Option<&'a BTreeMap<String, String>>,
}

/// Fills the blanks of a text. Values are not looked at again, so that a guest cannot add blanks.
fn fill(text: &str, values: Values<'_>) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('[') {
        let Some(length) = rest[at..].find(']') else { break };
        filled.push_str(&blanks(&rest[..at], values).0);
        // A part is for a value that was seen: a general word says nothing there.
        let (part, complete) = blanks(&rest[at + 1..at + length], Values { general: None, ..values });
        if complete {
            filled.push_str(&part);
        }
        rest = &rest[at + length + 1..];
    }
    filled.push_str(&blanks(rest, values).0);
    filled
}

fn blanks(text: &str, values: Values<'_>) -> (String, bool) {
    let mut filled = String::with_capacity(text.len());
    let mut complete = true;
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let Some(length) = rest[at..].find('}') else { break };
        filled.push_str(&rest[..at]);
        let name = &rest[at + 1..at + length];
        match values.details.get(name).or_else(|| values.general?.get(name)) {
            Some(value) => filled.extend(value.chars().take(MAX_VALUE)),
            None => {
                filled.push('?');
                complete = false;
            }
        }
        rest = &rest[at + length + 1..];
    }
    filled.push_str(rest);
    (filled, complete)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmward_model::{Class, Confidence};

    fn finding(code: &str, details: &[(&str, &str)]) -> Finding {
        Finding {
            code: code.into(),
            rule: "some-rule".into(),
            class: Class::Suspect,
            confidence: Confidence::Possible,
            evidence: vec![],
            details: details.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        }
    }

    #[test]
    fn every_rule_has_words_and_all_words_have_a_rule() {
        let catalogue = Catalogue::built_in().unwrap();
        for it in RULES {
            let entry = catalogue.entries.get(it.code).unwrap_or_else(|| panic!("{} has no words", it.code));
            assert_eq!(entry.rule.as_deref(), Some(it.rule.name()));
            let words = catalogue.words(&finding(it.code, &[]));
            assert!(words.sentence.ends_with('.') && !words.detail.is_empty(), "{}", it.code);
            assert!(!words.next_steps.is_empty(), "{} leaves the reader alone", it.code);
        }
        assert_eq!(catalogue.entries.len(), RULES.len());
    }

    #[test]
    fn blanks_are_filled_and_parts_without_a_value_left_out() {
        let details = finding("", &[("a", "1 {b} [x]")]).details;
        let general = BTreeMap::from([("b".to_owned(), "a b".to_owned())]);
        let values = Values { details: &details, general: None };
        assert_eq!(fill("x {a}[, y {b}][, z {a}].", values), "x 1 {b} [x], z 1 {b} [x].");
        assert_eq!(fill("{b} {", values), "? {");
        assert_eq!(fill("open [ {a}", values), "open [ 1 {b} [x]");
        let values = Values { general: Some(&general), ..values };
        assert_eq!(fill("{a}, {b}[, y {b}].", values), "1 {b} [x], a b.");
    }

    #[test]
    fn the_words_about_no_finding_in_particular_have_no_open_blanks() {
        let catalogue = Catalogue::built_in().unwrap();
        for it in RULES {
            let words = catalogue.words(&finding(it.code, &[]));
            let texts = [&words.sentence, &words.detail].into_iter().chain(&words.causes);
            for text in texts.chain(&words.next_steps) {
                assert!(!text.contains(['?', '{', '[']), "{}: {text}", it.code);
            }
        }
        let owed = finding("VW1301", &[("owed", "3")]);
        assert!(catalogue.words(&owed).sentence.contains("owes 3 requests"));
    }

    #[test]
    fn an_organisation_replaces_what_it_names_and_no_more() {
        let mut catalogue = Catalogue::built_in().unwrap();
        let before = catalogue.words(&finding("VW1001", &[]));
        catalogue.overlay("[VW1001]\nnext_steps = [\"call the night desk\"]").unwrap();
        let after = catalogue.words(&finding("VW1001", &[]));
        assert_eq!(after.next_steps, ["call the night desk"]);
        assert_eq!(after.sentence, before.sentence);
    }

    #[test]
    fn mistakes_in_a_file_are_named_and_change_nothing() {
        let mut catalogue = Catalogue::built_in().unwrap();
        let bad = "[VW1001]\nsentence = \"changed\"\n[VW9999]\nsentence = \"x\"";
        assert!(matches!(catalogue.overlay(bad), Err(CatalogueError::UnknownCode { .. })));
        assert!(catalogue.overlay("[VW1001]\nsentance = \"x\"").unwrap_err().to_string().contains("line 2"));
        assert!(matches!(catalogue.overlay("[VW1001]\nrule = \"x\""), Err(CatalogueError::WrongRule { .. })));
        assert_ne!(catalogue.words(&finding("VW1001", &[])).sentence, "changed");
    }

    #[test]
    fn a_finding_of_a_newer_vmward_is_still_named() {
        let catalogue = Catalogue::built_in().unwrap();
        assert_eq!(catalogue.words(&finding("VW7777", &[])).sentence, "some rule");
    }
}
