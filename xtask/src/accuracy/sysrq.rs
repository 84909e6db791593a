//! Scores on consoles of real kernels: tasks of SysRq `t`, and the scenario's class by the trouble found.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use vmward_console_log::TroubleKind::{self, *};
use vmward_console_log::sysrq::{SysrqKey, parse};
use vmward_kernel_facts::{Task, TaskState};

use super::{Figure, troubles};

/// One line of the truth: `GT 95 (dwait2) D 1 0 0`.
#[derive(Debug, PartialEq)]
struct Truth {
    pid: u32,
    comm: String,
    state: char,
    ppid: u32,
}

pub(super) fn score(folder: &Path, misses: &mut Vec<String>) -> Result<Vec<Figure>> {
    let labels = fs::read_to_string(folder.join("LABELS.tsv")).context("cannot read LABELS.tsv")?;
    let (mut n_tasks, mut named, mut in_state, mut with_parent, mut wrong_state) = (0, 0, 0, 0, 0);
    let (mut n_logs, mut right_class, mut false_events) = (0, 0, 0);
    for row in labels.lines() {
        let columns: Vec<_> = row.split('\t').collect();
        let [name, _, _, scenario, _, line, ..] = columns[..] else { continue };
        let log = fs::read(folder.join(name)).with_context(|| format!("cannot read {name}"))?;
        for (truth, task) in tasks_of(&log) {
            n_tasks += 1;
            let Some(task) = task.filter(|it| same_name(&truth.comm, &it.comm)) else {
                misses.push(format!("{name}: no task {truth:?}"));
                continue;
            };
            named += 1;
            let state_ok = task.state.is_some_and(|it| it.letter() == truth.state);
            if !state_ok {
                misses.push(format!("{name}: {truth:?} is in state {:?}", task.state));
            }
            // One that is running on either side ran between the list and the dump.
            let ran = truth.state == 'R' || task.state == Some(TaskState::R);
            wrong_state += usize::from(!state_ok && !ran);
            in_state += usize::from(state_ok);
            with_parent += usize::from(task.ppid == Some(truth.ppid));
        }
        n_logs += 1;
        let kinds: Vec<_> = troubles(&log).iter().map(|it| it.kind).collect();
        let accident = ACCIDENTS.iter().find(|it| it.0 == name).map(|it| it.1);
        let wanted = accident.or_else(|| wanted_kind(scenario, line));
        if wanted.is_none_or(|it| kinds.contains(&it)) {
            right_class += 1;
        } else {
            misses.push(format!("{name}: {wanted:?} not among {kinds:?}"));
        }
        if wanted.is_none() && !kinds.is_empty() {
            false_events += 1;
            misses.push(format!("{name}: nothing should be found, but {kinds:?}"));
        }
    }
    Ok(vec![
        Figure::share("sysrq: tasks found, pid and name equal", named, n_tasks, 100.0),
        Figure::share("sysrq: of these, state equal", in_state, named, 97.0),
        Figure::mistakes("sysrq: state differs though it did not run in between", wrong_state, 0),
        Figure::share("sysrq: of these, parent equal", with_parent, named, 100.0),
        Figure::share("sysrq: class of the scenario found", right_class, n_logs, 100.0),
        Figure::mistakes("sysrq: trouble found where there is none", false_events, 0),
    ])
}

/// The truth of a log, each with the task that was read for it. Those that listed the truth are left out:
/// they were gone when the dump came.
fn tasks_of(log: &[u8]) -> Vec<(Truth, Option<Task>)> {
    let text = String::from_utf8_lossy(log);
    let truths = text.lines().filter_map(|it| truth_of(it.trim_end()));
    let (dump, _) = parse(log);
    let Some(section) = dump.section(SysrqKey::ShowTasks) else { return Vec::new() };
    let find = |pid| section.tasks.iter().find(|it| it.pid == Some(pid)).cloned();
    // A zombie has no stack, and `sched_show_task()` skips a task without one.
    let listed =
        |it: &Truth| it.state != 'Z' && !matches!(it.comm.as_str(), "cat" | "cut" | "tr" | "sed" | "grep");
    truths.filter(listed).map(|it| (find(it.pid), it)).map(|(task, truth)| (truth, task)).collect()
}

fn truth_of(line: &str) -> Option<Truth> {
    let rest = line.strip_prefix("GT ")?;
    let (pid, rest) = rest.split_once(" (")?;
    let (comm, rest) = rest.rsplit_once(") ")?;
    let mut words = rest.split(' ');
    Some(Truth {
        pid: pid.parse().ok()?,
        comm: comm.to_owned(),
        state: words.next()?.chars().next()?,
        ppid: words.next()?.parse().ok()?,
    })
}

/// `/proc` prints more of a kernel thread's name than a dump: its work queue, and past 15 columns.
fn same_name(truth: &str, read: &str) -> bool {
    let cut: String = truth.chars().take(15).collect();
    let worker = truth.starts_with("kworker/");
    cut.trim_end() == read || worker && truth.split(['-', '+']).next() == read.split(['-', '+']).next()
}

/// Logs in which the guest crashed by accident under emulation before or beside its scenario, read by hand:
/// the crash is real, so it must be found.
const ACCIDENTS: &[(&str, TroubleKind)] =
    &[("amd64-6.12-hung.log", DoubleFault), ("amd64-6.12-segv.log", GeneralProtection)];

/// What the console of a scenario must show. `line` is the label's key line, `-` where it printed none.
fn wanted_kind(scenario: &str, line: &str) -> Option<TroubleKind> {
    if line.starts_with("PANIC: double fault") {
        return Some(DoubleFault);
    }
    match scenario {
        "crash" | "oompanic" | "hungpanic" => Some(Panic),
        "initdie" => Some(InitDied),
        "noroot" => Some(NoRoot),
        "oom" => Some(OomKill),
        "hung" => Some(HungTask),
        "ioerr" => Some(IoError),
        "nmi" if line != "-" => Some(UnknownNmi),
        "rcu" if line != "-" => Some(RcuStall),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_is_read_whatever_the_name() {
        let truth = truth_of("GT 94 (d-state a:b)c) D 1 0 0").unwrap();
        assert_eq!(truth, Truth { pid: 94, comm: "d-state a:b)c".into(), state: 'D', ppid: 1 });
        assert!(same_name("rcu_tasks_trace_kthread", "rcu_tasks_trace"));
        assert!(same_name("kworker/0:1-rcu_gp", "kworker/0:1"));
        assert!(!same_name("kworker/0:1-rcu_gp", "kworker/0:2"));
    }
}
