//! CPUs that spin for a lock: the queue of the lock, and which CPU holds it.
//!
//! `struct qspinlock` (`include/asm-generic/qspinlock_types.h`, v4.2) is a word: bits 0 to 7 say that it is
//! locked, 8 to 15 that one CPU spins on the word itself, 16 and 17 which of a CPU's four nodes is the last of
//! the queue, 18 and up that CPU's number plus 1. The nodes are the per-CPU `qnodes` (commit 0fa809ca7f81,
//! v5.1), linked from the first to the last. It does not say who holds it. On a hypervisor without
//! paravirtual locks x86 keeps no queue: each CPU tries again and again (`virt_spin_lock()`).

use vmward_kernel_facts::{CpuStack, WaitEdge, WaitKind, WaitProof, WaitTarget, symbol_stem};

use super::Look;
use super::sleeper::KERNEL;
use crate::{Cpu, Registers};

/// Functions that spin for a queued spinlock.
const SLOW_PATHS: [&str; 3] =
    ["native_queued_spin_lock_slowpath", "queued_spin_lock_slowpath", "__pv_queued_spin_lock_slowpath"];
/// Frames from the innermost on that may be it: a paravirtual wait halts in one of its own.
const MAX_FRAMES: usize = 6;
/// Words of a CPU's stack that are looked at.
const MAX_WORDS: u64 = 1024;
/// Stacks of all kinds are no longer, and lie on a boundary of that.
const STACK: u64 = 16 << 10;
/// CPUs that are looked at: each of them is compared with each that spins.
const MAX_CPUS: usize = 512;
/// Nodes of a CPU: task, soft interrupt, interrupt, NMI.
const NODES: u64 = 4;

const LOCKED: u32 = 0xff;
const PENDING: u32 = 0xff00;

/// A CPU in kernel mode with what it has at hand.
struct Busy<'a> {
    stack: &'a CpuStack,
    spins: bool,
    /// Registers, then words of the stack.
    words: Vec<u64>,
    registers: usize,
}

/// The edges of all CPUs that spin.
pub(super) fn read(look: &Look<'_, '_>, stacks: &[CpuStack], cpus: &[Cpu]) -> Vec<WaitEdge> {
    let spins = |it: &CpuStack| {
        let inner = it.stack.iter().take(MAX_FRAMES);
        inner.filter(|it| it.sure).any(|it| SLOW_PATHS.contains(&symbol_stem(it.name())))
    };
    if !stacks.iter().any(spins) {
        return Vec::new();
    }
    let busy: Vec<Busy<'_>> = stacks
        .iter()
        .filter(|it| !it.user_mode)
        .take(MAX_CPUS)
        .filter_map(|stack| {
            let registers = &cpus.iter().find(|it| is_of(look, it, stack.cpu))?.registers;
            let (mut words, sp) = match registers {
                Registers::X86_64(it) => (it.general.to_vec(), it.rsp()),
                Registers::Aarch64(it) => (it.x.to_vec(), it.sp),
            };
            let registers = words.len();
            words.extend(stack_words(look, sp));
            Some(Busy { stack, spins: spins(stack), words, registers })
        })
        .collect();
    let spinners = busy.iter().filter(|it| it.spins);
    let found: Vec<Spinner<'_, '_>> = spinners
        .filter_map(|busy_cpu| {
            let (lock, path) = queued(look, busy_cpu).or_else(|| tried(look, busy_cpu, &busy))?;
            Some(Spinner { busy: busy_cpu, lock, path })
        })
        .collect();
    found.iter().filter_map(|it| edge(look, it, &found, &busy)).collect()
}

/// A CPU that spins, for which lock, and the CPUs from it to the end of the queue; none for one that has no
/// place in it.
struct Spinner<'a, 'b> {
    busy: &'b Busy<'a>,
    lock: u64,
    path: Vec<u32>,
}

/// Whether a vCPU is the guest's CPU of a number: by its per-CPU area, or by the stack that it is on.
fn is_of(look: &Look<'_, '_>, cpu: &Cpu, number: u32) -> bool {
    match &cpu.registers {
        Registers::X86_64(it) => look.kernel.per_cpu_offset(number) == Some(it.gs_base),
        Registers::Aarch64(it) => {
            let on_stack = |task: &crate::task::KernelTask| {
                task.task.on_cpu == Some(number)
                    && it.sp.checked_sub(task.stack).is_some_and(|inside| inside < look.stacks.size)
            };
            let interrupt = look.kernel.per_cpu("irq_stack_ptr", number);
            let interrupt = interrupt.and_then(|at| look.kernel.space.u64(at).ok());
            look.tasks.iter().any(on_stack)
                || interrupt.is_some_and(|at| it.sp.checked_sub(at).is_some_and(|inside| inside < STACK))
        }
    }
}

/// The live words of the stack at a stack pointer.
fn stack_words(look: &Look<'_, '_>, sp: u64) -> Vec<u64> {
    let end = (sp | (STACK - 1)).saturating_add(1);
    let len = (end.saturating_sub(sp) / 8).min(MAX_WORDS) as usize * 8;
    // A stack of another size ends at a page that is not mapped.
    let bytes = (0..3).find_map(|cut| look.kernel.space.bytes(sp & !7, len >> cut).ok()).unwrap_or_default();
    let (words, _) = bytes.as_chunks();
    words.iter().map(|it| u64::from_le_bytes(*it)).collect()
}

fn edge(
    look: &Look<'_, '_>,
    waiter: &Spinner<'_, '_>,
    all: &[Spinner<'_, '_>],
    busy: &[Busy<'_>],
) -> Option<WaitEdge> {
    let lock = waiter.lock;
    let cpu = |it: &Spinner<'_, '_>| it.busy.stack.cpu;
    let same: Vec<&Spinner<'_, '_>> = all.iter().filter(|it| it.lock == lock).collect();
    // The longest way through the queue begins with its first. Who spins on the word itself comes before all
    // of them; where there is no queue, nobody has a place.
    let queue = same.iter().map(|it| &it.path).max_by_key(|it| it.len()).cloned().unwrap_or_default();
    let beside = same.iter().map(|it| cpu(it)).filter(|it| !queue.contains(it));
    let cpus: Vec<u32> = beside.chain(queue.iter().copied()).collect();
    let mut holders = busy.iter().filter(|it| !cpus.contains(&it.stack.cpu) && it.words.contains(&lock));
    let holder = match (holders.next(), holders.next()) {
        (Some(holder), None) => Some(holder),
        _ => None,
    };
    let proof = if holder.is_some() { WaitProof::HolderStack } else { WaitProof::LockQueue };
    Some(WaitEdge {
        object: Some(lock),
        object_name: look.name_of(lock),
        what: Some(WaitTarget::Queue { cpus }),
        owners: holder.and_then(|it| it.stack.pid).filter(|pid| *pid != 0).into_iter().collect(),
        spins_on: Some(cpu(waiter)),
        held_by_cpu: holder.map(|it| it.stack.cpu),
        ..WaitEdge::new(waiter.busy.stack.pid?, WaitKind::Spinlock, proof)
    })
}

/// The lock whose queue leads through one of the CPU's own nodes, with the CPUs of the queue in order.
fn queued(look: &Look<'_, '_>, waiter: &Busy<'_>) -> Option<(u64, Vec<u32>)> {
    let space = &look.kernel.space;
    let node = Nodes::of(look)?;
    let in_use = u64::from(space.u32(node.at(waiter.stack.cpu, 0)?.wrapping_add(node.count)).ok()?);
    for number in (0..in_use.min(NODES)).rev() {
        let own = node.at(waiter.stack.cpu, number)?;
        // From here to the last; those before are told by the same walk from theirs.
        let mut path = vec![own];
        while let Some(next) = path.last().and_then(|it| space.u64(it.wrapping_add(node.next)).ok()) {
            if next == 0 || path.contains(&next) || path.len() > MAX_CPUS {
                break;
            }
            path.push(next);
        }
        let last = *path.last()?;
        let tail = |lock: &u64| {
            let word = space.u32(*lock).ok()?;
            let cpu = (word >> 18).checked_sub(1)?;
            (node.at(cpu, u64::from(word >> 16 & 3)) == Some(last)).then_some(())
        };
        let mut places = waiter.words.iter().copied().filter(|it| is_kernel(*it));
        let Some(lock) = places.find(|it| tail(it).is_some()) else { continue };
        let cpu_of = |it: &u64| look.kernel.cpus().iter().copied().find(|cpu| node.is_of(*cpu, *it));
        return Some((lock, path.iter().filter_map(cpu_of).collect()));
    }
    None
}

/// The lock that a CPU tries for without a node of its own: a word that says that it is taken, with a queue
/// that ends at another CPU that spins or with none, whose address is in a register of the CPU and at hand of
/// one that does not spin.
fn tried(look: &Look<'_, '_>, waiter: &Busy<'_>, busy: &[Busy<'_>]) -> Option<(u64, Vec<u32>)> {
    let spins = |cpu: u32| busy.iter().any(|it| it.spins && it.stack.cpu == cpu);
    let is_taken = |lock: &u64| {
        let word = look.kernel.space.u32(*lock).unwrap_or(0);
        let tail = (word >> 18).checked_sub(1);
        word & LOCKED == 1 && word & PENDING <= 0x100 && tail.map_or(word >> 16 == 0, spins)
    };
    let held = |lock: &u64| busy.iter().any(|it| !it.spins && it.words.contains(lock));
    let mut found = waiter.words[..waiter.registers].to_vec();
    found.sort_unstable();
    found.dedup();
    found.retain(|it| is_kernel(*it) && is_taken(it) && held(it));
    // Two that look so are none that is shown.
    let [lock] = found.as_slice() else { return None };
    Some((*lock, Vec::new()))
}

fn is_kernel(address: u64) -> bool {
    address & 3 == 0 && address >= KERNEL
}

/// Where the nodes are.
struct Nodes<'l, 'k, 'm> {
    look: &'l Look<'k, 'm>,
    size: u64,
    next: u64,
    count: u64,
}

impl<'l, 'k, 'm> Nodes<'l, 'k, 'm> {
    fn of(look: &'l Look<'k, 'm>) -> Option<Self> {
        let kernel = look.kernel;
        let member = |name: &str| kernel.offset("qnode", &format!("mcs.{name}"));
        Some(Self {
            look,
            size: kernel.types.size("qnode").filter(|it| *it > 0)?,
            next: member("next")?,
            count: member("count")?,
        })
    }

    fn at(&self, cpu: u32, number: u64) -> Option<u64> {
        let first = self.look.kernel.per_cpu("qnodes", cpu)?;
        (number < NODES).then(|| first.wrapping_add(number * self.size))
    }

    fn is_of(&self, cpu: u32, node: u64) -> bool {
        let first = self.look.kernel.per_cpu("qnodes", cpu);
        first.and_then(|it| node.checked_sub(it)).is_some_and(|it| it < NODES * self.size)
    }
}
