//! `fork-bomb`: the shell's control group is filled up to `pids.max` with sleeping children. The shell
//! answers every command with "can't fork"; the rest of the guest is well.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::cgroup::Cgroup;
use super::{Fault, PATIENCE, Start, end_all, stay};
use crate::proc;
use crate::role::{Role, spawn};

const NAME: &str = "bomb";
const MOST: usize = 64;

/// See the file's header.
pub(super) const FAULT: Fault = Fault {
    name: "fork-bomb",
    start,
    heal: Some(heal),
    roles: &[Role { name: "fork-bomb", run: bomb }, Role { name: "bomb-child", run: child }],
};

fn start(_: &[&str]) -> Result<Start> {
    let group = Cgroup::make(NAME, Some("pids"))?;
    group.set("pids.max", &MOST.to_string())?;
    group.add(u32::try_from(proc::child("shell")?)?)?;
    group.add(spawn("fork-bomb", &[])?.id())?;
    let asked = Instant::now();
    loop {
        let current = group.get("pids.current")?;
        let events = group.get("pids.events")?;
        // `max N` counts the forks that the limit refused.
        let refused = events.split_whitespace().nth(1).is_some_and(|it| it != "0");
        if current.trim() == MOST.to_string() && refused {
            return Ok(Start::Shown(json!({ "pids.current": current.trim(), "pids.events": events.trim() })));
        }
        if asked.elapsed() > PATIENCE {
            bail!("the group has {} of {MOST} processes, events {}", current.trim(), events.trim());
        }
        sleep(Duration::from_millis(50));
    }
}

fn heal() -> Result<Value> {
    end_all("fork-bomb")?;
    end_all("bomb-child")
}

fn bomb(_: &[String]) -> Result<()> {
    // Not before this process is in its group.
    while !std::fs::read_to_string("/proc/self/cgroup")?.contains(NAME) {
        sleep(Duration::from_millis(10));
    }
    // Goes on for ever: a place that somebody else leaves is taken at once. Children that the
    // limit refused are the aim, not an error.
    let mut children = Vec::new();
    loop {
        match spawn("bomb-child", &[]) {
            Ok(child) => children.push(child),
            Err(_) => sleep(Duration::from_millis(100)),
        }
    }
}

fn child(_: &[String]) -> Result<()> {
    stay()
}
