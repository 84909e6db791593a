//! COM1: bytes out, bytes in.

use crate::cpu::{inb, outb};
use core::fmt;

const COM1: u16 = 0x3f8;
/// The transmit FIFO of a 16550A.
const FIFO: usize = 16;

/// The serial line.
pub struct Com1;

impl Com1 {
    /// Turns on FIFOs and the receive interrupt.
    pub fn start() {
        outb(COM1 + 2, 0x07);
        outb(COM1 + 4, 0x0b);
        outb(COM1 + 1, 0x01);
    }

    /// Sends bytes, waiting for the FIFO to empty before each of its fills.
    pub fn send(bytes: &[u8]) {
        for chunk in bytes.chunks(FIFO) {
            while inb(COM1 + 5) & 0x20 == 0 {}
            for byte in chunk {
                outb(COM1, *byte);
            }
        }
    }

    /// A byte that came in, if any.
    pub fn receive() -> Option<u8> {
        (inb(COM1 + 5) & 1 != 0).then(|| inb(COM1))
    }
}

impl fmt::Write for Com1 {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for line in text.split_inclusive('\n') {
            match line.strip_suffix('\n') {
                Some(line) => {
                    Com1::send(line.as_bytes());
                    Com1::send(b"\r\n");
                }
                None => Com1::send(line.as_bytes()),
            }
        }
        Ok(())
    }
}
