//! A short text with a meaning: a moment, a number, a state, a way to somewhere else.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::escape::Text;

/// A fact or the cell of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Value {
    /// What is shown.
    pub text: Text,
    /// How.
    pub form: Form,
}

/// How a [`Value`] is shown. A terminal shows the text alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// As text.
    #[default]
    Plain,
    /// In a fixed-width font.
    Code,
    /// In a column of numbers.
    Number,
    /// As a moment.
    Time(Timestamp),
    /// As a way to another page.
    Link(Href),
    /// As a file to be kept.
    Download(Href),
    /// As a state.
    Badge(Tone),
}

/// What a state means for whoever looks after guests. Never told by colour alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tone {
    /// Somebody has to act.
    Alarm,
    /// It may need attention.
    Warn,
    /// It is as it should be.
    Good,
    /// It says nothing of good or bad.
    #[default]
    Quiet,
}

impl Tone {
    /// Its name in style sheets.
    pub fn name(self) -> &'static str {
        match self {
            Tone::Alarm => "alarm",
            Tone::Warn => "warn",
            Tone::Good => "good",
            Tone::Quiet => "quiet",
        }
    }
}

impl Value {
    /// In a fixed-width font.
    pub fn code(text: impl Into<Text>) -> Value {
        Value { text: text.into(), form: Form::Code }
    }

    /// In a column of numbers.
    pub fn number(text: impl Into<Text>) -> Value {
        Value { text: text.into(), form: Form::Number }
    }

    /// A state.
    pub fn badge(text: impl Into<Text>, tone: Tone) -> Value {
        Value { text: text.into(), form: Form::Badge(tone) }
    }

    /// A way to another page.
    pub fn link(text: impl Into<Text>, to: Href) -> Value {
        Value { text: text.into(), form: Form::Link(to) }
    }

    /// A moment, to the second: `2026-11-21 10:00:00Z`.
    pub fn time(at: Timestamp) -> Value {
        Value { text: Text::new(clock(at)), form: Form::Time(at) }
    }

    /// Whether there is nothing to see.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

impl<T: Into<Text>> From<T> for Value {
    fn from(text: T) -> Value {
        Value { text: text.into(), form: Form::Plain }
    }
}

/// `2026-11-21 10:00:00Z`.
pub fn clock(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// Where a link goes: a path of this site, of which every part that is not ours is percent-encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Href(String);

impl Href {
    /// A path that is written in our code.
    pub fn to(path: &'static str) -> Href {
        Href(path.to_owned())
    }

    /// With one more segment.
    #[must_use]
    pub fn join(mut self, segment: impl ToString) -> Href {
        self.0.push('/');
        encode(&segment.to_string(), &mut self.0);
        self
    }

    /// With a query parameter; an empty value leaves it as it is.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Href {
        if !value.is_empty() {
            self.0.push(if self.0.contains('?') { '&' } else { '?' });
            self.0.push_str(name);
            self.0.push('=');
            encode(value, &mut self.0);
        }
        self
    }

    /// As it stands in an attribute.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Percent-encodes all but the unreserved characters (RFC 3986, section 2.3).
fn encode(text: &str, into: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            into.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_link_is_made_of_parts() {
        let link = Href::to("/incidents").join("a/../b").with("guest", "ä&b=c").with("host", "");
        assert_eq!(link.as_str(), "/incidents/a%2F..%2Fb?guest=%C3%A4%26b%3Dc");
        assert_eq!(link.with("state", "open").as_str().matches('?').count(), 1);
    }

    #[test]
    fn a_moment_is_told_in_utc() {
        let at: Timestamp = "2026-11-21T10:00:00.5+01:00".parse().unwrap();
        assert_eq!(Value::time(at).text.as_str(), "2026-11-21 09:00:00Z");
    }

    proptest! {
        #[test]
        fn a_foreign_part_never_leaves_its_place(text in any::<String>()) {
            let link = Href::to("/guests").join(&text).with("q", &text);
            let (path, query) = link.as_str().split_once('?').unwrap_or((link.as_str(), ""));
            prop_assert!(path.matches('/').count() == 2 && query.matches(['=', '&']).count() <= 1);
            prop_assert!(link.as_str().chars().all(|it| it.is_ascii_graphic() && !"\"'<>".contains(it)));
        }
    }
}
