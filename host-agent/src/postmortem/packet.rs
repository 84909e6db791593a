//! Packets of a gdb that nobody vouches for: cut out of the stream with a bound, and those answered that a
//! file cannot do.
//!
//! gdb's manual, appendix "Remote Protocol": `$body#xx`; outside of packets only `+`, `-` and 0x03 stand.

/// Bytes of a packet at most, as gdb is told by `PacketSize`.
pub(super) const PACKET_SIZE: usize = 4 << 10;
/// Bytes of memory that one packet may ask for: what fits an answer of `PacketSize`.
const MAX_READ: u64 = (PACKET_SIZE / 2) as u64;
/// Why nothing is written.
const NO_WRITE: &str = "this is a copy of the guest's memory: what is written would change nothing";
/// Why nothing goes on.
const NO_STEP: &str = "this is a copy of a guest's memory and registers: nothing runs in it, so that nothing can \
go on, step or be called\n";

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Came {
    /// A whole packet, as it stood on the wire.
    Packet(Vec<u8>),
    /// A byte between packets.
    Between(u8),
}

/// A packet that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

/// Cuts packets out of a stream of bytes.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    packet: Vec<u8>,
    /// Bytes of the checksum that are still to come.
    sum: Option<u8>,
}

impl Cutter {
    /// Takes a byte.
    pub(super) fn take(&mut self, byte: u8) -> Result<Option<Came>, TooLong> {
        if self.packet.is_empty() && byte != b'$' {
            return Ok(Some(Came::Between(byte)));
        }
        if self.packet.len() >= PACKET_SIZE {
            return Err(TooLong);
        }
        self.packet.push(byte);
        self.sum = match (self.sum, byte) {
            (None, b'#') => Some(2),
            (None, _) => None,
            (Some(left), _) => Some(left - 1),
        };
        if self.sum != Some(0) {
            return Ok(None);
        }
        self.sum = None;
        Ok(Some(Came::Packet(std::mem::take(&mut self.packet))))
    }
}

/// The answers to what a file cannot do, or should not be asked; `None` for everything else.
/// `thread` is the one that "stopped".
pub(super) fn refusal(packet: &[u8], thread: usize) -> Option<Vec<u8>> {
    let body = packet.strip_prefix(b"$")?;
    let body = body.get(..body.len().checked_sub(3)?)?;
    let error = || Some(framed(&format!("E.{NO_WRITE}")));
    match body.first()? {
        b'G' | b'P' | b'M' | b'X' => error(),
        b'Z' => error(),
        b'c' | b'C' | b's' | b'S' | b'b' => Some(went_on(thread)),
        b'v' if body.starts_with(b"vCont;") => Some(went_on(thread)),
        b'm' if !is_sane_read(body.get(1..)?) => Some(framed("E16")),
        _ => None,
    }
}

/// The thread that a packet selects for what follows (`Hg`).
pub(super) fn selected(packet: &[u8]) -> Option<usize> {
    let body = packet.strip_prefix(b"$Hg")?;
    let text = std::str::from_utf8(body.get(..body.len().checked_sub(3)?)?).ok()?;
    usize::from_str_radix(text.rsplit('.').next()?, 16).ok().filter(|it| *it != 0)
}

/// Says on gdb's console why nothing went on, then that it stopped where it was.
fn went_on(thread: usize) -> Vec<u8> {
    let hex: String = NO_STEP.bytes().map(|it| format!("{it:02x}")).collect();
    let mut out = framed(&format!("O{hex}"));
    out.extend(framed(&format!("T05thread:p1.{thread:x};")));
    out
}

/// Whether `ADDRESS,LENGTH` ends within memory's addresses and is no longer than an answer.
fn is_sane_read(text: &[u8]) -> bool {
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let text = std::str::from_utf8(text).ok();
    let parts = text.and_then(|it| it.split_once(','));
    let parts = parts.and_then(|(at, len)| Some((hex(at)?, hex(len)?)));
    // The last byte's address must be one: the sum of both is allowed to be 2^64.
    parts.is_some_and(|(at, len)| len <= MAX_READ && at.checked_add(len.saturating_sub(1)).is_some())
}

fn framed(body: &str) -> Vec<u8> {
    let sum = body.bytes().fold(0u8, u8::wrapping_add);
    format!("${body}#{sum:02x}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(bytes: &[u8]) -> Vec<Came> {
        let mut cutter = Cutter::default();
        bytes.iter().filter_map(|it| cutter.take(*it).unwrap()).collect()
    }

    #[test]
    fn packets_are_cut_out_of_the_stream() {
        let came = cut(b"+$g#67\x03$m0,4#fd+");
        let packet = |it: &[u8]| Came::Packet(it.to_vec());
        let between = Came::Between;
        assert_eq!(came, [between(b'+'), packet(b"$g#67"), between(3), packet(b"$m0,4#fd"), between(b'+')]);
    }

    #[test]
    fn a_packet_without_an_end_ends_the_session() {
        let mut cutter = Cutter::default();
        let took = std::iter::once(b'$').chain(std::iter::repeat(b'a')).take(PACKET_SIZE + 1);
        assert!(took.map(|it| cutter.take(it)).any(|it| it == Err(TooLong)));
    }

    #[test]
    fn what_a_file_cannot_do_is_answered_in_words() {
        for packet in ["$G00#xx", "$P10=00#xx", "$Mffff,1:00#xx", "$Xffff,1:a#xx", "$Z0,1000,1#xx"] {
            let answer = String::from_utf8(refusal(packet.as_bytes(), 1).unwrap()).unwrap();
            assert!(answer.starts_with("$E.this is a copy"), "{packet}: {answer}");
        }
        for packet in ["$c#63", "$s#73", "$vCont;c#a8", "$vCont;s:p1.1;c#00"] {
            let answer = String::from_utf8(refusal(packet.as_bytes(), 0x1f).unwrap()).unwrap();
            assert!(answer.starts_with("$O") && answer.contains("$T05thread:p1.1f;#"), "{answer}");
        }
        for packet in ["$g#67", "$?#3f", "$qSupported#00", "$vCont?#49", "$mffffffff81000000,40#xx"] {
            assert_eq!(refusal(packet.as_bytes(), 1), None, "{packet}");
        }
    }

    #[test]
    fn reads_that_reach_behind_the_last_address_or_are_endless_are_refused() {
        for packet in ["$mfffffffffffffff0,11#00", "$m0,fffffffffffffff#00", "$m0#00", "$m,#00", "$mz,1#00"] {
            assert_eq!(refusal(packet.as_bytes(), 1), Some(b"$E16#ac".to_vec()), "{packet}");
        }
        assert_eq!(refusal(b"$mfffffffffffffff0,10#00", 1), None);
    }

    #[test]
    fn the_thread_that_gdb_looks_at_is_the_one_that_stops() {
        assert_eq!(selected(b"$Hgp1.1f#00"), Some(0x1f));
        assert_eq!(selected(b"$Hg2#00"), Some(2));
        for packet in ["$Hgp0.0#00", "$Hg-1#00", "$Hc2#00", "$Hg#", "$H"] {
            assert_eq!(selected(packet.as_bytes()), None, "{packet}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            for came in cut(&bytes) {
                if let Came::Packet(packet) = came {
                    let _ = refusal(&packet, 1);
                }
            }
        }
    }
}
