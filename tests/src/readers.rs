//! Every reader of the lens in one table, to have all of them look at memory that lies.

use std::cell::RefCell;

use anyhow::{Context, Result};
use vmward_kernel_facts::CpuStack;
use vmward_kernel_lens::arch::Paging;
use vmward_kernel_lens::btf::Types;
use vmward_kernel_lens::task::{TaskOptions, Tasks, file_path, read_syscall, read_tasks, wait_channel};
use vmward_kernel_lens::unwind::{End, Place, Unwinder, user_frames};
use vmward_kernel_lens::wait::read_waits;
use vmward_kernel_lens::{
    AddressSpace, Cpu, Kernel, Options, PhysicalMemory, Recorder, Symbols, examine, machine, printk,
};

use crate::lens::{Pictured, Told};
use crate::mutate::{Choices, Field, Mutated};

/// A part of the lens.
#[derive(Debug, Clone, Copy)]
pub struct Reader {
    /// Its name.
    pub name: &'static str,
    /// Reads, and says how many things it found.
    pub read: fn(&Kernel<'_>, &[Cpu]) -> usize,
}

/// All that read from a kernel that was found.
pub const ALL: &[Reader] = &[
    Reader { name: "types", read: types },
    Reader { name: "modules", read: modules },
    Reader { name: "tasks", read: |kernel, _| tasks(kernel) },
    Reader { name: "stacks", read: stacks },
    Reader { name: "waits", read: waits },
    Reader { name: "log", read: |kernel, _| printk::read(kernel).map_or(0, |it| it.records.len()) },
    Reader { name: "block", read: |kernel, _| machine::block::read(kernel).map_or(0, |it| it.len()) },
    Reader { name: "clock", read: |kernel, _| machine::clock::read(kernel).map_or(0, |_| 1) },
    Reader { name: "interrupts", read: |kernel, _| machine::interrupts::read(kernel).map_or(0, |_| 1) },
    Reader { name: "memory", read: |kernel, _| machine::memory::read(kernel).map_or(0, |_| 1) },
    Reader { name: "mounts", read: |kernel, _| machine::mounts::read(kernel).map_or(0, |_| 1) },
    Reader { name: "net", read: |kernel, _| machine::net::read(kernel).map_or(0, |it| it.len()) },
    Reader { name: "pressure", read: |kernel, _| machine::pressure::read(kernel).map_or(0, |_| 1) },
    Reader { name: "rcu", read: |kernel, _| machine::rcu::read(kernel).map_or(0, |_| 1) },
    Reader { name: "run-queue", read: |kernel, _| machine::run_queue::read(kernel).map_or(0, |it| it.len()) },
    Reader { name: "slab", read: |kernel, _| machine::slab::read(kernel).map_or(0, |it| it.len()) },
    Reader { name: "system", read: |kernel, _| machine::system::read(kernel).map_or(0, |_| 1) },
    Reader { name: "timers", read: |kernel, _| machine::timers::read(kernel).map_or(0, |it| it.len()) },
    Reader { name: "virtio", read: virtio },
    Reader { name: "watchdog", read: |kernel, _| machine::watchdog::read(kernel).map_or(0, |_| 1) },
    Reader { name: "workqueue", read: |kernel, _| machine::workqueue::read(kernel).map_or(0, |it| it.len()) },
];

/// The reader of a name.
pub fn find(name: &str) -> Option<&'static Reader> {
    ALL.iter().find(|it| it.name == name)
}

/// What a look at memory found, by reader; empty when there was no kernel.
pub type Found = Vec<(&'static str, usize)>;

/// Examines a guest as the agent does: finds the kernel and reads everything.
pub fn everything(memory: &dyn PhysicalMemory, cpus: &[Cpu]) -> Found {
    let recorder = Recorder::new(memory);
    let Ok(found) = examine(&recorder, cpus, Options::default()) else { return Found::new() };
    let n_frames = found.tasks.iter().map(|it| it.stack.len()).sum();
    vec![
        ("tasks", found.tasks.len()),
        ("stacks", n_frames),
        ("waits", found.waits.edges.len()),
        ("log", found.log.map_or(0, |it| it.records.len())),
        ("cpus", found.cpus.len()),
    ]
}

fn types(kernel: &Kernel<'_>, _: &[Cpu]) -> usize {
    let names = ["task_struct", "rq", "module", "mutex", "printk_ringbuffer", "page", "folio", "super_block"];
    names.iter().filter_map(|it| kernel.types.describe(it)).count()
}

fn modules(kernel: &Kernel<'_>, _: &[Cpu]) -> usize {
    let modules = kernel.modules();
    modules.iter().map(|it| it.symbols(&kernel.space).len()).sum()
}

fn virtio(kernel: &Kernel<'_>, _: &[Cpu]) -> usize {
    let disks = machine::block::read(kernel).ok();
    machine::virtio::read(kernel, disks.as_deref(), None).map_or(0, |it| it.len())
}

fn all_tasks(kernel: &Kernel<'_>) -> Tasks {
    read_tasks(kernel, TaskOptions::default()).unwrap_or_default()
}

fn tasks(kernel: &Kernel<'_>) -> usize {
    let tasks = all_tasks(kernel);
    for task in tasks.iter() {
        let _ = read_syscall(kernel, task);
        for fd in [-100, 0, 1, 3, i32::MAX] {
            let _ = file_path(kernel, task, fd);
        }
    }
    tasks.iter().count()
}

fn waits(kernel: &Kernel<'_>, cpus: &[Cpu]) -> usize {
    let unwinder = Unwinder::new(kernel);
    let mut tasks = all_tasks(kernel);
    let n_tasks = tasks.iter().count();
    // Locks are found by the stacks of those who wait.
    let place = |address| Some(Place { symbol: kernel.symbols.at(address)?, module: None });
    for it in tasks.iter_mut() {
        it.task.stack = unwinder.sleeping(it.address).named(place);
    }
    let stack = |cpu: &Cpu| {
        let stack = unwinder.running(&cpu.registers, None).named(place);
        CpuStack { cpu: cpu.index, pid: Some(1), stack, ..Default::default() }
    };
    let stacks: Vec<CpuStack> = cpus.iter().map(stack).collect();
    read_waits(kernel, &tasks, &stacks, cpus, &mut Vec::new()).edges.len() + n_tasks
}

fn stacks(kernel: &Kernel<'_>, cpus: &[Cpu]) -> usize {
    let unwinder = Unwinder::new(kernel);
    let place = |address| {
        let (symbol, module) = kernel.symbol_at(address)?;
        Some(Place { symbol, module })
    };
    let mut n_frames = 0;
    let tasks = all_tasks(kernel);
    let sleeping = tasks.iter().map(|it| unwinder.sleeping(it.address));
    let running = cpus.iter().flat_map(|cpu| {
        let on_cpu = tasks.iter().find(|it| it.task.running).map(|it| it.address);
        [None, on_cpu].map(|task| unwinder.running(&cpu.registers, task))
    });
    for unwound in sleeping.chain(running) {
        n_frames += unwound.named(place).len();
        let _ = wait_channel(kernel, unwound.frames.iter().map(|it| it.address));
        if let End::User(entry) = &unwound.end {
            n_frames += user_frames(&kernel.space, entry).len();
        }
    }
    n_frames
}

/// A guest whose memory is made to lie.
pub struct Subject {
    guest: Pictured,
    paging: Paging,
    /// Symbols and types of the guest as it is, lent to each kernel in turn.
    known: RefCell<Option<(Symbols, Types)>>,
    whole: Field,
    fields: Vec<(&'static str, Field)>,
    clean: Found,
}

impl Subject {
    /// Looks at the guest as it is, to know where its readers look.
    ///
    /// # Errors
    /// When no kernel is found in it.
    pub fn new(guest: Pictured) -> Result<Self> {
        let recorder = Recorder::new(guest.memory());
        let kernel = guest.kernel(&recorder)?;
        let leads = |virt| kernel.space.phys(virt).ok();
        let mut whole = recorder.recorded();
        let mut fields = Vec::new();
        let mut clean = Found::new();
        for reader in ALL {
            let told = Told::new(guest.memory());
            let recorder = Recorder::new(&told);
            let again = guest.kernel(&recorder)?;
            let before = told.pages().len();
            clean.push((reader.name, (reader.read)(&again, guest.cpus())));
            let pages = told.pages().split_off(before);
            whole.extend(&pages);
            fields.push((reader.name, Field::new(guest.memory(), pages, leads)));
        }
        whole.sort_unstable();
        whole.dedup();
        let whole = Field::new(guest.memory(), whole, leads);
        let paging = kernel.space.paging();
        let Kernel { symbols, types, .. } = kernel;
        Ok(Self { paging, known: RefCell::new(Some((symbols, types))), whole, fields, clean, guest })
    }

    /// What is found in the guest as it is.
    pub fn clean(&self) -> &Found {
        &self.clean
    }

    /// Changes anything that is looked at, from the page tables on, and looks at everything.
    pub fn whole(&self, choices: &mut dyn Choices) -> Found {
        let memory = Mutated::by(self.guest.memory(), &self.whole, choices);
        everything(&memory, self.guest.cpus())
    }

    /// The same for whoever has no registers and looks for the kernel in all of memory.
    pub fn without_registers(&self, choices: &mut dyn Choices) -> Found {
        let memory = Mutated::by(self.guest.memory(), &self.whole, choices);
        everything(&memory, &[])
    }

    /// Changes what one reader alone looks at, and has it read: it gets the right symbols and types, which
    /// it would not with changes to those.
    ///
    /// # Errors
    /// When there is no such reader, or it looks at nothing.
    pub fn one(&self, name: &str, choices: &mut dyn Choices) -> Result<usize> {
        let reader = find(name).with_context(|| format!("no reader {name:?}"))?;
        let field = self.fields.iter().find(|it| it.0 == name).map(|it| &it.1);
        let field = field.filter(|it| !it.is_empty()).with_context(|| format!("{name} reads nothing"))?;
        let memory = Mutated::by(self.guest.memory(), field, choices);
        let recorder = Recorder::new(&memory);
        let (symbols, types) = self.known.take().context("symbols and types are lent")?;
        let space = AddressSpace::new(&recorder, self.paging);
        let kernel = Kernel::new(space, symbols, types, self.guest.arch());
        let found = (reader.read)(&kernel, self.guest.cpus());
        let Kernel { symbols, types, .. } = kernel;
        self.known.replace(Some((symbols, types)));
        Ok(found)
    }

    /// Readers of [`Subject::one`]: those that look at more than was looked at to find the kernel.
    pub fn readers(&self) -> Vec<&'static str> {
        self.fields.iter().filter(|it| !it.1.is_empty()).map(|it| it.0).collect()
    }
}
