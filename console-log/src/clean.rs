//! Takes terminal sequences and control characters out of a line.

use std::borrow::Cow;

/// The line as text: terminal sequences, NULs and other control characters (but tabs) taken out,
/// bad UTF-8 replaced by U+FFFD.
pub(crate) fn clean(bytes: &[u8]) -> Cow<'_, str> {
    if bytes.iter().any(|it| *it < 0x20 && *it != b'\t' || *it == 0x7f) {
        Cow::Owned(String::from_utf8_lossy(&strip(bytes)).into_owned())
    } else {
        String::from_utf8_lossy(bytes)
    }
}

/// ECMA-48 sequences: CSI (`ESC [`), strings (`ESC ] P X ^ _`), charset choices (`ESC ( ) * +`), and
/// two-byte ones. One that the line does not finish swallows the rest of the line.
fn strip(bytes: &[u8]) -> Vec<u8> {
    const ESC: u8 = 0x1b;
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match *first {
            ESC => {
                rest = match tail {
                    [b'[', tail @ ..] => after(tail, |it| (0x40..=0x7e).contains(&it)),
                    [b']' | b'P' | b'X' | b'^' | b'_', tail @ ..] => {
                        let tail = after(tail, |it| it == 0x07 || it == ESC);
                        tail.strip_prefix(b"\\").unwrap_or(tail)
                    }
                    [b'(' | b')' | b'*' | b'+', _, tail @ ..] => tail,
                    [_, tail @ ..] => tail,
                    [] => tail,
                }
            }
            0x08 => {
                out.pop();
            }
            b'\t' => out.push(b'\t'),
            it if it < 0x20 || it == 0x7f => {}
            it => out.push(it),
        }
    }
    out
}

fn after(bytes: &[u8], is_last: impl Fn(u8) -> bool) -> &[u8] {
    bytes.iter().position(|it| is_last(*it)).map_or(&[], |at| &bytes[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_titles_and_charsets_vanish() {
        assert_eq!(clean(b"\x1b[0;1;32m  OK  \x1b[0m Started"), "  OK   Started");
        assert_eq!(clean(b"\x1b]0;title\x07root@vm:~# "), "root@vm:~# ");
        assert_eq!(clean(b"\x1b]0;title\x1b\\$ "), "$ ");
        assert_eq!(clean(b"\x1b(Bgrub> \x1b[K"), "grub> ");
    }

    #[test]
    fn nuls_and_bad_utf8_do_no_harm() {
        assert_eq!(clean(b"\0\0panic\0"), "panic");
        assert_eq!(clean(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(clean(b"lx\x08ogin"), "login");
        assert_eq!(clean(b"cut \x1b[12"), "cut ");
    }
}
