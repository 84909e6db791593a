//! `/proc/PID/stat` and `/proc/PID/task/TID/stat` (proc_pid_stat(5)), read from the right end: the name
//! in the second field may hold blanks and parentheses.

/// What is used of the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Name of the thread, at most 15 bytes; anything but printable ASCII is escaped.
    pub comm: String,
    /// State letter.
    pub state: char,
    /// CPU time in user and kernel mode together, in clock ticks (fields 14 and 15).
    pub cpu_ticks: u64,
    /// Start time in clock ticks since host boot (field 22).
    pub start_ticks: u64,
}

/// Reads one line; `None` when it does not have the documented form.
pub fn parse(line: &[u8]) -> Option<Stat> {
    let open = line.iter().position(|b| *b == b'(')?;
    let close = line.iter().rposition(|b| *b == b')')?;
    let comm = line.get(open.checked_add(1)?..close)?.escape_ascii().to_string();
    let rest = std::str::from_utf8(line.get(close.checked_add(1)?..)?).ok()?;
    // The first of these is field 3.
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let user: u64 = fields.nth(10)?.parse().ok()?;
    let kernel: u64 = fields.next()?.parse().ok()?;
    let start_ticks = fields.nth(6)?.parse().ok()?;
    Some(Stat { comm, state, cpu_ticks: user.saturating_add(kernel), start_ticks })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_hostile_name_does_not_move_the_fields() {
        let line = b"77 (a) S 1 (\xff b) D 1 77 77 0 -1 4194304 9 0 0 0 13 29 0 0 20 0 3 0 4242 1000 2";
        let stat = parse(line).unwrap();
        assert_eq!((stat.state, stat.cpu_ticks, stat.start_ticks), ('D', 42, 4242));
        assert_eq!(stat.comm, "a) S 1 (\\xff b");
    }

    #[test]
    fn our_own_line_is_read() {
        let stat = parse(&std::fs::read("/proc/self/stat").unwrap()).unwrap();
        assert!(stat.start_ticks > 0 && "RS".contains(stat.state));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = parse(&bytes);
        }
    }
}
