//! `vmward inspect GUEST|FILE`: what a Linux kernel is doing, read from a running guest's memory or from a
//! core of it, with no symbols and no debug information given, and without a stop.
//!
//! ```text
//! $ vmward inspect guest.core waits
//! WAITER  NAME         WAITS FOR  OBJECT              HELD BY  SINCE   SHOWN BY
//! 92      writer-0     mutex      0xff12808c02b33978  96       2.2 s   listed
//! 96      lock-holder  page-io    0xffeda1c4400d5a40           2.3 s   queued
//!
//! 2 tasks wait for 96 lock-holder, which waits for page-io
//! ```

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use vmward_kernel_facts::{Examination, LogStyle, Task, fold_stacks};

use super::output::json;
use super::{Context, Exit, Form, Output, ask};
use crate::capture::OverQmp;
use crate::look::{MemoryFrom, Order, Pool, Request, gather};
use crate::node::{Process, Reader};
use crate::opener;
use crate::target::Target;
use crate::transport::qmp::{self, Monitor};
use crate::word::word;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name or UUID of a guest of this host; or a file: an ELF core (as dump-guest-memory writes it, or
    /// /proc/vmcore), a kdump-compressed dump, or a minicore. A path with a slash is a file
    #[arg(value_name = "GUEST|FILE")]
    subject: String,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Subcommand)]
enum What {
    /// Every task with its state and where it sleeps (the default)
    #[default]
    Ps,
    /// The stack of every task; equal stacks once
    Bt,
    /// Who waits for what, and who holds it
    Waits,
    /// The kernel's log
    Dmesg,
    /// What each CPU does
    Cpus,
    /// Everything; as a table, what `cpus`, `waits`, `ps` and `bt` show
    All,
}

/// A look at a file may take this long: a core of a large guest comes from a disk.
const FILE: Duration = Duration::from_secs(60);
/// A look at a guest.
const LIVE: Duration = Duration::from_secs(10);

pub(super) fn run(args: &Args, cx: &Context) -> Result<Exit> {
    let subject = &args.subject;
    let (order, within) = order(subject, cx)?;
    let looked = super::agent::runtime()?.block_on(Pool::default().look(order, within));
    let found = looked.with_context(|| format!("while looking at {subject}"))?.examination;
    for problem in &found.problems {
        tracing::warn!("{subject}: {problem}");
    }
    let what = args.what.unwrap_or_default();
    if cx.form() == Form::Json {
        match what {
            What::Ps | What::Bt => json(&found.tasks)?,
            What::Waits => json(&found.waits)?,
            What::Dmesg => json(&found.log)?,
            What::Cpus => json(&found.cpus)?,
            What::All => json(&found)?,
        }
    } else {
        let mut out = Output::new();
        let all = what == What::All;
        if all {
            out.line(&found.kernel.banner).line("");
        }
        if all || what == What::Cpus {
            cpus(&found, &mut out);
        }
        if all || what == What::Waits {
            waits(&found, &mut out);
        }
        if all || what == What::Ps {
            ps(&found, &mut out);
        }
        if all || what == What::Bt {
            stacks(&found, &mut out);
        }
        if what == What::Dmesg {
            let text = found.log.as_ref().map(|it| it.to_text(LogStyle::default())).unwrap_or_default();
            out.lines(text.lines().map(str::to_owned));
        }
        out.write()?;
    }
    Ok(if found.waits.roots.is_empty() && found.waits.cycles.is_empty() { Exit::Well } else { Exit::Finding })
}

/// What is to be looked at, and for how long.
fn order(subject: &str, cx: &Context) -> Result<(Order, Duration)> {
    let path = Path::new(subject);
    if subject.contains('/') || path.is_file() {
        let file = File::open(path).with_context(|| format!("while opening {subject}"))?;
        let request = Request { memory: MemoryFrom::Core, ..Request::default() };
        return Ok((Order { request, files: vec![file.into()] }, FILE));
    }
    let loaded = cx.load()?;
    let target = ask::find(&loaded, subject)
        .with_context(|| format!("there is no file {subject:?} here either; a file is named by a path"))?;
    let Some(life) = target.incarnation else { bail!("no QEMU process of {subject} was found") };
    let opener = opener::Client::where_there_is_one();
    let process = Process::new(life.pid, life.start_ticks, Reader::default(), opener);
    let policy = loaded.config.policy_for(&target.name, target.uuid);
    let monitor = monitor(&target, policy.qmp_policy).map(OverQmp);
    let gathered =
        super::agent::runtime()?.block_on(gather(&process, monitor.as_ref().map(|it| it as _), None));
    let gathered = gathered.map_err(|why| anyhow::anyhow!("{why}"))?;
    for note in gathered.notes {
        tracing::warn!("{subject}: {note}");
    }
    Ok((gathered.order, LIVE))
}

/// The monitor, asked and left within a moment: an agent may hold it.
fn monitor(target: &Target, policy: Option<crate::config::QmpPolicy>) -> Option<Monitor> {
    let at = target.qmp.as_ref()?;
    Some(Monitor::new(qmp::Settings {
        path: at.path.clone(),
        policy: policy.unwrap_or(at.policy).into(),
        deadlines: qmp::Deadlines::default(),
        pid: target.pid(),
    }))
}

fn number(pid: Option<u32>) -> String {
    pid.map_or_else(|| "?".to_owned(), |it| it.to_string())
}

fn name(task: &Task) -> String {
    task.full_name.clone().unwrap_or_else(|| task.comm.clone())
}

fn seconds(ns: Option<u64>) -> String {
    ns.map_or_else(String::new, |it| format!("{}.{} s", it / 1_000_000_000, it / 100_000_000 % 10))
}

fn ps(found: &Examination, out: &mut Output) {
    let rows: Vec<[String; 7]> = found
        .tasks
        .iter()
        .map(|it| {
            let call = it.syscall.as_ref();
            [
                number(it.pid),
                number(it.ppid),
                it.state.map_or('?', |state| state.letter()).to_string(),
                it.cpu.map_or_else(String::new, |cpu| cpu.to_string()),
                name(it),
                it.wchan.clone().unwrap_or_default(),
                call.map(|it| it.name.clone().unwrap_or_else(|| it.number.to_string())).unwrap_or_default(),
            ]
        })
        .collect();
    out.table(["PID", "PARENT", "STATE", "CPU", "NAME", "SLEEPS IN", "SYSTEM CALL"], &rows);
}

fn stacks(found: &Examination, out: &mut Output) {
    for group in fold_stacks(&found.tasks) {
        let members = group.members.iter().filter_map(|at| found.tasks.get(*at));
        let names: Vec<String> = members.map(|it| format!("{} {}", number(it.pid), name(it))).collect();
        out.line("").line(&names.join(", "));
        out.lines(group.stack.iter().map(|it| format!("    {it}")));
    }
}

fn cpus(found: &Examination, out: &mut Output) {
    for cpu in &found.cpus {
        let does = match (cpu.idle, cpu.user_mode) {
            (true, _) => "idle",
            (_, true) => "user code",
            _ => "kernel code",
        };
        let task = cpu.comm.as_deref().unwrap_or("?");
        out.line(&format!("CPU {}: {does}, task {} {task}", cpu.cpu, number(cpu.pid)));
        out.lines(cpu.stack.iter().map(|it| format!("    {it}")));
    }
    if found.cpus.is_empty() {
        out.line("No CPU's registers are in this file.");
    }
    out.line("");
}

fn waits(found: &Examination, out: &mut Output) {
    let who = |pid: u32| {
        let task = found.tasks.iter().find(|it| it.pid == Some(pid));
        format!("{pid} {}", task.map(name).unwrap_or_default())
    };
    let rows: Vec<[String; 7]> = found
        .waits
        .edges
        .iter()
        .map(|it| {
            let owners: Vec<String> = it.owners.iter().map(u32::to_string).collect();
            let object = it.object.map(|at| format!("{at:#x}")).unwrap_or_default();
            [
                it.waiter.to_string(),
                who(it.waiter).split_once(' ').map(|it| it.1.to_owned()).unwrap_or_default(),
                word(&it.kind),
                it.object_name.clone().unwrap_or(object),
                owners.join(", "),
                seconds(it.waiting_ns),
                word(&it.proof),
            ]
        })
        .collect();
    out.table(["WAITER", "NAME", "WAITS FOR", "OBJECT", "HELD BY", "SINCE", "SHOWN BY"], &rows).line("");
    for cycle in &found.waits.cycles {
        let names: Vec<String> = cycle.iter().map(|it| who(*it)).collect();
        out.line(&format!("These wait for each other and will never go on: {}", names.join(", ")));
    }
    for root in &found.waits.roots {
        let does = match root.waits_for {
            Some(kind) => format!(", which waits for {}", word(&kind)),
            None => String::new(),
        };
        let count = match root.waiters.len() {
            1 => "1 task waits".to_owned(),
            many => format!("{many} tasks wait"),
        };
        out.line(&format!("{count} for {}{does}", who(root.task)));
    }
}
