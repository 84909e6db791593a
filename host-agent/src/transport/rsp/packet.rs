//! Framing of the gdb remote protocol: `$payload#checksum`, `}` escapes, `*` runs, acknowledgements.
//!
//! GDB manual, appendix "Remote Protocol", sections Overview and Packet Acknowledgment. Sans-I/O and
//! total; the size of a packet is bounded before and after runs are expanded.

/// Longest packet, framed or expanded. QEMU offers `PacketSize=1000` (4096 bytes).
pub const MAX_PACKET: usize = 64 << 10;

/// What the bytes held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A whole packet with a right checksum, escapes and runs expanded.
    Packet(Vec<u8>),
    /// A packet with a wrong checksum, or one that is malformed or too long.
    Bad(&'static str),
    /// `+`.
    Ack,
    /// `-`.
    Nack,
}

/// Frames `payload`, with `#`, `$`, `}` and `*` escaped.
#[must_use]
pub fn encode(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 4);
    out.push(b'$');
    for byte in payload {
        if b"#$}*".contains(byte) {
            out.extend_from_slice(&[b'}', byte ^ 0x20]);
        } else {
            out.push(*byte);
        }
    }
    let sum = checksum(out.get(1..).unwrap_or_default());
    out.extend_from_slice(format!("#{sum:02x}").as_bytes());
    out
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Between,
    Inside,
    FirstDigit,
    SecondDigit(u8),
}

/// The reader of a stream of packets.
#[derive(Debug, Default)]
pub struct Decoder {
    state: State,
    body: Vec<u8>,
    too_long: bool,
}

impl Decoder {
    /// Takes bytes and hands out what they complete.
    pub fn push(&mut self, bytes: &[u8], mut event: impl FnMut(Event)) {
        for byte in bytes {
            self.state = match (self.state, *byte) {
                // A `$` always begins a packet: it is escaped inside one.
                (_, b'$') => {
                    self.body.clear();
                    self.too_long = false;
                    State::Inside
                }
                (State::Between, b'+') => {
                    event(Event::Ack);
                    State::Between
                }
                (State::Between, b'-') => {
                    event(Event::Nack);
                    State::Between
                }
                (State::Between, _) => State::Between,
                (State::Inside, b'#') => State::FirstDigit,
                (State::Inside, byte) => {
                    if self.body.len() < MAX_PACKET {
                        self.body.push(byte);
                    } else {
                        self.too_long = true;
                    }
                    State::Inside
                }
                (State::FirstDigit, digit) => State::SecondDigit(digit),
                (State::SecondDigit(first), second) => {
                    event(self.finish(first, second));
                    State::Between
                }
            };
        }
    }

    fn finish(&mut self, first: u8, second: u8) -> Event {
        let body = std::mem::take(&mut self.body);
        if self.too_long {
            return Event::Bad("packet too long");
        }
        let digit = |d: u8| char::from(d).to_digit(16);
        let (Some(high), Some(low)) = (digit(first), digit(second)) else {
            return Event::Bad("checksum is not hexadecimal");
        };
        if u32::from(checksum(&body)) != high * 16 + low {
            return Event::Bad("wrong checksum");
        }
        expand(&body).map_or(Event::Bad("malformed escape or run"), Event::Packet)
    }
}

fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte))
}

/// Undoes escapes and runs: `X*n` is X and n - 29 more of it.
fn expand(body: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(body.len());
    let mut it = body.iter();
    while let Some(byte) = it.next() {
        match byte {
            b'}' => out.push(it.next()? ^ 0x20),
            b'*' => {
                let count = it.next()?.checked_sub(29).filter(|c| *c >= 3)?;
                let last = *out.last()?;
                out.resize(out.len() + usize::from(count), last);
            }
            other => out.push(*other),
        }
        if out.len() > MAX_PACKET {
            return None;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events(bytes: &[u8]) -> Vec<Event> {
        let mut out = Vec::new();
        Decoder::default().push(bytes, |e| out.push(e));
        out
    }

    #[test]
    fn the_manuals_example_of_a_run_is_expanded() {
        // "0* " is four zeros (GDB manual, Overview).
        assert_eq!(events(b"+$0* #7a"), [Event::Ack, Event::Packet(b"0000".to_vec())]);
    }

    #[test]
    fn a_wrong_checksum_and_a_run_of_nothing_are_bad() {
        assert_eq!(events(b"$OK#9b-"), [Event::Bad("wrong checksum"), Event::Nack]);
        assert_eq!(events(b"$* #4a"), [Event::Bad("malformed escape or run")]);
    }

    proptest! {
        #[test]
        fn what_is_framed_is_read_back(payload in proptest::collection::vec(any::<u8>(), 0..200), step in 1usize..9) {
            let framed = encode(&payload);
            let mut decoder = Decoder::default();
            let mut got = Vec::new();
            for part in framed.chunks(step) {
                decoder.push(part, |e| got.push(e));
            }
            prop_assert_eq!(got, vec![Event::Packet(payload)]);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(prop_oneof![Just(b'$'), Just(b'#'), Just(b'*'), Just(b'}'), any::<u8>()], 0..300)) {
            events(&bytes);
        }
    }
}
