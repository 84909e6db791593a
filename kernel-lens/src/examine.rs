//! One look at a guest: from its memory and its vCPUs' registers to everything that can be told.

use std::time::Instant;

use thiserror::Error;
use vmward_kernel_facts::{Examination, ExaminationCost, FoundBy, KernelIdentity};

use crate::cache::Entry;
use crate::find::FindError;
use crate::kallsyms::KallsymsError;
use crate::look_machine::machine;
use crate::running::{Current, named, running};
use crate::task::{TaskOptions, Tasks, read_tasks, wait_channel};
use crate::unwind::Unwinder;
use crate::wait::read_waits;
use crate::{Arch, Cpu, Kernel, Opened, Recorder, open, open_known, printk};

/// Why a guest could not be examined at all. What of a found kernel cannot be read is no error: it is told
/// among [`Examination::problems`].
#[derive(Debug, Error)]
pub enum ExamineError {
    /// There is no kernel that we know of, or its page tables cannot be read.
    #[error("no Linux kernel was found in the guest's memory")]
    NotFound(#[from] FindError),
    /// There is one, and its symbols cannot be read.
    #[error("the kernel's symbols could not be read")]
    Symbols(#[from] KallsymsError),
}

/// What to look at.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Command lines, system calls, cgroups: a few more reads for each task.
    pub details: bool,
    /// Threads at most.
    pub max_threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { details: true, max_threads: 65_536 }
    }
}

/// Examines a guest.
///
/// `cpus` may be empty: then the kernel is looked for in memory, and what runs on a CPU has no stack.
///
/// # Errors
/// [`ExamineError`] when there is nothing to tell.
pub fn examine(memory: &Recorder<'_>, cpus: &[Cpu], options: Options) -> Result<Examination, ExamineError> {
    let began = Instant::now();
    let opened = open(memory, cpus)?;
    Ok(examine_opened(&opened, cpus, options, began))
}

/// The same, with what earlier looks learned of kernels; gives back what this one learned, if it is anything
/// new. See [`crate::cache`].
///
/// # Errors
/// As [`examine`].
pub fn examine_known(
    memory: &Recorder<'_>,
    cpus: &[Cpu],
    options: Options,
    known: &[Entry],
) -> Result<(Examination, Option<Entry>), ExamineError> {
    let began = Instant::now();
    let opened = open_known(memory, cpus, known)?;
    let examination = examine_opened(&opened, cpus, options, began);
    Ok((examination, opened.learned()))
}

/// Examines a guest whose kernel was found, so that whoever did it can go on with the kernel: write a minicore
/// of what was read ([`crate::minicore::save`]). `began` is when its search began.
pub fn examine_opened(opened: &Opened<'_>, cpus: &[Cpu], options: Options, began: Instant) -> Examination {
    let find_us = micros(began);
    let kernel = &opened.kernel;
    let memory = kernel.space.memory();
    let mut problems = opened.problems.clone();
    let unwinder = Unwinder::new(kernel);
    let mut tasks = match read_tasks(
        kernel,
        TaskOptions { max_threads: options.max_threads, details: options.details, ..TaskOptions::default() },
    ) {
        Ok(tasks) => tasks,
        Err(error) => {
            problems.push(told("tasks", &error));
            Tasks::default()
        }
    };
    tell(&tasks, &mut problems);
    for it in tasks.iter_mut().filter(|it| !it.task.running) {
        let unwound = unwinder.sleeping(it.address);
        it.task.stack = named(kernel, &unwound);
        let sure = unwound.frames.iter().filter(|it| it.sure()).map(|it| it.lookup());
        let channel = wait_channel(kernel, sure).and_then(|it| kernel.symbols.at(it));
        it.task.wchan = channel.map(|it| it.name.to_owned());
    }
    let ran = running(kernel, &unwinder, cpus, &|cpu| {
        let it = tasks.iter().find(|it| it.task.on_cpu == Some(cpu))?;
        Some(Current { address: it.address, pid: it.task.pid, comm: it.task.comm.clone() })
    });
    let registers = cpus;
    let mut cpus = Vec::with_capacity(ran.len());
    for (address, cpu) in ran {
        if let Some(it) = address.and_then(|it| tasks.at_mut(it)) {
            it.task.stack.clone_from(&cpu.stack);
        }
        cpus.push(cpu);
    }
    let waits = read_waits(kernel, &tasks, &cpus, registers, &mut problems);
    let log = match printk::read(kernel) {
        Ok(log) => Some(log),
        Err(error) => {
            problems.push(told("the kernel's log", &error));
            None
        }
    };
    let state = machine(kernel, &mut problems);
    let identity = KernelIdentity {
        banner: banner(kernel),
        arch: match kernel.arch {
            Arch::X86_64 => "x86_64".to_owned(),
            Arch::Aarch64 => "aarch64".to_owned(),
        },
        image_virt: opened.image.virt,
        image_phys: opened.image.phys,
        symbols: kernel.symbols.len() as u64,
        types: kernel.types.len() as u64,
        unwinder: unwinder.describe().to_owned(),
        found_by: if opened.by_scan { FoundBy::Scan } else { FoundBy::Registers },
    };
    Examination {
        kernel: identity,
        cpus,
        tasks: tasks.into_tasks(),
        waits,
        log,
        machine: Box::new(state),
        answers: Vec::new(),
        problems,
        cost: ExaminationCost {
            pages: memory.recorded().len() as u64,
            reads: memory.reads(),
            find_us,
            total_us: micros(began),
        },
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// An error and its causes in one sentence.
fn told(what: &str, error: &dyn std::error::Error) -> String {
    let mut text = format!("{what} could not be read: {error}");
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(&format!(": {next}"));
        cause = next.source();
    }
    text
}

fn tell(tasks: &Tasks, problems: &mut Vec<String>) {
    let found = tasks.problems;
    if found.unreadable > 0 {
        problems.push(format!("{} tasks made no sense at a second look as well", found.unreadable));
    }
    if found.broken_lists > 0 {
        problems.push(format!("{} lists of tasks were torn: some may be missing", found.broken_lists));
    }
    if found.truncated {
        problems.push("there are more threads than were read".to_owned());
    }
}

fn banner(kernel: &Kernel<'_>) -> String {
    let text = kernel.symbol("linux_banner").and_then(|it| kernel.space.text(it, 512).ok());
    text.unwrap_or_default().trim_end().to_owned()
}
