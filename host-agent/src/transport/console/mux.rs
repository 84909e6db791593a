//! What a QEMU multiplexed character device (`mux=on`) acts on: Ctrl-A and the byte after it.
//!
//! Ctrl-A `x` quits QEMU, `s` commits snapshots, `c` moves the focus, `b` sends a BREAK; Ctrl-A twice is
//! one Ctrl-A to the guest (QEMU `chardev/char-mux.c`). So 0x01 is doubled in everything that we send.

use std::borrow::Cow;

/// QEMU's escape byte.
const CTRL_A: u8 = 0x01;

/// Bytes as they must be sent so that the guest gets `bytes` and QEMU acts on none of them.
#[must_use]
pub fn escaped(bytes: &[u8], mux: bool) -> Cow<'_, [u8]> {
    if !mux || !bytes.contains(&CTRL_A) {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len() + 8);
    for byte in bytes {
        out.push(*byte);
        if *byte == CTRL_A {
            out.push(CTRL_A);
        }
    }
    Cow::Owned(out)
}

/// The bytes that make a mux send a BREAK.
pub const BREAK: [u8; 2] = [CTRL_A, b'b'];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What QEMU's mux passes on to the guest, and the commands that it acts on.
    fn mux_of_qemu(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let (mut guest, mut commands, mut escape) = (Vec::new(), Vec::new(), false);
        for byte in bytes {
            match (escape, *byte) {
                (false, CTRL_A) => escape = true,
                (false, b) => guest.push(b),
                (true, CTRL_A) => {
                    escape = false;
                    guest.push(CTRL_A);
                }
                (true, b) => {
                    escape = false;
                    commands.push(b);
                }
            }
        }
        (guest, commands)
    }

    proptest! {
        #[test]
        fn the_guest_gets_every_byte_and_qemu_acts_on_none(
            bytes in proptest::collection::vec(prop_oneof![Just(1u8), Just(b'x'), any::<u8>()], 0..50),
        ) {
            let (guest, commands) = mux_of_qemu(&escaped(&bytes, true));
            prop_assert_eq!(guest, bytes);
            prop_assert_eq!(commands, b"");
        }
    }

    #[test]
    fn a_plain_device_gets_the_bytes_as_they_are() {
        assert_eq!(&*escaped(b"\x01x", false), b"\x01x");
        assert_eq!(mux_of_qemu(&BREAK), (vec![], vec![b'b']));
    }
}
