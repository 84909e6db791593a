//! Cuts a QMP byte stream into lines, with a bound on each.
//!
//! QMP is newline-separated JSON in practice (QEMU `docs/interop/qmp-spec.rst`: each message ends in
//! CR LF). Sans-I/O: bytes in, lines out.

/// Longest line kept. The largest answer on the allow-list (`query-blockstats`, `info mtree -f`
/// of a big machine) stays well below; `query-qmp-schema` is 200 KiB.
pub const MAX_LINE: usize = 4 << 20;

/// One line of the stream, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A whole line.
    Whole(Vec<u8>),
    /// A line that went past the bound: its start. The rest is skipped up to the next newline.
    TooLong(Vec<u8>),
}

/// The line cutter.
#[derive(Debug)]
pub struct LineCodec {
    buffer: Vec<u8>,
    max: usize,
    skipping: bool,
}

impl Default for LineCodec {
    fn default() -> Self {
        Self::with_max(MAX_LINE)
    }
}

impl LineCodec {
    /// A cutter for lines of at most `max` bytes.
    #[must_use]
    pub fn with_max(max: usize) -> Self {
        Self { buffer: Vec::new(), max, skipping: false }
    }

    /// Takes `bytes` and hands out each line that they complete. Empty lines are dropped.
    pub fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(Line)) {
        while !bytes.is_empty() {
            let end = bytes.iter().position(|b| *b == b'\n');
            let (part, rest) = match end {
                Some(at) => (bytes.get(..at).unwrap_or_default(), bytes.get(at + 1..).unwrap_or_default()),
                None => (bytes, &[][..]),
            };
            bytes = rest;
            if !self.skipping {
                let room = self.max.saturating_sub(self.buffer.len());
                let take = part.len().min(room);
                self.buffer.extend_from_slice(part.get(..take).unwrap_or_default());
                if take < part.len() {
                    self.skipping = true;
                    let mut start = std::mem::take(&mut self.buffer);
                    start.truncate(256);
                    line(Line::TooLong(start));
                }
            }
            if end.is_some() {
                let whole = std::mem::take(&mut self.buffer);
                if !std::mem::take(&mut self.skipping) && !whole.trim_ascii().is_empty() {
                    line(Line::Whole(whole.trim_ascii().to_vec()));
                }
            }
        }
    }

    /// Bytes of a line that has begun and not ended.
    #[must_use]
    pub fn partial(&self) -> &[u8] {
        &self.buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(codec: &mut LineCodec, bytes: &[u8]) -> Vec<Line> {
        let mut out = Vec::new();
        codec.push(bytes, |l| out.push(l));
        out
    }

    #[test]
    fn a_line_that_is_too_long_is_named_once_and_the_next_one_is_whole() {
        let mut codec = LineCodec::with_max(4);
        let got = lines(&mut codec, b"abcdefgh\r\nok\r\n");
        assert_eq!(got, [Line::TooLong(b"abcd".to_vec()), Line::Whole(b"ok".to_vec())]);
        assert!(codec.partial().is_empty());
    }

    proptest! {
        #[test]
        fn the_cut_does_not_depend_on_how_the_bytes_arrive(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..200),
            step in 1usize..17,
        ) {
            let whole = lines(&mut LineCodec::with_max(32), &bytes);
            let mut codec = LineCodec::with_max(32);
            let mut parts = Vec::new();
            for chunk in bytes.chunks(step) {
                codec.push(chunk, |l| parts.push(l));
                prop_assert!(codec.partial().len() <= 32);
            }
            prop_assert_eq!(whole, parts);
        }
    }
}
