//! The guest's own truth, read from `/proc`.
//!
//! Only files that take no lock of the looked-at process are read (`cmdline` and `maps` would wait for a
//! stuck one's memory lock).

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

/// More threads than this are not listed: a fork bomb must not fill the answer.
const MOST_TASKS: usize = 2000;

/// One thread.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    pub(crate) comm: String,
    pub(crate) state: char,
    pub(crate) utime: u64,
    pub(crate) stime: u64,
    pub(crate) rt_priority: u64,
    pub(crate) wchan: String,
}

impl Task {
    pub(crate) fn json(&self) -> Value {
        json!({
            "pid": self.pid, "tid": self.tid, "comm": self.comm, "state": self.state.to_string(),
            "utime": self.utime, "stime": self.stime, "wchan": self.wchan,
        })
    }
}

/// Every thread that is there now.
pub(crate) fn tasks() -> Vec<Task> {
    let mut all = Vec::new();
    for pid in numbers("/proc") {
        for tid in numbers(&format!("/proc/{pid}/task")) {
            if all.len() >= MOST_TASKS {
                return all;
            }
            // A thread that ended meanwhile is not there now.
            all.extend(task(pid, tid));
        }
    }
    all
}

fn numbers(folder: &str) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().filter_map(|it| it.file_name().to_str()?.parse().ok()).collect()
}

fn task(pid: u32, tid: u32) -> Option<Task> {
    let folder = format!("/proc/{pid}/task/{tid}");
    let stat = fs::read_to_string(format!("{folder}/stat")).ok()?;
    let wchan = fs::read_to_string(format!("{folder}/wchan")).unwrap_or_default();
    parse(pid, tid, &stat, wchan)
}

/// `TID (NAME) STATE ...`, see proc_pid_stat(5); the name itself may hold spaces and brackets.
fn parse(pid: u32, tid: u32, stat: &str, wchan: String) -> Option<Task> {
    let (head, tail) = stat.rsplit_once(") ")?;
    let (_, comm) = head.split_once('(')?;
    let fields: Vec<&str> = tail.split_whitespace().collect();
    // The manual counts from 1, and two fields are gone.
    let number = |field: usize| fields.get(field - 3).and_then(|it| it.parse().ok()).unwrap_or(0);
    Some(Task {
        pid,
        tid,
        comm: comm.to_owned(),
        state: fields.first()?.chars().next()?,
        utime: number(14),
        stime: number(15),
        rt_priority: number(40),
        wchan,
    })
}

/// Waits until `enough` of the tasks that `which` picks exist, and gives them as proof.
///
/// # Errors
/// After `patience`, with what was seen instead.
pub(crate) fn wait_for(
    what: &str,
    enough: usize,
    patience: Duration,
    interesting: impl Fn(&Task) -> bool,
    which: impl Fn(&Task) -> bool,
) -> Result<Value> {
    let asked = Instant::now();
    loop {
        let seen: Vec<Task> = tasks().into_iter().filter(&interesting).collect();
        let found: Vec<Value> = seen.iter().filter(|it| which(it)).map(Task::json).collect();
        if found.len() >= enough {
            return Ok(Value::Array(found));
        }
        if asked.elapsed() > patience {
            let seen: Vec<String> =
                seen.iter().map(|it| format!("{}({}) {} {}", it.comm, it.tid, it.state, it.wchan)).collect();
            bail!("not seen within {patience:?}: {what}; there is: {}", seen.join(", "));
        }
        sleep(Duration::from_millis(50));
    }
}

/// The process id that PID 1 noted for one of its children.
pub(crate) fn child(name: &str) -> Result<i32> {
    let path = format!("/run/{name}.pid");
    fs::read_to_string(&path)
        .with_context(|| format!("cannot read {path}"))?
        .trim()
        .parse()
        .with_context(|| format!("no number in {path}"))
}

/// How many CPUs are on line.
pub(crate) fn n_cpus() -> usize {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let is_cpu =
        |it: &&str| it.strip_prefix("cpu").is_some_and(|it| it.starts_with(|c: char| c.is_ascii_digit()));
    stat.lines().filter(is_cpu).count().max(1)
}

/// `NAME VALUE` or `NAME: VALUE kB` lines as numbers.
pub(crate) fn table(path: &str) -> Map<String, Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let name = words.next()?.trim_end_matches(':').to_owned();
            let value: u64 = words.next()?.parse().ok()?;
            Some((name, value.into()))
        })
        .collect()
}

/// One number of [`table`]; 0 when it is not there.
pub(crate) fn number(path: &str, name: &str) -> u64 {
    table(path).get(name).and_then(Value::as_u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_brackets() {
        let stat = "7 (a) b (c) D 1 7 7 0 -1 64 0 0 0 0 11 12 0 0 -100 0 1 0 5 0 0 1 0 0 0 0 0 0 0 0 0 0 0 0 17 1 99 1 0";
        let task = parse(7, 7, stat, "pipe_read".into()).unwrap();
        assert_eq!((task.comm.as_str(), task.state), ("a) b (c", 'D'));
        assert_eq!((task.utime, task.stime, task.rt_priority), (11, 12, 99));
    }

    #[test]
    fn half_a_line_is_no_task() {
        assert!(parse(7, 7, "7 (sh", String::new()).is_none());
        assert!(parse(7, 7, "7 (sh) ", String::new()).is_none());
    }

    #[test]
    fn our_own_threads_are_listed() {
        let ours = std::process::id();
        assert!(tasks().iter().any(|it| it.pid == ours && it.tid == ours));
    }
}
