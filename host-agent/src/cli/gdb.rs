//! `vmward gdb FILE`: gdb on a guest as it was, from a report's minicore or from a core.
//!
//! ```text
//! $ vmward gdb report-4711.tar.zst
//! 2 threads of a guest with Linux version 6.1.0-50-cloud-amd64 (debian-kernel@lists.debian.org) ...
//! gdb -ex 'target remote /run/user/1000/vmward-gdb-1f0c.../gdb.sock'
//! with the kernel's debug file, vmlinux:
//! gdb -ex 'symbol-file -o 0x1e000000 vmlinux' -ex 'target remote /run/user/1000/vmward-gdb-1f0c.../gdb.sock'
//! ```

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::Serialize;
use vmward_kernel_lens::vmcoreinfo::VmcoreInfo;
use vmward_kernel_lens::{Arch, Opened, Options, Recorder, examine_opened, open};

use super::output::json;
use super::{Context, Exit, Form, Output};
use crate::postmortem::{Ended, GuestFile, Place, Server, Snapshot};

/// Where the text of an x86-64 kernel is linked to (`CONFIG_PHYSICAL_START` of every distribution).
const X86_TEXT: u64 = 0xffff_ffff_8100_0000;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A report with a minicore (a folder or a .tar.zst), a minicore, or any core of a guest
    file: PathBuf,
    /// Show every task of the kernel as a thread, with the registers that were saved of it
    #[arg(long)]
    tasks: bool,
    /// The folder for the socket, which must be there; a new one of the runtime directory when left out
    #[arg(long, value_name = "FOLDER", conflicts_with = "port")]
    folder: Option<PathBuf>,
    /// Listen on this port of 127.0.0.1 instead of a socket; 0 for any that is free
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
}

/// What a program is told.
#[derive(Debug, Serialize)]
struct Told<'a> {
    address: &'a str,
    threads: usize,
    kernel: &'a str,
    /// What is added to the addresses in the kernel's debug file.
    offset: Option<u64>,
}

pub(super) fn run(args: &Args, cx: &Context) -> Result<Exit> {
    let path = args.file.display();
    let file = GuestFile::open(&args.file)?.opened;
    let memory = Recorder::new(&*file.memory);
    let began = std::time::Instant::now();
    let opened =
        open(&memory, &file.cpus).with_context(|| format!("while looking for a kernel in {path}"))?;
    let found = examine_opened(&opened, &file.cpus, Options::default(), began);
    for problem in &found.problems {
        tracing::warn!("{path}: {problem}");
    }
    let mut snapshot = Snapshot::new(&opened.kernel, &file.cpus, &found, args.tasks);
    let threads = snapshot.threads().count();
    anyhow::ensure!(
        threads > 0,
        "{path} has no CPU's registers: with --tasks gdb sees every task of the kernel"
    );
    let place = match (&args.folder, args.port) {
        (Some(folder), _) => Place::Folder(folder.clone()),
        (None, Some(port)) => Place::Port(port),
        (None, None) => Place::FreshFolder,
    };
    let server = Server::listen(&place)?;
    let offset = offset(&opened, file.vmcoreinfo.as_deref());
    let address = server.address();
    if cx.form() == Form::Json {
        json(&Told { address, threads, kernel: &found.kernel.banner, offset })?;
    } else {
        let mut out = Output::new();
        out.line(&format!("{threads} threads of a guest with {}", found.kernel.banner));
        let gdb = match opened.kernel.arch {
            Arch::X86_64 => "gdb",
            Arch::Aarch64 => "gdb-multiarch",
        };
        let remote = format!("-ex 'target remote {address}'");
        out.line(&format!("{gdb} {remote}"));
        if let Some(offset) = offset {
            out.line("with the kernel's debug file, vmlinux:");
            out.line(&format!("{gdb} -ex 'symbol-file -o {offset:#x} vmlinux' {remote}"));
        }
        out.write()?;
    }
    let ended = server.serve(&mut snapshot)?;
    if ended == Ended::Detached {
        tracing::info!("gdb left");
    }
    Ok(Exit::Well)
}

/// How far the kernel lies from where it was linked to.
fn offset(opened: &Opened<'_>, vmcoreinfo: Option<&[u8]>) -> Option<u64> {
    let told = vmcoreinfo.and_then(|it| VmcoreInfo::parse(it).ok()?.kernel_offset());
    let text = || opened.kernel.symbol("_text").filter(|_| opened.kernel.arch == Arch::X86_64);
    told.or_else(|| text()?.checked_sub(X86_TEXT))
}
