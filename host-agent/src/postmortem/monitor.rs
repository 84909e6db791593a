//! `monitor ...`: what the lens knows, told on gdb's console.

use vmward_kernel_facts::{Examination, LogStyle, Task};
use vmward_report_view::escape::visible;

use crate::word::word;

/// Bytes of one piece: gdb shows each as it comes.
const PIECE: usize = 1024;

const HELP: &str = "\
monitor tasks        every task: process id, state, where it sleeps
monitor stack [PID]  the kernel stack of a task, or of all that wait for something
monitor waits        who waits for what, and who holds it
monitor dmesg        the kernel's log
monitor help         this
";

/// The answer to a command, in pieces. What comes from the guest cannot move the cursor.
pub(super) fn answer(found: &Examination, command: &[u8]) -> Vec<String> {
    let command = String::from_utf8_lossy(command);
    let words: Vec<&str> = command.split_whitespace().collect();
    let lines = match words.as_slice() {
        ["tasks" | "ps"] => tasks(found),
        ["stack" | "bt"] => found.tasks.iter().filter(|it| waits_for(found, it)).flat_map(stack).collect(),
        ["stack" | "bt", pid] => {
            let pid = pid.parse().ok();
            let named: Vec<&Task> = found.tasks.iter().filter(|it| pid.is_some() && it.pid == pid).collect();
            if named.is_empty() {
                vec!["There is no task of that number: `monitor tasks` shows all.".to_owned()]
            } else {
                named.into_iter().flat_map(stack).collect()
            }
        }
        ["waits"] => waits(found),
        ["dmesg" | "log"] => match &found.log {
            Some(log) => log.to_text(LogStyle::default()).lines().map(str::to_owned).collect(),
            None => vec!["The kernel's log could not be read.".to_owned()],
        },
        ["help"] | [] => HELP.lines().map(str::to_owned).collect(),
        _ => vec!["There is no such command: `monitor help` names all.".to_owned()],
    };
    pieces(&lines)
}

fn pieces(lines: &[String]) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for line in lines {
        let line = visible(line);
        match pieces.last_mut() {
            Some(last) if last.is_empty() || last.len() + line.len() < PIECE => {
                last.push_str(&line);
                last.push('\n');
            }
            _ => pieces.push(format!("{line}\n")),
        }
    }
    pieces.retain(|it| !it.is_empty());
    pieces
}

fn name(task: &Task) -> &str {
    task.full_name.as_deref().unwrap_or(&task.comm)
}

fn number(pid: Option<u32>) -> String {
    pid.map_or_else(|| "?".to_owned(), |it| it.to_string())
}

fn tasks(found: &Examination) -> Vec<String> {
    let row = |it: &Task| {
        let state = it.state.map_or('?', |it| it.letter());
        let sleeps = it.wchan.as_deref().unwrap_or_default();
        format!("{:>7} {state} {:<24} {sleeps}", number(it.pid), name(it)).trim_end().to_owned()
    };
    found.tasks.iter().map(row).collect()
}

fn stack(task: &Task) -> Vec<String> {
    let head = format!("{} {}", number(task.pid), name(task));
    [head].into_iter().chain(task.stack.iter().map(|it| format!("    {it}"))).collect()
}

fn waits_for(found: &Examination, task: &Task) -> bool {
    task.pid.is_some_and(|pid| found.waits.edges.iter().any(|it| it.waiter == pid))
}

fn waits(found: &Examination) -> Vec<String> {
    let who = |pid: u32| {
        let task = found.tasks.iter().find(|it| it.pid == Some(pid));
        format!("{pid} {}", task.map(name).unwrap_or_default())
    };
    let mut lines: Vec<String> = found
        .waits
        .edges
        .iter()
        .map(|it| {
            let owners: Vec<String> = it.owners.iter().map(|it| who(*it)).collect();
            let held =
                if owners.is_empty() { String::new() } else { format!(", held by {}", owners.join(", ")) };
            let object = it.object.map_or_else(String::new, |at| format!(" {at:#x}"));
            format!("{} waits for {}{object}{held}", who(it.waiter), word(&it.kind))
        })
        .collect();
    for cycle in &found.waits.cycles {
        let names: Vec<String> = cycle.iter().map(|it| who(*it)).collect();
        lines.push(format!("These wait for each other: {}", names.join(", ")));
    }
    for root in &found.waits.roots {
        let waiters = root.waiters.len();
        lines.push(format!("{waiters} wait for {} in the end", who(root.task)));
    }
    if lines.is_empty() {
        lines.push("No task waits for another.".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_answers_come_in_pieces_and_nothing_moves_the_cursor() {
        let lines: Vec<String> = (0..200).map(|it| format!("line {it} \u{1b}[2J")).collect();
        let pieces = pieces(&lines);
        assert!(pieces.len() > 2 && pieces.iter().all(|it| it.len() <= PIECE));
        let whole = pieces.concat();
        assert!(whole.lines().count() == 200 && !whole.contains('\u{1b}'));
    }
}
