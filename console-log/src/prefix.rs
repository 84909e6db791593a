//! Takes what stands before a message off a line: levels, stamps, caller ids, syslog prefixes.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Who called `printk()` (`CONFIG_PRINTK_CALLER`, since v5.1: commit 15ff2069cb7f).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Caller {
    /// `[T123]`: this thread.
    Task(u32),
    /// `[C0]`: this CPU, in an interrupt.
    Cpu(u32),
}

/// Who wrote a line, as far as its prefix tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The kernel: the line has its stamp or level, or syslog says so.
    Kernel,
    /// A program: syslog names another one.
    Program,
    /// Nothing tells: firmware, user output, or a kernel that stamps nothing.
    Unknown,
}

/// A line with its prefix taken off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its bytes in the stream.
    pub range: Range<u64>,
    /// The message; leading blanks that the kernel printed are kept.
    pub text: &'a str,
    /// Kernel's stamp in microseconds since the guest's boot.
    pub stamp_us: Option<u64>,
    /// Log level 0 (emergency) to 7 (debug).
    pub level: Option<u8>,
    /// Who called `printk()`.
    pub caller: Option<Caller>,
    /// Who wrote it.
    pub source: Source,
}

impl<'a> Line<'a> {
    /// Takes the prefix off a line of text.
    pub fn parse(text: &'a str, range: Range<u64>) -> Self {
        let mut line =
            Self { range, text, stamp_us: None, level: None, caller: None, source: Source::Unknown };
        line.take_level();
        line.take_syslog();
        line.take_level();
        line.take_stamp();
        line
    }

    /// Hands over a line of the stream as one or more lines: a kernel that prints while a program has not
    /// ended its line (a shell's prompt, most often), or while another record is cut, leaves its stamp in
    /// the middle. Each part has the range of the whole.
    pub(crate) fn each(text: &'a str, range: Range<u64>, mut each: impl FnMut(&Line<'a>)) {
        let mut rest = text;
        for _ in 0..MAX_PARTS {
            let Some(at) = inner_stamp(rest) else { break };
            each(&Self::parse(&rest[..at], range.clone()));
            rest = &rest[at..];
        }
        each(&Self::parse(rest, range));
    }

    fn take_level(&mut self) {
        let Some(rest) = self.text.strip_prefix('<') else { return };
        let Some((number, rest)) = rest.split_once('>') else { return };
        // A syslog priority is below 192: facility times eight plus level.
        if let Ok(priority @ 0..192) = number.parse::<u8>() {
            self.level = Some(priority & 7);
            self.source = if priority < 8 { Source::Kernel } else { self.source };
            self.text = rest;
        }
    }

    /// `Nov 21 02:08:17 host kernel: ` and `2026-11-21T02:08:17.123+00:00 host kernel: `; a date alone
    /// (a logger's) is taken off too.
    fn take_syslog(&mut self) {
        let Some(rest) = after_bsd_date(self.text).or_else(|| after_iso_date(self.text)) else { return };
        self.text = rest;
        let mut words = rest.splitn(3, ' ');
        let (Some(host), Some(ident)) = (words.next(), words.next()) else { return };
        let is_host = !host.is_empty() && !host.starts_with('[') && !host.ends_with(':');
        let Some(ident_name) = ident.strip_suffix(':').filter(|it| is_host && !it.is_empty()) else { return };
        self.source = if ident_name == "kernel" { Source::Kernel } else { Source::Program };
        self.text = words.next().unwrap_or_default();
    }

    /// `[   12.345678] `, then `[ T123] ` or `[ C0] ` with or without a blank between.
    fn take_stamp(&mut self) {
        let Some((inner, rest)) = bracketed(self.text) else { return };
        let Some(stamp_us) = parse_stamp(inner) else { return };
        self.stamp_us = Some(stamp_us);
        self.source = Source::Kernel;
        let unspaced = rest.strip_prefix(' ').unwrap_or(rest);
        self.text = unspaced;
        let Some((inner, rest)) = bracketed(unspaced) else { return };
        if let Some(caller) = parse_caller(inner) {
            self.caller = Some(caller);
            self.text = rest.strip_prefix(' ').unwrap_or(rest);
        }
    }
}

/// Parts of one line at most.
const MAX_PARTS: usize = 8;

/// Where a stamp stands in a line that is not its head. What only looks like one (a date's fraction, a
/// stamp that syslog copied) must not split a line, so its seconds are padded as the kernel pads them, and
/// what stands before is more than a prefix.
fn inner_stamp(text: &str) -> Option<usize> {
    let head = Line::parse(text, 0..0);
    let skip = text.len() - head.text.len();
    let mut from = skip;
    while let Some(at) = text[from..].find('[').map(|it| from + it) {
        let is_stamp = near_bracketed(&text[at..]).is_some_and(|(inner, rest)| {
            inner.len() >= 12 && rest.starts_with([' ', '[']) && parse_stamp(inner).is_some()
        });
        if is_stamp && at > skip {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

/// [`bracketed`], looking no further than a stamp is long: a line of nothing but `[` costs no more than another.
fn near_bracketed(text: &str) -> Option<(&str, &str)> {
    let end = text.bytes().take(MAX_STAMP).position(|it| it == b']')?;
    Some((&text[1..end], &text[end + 1..]))
}

/// Bytes of a stamp at most: 2^64 seconds with microseconds and brackets.
const MAX_STAMP: usize = 29;

fn bracketed(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix('[')?.split_once(']')
}

fn parse_stamp(inner: &str) -> Option<u64> {
    let (secs, micros) = inner.trim_start().split_once('.')?;
    if micros.len() != 6 || !micros.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    if !secs.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    secs.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(micros.parse().ok()?)
}

fn parse_caller(inner: &str) -> Option<Caller> {
    let inner = inner.trim();
    let number = |it: &str| it.parse().ok();
    if let Some(rest) = inner.strip_prefix('T') {
        return number(rest).map(Caller::Task);
    }
    number(inner.strip_prefix('C')?).map(Caller::Cpu)
}

fn after_bsd_date(text: &str) -> Option<&str> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    // "Mmm dd hh:mm:ss " is 16 bytes.
    let (date, rest) = text.split_at_checked(16)?;
    (MONTHS.iter().any(|it| date.starts_with(it)) && shape(date.get(3..)?, " dd dd:dd:dd ")).then_some(rest)
}

fn after_iso_date(text: &str) -> Option<&str> {
    let (date, rest) = text.split_at_checked(19)?;
    let shapes = ["dddd-dd-ddTdd:dd:dd", "dddd-dd-dd dd:dd:dd", "dddd/dd/dd dd:dd:dd"];
    if !shapes.iter().any(|it| shape(date, it)) {
        return None;
    }
    // Fraction and zone, up to the blank: at most ".123456789+00:00".
    let (zone, rest) = rest.split_once(' ')?;
    (zone.len() <= 16 && zone.bytes().all(|it| it.is_ascii_digit() || b".,+-:Z".contains(&it)))
        .then_some(rest)
}

/// Whether a text has this shape: `d` a digit (or a blank for padding), all else itself.
fn shape(text: &str, shape: &str) -> bool {
    text.len() == shape.len()
        && text.bytes().zip(shape.bytes()).all(|(it, want)| match want {
            b'd' => it.is_ascii_digit() || it == b' ',
            _ => it == want,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Line<'_> {
        Line::parse(text, 0..text.len() as u64)
    }

    #[test]
    fn a_stamp_with_and_without_a_caller_comes_off() {
        let line = parse("[   12.345678] BUG: x");
        assert_eq!((line.text, line.stamp_us, line.source), ("BUG: x", Some(12_345_678), Source::Kernel));
        for text in ["[  128.000001][ T6543] BUG: x", "[  128.000001] [ T6543] BUG: x"] {
            let line = parse(text);
            assert_eq!((line.text, line.caller), ("BUG: x", Some(Caller::Task(6543))));
        }
        assert_eq!(parse("[    0.000000][    C1]  schedule+0x1/0x2").caller, Some(Caller::Cpu(1)));
        assert_eq!(parse("[    0.000000][    C1]  schedule+0x1/0x2").text, " schedule+0x1/0x2");
    }

    #[test]
    fn levels_and_syslog_prefixes_come_off() {
        let line = parse("<4>[    1.000000] hello");
        assert_eq!((line.text, line.level), ("hello", Some(4)));
        let line = parse("Nov  1 02:08:17 vm kernel: [   1.000000] hello");
        assert_eq!((line.text, line.source), ("hello", Source::Kernel));
        let line = parse("2026-11-21T02:08:17.123456+00:00 vm kernel: hello");
        assert_eq!((line.text, line.source), ("hello", Source::Kernel));
        let line = parse("Nov 21 02:08:17 vm app[12]: Kernel panic - not syncing: no");
        assert_eq!((line.text, line.source), ("Kernel panic - not syncing: no", Source::Program));
        assert_eq!(parse("2026-11-21 02:08:17 [   1.000000] hello").text, "hello");
    }

    #[test]
    fn a_kernel_that_talks_into_a_prompt_is_heard() {
        let texts = |text| {
            let mut texts = Vec::new();
            Line::each(text, 0..1, |it| texts.push((it.text.to_owned(), it.source)));
            texts
        };
        let (kernel, user) = (Source::Kernel, Source::Unknown);
        assert_eq!(texts("/ # [   16.305150] BUG: x"), [("/ # ".into(), user), ("BUG: x".into(), kernel)]);
        assert_eq!(
            texts("[   76.470085] cut[   76.471107][  T1] BUG: x"),
            [("cut".into(), kernel), ("BUG: x".into(), kernel)]
        );
        assert_eq!(texts("<4>[   76.470085] whole [1.5]"), [("whole [1.5]".into(), kernel)]);
        assert_eq!(texts("Nov 21 02:08:17 vm kernel: [   76.470085] x"), [("x".into(), kernel)]);
    }

    #[test]
    fn brackets_of_others_stay() {
        for text in ["[  OK  ] Started foo", "[12] done", "[ 1.5] x", "[T1] x", "<html>", "[", "[]"] {
            assert_eq!(parse(text).text, text);
            assert_eq!(parse(text).source, Source::Unknown);
        }
    }
}
