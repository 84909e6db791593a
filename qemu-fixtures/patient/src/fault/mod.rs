//! What can be broken from inside the guest: one file each, one line in [`ALL`].
//!
//! A fault answers only when `/proc` shows it. One after which nobody can answer says so just before
//! ([`Start::Armed`]), and the host sees the beats stop.

mod abba;
mod busy_cpu;
mod busy_disk;
mod call_syscall;
mod cgroup;
mod fork_bomb;
mod fs_freeze;
mod fuse_self;
mod fuse_wire;
mod init_dies;
mod lock_chain;
mod oom_thrash;
mod panic;
mod reboot;
mod rt_spin;
mod shell_dead;
mod userspace_stop;

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::role::Role;
use crate::{app, proc};

/// How long the guest's truth may take to show a fault.
const PATIENCE: Duration = Duration::from_secs(20);

/// A fault.
pub(crate) struct Fault {
    /// As the host names it.
    pub(crate) name: &'static str,
    /// Makes it.
    pub(crate) start: fn(&[&str]) -> Result<Start>,
    /// Undoes it, where that can be done.
    pub(crate) heal: Option<fn() -> Result<Value>>,
    /// The processes that it uses.
    pub(crate) roles: &'static [Role],
}

/// What to do once the reply is on its way.
pub(crate) type Action = Box<dyn FnOnce() -> Result<()>>;

/// How a fault began.
pub(crate) enum Start {
    /// It is there; the value shows it.
    Shown(Value),
    /// It comes when the action runs, and then nobody may be able to answer.
    Armed(Value, Action),
}

/// All faults.
pub(crate) const ALL: &[Fault] = &[
    abba::FAULT,
    busy_cpu::FAULT,
    busy_disk::FAULT,
    call_syscall::FAULT,
    fork_bomb::FAULT,
    fs_freeze::FAULT,
    fuse_self::FAULT,
    init_dies::FAULT,
    lock_chain::FAULT,
    oom_thrash::FAULT,
    panic::FAULT,
    reboot::FAULT,
    rt_spin::FAULT,
    rt_spin::THROTTLED,
    shell_dead::FAULT,
    userspace_stop::FAULT,
];

fn find(name: &str) -> Result<&'static Fault> {
    ALL.iter().find(|it| it.name == name).context("no such fault")
}

/// Makes the fault `name`.
pub(crate) fn start(name: &str, arguments: &[&str]) -> Result<Start> {
    (find(name)?.start)(arguments)
}

/// Undoes the fault `name`.
pub(crate) fn heal(name: &str) -> Result<Value> {
    find(name)?.heal.context("this fault cannot be undone")?()
}

/// Ends every process whose main thread is called `comm`, and waits until none is left.
fn end_all(comm: &str) -> Result<Value> {
    let mut n_ended = 0_usize;
    for _ in 0..100 {
        let left: Vec<_> = proc::tasks()
            .into_iter()
            .filter(|it| it.comm == comm && it.pid == it.tid && it.state != 'Z')
            .collect();
        if left.is_empty() {
            return Ok(json!({ "ended": n_ended }));
        }
        n_ended = n_ended.max(left.len());
        for task in left {
            // One that ended between the look and the signal is what we want.
            kill(Pid::from_raw(i32::try_from(task.pid)?), Signal::SIGKILL).ok();
        }
        sleep(Duration::from_millis(50));
    }
    anyhow::bail!("some {comm} did not end")
}

/// Has two writers of the application need `paths`, and waits until both, and the processes `others`, are
/// in uninterruptible sleep and stay there.
fn app_waits(paths: [&str; 2], others: &[u32]) -> Result<Value> {
    for (worker, path) in (1..).zip(paths) {
        app::need(worker, path)?;
    }
    let is_writer = |it: &proc::Task| matches!(it.comm.as_str(), "app-writer-1" | "app-writer-2");
    let ours = |it: &proc::Task| is_writer(it) || others.contains(&it.pid);
    let blocked = || {
        proc::wait_for("the application's writers in D", 2 + others.len(), PATIENCE, ours, |it| {
            it.state == 'D'
        })
    };
    // A lock that is only slow to get also makes them wait for a moment.
    blocked()?;
    sleep(Duration::from_secs(3));
    blocked()
}

/// Sleeps for ever: what a process does that only has to be there.
fn stay() -> ! {
    loop {
        sleep(Duration::from_secs(3600));
    }
}
