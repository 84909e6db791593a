//! One zstd frame from any source, unpacked within bounds while it comes.
//!
//! Both directions are bounded: a packed byte may stand for so many unpacked ones (a bomb), and an
//! unpacked byte may take so many packed ones (frames and blocks that hold nothing, without end).
//! There is one frame, and nothing behind it. Format: RFC 8878.

use std::io::{self, Read};

use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use crate::limits::{Limits, OpenError};

/// The largest window that a frame may ask for: 2^23 bytes. Ours ask for 2^21.
const MAX_WINDOW_LOG: u32 = 23;
/// Packed bytes that may come beyond as many as were unpacked. Content that does not pack takes 3
/// bytes more for each block of 128 KiB; the rest is for what the decoder has not given out yet.
const IDLE: u64 = 1 << 20;
/// Packed bytes that are held.
const INPUT: usize = 64 << 10;

/// Unpacks one frame.
pub(crate) struct Unpack<R> {
    source: R,
    decoder: Decoder<'static>,
    input: Box<[u8]>,
    /// What of `input` was not decoded yet.
    waiting: std::ops::Range<usize>,
    packed: u64,
    unpacked: u64,
    /// The frame has ended and all of it was given out.
    ended: bool,
    limits: Limits,
}

impl<R: Read> Unpack<R> {
    pub(crate) fn new(source: R, limits: &Limits) -> Result<Unpack<R>, OpenError> {
        let mut decoder = Decoder::new().map_err(broken)?;
        decoder.set_parameter(DParameter::WindowLogMax(MAX_WINDOW_LOG)).map_err(broken)?;
        let input = vec![0; INPUT].into_boxed_slice();
        Ok(Unpack {
            source,
            decoder,
            input,
            waiting: 0..0,
            packed: 0,
            unpacked: 0,
            ended: false,
            limits: *limits,
        })
    }

    /// Packed bytes so far.
    pub(crate) fn packed(&self) -> u64 {
        self.packed
    }

    /// Unpacked bytes so far.
    pub(crate) fn unpacked(&self) -> u64 {
        self.unpacked
    }

    /// Fills all of `out`.
    pub(crate) fn fill(&mut self, out: &mut [u8]) -> Result<(), OpenError> {
        let mut at = 0;
        while let Some(rest) = out.get_mut(at..).filter(|it| !it.is_empty()) {
            match self.some(rest)? {
                0 => {
                    let why = format!("it ends after {} bytes, within an entry", self.unpacked);
                    return Err(OpenError::Broken(why));
                }
                n => at += n,
            }
        }
        Ok(())
    }

    /// Takes the rest, which may be at most `most` zeros, and sees that nothing follows.
    pub(crate) fn finish(&mut self, most: u64) -> Result<(), OpenError> {
        let mut block = [0u8; 4096];
        let begun = self.unpacked;
        loop {
            let n = self.some(&mut block)?;
            if n == 0 {
                break;
            }
            if block[..n].iter().any(|it| *it != 0) {
                return Err(OpenError::Broken("data after the end of the archive".to_owned()));
            }
            Limits::check("the padding at the archive's end", self.unpacked - begun, most)?;
        }
        if self.waiting.is_empty() {
            self.refill()?;
        }
        if self.waiting.is_empty() {
            Ok(())
        } else {
            Err(OpenError::Broken("data after the end of the compressed archive".to_owned()))
        }
    }

    /// At least one byte, or 0 where the frame has ended.
    fn some(&mut self, out: &mut [u8]) -> Result<usize, OpenError> {
        while !self.ended {
            let mut from = InBuffer::around(&self.input[self.waiting.clone()]);
            let mut to = OutBuffer::around(&mut *out);
            let left = self.decoder.run(&mut from, &mut to).map_err(broken)?;
            let (took, gave) = (from.pos(), to.pos());
            self.waiting.start += took;
            self.packed += took as u64;
            self.unpacked += gave as u64;
            self.ended = left == 0;
            self.check()?;
            if gave > 0 {
                return Ok(gave);
            }
            if !self.ended && self.waiting.is_empty() && self.refill()? == 0 {
                let why = format!("cut off after {} packed bytes", self.packed);
                return Err(OpenError::Broken(why));
            }
        }
        Ok(0)
    }

    fn check(&self) -> Result<(), OpenError> {
        let by_ratio =
            self.packed.saturating_mul(self.limits.ratio).saturating_add(self.limits.free_unpacked);
        Limits::check("the unpacked size", self.unpacked, self.limits.unpacked.min(by_ratio))?;
        Limits::check("the packed size", self.packed, self.unpacked + IDLE)
    }

    fn refill(&mut self) -> Result<usize, OpenError> {
        let n = loop {
            match self.source.read(&mut self.input) {
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(OpenError::Source)?,
            }
        };
        self.waiting = 0..n.min(self.input.len());
        Ok(n)
    }
}

fn broken(err: io::Error) -> OpenError {
    OpenError::Broken(err.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpack(packed: &[u8], wanted: usize) -> Result<Vec<u8>, OpenError> {
        let mut unpack = Unpack::new(packed, &Limits::default())?;
        let mut out = vec![0; wanted];
        unpack.fill(&mut out)?;
        unpack.finish(1024)?;
        Ok(out)
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(bytes, 1).unwrap()
    }

    #[test]
    fn what_zstd_packed_comes_back() {
        let bytes: Vec<u8> =
            (0..300_000u32).flat_map(|it| it.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        assert_eq!(unpack(&packed(&bytes), bytes.len()).unwrap(), bytes);
        let mut with_padding = bytes.clone();
        with_padding.extend([0; 1024]);
        assert_eq!(unpack(&packed(&with_padding), bytes.len()).unwrap(), bytes);
    }

    #[test]
    fn cut_at_any_byte_is_an_error() {
        let whole = packed(b"some text, some text");
        for end in 0..whole.len() {
            assert!(unpack(&whole[..end], 20).is_err(), "cut at {end}");
        }
        assert!(unpack(&whole, 21).is_err(), "more than there is");
    }

    #[test]
    fn nothing_may_follow() {
        let mut twice = packed(b"text");
        twice.extend(packed(b""));
        assert!(matches!(unpack(&twice, 4), Err(OpenError::Broken(_))));
        assert!(matches!(unpack(&packed(b"text and more"), 4), Err(OpenError::Broken(_))));
        let long = packed(&[0; 2048]);
        assert!(matches!(unpack(&long, 4), Err(OpenError::OverLimit { .. })));
    }

    #[test]
    fn blocks_that_hold_nothing_come_to_an_end() {
        // RFC 8878: magic number; a frame header with a window of 1 KiB; then raw blocks of size 0,
        // none of them the last.
        let head = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x00];
        let endless = head.chain(io::repeat(0));
        let err = Unpack::new(endless, &Limits::default()).unwrap().fill(&mut [0]).unwrap_err();
        assert!(matches!(err, OpenError::OverLimit { what: "the packed size", .. }), "{err}");
        // A skippable frame of 4 GiB.
        let head = [0x50, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0xff];
        let endless = head.chain(io::repeat(0));
        let err = Unpack::new(endless, &Limits::default()).unwrap().fill(&mut [0]).unwrap_err();
        assert!(matches!(err, OpenError::OverLimit { what: "the packed size", .. }), "{err}");
    }

    #[test]
    fn a_window_of_two_gib_is_refused() {
        // RFC 8878, window descriptor: exponent 21 above 2^10, mantissa 0.
        let asks = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3];
        let err =
            Unpack::new(asks.chain(io::repeat(1)), &Limits::default()).unwrap().fill(&mut [0]).unwrap_err();
        assert!(matches!(err, OpenError::Broken(_)), "{err}");
    }
}
