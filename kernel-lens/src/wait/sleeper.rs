//! A sleeping task's own stack, as a place to find what it waits for.

use vmward_kernel_facts::symbol_stem;

use super::Look;
use crate::Kernel;
use crate::arch::Paging;
use crate::kernel::stack_size;
use crate::task::KernelTask;

/// Words of a stack that are looked at: the slow paths of locks are within the first few hundred bytes.
const MAX_WORDS: usize = 768;

/// Kernel addresses of both architectures and all sizes of address spaces begin above this.
pub(super) const KERNEL: u64 = 0xff00_0000_0000_0000;

/// Where the saved stack pointer is, and how large a stack.
pub(super) struct StackLayout {
    pub(super) saved_sp: Option<u64>,
    pub(super) size: u64,
}

impl StackLayout {
    pub(super) fn new(kernel: &Kernel<'_>) -> Self {
        let member = match kernel.space.paging() {
            Paging::X86_64(_) => "thread.sp",
            Paging::Aarch64(_) => "thread.cpu_context.sp",
        };
        let size = stack_size(&kernel.symbols).unwrap_or(16 << 10).min(64 << 10);
        Self { saved_sp: kernel.offset("task_struct", member), size }
    }
}

/// A sleeping task and the live part of its stack.
pub(super) struct Sleeper<'a> {
    pub task: &'a KernelTask,
    /// Address of the first word.
    pub base: u64,
    /// From the saved stack pointer up.
    pub words: Vec<u64>,
}

impl<'a> Sleeper<'a> {
    /// `None` for a task whose saved stack pointer is not in its stack: it runs, or it is torn.
    pub(super) fn read(look: &Look<'_, '_>, task: &'a KernelTask) -> Option<Self> {
        if task.task.on_cpu.is_some() {
            return None;
        }
        let space = &look.kernel.space;
        let sp = space.u64(task.address.wrapping_add(look.stacks.saved_sp?)).ok()?;
        let end = task.stack.checked_add(look.stacks.size)?;
        if task.stack == 0 || sp & 7 != 0 || sp < task.stack || sp >= end {
            return None;
        }
        let len = ((end - sp) / 8).min(MAX_WORDS as u64) as usize;
        let bytes = space.bytes(sp, len * 8).ok()?;
        let (words, _) = bytes.as_chunks();
        Some(Self { task, base: sp, words: words.iter().map(|it| u64::from_le_bytes(*it)).collect() })
    }

    /// Whether the task is not where it was: it ran since its stack was read.
    pub(super) fn has_moved(&self, look: &Look<'_, '_>) -> bool {
        let Some(saved_sp) = look.stacks.saved_sp else { return false };
        let fresh = look.forget(self.task.address.wrapping_add(saved_sp), 8)
            && look.forget(self.base, self.words.len() as u64 * 8);
        fresh && Self::read(look, self.task).is_none_or(|it| it.base != self.base || it.words != self.words)
    }

    /// Whether a frame that the unwinder is sure of has one of these names, or begins with one that ends
    /// in `*`.
    pub(super) fn is_in(&self, names: &[&str]) -> bool {
        self.task.task.stack.iter().filter(|it| it.sure).any(|frame| {
            let stem = symbol_stem(frame.name());
            names.iter().any(|name| match name.strip_suffix('*') {
                Some(start) => stem.starts_with(start),
                None => stem == *name,
            })
        })
    }

    /// Pointers into the kernel on its stack, each once, innermost first.
    pub(super) fn pointers(&self) -> impl Iterator<Item = u64> + '_ {
        let is_new = |at: usize, word: u64| !self.words[..at].contains(&word);
        let words = self.words.iter().copied().enumerate();
        words
            .filter(move |(at, word)| word & 7 == 0 && *word >= KERNEL && is_new(*at, *word))
            .map(|(_, word)| word)
    }

    /// Addresses of 8-aligned places on its stack that hold `word`.
    pub(super) fn places_of(&self, word: u64) -> impl Iterator<Item = u64> + '_ {
        let found = self.words.iter().enumerate().filter(move |(_, it)| **it == word);
        found.map(|(at, _)| self.base + at as u64 * 8)
    }

    /// Addresses of `of`s on its stack whose wait entry names the task and a wake function: nothing but a
    /// wait of this task looks so. `func` and `private` are the paths to the entry's members.
    pub(super) fn entries(
        &self,
        look: &Look<'_, '_>,
        of: &str,
        [func, private]: [&str; 2],
        wake: &str,
    ) -> impl Iterator<Item = u64> + '_ {
        let kernel = look.kernel;
        let found = || Some((kernel.symbol(wake)?, kernel.offset(of, func)?, kernel.offset(of, private)?));
        let mut entries = Vec::new();
        if let Some((wake, func, private)) = found() {
            entries.extend(self.places_of(wake).filter_map(|it| it.checked_sub(func)));
            let names = |it: &u64| kernel.space.u64(it.wrapping_add(private)).ok();
            entries.retain(|it| names(it) == Some(self.task.address));
        }
        entries.into_iter()
    }

    /// Whether an address lies in the part that was read.
    pub(super) fn holds(&self, address: u64) -> bool {
        address >= self.base && address < self.base + self.words.len() as u64 * 8
    }
}
