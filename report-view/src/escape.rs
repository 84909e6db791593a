//! Makes any text harmless to show, and visible what it tried.
//!
//! Guest text may hold terminal sequences, characters that reorder or hide others, and anything
//! else. A [`Text`] never does: every character that is not plainly visible is written out as
//! `\u{...}`. Documents are made of [`Text`] alone, so that no renderer can forget it.

use std::fmt;

/// A text that is one line of visible characters and spaces. The renderers take nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text(String);

impl Text {
    /// Makes a text visible.
    pub fn new(text: impl AsRef<str>) -> Text {
        Text(visible(text.as_ref()))
    }

    /// Makes bytes visible; what is no UTF-8 is written as `\xNN`.
    pub fn from_bytes(bytes: &[u8]) -> Text {
        let mut text = String::new();
        for chunk in bytes.utf8_chunks() {
            text.push_str(&visible(chunk.valid()));
            for byte in chunk.invalid() {
                text.push_str(&format!("\\x{byte:02x}"));
            }
        }
        Text(text)
    }

    /// The visible text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is nothing to see.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<T: AsRef<str>> From<T> for Text {
    fn from(text: T) -> Text {
        Text::new(text)
    }
}

/// The text on one line with every invisible or reordering character written out.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for it in text.chars() {
        match it {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push(' '),
            '\u{1b}' => shown.push_str("\\e"),
            it if is_hidden(it) => shown.push_str(&format!("\\u{{{:x}}}", u32::from(it))),
            it => shown.push(it),
        }
    }
    shown
}

/// JSON that says the same with every hidden character written as `\uXXXX`: it may be read by a person at
/// a terminal as well. Outside of strings JSON has no such characters but line breaks and tabs.
pub fn json(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for it in text.chars() {
        if is_hidden(it) && !matches!(it, '\n' | '\r' | '\t') {
            let mut units = [0; 2];
            for unit in it.encode_utf16(&mut units) {
                shown.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            shown.push(it);
        }
    }
    shown
}

/// Characters that are not shown as themselves: controls (C0, DEL, C1), and by Unicode's
/// DerivedCoreProperties the default-ignorable ones, line and paragraph separators, the bidirectional
/// controls (UAX #9), private use, tags and noncharacters; also blanks that are not U+0020, combining
/// marks stacked on nothing are left alone.
fn is_hidden(it: char) -> bool {
    it.is_control()
        || (it.is_whitespace() && it != ' ')
        || matches!(u32::from(it),
            0x00ad | 0x034f | 0x061c | 0x115f | 0x1160 | 0x17b4 | 0x17b5 | 0x180b..=0x180f
            | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0x2800 | 0x3164 | 0xe000..=0xf8ff
            | 0xfe00..=0xfe0f | 0xfeff | 0xffa0 | 0xfff0..=0xfffb | 0xfffe | 0xffff
            | 0x1bca0..=0x1bca3 | 0x1d173..=0x1d17a | 0xe0000..=0x10ffff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_made_to_deceive_are_seen_for_what_they_are() {
        for (hostile, shown) in [
            ("\u{1b}]0;title\u{7}", "\\e]0;title\\u{7}"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("user\u{202e}gpj.exe", "user\\u{202e}gpj.exe"),
            ("\u{2066}a\u{2069}", "\\u{2066}a\\u{2069}"),
            ("pay\u{200b}pal", "pay\\u{200b}pal"),
            ("a\r\nb\tc", "a\\r\\nb c"),
            ("\u{e0041}\u{feff}\u{ad}\u{85}", "\\u{e0041}\\u{feff}\\u{ad}\\u{85}"),
            ("grün 日本 😀", "grün 日本 😀"),
        ] {
            assert_eq!(Text::new(hostile).as_str(), shown);
        }
        assert_eq!(Text::from_bytes(b"a\xff\xc0b\x1b[m").as_str(), "a\\xff\\xc0b\\e[m");
    }

    proptest! {
        #[test]
        fn json_hides_nothing_and_says_the_same(mut text in any::<String>(), more in "[\u{80}-\u{9f}\u{202a}-\u{202e}\u{e0041}\u{7f}\n]{0,8}") {
            text.push_str(&more);
            let value = serde_json::json!({ "text": text });
            let shown = json(&serde_json::to_string_pretty(&value).unwrap());
            prop_assert!(!shown.chars().any(|it| is_hidden(it) && it != '\n'), "{shown:?}");
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        }

        #[test]
        fn nothing_hidden_gets_through(text in any::<String>(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for shown in [Text::new(text), Text::from_bytes(&bytes)] {
                prop_assert!(!shown.as_str().chars().any(|it| it.is_control() || is_hidden(it)));
            }
        }

        #[test]
        fn plain_ascii_stays_as_it_is(text in "[ -~]{0,80}") {
            prop_assert_eq!(Text::new(&text).to_string(), text);
        }
    }
}
