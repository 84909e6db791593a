//! `qemu-fixtures`: real guests and their faults from the command line.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use nix::sys::signal::{SigSet, Signal};
use serde_json::{Value, json};
use vmward_qemu_fixtures::cache::Cache;
use vmward_qemu_fixtures::debian;
use vmward_qemu_fixtures::fault::catalogue::Catalogue;
use vmward_qemu_fixtures::fault::{self, Fault};
use vmward_qemu_fixtures::kernels::{KERNELS, Lock};
use vmward_qemu_fixtures::nbd::NbdServer;
use vmward_qemu_fixtures::qemu::{Guest, clean_up_all};
use vmward_qemu_fixtures::unikernel::{self, Mode};

/// Builds real guests, starts QEMU and injects faults.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lists kernels, unikernel modes and faults.
    List,
    /// Starts a guest and keeps it until Ctrl-C: a kernel's name, `debian`, or `unikernel-MODE`. Prints its
    /// sockets as one line of JSON.
    Start {
        /// `amd64-6.1`, `unikernel-idle`, ...
        name: String,
        /// Prepares the guest for this fault.
        #[arg(long, default_value = "idle")]
        fault: String,
    },
    /// Starts the standard guest, injects a fault, prints its proof, and keeps the guest until Ctrl-C.
    Fault {
        /// The fault.
        name: String,
        /// The kernel.
        #[arg(long, default_value = "amd64-6.1")]
        kernel: String,
        /// Ends as soon as the fault is proved.
        #[arg(long)]
        once: bool,
    },
    /// Takes an image of the standard guest for the lens, or finds it in the cache, and prints its folder and
    /// what is known of it as one line of JSON.
    Image {
        /// The kernel.
        kernel: String,
        /// Makes this fault first.
        #[arg(long, default_value = "idle")]
        fault: String,
        /// Copies the image into this folder, which is made.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Serves raw files as NBD exports until Ctrl-C. SIGUSR1 makes it silent, SIGUSR2 lets it answer.
    Nbd {
        /// The unix socket.
        #[arg(long)]
        socket: PathBuf,
        /// `NAME=FILE`, once a disk.
        #[arg(required = true)]
        disks: Vec<String>,
    },
    /// Pins the newest packages of each suite in `kernels.lock`.
    Update,
}

fn main() -> Result<()> {
    // Blocked in every thread, so that `until_told` alone sees them; children get them unblocked.
    stop_signals().thread_block().context("cannot block signals")?;
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::List => list(),
        Command::Start { name, fault } => start(&name, &fault),
        Command::Fault { name, kernel, once } => break_one(&name, &kernel, once),
        Command::Image { kernel, fault, out } => image(&kernel, &fault, out.as_deref()),
        Command::Nbd { socket, disks } => nbd(&socket, &disks),
        Command::Update => update(),
    };
    clean_up_all();
    outcome
}

fn stop_signals() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2].into_iter().collect()
}

/// Prints one line on stdout.
fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("cannot write to stdout")
}

fn list() -> Result<()> {
    for kernel in KERNELS {
        say(&format!("guest  {kernel}"))?;
    }
    say("guest  debian")?;
    for mode in Mode::ALL {
        say(&format!("guest  unikernel-{}", mode.word()))?;
    }
    for entry in Catalogue::shipped()?.faults {
        say(&format!("fault  {:<18} {:<15} {}", entry.name, entry.class, entry.made))?;
    }
    Ok(())
}

fn start(name: &str, fault: &str) -> Result<()> {
    let mut guest = match name.strip_prefix("unikernel-") {
        Some(word) => {
            let mode = Mode::ALL.into_iter().find(|it| it.word() == word);
            unikernel::guest(name, mode.with_context(|| format!("no unikernel mode {word:?}"))?)?.boot()?
        }
        None if name == "debian" => debian::guest(name)?.boot()?,
        None => fault::start(name, fault::find(fault)?)?,
    };
    say(&described(&mut guest)?.to_string())?;
    until_told()
}

fn break_one(name: &str, kernel: &str, once: bool) -> Result<()> {
    let fault: &dyn Fault = fault::find(name)?;
    let mut guest = fault::start(kernel, fault)?;
    say(&described(&mut guest)?.to_string())?;
    let proof = fault.inject(&mut guest)?;
    say(&json!({ "fault": name, "proof": proof.text, "facts": proof.facts }).to_string())?;
    if once { Ok(()) } else { until_told() }
}

fn image(kernel: &str, fault: &str, out: Option<&std::path::Path>) -> Result<()> {
    let image = vmward_qemu_fixtures::image::of_fault(fault, kernel)?;
    let image = match out {
        Some(folder) => image.copy_to(folder)?,
        None => image,
    };
    say(&json!({ "folder": image.folder(), "meta": image.meta() }).to_string())
}

/// The sockets of a guest, for whoever wants to reach it.
fn described(guest: &mut Guest) -> Result<Value> {
    Ok(json!({
        "name": guest.name(),
        "pid": guest.pid(),
        "folder": guest.folder(),
        "qmp": guest.qmp_path(),
        "console": guest.console_path()?,
        "console_log": guest.console_log(),
        "boots": guest.boots(),
    }))
}

fn until_told() -> Result<()> {
    loop {
        if stops(stop_signals().wait().context("cannot wait for a signal")?) {
            return Ok(());
        }
    }
}

fn stops(signal: Signal) -> bool {
    matches!(signal, Signal::SIGINT | Signal::SIGTERM | Signal::SIGHUP)
}

fn nbd(socket: &std::path::Path, disks: &[String]) -> Result<()> {
    let mut named = Vec::new();
    for disk in disks {
        let (name, file) = disk.split_once('=').with_context(|| format!("{disk:?} is not NAME=FILE"))?;
        ensure!(!name.is_empty(), "{disk:?} has no name");
        named.push((name.to_owned(), PathBuf::from(file)));
    }
    let names: Vec<String> = named.iter().map(|(name, _)| name.clone()).collect();
    let server = NbdServer::start(socket, named)
        .with_context(|| format!("cannot serve disks on {}", socket.display()))?;
    say(&json!({ "socket": server.socket(), "exports": names }).to_string())?;
    loop {
        let signal = stop_signals().wait().context("cannot wait for a signal")?;
        if stops(signal) {
            return Ok(());
        }
        for name in &names {
            if signal == Signal::SIGUSR1 { server.swallow(name)? } else { server.resume(name)? }
        }
    }
}

fn update() -> Result<()> {
    let lock = vmward_qemu_fixtures::kernels::update(&Cache::open()?)?;
    let path = Lock::path();
    std::fs::write(&path, lock.to_text()?).with_context(|| format!("cannot write {}", path.display()))?;
    say(&format!("wrote {}; look at the difference and commit it", path.display()))
}
