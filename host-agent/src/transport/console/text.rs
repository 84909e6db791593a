//! Small readings of console bytes: without escape sequences, without kernel records, the last line.
//!
//! Guest bytes are hostile: everything here is linear in its input and total.

/// Removes ANSI escape sequences (CSI, OSC, two-byte) and control bytes other than newline and tab.
/// A carriage return is dropped; a backspace removes the byte before it on its line.
#[must_use]
pub fn plain(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut it = bytes.iter().copied().peekable();
    while let Some(byte) = it.next() {
        match byte {
            0x1b => match it.next() {
                Some(b'[') => {
                    // Parameters and intermediates, then one final byte.
                    while it.next_if(|b| (0x20..0x40).contains(b)).is_some() {}
                    let _ = it.next_if(|b| (0x40..0x7f).contains(b));
                }
                Some(b']') => {
                    // Up to BEL or ESC \, and never past the line.
                    while let Some(b) = it.next_if(|b| *b != b'\n') {
                        if b == 0x07 {
                            break;
                        }
                        if b == 0x1b {
                            let _ = it.next_if_eq(&b'\\');
                            break;
                        }
                    }
                }
                Some(b'(' | b')') => {
                    let _ = it.next_if(|b| *b != b'\n');
                }
                _ => {}
            },
            0x08 if out.last().is_some_and(|b| *b != b'\n') => {
                out.pop();
            }
            b'\n' | b'\t' | 0x20..=0x7e | 0x80..=0xff => out.push(byte),
            _ => {}
        }
    }
    out
}

/// Removes kernel records (`[   12.345678] ...` to the end of the line) wherever they start, and gives
/// how many. A record that the kernel wrote into the middle of a line of the shell leaves that line
/// whole again.
#[must_use]
pub fn without_kernel_records(text: &[u8]) -> (Vec<u8>, usize) {
    let mut out = Vec::with_capacity(text.len());
    let mut records = 0;
    let mut rest = text;
    while let Some(byte) = rest.first() {
        if *byte == b'[' && is_stamp(rest) {
            records += 1;
            let end = rest.iter().position(|b| *b == b'\n');
            rest = end.map_or(&[][..], |at| rest.get(at + 1..).unwrap_or_default());
        } else {
            out.push(*byte);
            rest = rest.get(1..).unwrap_or_default();
        }
    }
    (out, records)
}

/// `[`, blanks, seconds, `.`, six digits, then `]` or the blank before a caller id.
fn is_stamp(text: &[u8]) -> bool {
    let Some(inner) = text.get(1..text.len().min(24)) else {
        return false;
    };
    let inner = inner.trim_ascii_start();
    let digits = inner.iter().take_while(|b| b.is_ascii_digit()).count();
    let Some([b'.', fraction @ ..]) = inner.get(digits..) else {
        return false;
    };
    digits > 0
        && fraction.len() > 6
        && fraction.iter().take(6).all(u8::is_ascii_digit)
        && matches!(fraction.get(6), Some(b']' | b' '))
}

/// The last line that has something on it, without kernel records and escape sequences; trailing
/// blanks are kept off. `None` when there is none in `bytes`.
#[must_use]
pub fn last_line(bytes: &[u8]) -> Option<String> {
    let (text, _) = without_kernel_records(&plain(bytes));
    text.rsplit(|b| *b == b'\n').map(<[u8]>::trim_ascii_end).find(|line| !line.is_empty()).map(|line| {
        let keep = line.len().saturating_sub(512);
        String::from_utf8_lossy(line.get(keep..).unwrap_or_default()).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_kernel_record_inside_a_line_of_the_shell_leaves_the_line_whole() {
        let (text, records) =
            without_kernel_records(b"VWab[   12.345678] usb 1-1: new device\ncd:0\n[tty1] x\n");
        assert_eq!(text, b"VWabcd:0\n[tty1] x\n");
        assert_eq!(records, 1);
    }

    #[test]
    fn the_last_line_ignores_what_the_kernel_wrote_after_the_prompt() {
        let tail = b"\x1b[?2004hroot@vm:~# [   99.000001][    T1] eth0: up\r\n";
        assert_eq!(last_line(tail).as_deref(), Some("root@vm:~#"));
        assert_eq!(last_line(b"\r\n \r\n"), None);
    }

    #[test]
    fn escape_sequences_go_and_backspaces_work() {
        assert_eq!(plain(b"\x1b[1;31mred\x1b[0m ab\x08c\x1b]0;title\x07!\x00\r\n"), b"red ac!\n");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_and_never_grow(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let text = plain(&bytes);
            prop_assert!(text.len() <= bytes.len());
            prop_assert!(!text.contains(&0x1b));
            prop_assert!(without_kernel_records(&text).0.len() <= text.len());
            let _ = last_line(&bytes);
        }
    }
}
