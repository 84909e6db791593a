//! `sym`, `type` and `read`: answers to what was asked along with the look.
//!
//! ```text
//! $ vmward inspect vm1 sym mutex_lock
//! ADDRESS             BYTES  KIND  NAME        MODULE
//! 0xffffffffb0c5d3a0  64     T     mutex_lock
//! $ vmward inspect vm1 read init_task 32
//! 0xffffffffb1a18940  00 40 00 00 00 00 00 00 00 00 00 00 00 00 00 00  |.@..............|
//! ```

use vmward_kernel_facts::Answer;

use super::super::Output;

/// Bytes of a line.
const LINE: usize = 16;

pub(super) fn show(answer: &Answer, out: &mut Output) {
    match answer {
        Answer::Symbols { symbols } => {
            let rows: Vec<[String; 5]> = symbols
                .iter()
                .map(|it| {
                    let offset = if it.offset > 0 { format!("+{:#x}", it.offset) } else { String::new() };
                    [
                        format!("{:#x}", it.address),
                        it.size.to_string(),
                        it.kind.to_string(),
                        format!("{}{offset}", it.name),
                        it.module.clone().unwrap_or_default(),
                    ]
                })
                .collect();
            out.table(["ADDRESS", "BYTES", "KIND", "NAME", "MODULE"], &rows);
        }
        Answer::Type { text } => {
            out.lines(text.lines().map(str::to_owned));
        }
        Answer::Bytes { address, hex, cut, .. } => {
            out.lines(dump(*address, hex));
            if let Some(why) = cut {
                out.line(&format!("No more: {why}"));
            }
        }
        Answer::Nothing { reason } => {
            out.line(reason);
        }
    }
}

/// Bytes as `hexdump -C` writes them, with the guest's addresses.
fn dump(address: u64, hex: &str) -> Vec<String> {
    let byte = |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|it| u8::from_str_radix(it, 16).ok());
    let bytes: Vec<u8> = hex.as_bytes().chunks(2).map_while(byte).collect();
    let line = |(number, bytes): (usize, &[u8])| {
        let digits: Vec<String> = bytes.iter().map(|it| format!("{it:02x}")).collect();
        let sign = |it: &u8| if it.is_ascii_graphic() || *it == b' ' { char::from(*it) } else { '.' };
        let signs: String = bytes.iter().map(sign).collect();
        let at = address.wrapping_add((number * LINE) as u64);
        format!("{at:#018x}  {:<47}  |{signs}|", digits.join(" "))
    };
    bytes.chunks(LINE).enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_with_their_addresses_and_signs() {
        let lines = dump(0xffff_8880_0000_1000, "4c696e7578207665727369 6f6e".replace(' ', "").as_str());
        assert_eq!(
            lines,
            ["0xffff888000001000  4c 69 6e 75 78 20 76 65 72 73 69 6f 6e           |Linux version|"]
        );
        assert_eq!(dump(u64::MAX - 15, &"00".repeat(20)).len(), 2);
        assert!(dump(0, "zz").is_empty());
    }
}
