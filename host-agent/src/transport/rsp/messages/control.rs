//! `qSupported`, `?` and `D`: beginning and end of a session.

/// Says what we can. QEMU 7.2 answers `PacketSize=1000;qXfer:features:read+;...`.
pub const SUPPORTED: &[u8] = b"qSupported:multiprocess+;xmlRegisters=i386";

/// Detach from process 1. QEMU resumes the guest at this, even one that was paused before we came.
pub const DETACH: &[u8] = b"D;1";

/// What the stub offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offers {
    /// Largest packet that it takes.
    pub packet_size: usize,
    /// It can send the description of its registers.
    pub features: bool,
}

/// Reads the answer to [`SUPPORTED`].
#[must_use]
pub fn offers(answer: &[u8]) -> Offers {
    let mut out = Offers { packet_size: 0x400, features: false };
    for item in answer.split(|b| *b == b';') {
        if item == b"qXfer:features:read+" {
            out.features = true;
        } else if let Some(size) = item.strip_prefix(b"PacketSize=") {
            let size = std::str::from_utf8(size).ok().and_then(|s| usize::from_str_radix(s, 16).ok());
            out.packet_size = size.unwrap_or(0x400).clamp(0x100, super::super::packet::MAX_PACKET);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offers_of_qemu_7_2_are_read() {
        let answer = b"PacketSize=1000;qXfer:features:read+;vContSupported+;multiprocess+";
        assert_eq!(offers(answer), Offers { packet_size: 0x1000, features: true });
        assert_eq!(offers(b"PacketSize=zz"), Offers { packet_size: 0x400, features: false });
    }
}
