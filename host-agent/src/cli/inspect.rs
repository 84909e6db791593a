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

mod asked;
mod io;
mod mem;
mod mods;
mod net;
mod sample;

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use vmward_kernel_facts::{Answer, Ask, Examination, LogStyle, Place, Task, fold_stacks};

use super::output::json;
use super::{Context, Exit, Form, Output, ask};
use crate::agent::paths;
use crate::capture::OverQmp;
use crate::config::HumanDuration;
use crate::look::{MemoryFrom, MinicoreOrder, Order, Pool, Request, gather};
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
    /// Look so many times at what the CPUs run, instead of once at everything
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    sample: Option<u32>,
    /// Time between two of these looks
    #[arg(long, value_name = "TIME", default_value = "20ms", requires = "sample")]
    every: HumanDuration,
    /// Write a flame graph of them (SVG)
    #[arg(long, value_name = "FILE", requires = "sample")]
    flame: Option<PathBuf>,
    /// Take the kernel's types from this file: BTF as in /sys/kernel/btf/vmlinux, or an ELF file with a section
    /// .BTF; for a kernel that was built without
    #[arg(long, value_name = "FILE", conflicts_with = "sample")]
    btf: Option<PathBuf>,
    /// Also write everything into a file, as JSON; it is there whole or not at all
    #[arg(long, value_name = "FILE", conflicts_with = "sample")]
    save: Option<PathBuf>,
    /// Also write the pages that were read into a file (a minicore): the kernel's memory, with what it holds of
    /// its guest's secrets
    #[arg(long, value_name = "FILE", conflicts_with = "sample")]
    minicore: Option<PathBuf>,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Subcommand)]
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
    /// Memory by zone, and who has it
    Mem,
    /// Disks, requests under way, virtio rings
    Io,
    /// Network devices and their queues
    Net,
    /// Modules
    Mods,
    /// A symbol by its name, or what an address lies in
    Sym {
        /// A name, or an address as 0x...
        name: String,
    },
    /// The layout of a type, as pahole shows it
    Type {
        /// Its name
        name: String,
    },
    /// Bytes of memory
    Read {
        /// An address, or a symbol, or symbol+0x10
        #[arg(value_name = "ADDRESS|SYMBOL")]
        at: String,
        /// How many
        #[arg(default_value_t = 256)]
        length: u64,
        /// The address is guest-physical
        #[arg(long)]
        phys: bool,
    },
    /// Everything; as a table, what `cpus`, `waits`, `ps` and `bt` show
    All,
}

impl What {
    /// What is asked along with the look.
    fn asks(&self) -> Vec<Ask> {
        let ask = match self.clone() {
            What::Sym { name } => match Place::parse(&name) {
                Place { symbol: None, offset } => Ask::Address { address: offset },
                Place { symbol: Some(name), .. } => Ask::Symbol { name },
            },
            What::Type { name } => Ask::Type { name },
            What::Read { at, length, phys } => Ask::Read { at: Place::parse(&at), length, physical: phys },
            _ => return Vec::new(),
        };
        vec![ask]
    }
}

/// A look at a file may take this long: a core of a large guest comes from a disk.
const FILE: Duration = Duration::from_secs(60);
/// Bytes of a minicore that somebody asks for.
const MAX_MINICORE: u64 = 64 << 20;
/// A look at a guest.
const LIVE: Duration = Duration::from_secs(10);

pub(super) fn run(args: &Args, cx: &Context) -> Result<Exit> {
    let subject = &args.subject;
    let Subject { mut order, within, monitor, pool } = open(subject, cx)?;
    let what = args.what.clone().unwrap_or_default();
    order.request.asks = what.asks();
    order.request.minicore =
        args.minicore.is_some().then(|| MinicoreOrder { limit: MAX_MINICORE, ..Default::default() });
    if let Some(path) = &args.btf {
        let file = File::open(path).with_context(|| format!("while opening {}", path.display()))?;
        order.files.push(file.into());
        order.request.btf = true;
    }
    let runtime = super::agent::runtime()?;
    if let Some(moments) = args.sample {
        let Some(monitor) = monitor else {
            bail!("{subject} has no monitor that tells registers: only a running guest can be sampled")
        };
        let taken = runtime.block_on(sample::run(&pool, order, &monitor, moments, args.every.get()));
        let taken = taken.with_context(|| format!("while looking at {subject}"))?;
        return sample::show(subject, &taken, args.flame.as_deref(), cx.form());
    }
    let looked = runtime.block_on(pool.look(order, within));
    let looked = looked.with_context(|| format!("while looking at {subject}"))?;
    if let Some(path) = &args.minicore {
        match (&looked.minicore, &looked.no_minicore) {
            (Some(bytes), _) => save(path, bytes)?,
            (None, why) => bail!("there is no minicore: {}", why.as_deref().unwrap_or("nothing was read")),
        }
    }
    if let Some(path) = &args.save {
        save(path, &serde_json::to_vec(&looked.examination).context("while writing it as JSON")?)?;
    }
    let found = looked.examination;
    for problem in &found.problems {
        tracing::warn!("{subject}: {problem}");
    }
    if cx.form() == Form::Json {
        match what {
            What::Ps | What::Bt => json(&found.tasks)?,
            What::Waits => json(&found.waits)?,
            What::Dmesg => json(&found.log)?,
            What::Cpus => json(&found.cpus)?,
            What::Mem => {
                json(&serde_json::json!({ "memory": found.machine.memory, "slab": found.machine.slab }))?
            }
            What::Io => {
                json(&serde_json::json!({ "disks": found.machine.disks, "virtio": found.machine.virtio }))?
            }
            What::Net => json(&found.machine.networks)?,
            What::Mods => json(&found.machine.modules)?,
            What::Sym { .. } | What::Type { .. } | What::Read { .. } => json(&found.answers)?,
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
        match what {
            What::Mem => mem::show(&found, &mut out),
            What::Io => io::show(&found, &mut out),
            What::Net => net::show(&found, &mut out),
            What::Mods => mods::show(&found, &mut out),
            _ => {}
        }
        for answer in &found.answers {
            asked::show(answer, &mut out);
        }
        if what == What::Dmesg {
            let text = found.log.as_ref().map(|it| it.to_text(LogStyle::default())).unwrap_or_default();
            out.lines(text.lines().map(str::to_owned));
        }
        out.write()?;
    }
    if matches!(found.answers.as_slice(), [Answer::Nothing { .. }]) {
        return Ok(Exit::Unknown);
    }
    Ok(if found.waits.roots.is_empty() && found.waits.cycles.is_empty() { Exit::Well } else { Exit::Finding })
}

/// Writes beside and renames, readable to its owner only.
fn save(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = PathBuf::from(name);
    let write = || -> std::io::Result<()> {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&part)?;
        file.write_all(bytes)?;
        std::fs::rename(&part, path)
    };
    let done = write();
    if done.is_err() {
        // What was half-written is of no use; that it could not be removed either says no more.
        drop(std::fs::remove_file(&part));
    }
    done.with_context(|| format!("while writing {}", path.display()))
}

/// What is looked at.
struct Subject {
    order: Order,
    /// For how long at most.
    within: Duration,
    /// Of a guest, where there is one.
    monitor: Option<OverQmp>,
    pool: Pool,
}

fn open(subject: &str, cx: &Context) -> Result<Subject> {
    let path = Path::new(subject);
    if subject.contains('/') || path.is_file() {
        let file = File::open(path).with_context(|| format!("while opening {subject}"))?;
        let request = Request { memory: MemoryFrom::Core, ..Request::default() };
        let order = Order { request, files: vec![file.into()] };
        return Ok(Subject { order, within: FILE, monitor: None, pool: Pool::default() });
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
    // Who may not write into the agent's folder searches, and leaves nothing behind.
    let state = &loaded.config.state;
    let pool = match nix::unistd::access(&state.folder, nix::unistd::AccessFlags::W_OK) {
        Ok(()) => Pool::default().with_cache(&paths::kernels(state)),
        Err(_) => Pool::default(),
    };
    Ok(Subject { order: gathered.order, within: LIVE, monitor, pool })
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
