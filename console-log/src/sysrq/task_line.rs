//! The line that names a task in SysRq `t` and `w`, in hung-task and RCU reports.

use vmward_kernel_facts::{Task, TaskState};

/// Columns of a name: `%-15.15s` in `sched_show_task()`.
const NAME_COLUMNS: usize = 15;

/// Reads a task's line.
///
/// * since v5.10 (commit cc172ff301d8): `task:init            state:S stack:    0 pid:    1 ppid:     0
///   flags:0x00000002`; v6.10 adds `tgid:`, v7.2 `task_flags:`
/// * up to v5.9 `systemd         S11664     1      0 0x00000000`, up to v4.9 with a PC after the state;
///   only read where a list of tasks is (`in_list`), for it has no mark of its own
///
/// The name may hold `:`, `)`, blanks and ` state:`: the line is read from its fixed columns and from
/// its right side. A torn line gives a task marked so, with the fields that survived.
pub(super) fn parse(text: &str, in_list: bool) -> Option<Task> {
    if let Some(task) = parse_labelled(text) {
        return Some(task);
    }
    if in_list { parse_columns(text) } else { None }
}

fn parse_labelled(text: &str) -> Option<Task> {
    let at = text.rfind(" state:")?;
    let (before, after) = (&text[..at], &text[at + " state:".len()..]);
    let named = before.strip_prefix("task:");
    if named.is_none() && !(after.contains("stack:") && after.contains("pid:")) {
        return None;
    }
    let mut task = Task::new(0, "", TaskState::R);
    task.pid = None;
    task.state = after.chars().next().and_then(TaskState::from_letter);
    // Only what stands right after the letter counts: a name can not reach it.
    task.running = after.get(1..).is_some_and(|it| it.trim_start().starts_with("running task"));
    task.ppid = number(after, " ppid:");
    task.pid = number(after, " pid:");
    task.tgid = number(after, " tgid:");
    // `0x%08lx`: a shorter one lost digits.
    task.flags = field(after, " flags:").filter(|it| it.len() >= 10).and_then(crate::frame::hex);
    task.task_flags = field(after, " task_flags:").and_then(crate::frame::hex);
    task.torn = named.is_none()
        || task.state.is_none()
        || task.pid.is_none()
        || task.ppid.is_none()
        || task.flags.is_none()
        || !fills_column(after, " pid:", 5)
        || !fills_column(after, " ppid:", 6)
        || named.is_some_and(|it| it.chars().count() < NAME_COLUMNS);
    // Of a torn line the last columns are the name, or what is left of it.
    task.comm = named.unwrap_or_else(|| last_columns(before)).trim_end().to_owned();
    (named.is_some() || task.pid.is_some()).then_some(task)
}

/// The word after a label, blanks between allowed (`pid:    1`).
fn field<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    let at = text.rfind(label)?;
    text[at + label.len()..].split_ascii_whitespace().next()
}

/// The number after a label. The line's last word may have lost digits to a tear, so it does not count:
/// in a whole line the flags come after every number.
fn number(text: &str, label: &str) -> Option<u32> {
    let at = text.rfind(label)?;
    let (word, _) = text[at + label.len()..].trim_start().split_once(' ')?;
    word.parse().ok()
}

/// Whether the number after a label fills its column as the kernel prints it, `%5d` up to v6.0 and
/// `%-5d` since. Bytes lost from the middle of a line join the digits of two columns to a number that
/// never was, and that shows only in the blanks around it.
fn fills_column(text: &str, label: &str, width: usize) -> bool {
    let Some(at) = text.rfind(label) else { return false };
    let rest = &text[at + label.len()..];
    let number = rest.trim_start_matches(' ');
    let after = number.trim_start_matches(|it: char| it.is_ascii_digit());
    let (before, digits) = (rest.len() - number.len(), number.len() - after.len());
    let behind = after.len() - after.trim_start_matches(' ').len();
    let right = before + digits == digits.max(width) && behind == 1;
    let left = before == 0 && digits + behind == digits.max(width) + 1;
    digits > 0 && (right || left)
}

fn last_columns(text: &str) -> &str {
    let skip = text.chars().count().saturating_sub(NAME_COLUMNS);
    text.char_indices().nth(skip).map_or("", |(at, _)| &text[at..])
}

/// `%-15.15s %c` then either a PC or `  running task    `, then `%5lu %5d %6d 0x%08lx` for stack, pid,
/// parent and flags.
fn parse_columns(text: &str) -> Option<Task> {
    let (name_end, _) = text.char_indices().nth(NAME_COLUMNS)?;
    let (name, rest) = text.split_at(name_end);
    let mut chars = rest.strip_prefix(' ')?.chars();
    let state = TaskState::from_letter(chars.next()?)?;
    let rest = chars.as_str();
    let mut words = rest.split_ascii_whitespace().rev();
    let flags = words.next()?.strip_prefix("0x").and_then(crate::frame::hex)?;
    let ppid = words.next()?.parse().ok()?;
    let pid = words.next()?.parse().ok()?;
    words.next()?.trim_start_matches(|it: char| !it.is_ascii_digit()).parse::<u64>().ok()?;
    let running = rest.trim_start().starts_with("running task");
    (!name.trim().is_empty()).then(|| Task {
        ppid: Some(ppid),
        flags: Some(flags),
        running,
        ..Task::new(pid, name.trim_end(), state)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<u32>, String, Option<char>, Option<u32>, bool) {
        let task = parse(text, true).unwrap();
        (task.pid, task.comm, task.state.map(TaskState::letter), task.ppid, task.torn)
    }

    #[test]
    fn every_kernels_form_is_read() {
        let want = (Some(12), "d-state a:b)c".to_owned(), Some('D'), Some(1), false);
        for text in [
            "task:d-state a:b)c   state:D stack:    0 pid:   12 ppid:     1 flags:0x00000002",
            "task:d-state a:b)c   state:D stack:0     pid:12    ppid:1      flags:0x00000002",
            "task:d-state a:b)c   state:D stack:0     pid:12    tgid:12    ppid:1      flags:0x00000001",
            "task:d-state a:b)c   state:D stack:0     pid:12    tgid:12    ppid:1      task_flags:0x400140 flags:0x00080002",
            "d-state a:b)c   D11664    12      1 0x00000000",
            "d-state a:b)c   D    0    12      1 0x00000000",
            "d-state a:b)c   D ffff88003fd13e00     0    12      1 0x00000000",
        ] {
            assert_eq!(read(text), want, "{text}");
        }
    }

    #[test]
    fn a_running_task_is_marked() {
        let task = parse("task:spinner         state:R  running task     stack:0     pid:113   tgid:113   ppid:1      task_flags:0x400000 flags:0x00000000", false).unwrap();
        assert!(task.running);
        assert_eq!((task.pid, task.task_flags), (Some(113), Some(0x400000)));
        let task = parse("spinner         R  running task        0   113      1 0x00000008", true).unwrap();
        assert_eq!((task.running, task.pid, task.ppid), (true, Some(113), Some(1)));
    }

    #[test]
    fn a_name_that_looks_like_the_rest_of_the_line_stays_a_name() {
        let (pid, comm, state, ..) =
            read("task:x state:S pid:9 state:D stack:0     pid:12    ppid:1      flags:0x00000002");
        assert_eq!((pid, comm.as_str(), state), (Some(12), "x state:S pid:9", Some('D')));
    }

    #[test]
    fn a_torn_line_is_marked_and_nothing_is_invented() {
        let (pid, comm, state, ppid, torn) = read(
            "[   12ask:thr:3 (x) a b   state:S stack:0     pid:125   tgid:114   ppid:1      flags:0x00080000",
        );
        assert_eq!(
            (pid, comm.as_str(), state, ppid, torn),
            (Some(125), "thr:3 (x) a b", Some('S'), Some(1), true)
        );
        let (pid, _, state, ppid, torn) =
            read("task:sleeper         state:S stack:0     pid:125   tg[   13.0");
        assert_eq!((pid, state, ppid, torn), (Some(125), Some('S'), None, true));
        let (pid, ..) = read("task:sleeper         state:S stack:0     pid:12");
        assert_eq!(pid, None);
        // Between the digits of `pid:142   tgid:142   ` ten bytes are gone.
        let (.., torn) =
            read("task:sleeper         state:S stack:0     pid:1142   ppid:1      flags:0x00080000");
        assert!(torn);
    }

    #[test]
    fn other_lines_name_no_task() {
        for text in
            [" schedule+0x27/0xa0", "the state: S", "", "task:x", "a state:S", "  .sysctl_sched : 12 0x1"]
        {
            assert!(parse(text, true).is_none(), "{text}");
        }
        assert!(parse("d-state a:b)c   D11664    12      1 0x00000000", false).is_none());
    }
}
