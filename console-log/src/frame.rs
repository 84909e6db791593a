//! Reads one line of a call trace, in the forms of 3.x to 7.x.

use vmward_kernel_facts::Frame;

/// Reads one line of a call trace; `None` when the text is none.
///
/// * `[<ffffffff8170eb59>] ? schedule+0x29/0x70` (up to 4.9, and arm64 up to 4.x)
/// * ` ? schedule+0x5a/0xd0 [mod]`, ` schedule+0x5a/0xd0 [mod 0123abcd]` (build id, since 5.14)
/// * ` el0_svc+0x30/0xf0 (P)` (arm64 since 6.13), ` foo+0x1/0x2 fs/foo.c:12` (symbolised later)
/// * ` foo fs/foo.c:12 [inline]` (symbolised later): a frame without offset
pub fn parse_frame(text: &str) -> Option<Frame> {
    let mut rest = text.trim();
    let mut frame = Frame { symbol: None, offset: None, size: None, module: None, address: None, sure: true };
    if let Some(inner) = rest.strip_prefix("[<") {
        let (address, tail) = inner.split_once(">]")?;
        frame.address = hex(address);
        rest = tail.trim_start();
    }
    for mark in ["? ", "! "] {
        if let Some(tail) = rest.strip_prefix(mark) {
            frame.sure = false;
            rest = tail.trim_start();
        }
    }
    // "(null)", "(____ptrval____)" and bare addresses name no symbol.
    let (head, tail) = rest.split_once(' ').unwrap_or((rest, ""));
    if let Some((symbol, place)) = head.split_once('+') {
        let (offset, size) = place.split_once('/')?;
        frame.offset = Some(hex(offset)?);
        frame.size = Some(hex(size)?);
        frame.symbol = Some(symbol_of(symbol)?.to_owned());
        frame.module = tail.split_once('[').and_then(|it| module_of(it.1));
        return Some(frame);
    }
    if tail.ends_with("[inline]") && tail.contains(':') {
        frame.symbol = Some(symbol_of(head)?.to_owned());
        return Some(frame);
    }
    if let Some(address) = head.strip_prefix("0x").and_then(hex) {
        frame.address = Some(address);
        return (tail.is_empty() || tail.starts_with('(')).then_some(frame);
    }
    None
}

/// A C identifier with what compilers append, or a Rust path; bounded.
fn symbol_of(text: &str) -> Option<&str> {
    let fits = |it: u8| it.is_ascii_alphanumeric() || b"_.$:<>@".contains(&it);
    let starts = text.bytes().next()?;
    (text.len() <= 512
        && (starts.is_ascii_alphabetic() || b"_.<".contains(&starts))
        && text.bytes().all(fits))
    .then_some(text)
}

fn module_of(inner: &str) -> Option<String> {
    let (inner, _) = inner.split_once(']')?;
    let name = inner.split_ascii_whitespace().next()?;
    (name != "inline" && name.len() <= 64).then(|| name.to_owned())
}

/// A hexadecimal number, with or without `0x`.
pub(crate) fn hex(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    if digits.is_empty() || digits.starts_with(['+', '-']) {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_all_ages_are_read() {
        let old = parse_frame(" [<ffffffff8170eb59>] schedule+0x29/0x70").unwrap();
        assert_eq!(
            (old.name(), old.address, old.offset, old.size),
            ("schedule", Some(0xffffffff8170eb59), Some(0x29), Some(0x70))
        );
        let doubtful = parse_frame(" ? finish_task_switch.isra.0+0x90/0x2d0").unwrap();
        assert_eq!((doubtful.name(), doubtful.sure), ("finish_task_switch.isra.0", false));
        let module = parse_frame(" ext4_sync_file+0x14d/0x3c0 [ext4 0a1b2c3d]").unwrap();
        assert_eq!(module.module.as_deref(), Some("ext4"));
        let flagged = parse_frame(" show_stack+0x20/0x38 (C)").unwrap();
        assert_eq!((flagged.name(), flagged.module.as_deref()), ("show_stack", None));
        let inlined = parse_frame(" context_switch kernel/sched/core.c:2800 [inline]").unwrap();
        assert_eq!(inlined.name(), "context_switch");
        let user = parse_frame("0x40182c").unwrap();
        assert_eq!((user.symbol, user.address), (None, Some(0x40182c)));
    }

    #[test]
    fn other_lines_are_no_frames() {
        for text in [
            "</TASK>",
            "RIP: 0033:0x40182c",
            "free:80465 free_pcp:431",
            "a+b",
            "x+0x1",
            "hello world",
            "",
            "Modules linked in: ext4",
            "1+1/2",
            "foo+0xzz/0x10",
        ] {
            assert_eq!(parse_frame(text), None, "{text}");
        }
    }
}
