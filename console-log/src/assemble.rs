//! Bytes in, lines out: the same lines for any chunking, in bounded memory.
//!
//! CR and LF both end a line, so that a carriage-return redraw (GRUB, systemd, progress bars) is one
//! line a redraw and CRLF is one end. Empty lines are dropped. A line keeps its first
//! [`MAX_LINE_BYTES`]; what is past them is counted in its range and thrown away.

use std::borrow::Cow;
use std::ops::Range;

use crate::clean::clean;

/// Bytes of a line that are kept. The longest line that a kernel prints is about 1,000 bytes
/// (`PRINTK_MESSAGE_MAX` 2,048 with its prefix).
pub const MAX_LINE_BYTES: usize = 4096;

/// One line of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawLine<'a> {
    /// Its bytes in the stream, without the end-of-line byte.
    pub range: Range<u64>,
    /// Its text without terminal sequences; bad UTF-8 is replaced.
    pub text: Cow<'a, str>,
    /// Longer than [`MAX_LINE_BYTES`].
    pub truncated: bool,
}

/// Assembles lines from chunks.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    /// The unfinished line, at most [`MAX_LINE_BYTES`].
    pending: Vec<u8>,
    /// Where the unfinished line starts in the stream.
    start: u64,
    /// Bytes seen so far.
    offset: u64,
}

impl Assembler {
    /// Takes a chunk and hands over each line that it finishes.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(RawLine<'_>)) {
        while let Some(at) = memchr::memchr2(b'\n', b'\r', bytes) {
            let (head, tail) = bytes.split_at(at);
            let end = self.offset + at as u64;
            if self.pending.is_empty() && head.len() <= MAX_LINE_BYTES {
                // The usual case: the whole line is in this chunk and is not copied.
                if !head.is_empty() {
                    each(RawLine { range: self.start..end, text: clean(head), truncated: false });
                }
            } else {
                self.keep(head);
                let truncated = end - self.start > MAX_LINE_BYTES as u64;
                each(RawLine { range: self.start..end, text: clean(&self.pending), truncated });
                self.pending.clear();
            }
            self.offset = end + 1;
            self.start = self.offset;
            bytes = &tail[1..];
        }
        self.keep(bytes);
        self.offset += bytes.len() as u64;
    }

    /// Goes on after bytes that were lost: the line before them and the line behind them are two.
    pub(crate) fn skip(&mut self, lost: u64, mut each: impl FnMut(RawLine<'_>)) {
        if !self.pending.is_empty() {
            let truncated = self.offset - self.start > MAX_LINE_BYTES as u64;
            each(RawLine { range: self.start..self.offset, text: clean(&self.pending), truncated });
            self.pending.clear();
        }
        self.offset = self.offset.saturating_add(lost);
        self.start = self.offset;
    }

    /// The unfinished line: where a prompt waits.
    pub(crate) fn pending(&self) -> Cow<'_, str> {
        clean(&self.pending)
    }

    /// Bytes taken so far.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = MAX_LINE_BYTES.saturating_sub(self.pending.len());
        self.pending.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8], chunk: usize) -> Vec<(Range<u64>, String, bool)> {
        let mut assembler = Assembler::default();
        let mut lines = Vec::new();
        for part in bytes.chunks(chunk) {
            assembler.push(part, |it| lines.push((it.range, it.text.into_owned(), it.truncated)));
        }
        lines
    }

    #[test]
    fn every_kind_of_line_end_ends_a_line_and_ranges_point_at_its_bytes() {
        let bytes = b"one\r\ntwo\nthree\rfour\r\r\n\nfive\n";
        for chunk in [1, 2, 3, 100] {
            let found = lines(bytes, chunk);
            let texts: Vec<_> = found.iter().map(|it| it.1.as_str()).collect();
            assert_eq!(texts, ["one", "two", "three", "four", "five"]);
            for (range, text, _) in &found {
                assert_eq!(&bytes[range.start as usize..range.end as usize], text.as_bytes());
            }
        }
    }

    #[test]
    fn an_endless_line_keeps_its_beginning_only() {
        let mut assembler = Assembler::default();
        let mut found = Vec::new();
        for _ in 0..1000 {
            assembler.push(&[b'x'; 1000], |it| found.push(it.range));
            assert!(assembler.pending.len() <= MAX_LINE_BYTES);
        }
        assembler.push(b"\n", |it| {
            assert!(it.truncated);
            assert_eq!(it.text.len(), MAX_LINE_BYTES);
            found.push(it.range);
        });
        assert_eq!(found, vec![std::ops::Range { start: 0, end: 1_000_000 }]);
    }
}
