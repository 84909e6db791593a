//! Small texts of the files that mean something: patterns, globs, N-of-M rules, SysRq keys.
//! Each is checked when it is read, so that an error points at its place in the file.

use std::fmt;
use std::str::FromStr;

use regex::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::verdict::Rule;

/// A regular expression over a line of console text (the `regex` crate: linear in its input).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("format" = "regex"))]
pub struct Pattern(Regex);

/// Largest compiled pattern, in bytes.
const PATTERN_LIMIT: usize = 1 << 20;

impl Pattern {
    /// The compiled expression.
    #[must_use]
    pub fn regex(&self) -> &Regex {
        &self.0
    }

    /// The expression as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() {
            return Err("an empty pattern matches everything: write what to look for".to_owned());
        }
        RegexBuilder::new(&text)
            .size_limit(PATTERN_LIMIT)
            .build()
            .map(Self)
            .map_err(|e| format!("not a usable regular expression: {e}"))
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::try_from(text.to_owned())
    }
}

impl From<Pattern> for String {
    fn from(it: Pattern) -> String {
        it.as_str().to_owned()
    }
}

/// A guest name, or a name with `*` (any characters) and `?` (one).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Glob(String);

impl Glob {
    /// This text as a glob; every text is one.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The glob as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a plain name that can match only itself.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        !self.0.contains(['*', '?'])
    }

    /// Whether `name` as a whole matches. Linear memory, no recursion.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let pattern: Vec<char> = self.0.chars().collect();
        let name: Vec<char> = name.chars().collect();
        let (mut p, mut n, mut star) = (0, 0, None);
        while let Some(&c) = name.get(n) {
            match pattern.get(p) {
                Some('*') => {
                    star = Some((p, n));
                    p += 1;
                }
                Some(&want) if want == '?' || want == c => {
                    p += 1;
                    n += 1;
                }
                // Let the last star take one character more.
                _ => match star {
                    Some((at, from)) => {
                        star = Some((at, from + 1));
                        p = at + 1;
                        n = from + 1;
                    }
                    None => return false,
                },
            }
        }
        pattern.get(p..).is_none_or(|rest| rest.iter().all(|c| *c == '*'))
    }
}

/// When a scenario counts as failed: `"2 of 3"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[0-9]+ of [0-9]+$"))]
pub struct FailRule {
    /// How many rounds must fail.
    pub fails: u32,
    /// How many of the last rounds are looked at.
    pub of: u32,
}

impl FailRule {
    /// One failure is enough.
    pub const AT_ONCE: FailRule = FailRule { fails: 1, of: 1 };
}

impl TryFrom<String> for FailRule {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts = text.split_once(" of ").and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        let (fails, of) = parts.ok_or_else(|| format!("{text:?} is no rule: write it as \"2 of 3\""))?;
        Rule::new(fails, of, 1).map_err(|e| e.to_string())?;
        Ok(Self { fails, of })
    }
}

impl fmt::Display for FailRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.fails, self.of)
    }
}

impl From<FailRule> for String {
    fn from(it: FailRule) -> String {
        it.to_string()
    }
}

/// SysRq keys that may be pressed, in order: only those that print.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[wlmpqtz]*$"))]
pub struct SysrqKeys(String);

impl SysrqKeys {
    /// Every key that may stand here (Linux, `Documentation/admin-guide/sysrq.rst`). `z` leaves the
    /// guest's tracing off, so it is allowed and never a default.
    pub const ALLOWED: &str = "wlmpqtz";

    /// The keys.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The keys one by one.
    pub fn iter(&self) -> impl Iterator<Item = char> + '_ {
        self.0.chars()
    }
}

impl Default for SysrqKeys {
    fn default() -> Self {
        Self("wlmpqt".to_owned())
    }
}

impl TryFrom<String> for SysrqKeys {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        for (at, key) in text.char_indices() {
            if !Self::ALLOWED.contains(key) {
                return Err(format!(
                    "SysRq key {key:?} is not offered: only keys that print are ({})",
                    Self::ALLOWED
                ));
            }
            if text.get(..at).is_some_and(|before| before.contains(key)) {
                return Err(format!("SysRq key {key:?} stands twice"));
            }
        }
        Ok(Self(text))
    }
}

impl From<SysrqKeys> for String {
    fn from(it: SysrqKeys) -> String {
        it.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_glob_matches_the_whole_name() {
        for (glob, name, want) in [
            ("web", "web", true),
            ("web", "web1", false),
            ("web*", "web1", true),
            ("*-db-?", "eu-db-7", true),
            ("*-db-?", "eu-db-77", false),
            ("*a*b*c*", "xxaxxbxxc", true),
            ("*a*b*c*", "xxaxxcxxb", false),
            ("", "", true),
            ("*", "", true),
            ("?", "", false),
        ] {
            assert_eq!(Glob::new(glob).matches(name), want, "{glob} on {name}");
        }
    }

    #[test]
    fn a_rule_is_read_as_people_say_it() {
        assert_eq!(FailRule::try_from("2 of 3".to_owned()), Ok(FailRule { fails: 2, of: 3 }));
        for bad in ["", "2", "2of3", "3 of 2", "0 of 1", "2 of 3 of 4", "1 of 1000"] {
            assert!(FailRule::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn keys_that_do_more_than_print_are_refused() {
        for bad in ["b", "wc", "ww", "W", "o"] {
            assert!(SysrqKeys::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
        assert!(!SysrqKeys::default().as_str().contains('z'));
    }

    proptest! {
        #[test]
        fn a_star_matches_every_name_and_a_plain_name_itself(name in "[^*?]{0,20}") {
            prop_assert!(Glob::new("*").matches(&name));
            prop_assert!(Glob::new(name.clone()).matches(&name));
            prop_assert!(Glob::new(name.clone() + "*").matches(&name));
        }

        #[test]
        fn no_text_makes_it_panic(a in any::<String>(), b in any::<String>()) {
            let _ = Glob::new(a.clone()).matches(&b);
            let _ = FailRule::try_from(a.clone());
            let _ = SysrqKeys::try_from(a.clone());
            let _ = Pattern::try_from(a);
        }
    }
}
