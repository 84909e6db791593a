//! Stacks: of tasks that sleep, and of vCPUs that run.
//!
//! On x86-64 by the kernel's own ORC tables, or by frame pointers in kernels built without; on arm64 by
//! frame records. Through interrupts, exceptions and the stacks that they have of their own, to a true end:
//! the entry from user space, the start of a kernel thread, or boot code ([`End`]). Each frame says how it
//! was found ([`How`]). Where a stack makes no sense the walk says why, and what looks like return
//! addresses further up is added as not sure.
//!
//! ```text
//! let unwinder = Unwinder::new(&kernel);
//! let unwound = unwinder.sleeping(task);
//! let frames = unwound.named(|address| ...);
//! ```

mod arm64;
mod code;
mod frame;
mod frame_pointer;
mod hook;
mod layout;
mod orc_entry;
mod orc_table;
mod orc_walk;
mod saved;
mod scan;
mod shared_stacks;
mod stacks;
#[cfg(test)]
mod test_kernel;
#[cfg(test)]
mod tests;
mod user;
mod x86_regs;

pub use frame::{BadFrame, End, FrameKind, How, Place, RawFrame, Unwound, UserEntry};
pub use layout::{HookLayout, Layout, MadeCodeLayout, ModuleLayout};
pub use saved::SavedRegisters;
pub use user::user_frames;

use arm64::ArmState;
use code::Code;
use hook::Hooks;
use orc_table::OrcTables;
use orc_walk::{Scratch, X86State};
use stacks::{Path, Stack, words};

use crate::arch::Paging;
use crate::kernel::{is_stack_size, stack_size};
use crate::{AddressSpace, Kernel, Registers, Symbols};

/// Frames of one stack at most: 16 KiB have room for few more.
const MAX_FRAMES: usize = 512;

/// How this kernel's stacks are followed.
enum Method {
    Orc(OrcTables),
    FramePointers,
    Records,
    /// There are tables of a form that is not known.
    Unknown,
}

/// Where to begin.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    sp: u64,
    kind: FrameKind,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    X86(X86State),
    Arm(ArmState),
}

impl Start {
    /// At an instruction of x86-64 that runs or was interrupted.
    pub fn x86(ip: u64, sp: u64, bp: u64) -> Self {
        let state = State::X86(X86State { ip, bp, exact: true, scratch: None });
        Self { sp, kind: FrameKind::Running, state }
    }

    /// At an instruction of arm64 that runs or was interrupted; `lr` is `x30`.
    pub fn arm64(pc: u64, sp: u64, fp: u64, lr: u64) -> Self {
        let state = State::Arm(ArmState { pc, fp, lr: Some(lr) });
        Self { sp, kind: FrameKind::Running, state }
    }

    fn running(registers: &Registers) -> Self {
        match registers {
            Registers::X86_64(it) => {
                let [ax, _, _, dx, _, di] = [0, 1, 2, 3, 4, 5].map(|number| it.general[number]);
                let scratch = Some(Scratch { r10: it.general[10], r13: it.general[13], ax, dx, di });
                let state = State::X86(X86State { ip: it.rip, bp: it.rbp(), exact: true, scratch });
                Self { sp: it.rsp(), kind: FrameKind::Running, state }
            }
            Registers::Aarch64(it) => Self::arm64(it.pc, it.sp, it.x[29], it.x[30]),
        }
    }

    fn ip(&self) -> u64 {
        match self.state {
            State::X86(it) => it.ip,
            State::Arm(it) => it.pc,
        }
    }
}

/// Follows the stacks of one kernel.
pub struct Unwinder<'k, 'm> {
    space: &'k AddressSpace<'m>,
    symbols: &'k Symbols,
    layout: Layout,
    shared: Vec<Stack>,
    thread_size: u64,
    code: Code<'k, 'm>,
    hooks: Hooks,
    /// `ret_from_fork`, on x86 since v6.6 `ret_from_fork_asm` under it.
    forks: [Option<u64>; 2],
    method: Method,
    x86: bool,
}

impl<'k, 'm> Unwinder<'k, 'm> {
    /// Finds what it needs in a kernel.
    pub fn new(kernel: &'k Kernel<'m>) -> Self {
        let types = &kernel.types;
        let layout = Layout::gather(|name| types.size(name), |name, path| types.offset(name, path));
        let offsets: Vec<u64> = kernel.cpus().iter().filter_map(|it| kernel.per_cpu_offset(*it)).collect();
        Self::with(&kernel.space, &kernel.symbols, layout, &offsets)
    }

    /// The same where types and CPUs come from elsewhere: `per_cpu` are the CPUs' per-CPU offsets.
    pub fn with(space: &'k AddressSpace<'m>, symbols: &'k Symbols, layout: Layout, per_cpu: &[u64]) -> Self {
        let x86 = matches!(space.paging(), Paging::X86_64(_));
        let method = match OrcTables::find(space, symbols) {
            _ if !x86 => Method::Records,
            Some(tables) => Method::Orc(tables),
            None if symbols.address("__start_orc_unwind").is_some() => Method::Unknown,
            None => Method::FramePointers,
        };
        let by_type = layout.thread_size.filter(is_stack_size);
        let thread_size = stack_size(symbols).or(by_type).unwrap_or(0);
        Self {
            space,
            symbols,
            shared: shared_stacks::find(space, symbols, &layout, per_cpu, thread_size, x86),
            thread_size,
            code: Code::new(space, symbols, layout.module, layout.made),
            hooks: Hooks::new(symbols, layout.hooks),
            layout,
            forks: ["ret_from_fork", "ret_from_fork_asm"].map(|it| symbols.address(it)),
            method,
            x86,
        }
    }

    /// Bytes of a task's stack; 0 if this kernel does not tell.
    pub fn thread_size(&self) -> u64 {
        self.thread_size
    }

    /// How stacks of this kernel are followed, for a report.
    pub fn describe(&self) -> &'static str {
        match &self.method {
            Method::Orc(tables) => tables.describe(),
            Method::FramePointers => "frame pointers",
            Method::Records => "frame records",
            Method::Unknown => "unwind tables of an unknown form",
        }
    }

    /// The stack of a task that does not run, by the address of its `task_struct`. Of one that runs, what
    /// comes out is where it last gave up its CPU, and may be torn.
    pub fn sleeping(&self, task: u64) -> Unwound {
        let bad = |reason| Unwound { frames: Vec::new(), end: End::Bad(reason) };
        let Some(stack) = self.stack_of(task) else { return bad(BadFrame::Unsupported) };
        let Some(own) = Stack::new(stack, self.thread_size) else { return bad(BadFrame::NoStack) };
        match self.saved(task, own) {
            Ok(start) => self.follow(start, Some(stack), Some(task)),
            Err(reason) => bad(reason),
        }
    }

    /// The stack of a vCPU, with the address of the task that it runs, if that is known.
    pub fn running(&self, registers: &Registers, task: Option<u64>) -> Unwound {
        if registers.in_user_mode() {
            let (ip, sp, fp) = match registers {
                Registers::X86_64(it) => (it.rip, it.rsp(), it.rbp()),
                Registers::Aarch64(it) => (it.pc, it.sp, it.x[29]),
            };
            return Unwound { frames: Vec::new(), end: End::User(UserEntry { pt_regs: None, ip, sp, fp }) };
        }
        let stack = task.and_then(|it| self.stack_of(it)).filter(|it| *it != 0);
        self.follow(Start::running(registers), stack, task)
    }

    /// Follows a stack from anywhere. `stack` is the lowest address of the task's own stack.
    pub fn follow(&self, start: Start, stack: Option<u64>, task: Option<u64>) -> Unwound {
        let own = stack.and_then(|it| Stack::new(it, self.thread_size));
        let mut path = Path::new(self.space, &self.shared, own, self.thread_size);
        let (address, how) = (start.ip(), How::Registers);
        let mut frames = vec![RawFrame { address, sp: start.sp, kind: start.kind, how }];
        if let Err(reason) = path.go(start.sp) {
            return Unwound { frames, end: End::Bad(reason) };
        }
        let mut state = start.state;
        let end = loop {
            if frames.len() >= MAX_FRAMES {
                break End::Limit;
            }
            match self.step(&mut state, &mut path, task) {
                Ok(frame) => frames.push(frame),
                Err(end) => break end,
            }
        };
        let end = self.name_end(end, &frames, &path);
        if let (End::Bad(_), Some(current)) = (end, path.current()) {
            scan::scan(self, current, path.sp(), MAX_FRAMES, &mut frames);
        }
        Unwound { frames, end }
    }

    fn step(&self, state: &mut State, path: &mut Path<'_, '_>, task: Option<u64>) -> Result<RawFrame, End> {
        match (state, &self.method) {
            (State::X86(it), Method::Orc(tables)) => it.orc_step(self, tables, path, task),
            (State::X86(it), Method::FramePointers) => it.frame_pointer_step(self, path, task),
            (State::Arm(it), Method::Records) => it.step(self, path, task),
            _ => Err(End::Bad(BadFrame::UnknownTables)),
        }
    }

    /// Tables end alike in the boot code of a CPU and where a kernel thread or a new task begins.
    fn name_end(&self, end: End, frames: &[RawFrame], path: &Path<'_, '_>) -> End {
        let last = frames.last().filter(|it| self.is_fork(it.lookup()));
        match (end, last) {
            (End::Outermost, Some(last)) => {
                let new_process = (last.kind == FrameKind::NotStarted)
                    .then(|| x86_regs::X86PtRegs::at_top(self.space, path.own()?))
                    .flatten();
                new_process.map_or(End::Kthread, |it| End::User(it.user_entry()))
            }
            _ => end,
        }
    }

    /// Whether an address is in the code that a new task begins with.
    fn is_fork(&self, address: u64) -> bool {
        self.symbols.at(address).is_some_and(|it| self.forks.contains(&Some(it.address)))
    }

    fn stack_of(&self, task: u64) -> Option<u64> {
        let at = task.checked_add(self.layout.task_stack?)?;
        self.space.u64(at).ok().filter(|_| self.thread_size != 0)
    }

    /// What the scheduler saved of a task.
    fn saved(&self, task: u64, own: Stack) -> Result<Start, BadFrame> {
        let member =
            |offset: Option<u64>| offset.and_then(|it| task.checked_add(it)).ok_or(BadFrame::Unsupported);
        let kind = |ip| {
            if self.forks.contains(&Some(ip)) { FrameKind::NotStarted } else { FrameKind::Call }
        };
        if !self.x86 {
            // `struct cpu_context`: x19..x28, fp, sp, pc.
            let saved: [u64; 13] = words(self.space, member(self.layout.cpu_context)?)?;
            let [.., fp, sp, pc] = saved;
            if !own.holds(sp, 0) {
                return Err(BadFrame::OutsideStack(sp));
            }
            return Ok(Start { sp, kind: kind(pc), state: State::Arm(ArmState { pc, fp, lr: None }) });
        }
        let [at] = words(self.space, member(self.layout.thread_sp)?)?;
        if !own.holds(at, x86_regs::INACTIVE_FRAME) || !at.is_multiple_of(8) {
            return Err(BadFrame::OutsideStack(at));
        }
        let [_r15, _r14, _r13, _r12, _bx, bp, ip] = words(self.space, at)?;
        let kind = kind(ip);
        let exact = kind == FrameKind::NotStarted;
        let state = State::X86(X86State { ip, bp, exact, scratch: None });
        Ok(Start { sp: at + x86_regs::INACTIVE_FRAME, kind, state })
    }
}

/// How the code under a frame of entry code came to be left, by the entry's name: since v5.8
/// `asm_sysvec_...`, `asm_common_interrupt`, `asm_exc_...`; on arm64 `el1h_64_irq` and its like.
fn entry_kind(symbols: &Symbols, entry: u64) -> FrameKind {
    let name = symbols.at(entry).map_or("", |it| it.name);
    let has = |parts: &[&str]| parts.iter().any(|it| name.contains(it));
    if has(&["nmi"]) {
        FrameKind::Nmi
    } else if has(&["sysvec", "interrupt", "ret_from_intr", "_irq", "_fiq"]) {
        FrameKind::Interrupt
    } else {
        FrameKind::Exception
    }
}
