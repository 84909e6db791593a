//! A kernel that was found: its address space, symbols and types, and what every reader asks first.

use std::cell::OnceCell;

use crate::btf::Types;
use crate::{AddressSpace, Modules, ReadError, Symbol, Symbols};

/// CPUs of a guest at most: `CONFIG_NR_CPUS` of the largest distribution kernels.
const MAX_CPUS: u32 = 8192;

/// The guest's architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 64-bit ARM.
    Aarch64,
}

/// A kernel in guest memory, ready to be read.
pub struct Kernel<'m> {
    /// The kernel's address space.
    pub space: AddressSpace<'m>,
    /// Symbols of its image.
    pub symbols: Symbols,
    /// Its types.
    pub types: Types,
    /// Its architecture.
    pub arch: Arch,
    online: Vec<u32>,
    cpus: Vec<u32>,
    per_cpu_offsets: Vec<u64>,
    modules: OnceCell<Modules>,
}

impl<'m> Kernel<'m> {
    /// Takes what was found; reads which CPUs there are.
    pub fn new(space: AddressSpace<'m>, symbols: Symbols, mut types: Types, arch: Arch) -> Self {
        types.add_guest_drivers(&space, &symbols);
        let (online, per_cpu_offsets, modules) = (Vec::new(), Vec::new(), OnceCell::new());
        let cpus = Vec::new();
        let mut kernel = Self { space, symbols, types, arch, online, cpus, per_cpu_offsets, modules };
        // Before v4.5 (commit 5aec01b834fd) the masks were `cpu_online_bits` and its like.
        let online = kernel.read_mask(&["__cpu_online_mask", "cpu_online_bits"]);
        kernel.online = online.unwrap_or_else(|_| vec![0]);
        kernel.cpus.clone_from(&kernel.online);
        if kernel.has_stopped_its_cpus()
            && let Ok(present) = kernel.read_mask(&["__cpu_present_mask", "cpu_present_bits"])
        {
            kernel.cpus.extend(present);
            kernel.cpus.sort_unstable();
            kernel.cpus.dedup();
        }
        let last = kernel.cpus.last().copied().unwrap_or(0);
        kernel.per_cpu_offsets = kernel.read_per_cpu_offsets(last + 1).unwrap_or_default();
        kernel
    }

    /// Address of a symbol of the image.
    pub fn symbol(&self, name: &str) -> Option<u64> {
        self.symbols.address(name)
    }

    /// The modules that are loaded, read when they are first asked for.
    pub fn modules(&self) -> &Modules {
        self.modules.get_or_init(|| Modules::read(&self.space, &self.symbols, &self.types))
    }

    /// The symbol that an address lies in, and the name of its module if it is one's.
    pub fn symbol_at(&self, address: u64) -> Option<(Symbol<'_>, Option<&str>)> {
        match self.modules().symbol(&self.space, address) {
            Some((module, symbol)) => Some((symbol, Some(&module.name))),
            None => Some((self.symbols.at(address)?, None)),
        }
    }

    /// Bytes from the start of a structure to a member of it.
    pub fn offset(&self, of: &str, member: &str) -> Option<u64> {
        self.types.offset(of, member)
    }

    /// The guest's numbers of the CPUs that are online, ascending.
    pub fn online(&self) -> &[u32] {
        &self.online
    }

    /// The CPUs whose state counts: those that are online, and of a kernel that panics or goes down those too
    /// that it stopped, which it takes out of the mask of online ones (`stop_this_cpu`, `local_cpu_stop`).
    pub fn cpus(&self) -> &[u32] {
        &self.cpus
    }

    /// Address of one CPU's copy of a per-CPU variable.
    ///
    /// The sum wraps: up to v6.14 x86 counts these symbols from 0, since commit 9d7de2aa8b41 (v6.15) and
    /// on arm64 they lie in the image.
    pub fn per_cpu(&self, symbol: &str, cpu: u32) -> Option<u64> {
        let offset = self.per_cpu_offsets.get(cpu as usize)?;
        Some(self.symbol(symbol)?.wrapping_add(*offset))
    }

    /// The per-CPU offset of a CPU: what x86 holds in `gs`.
    pub fn per_cpu_offset(&self, cpu: u32) -> Option<u64> {
        self.per_cpu_offsets.get(cpu as usize).copied()
    }

    /// A member that is a pointer or a long.
    ///
    /// # Errors
    /// As [`AddressSpace::u64`]; [`ReadError::Inconsistent`] if this kernel has no such member.
    pub fn word(&self, at: u64, of: &'static str, member: &str) -> Result<u64, ReadError> {
        let offset = self.offset(of, member);
        let offset = offset.ok_or(ReadError::Inconsistent { what: of, virt: at })?;
        self.space.u64(at.wrapping_add(offset))
    }

    /// The kernel panics (`panic_cpu` since v4.5, commit 1717f2096b54) or reboots, halts, goes to sleep.
    fn has_stopped_its_cpus(&self) -> bool {
        let word = |name| self.symbol(name).and_then(|it| self.space.u32(it).ok());
        let panics = word("panic_cpu").is_some_and(|it| it != u32::MAX);
        let running = self.types.enumerator("SYSTEM_RUNNING").and_then(|it| u32::try_from(it).ok());
        panics || word("system_state").zip(running).is_some_and(|(state, running)| state > running)
    }

    /// The bits of a mask of CPUs, by the first of its names that there is.
    fn read_mask(&self, names: &[&str]) -> Result<Vec<u32>, ReadError> {
        let symbol = names.iter().find_map(|it| self.symbol(it));
        let mask = symbol.ok_or(ReadError::Inconsistent { what: "the mask of CPUs", virt: 0 })?;
        let limit = self.symbol("nr_cpu_ids").and_then(|it| self.space.u32(it).ok());
        let limit = limit.unwrap_or(MAX_CPUS).min(MAX_CPUS);
        let mut cpus = Vec::new();
        for word in 0..limit.div_ceil(64) {
            let bits = self.space.u64(mask.wrapping_add(u64::from(word) * 8))?;
            let set = (0..64u32).filter(|bit| bits & (1 << bit) != 0);
            cpus.extend(set.map(|bit| word * 64 + bit).filter(|it| *it < limit));
        }
        Ok(cpus)
    }

    fn read_per_cpu_offsets(&self, count: u32) -> Result<Vec<u64>, ReadError> {
        let table = self.symbol("__per_cpu_offset");
        let table = table.ok_or(ReadError::Inconsistent { what: "the table of CPUs", virt: 0 })?;
        (0..u64::from(count)).map(|cpu| self.space.u64(table.wrapping_add(cpu * 8))).collect()
    }
}

/// Lengths of a kernel stack that are believed: `CONFIG_KASAN` and large pages make them longer.
const STACK_SIZES: std::ops::RangeInclusive<u64> = 4 << 10..=256 << 10;

/// Bytes of a kernel stack (`THREAD_SIZE`): the first task's is in the image, between two symbols.
///
/// `__start_init_task` since commit 0500871f21b2 (v4.16), `__start_init_stack` since v6.10.
pub(crate) fn stack_size(symbols: &Symbols) -> Option<u64> {
    let bounds = [("__start_init_stack", "__end_init_stack"), ("__start_init_task", "__end_init_task")];
    let size = bounds
        .into_iter()
        .find_map(|(start, end)| symbols.address(end)?.checked_sub(symbols.address(start)?));
    size.filter(is_stack_size)
}

/// Whether a kernel stack can be of so many bytes.
pub(crate) fn is_stack_size(bytes: &u64) -> bool {
    bytes.is_power_of_two() && STACK_SIZES.contains(bytes)
}
