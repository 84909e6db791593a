//! Makes equal trouble have equal titles.

/// Longest title in bytes.
const MAX_TITLE: usize = 160;

/// The line with hexadecimal numbers as `ADDR`, decimal ones as `NUM`; at most 160 bytes.
pub(crate) fn normalise(line: &str) -> String {
    let mut title = String::new();
    let mut rest = line.trim();
    while let Some(first) = rest.chars().next() {
        if title.len() >= MAX_TITLE {
            break;
        }
        let word_len = rest.find(|it: char| !(it.is_ascii_alphanumeric() || it == '_')).unwrap_or(rest.len());
        if word_len == 0 {
            title.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let (word, tail) = rest.split_at(word_len);
        title.push_str(match word {
            it if it.starts_with("0x") && is_hex(&it[2..]) => "ADDR",
            it if it.len() >= 8 && is_hex(it) && it.bytes().any(|it| it.is_ascii_digit()) => "ADDR",
            it if it.bytes().all(|it| it.is_ascii_digit()) => "NUM",
            it => it,
        });
        rest = tail;
    }
    let mut end = title.len().min(MAX_TITLE);
    while !title.is_char_boundary(end) {
        end -= 1;
    }
    title.truncate(end);
    title
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|it| it.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_do_not_make_titles_differ() {
        let one = normalise("BUG: unable to handle page fault for address: ffffc90000def000");
        assert_eq!(one, "BUG: unable to handle page fault for address: ADDR");
        assert_eq!(
            normalise("WARNING: CPU: 1 PID: 97 at fs/a.c:12 f+0x1f/0x90"),
            "WARNING: CPU: NUM PID: NUM at fs/a.c:NUM f+ADDR/ADDR"
        );
        assert_eq!(normalise("INFO: rcu_sched detected stalls"), "INFO: rcu_sched detected stalls");
    }

    #[test]
    fn long_and_odd_text_stays_bounded() {
        assert!(normalise(&"\u{fffd}".repeat(1000)).len() <= 160);
        assert!(normalise(&"ab ".repeat(1000)).len() <= 160);
        assert_eq!(normalise(""), "");
    }
}
