//! Log labels: lines that a healthy guest writes again and again, and how long they stayed away.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a label's line is recognised. Patterns run in linear time whatever the guest writes.
#[derive(Debug, Clone)]
pub enum LabelMatcher {
    /// The message contains this.
    Contains(String),
    /// The message starts with this.
    StartsWith(String),
    /// The message matches this pattern.
    Pattern(regex::Regex),
}

/// A label that the caller wants to hear of.
#[derive(Debug, Clone)]
pub struct LabelRule {
    /// The caller's name for it.
    pub name: String,
    /// How it is recognised.
    pub matcher: LabelMatcher,
}

impl LabelRule {
    /// A label of lines that contain a text.
    pub fn containing(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), matcher: LabelMatcher::Contains(text.into()) }
    }

    /// Whether a message (without its prefix) is this label.
    pub fn matches(&self, text: &str) -> bool {
        match &self.matcher {
            LabelMatcher::Contains(it) => text.contains(it.as_str()),
            LabelMatcher::StartsWith(it) => text.starts_with(it.as_str()),
            LabelMatcher::Pattern(it) => it.is_match(text),
        }
    }
}

/// The last number in a line: a label's counter.
pub fn last_number(text: &str) -> Option<u64> {
    text.rsplit(|it: char| !it.is_ascii_digit()).find(|it| !it.is_empty())?.parse().ok()
}

/// Follows one label over the caller's clock (any monotonic time since any start).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelGaps {
    /// How often it was seen.
    pub seen: u64,
    /// When it was last seen.
    pub last: Option<Duration>,
    /// The longest time between two of them.
    pub longest_gap: Duration,
    /// Its last counter.
    pub counter: Option<u64>,
    /// How often its counter did not rise: the application started again, or is stuck.
    pub not_risen: u64,
}

impl LabelGaps {
    /// It was seen now.
    pub fn saw(&mut self, now: Duration, counter: Option<u64>) {
        if let Some(last) = self.last {
            self.longest_gap = self.longest_gap.max(now.saturating_sub(last));
        }
        if let (Some(before), Some(after)) = (self.counter, counter)
            && after <= before
        {
            self.not_risen += 1;
        }
        self.seen += 1;
        self.last = Some(now);
        self.counter = counter.or(self.counter);
    }

    /// How long it has been away; `None` when it was never seen.
    pub fn away(&self, now: Duration) -> Option<Duration> {
        self.last.map(|it| now.saturating_sub(it))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn gaps_and_counters_are_followed() {
        let mut gaps = LabelGaps::default();
        assert_eq!(gaps.away(SECOND), None);
        for (now, counter) in [(1, 10), (2, 11), (5, 12), (6, 12)] {
            gaps.saw(SECOND * now, Some(counter));
        }
        assert_eq!((gaps.seen, gaps.longest_gap, gaps.not_risen), (4, SECOND * 3, 1));
        assert_eq!(gaps.away(SECOND * 10), Some(SECOND * 4));
    }

    #[test]
    fn rules_match_by_text_or_pattern() {
        assert!(LabelRule::containing("tick", "tick").matches("app: tick 12"));
        let pattern = LabelMatcher::Pattern(regex::Regex::new(r"^tick \d+$").unwrap());
        let rule = LabelRule { name: "tick".into(), matcher: pattern };
        assert!(rule.matches("tick 12") && !rule.matches("a tick 12"));
        assert_eq!(last_number("write 12 took 5 ms"), Some(5));
        assert_eq!(last_number("none"), None);
    }
}
