//! What a vCPU's registers said.

/// One vCPU and its registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cpu {
    /// The host's number of the vCPU. The guest may count its CPUs in another order.
    pub index: u32,
    /// Its registers.
    pub registers: Registers,
}

/// Registers by architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registers {
    /// 64-bit x86.
    X86_64(X86Registers),
    /// 64-bit ARM.
    Aarch64(Aarch64Registers),
}

impl Registers {
    /// Whether the vCPU runs user code.
    pub fn in_user_mode(&self) -> bool {
        match self {
            Self::X86_64(it) => it.in_user_mode(),
            Self::Aarch64(it) => it.in_user_mode(),
        }
    }
}

/// Registers of an x86-64 vCPU. What a transport cannot tell is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct X86Registers {
    /// `rax rbx rcx rdx rsi rdi rbp rsp r8 .. r15`.
    pub general: [u64; 16],
    /// Instruction pointer.
    pub rip: u64,
    /// Flags.
    pub rflags: u64,
    /// Code segment selector; its low two bits are the privilege level.
    pub cs: u16,
    /// Control register 2: the address of the last page fault.
    pub cr2: u64,
    /// Control register 3: the page tables' root, with PCID and PTI bits.
    pub cr3: u64,
    /// Control register 4; bit 12 (LA57) says five levels of page tables.
    pub cr4: u64,
    /// Base of `gs`: the per-CPU area while in the kernel.
    pub gs_base: u64,
    /// What `swapgs` would bring: the per-CPU area while in user space. The monitor does not tell it.
    pub kernel_gs_base: Option<u64>,
    /// Base of the interrupt descriptor table.
    pub idt_base: Option<u64>,
    /// Whether the vCPU waits in HLT. A paravirtual lock waits there too: halted is not idle.
    pub halted: Option<bool>,
}

impl X86Registers {
    /// Frame pointer.
    pub fn rbp(&self) -> u64 {
        self.general[6]
    }

    /// Stack pointer.
    pub fn rsp(&self) -> u64 {
        self.general[7]
    }

    /// Whether it runs user code.
    pub fn in_user_mode(&self) -> bool {
        self.cs & 3 == 3
    }

    /// Whether page tables have five levels.
    pub fn has_five_levels(&self) -> bool {
        self.cr4 & (1 << 12) != 0
    }
}

/// Registers of an arm64 vCPU.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aarch64Registers {
    /// `x0 .. x30`.
    pub x: [u64; 31],
    /// Stack pointer.
    pub sp: u64,
    /// Program counter.
    pub pc: u64,
    /// Processor state; bits 3:2 are the exception level.
    pub pstate: u64,
    /// System registers: only a gdb stub or a stopped guest tells them.
    pub system: Option<Aarch64System>,
}

impl Aarch64Registers {
    /// Whether it runs user code (exception level 0).
    pub fn in_user_mode(&self) -> bool {
        self.pstate & 0xc == 0
    }
}

/// System registers of an arm64 vCPU.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aarch64System {
    /// Root of the user half's page tables.
    pub ttbr0: u64,
    /// Root of the kernel half's page tables, with the ASID above.
    pub ttbr1: u64,
    /// Translation control: sizes and granules.
    pub tcr: u64,
    /// Base of the exception vectors, a symbol of the kernel.
    pub vbar: u64,
    /// At exception level 1 the current task.
    pub sp_el0: u64,
    /// The per-CPU offset.
    pub tpidr_el1: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_is_told_by_the_selector_and_the_exception_level() {
        let x86 = |cs| X86Registers { cs, ..Default::default() };
        assert!(x86(0x33).in_user_mode() && !x86(0x10).in_user_mode());
        let arm = |pstate| Aarch64Registers { pstate, ..Default::default() };
        // EL0t, EL1h and EL2h as QEMU prints them.
        assert!(arm(0x8000_0000).in_user_mode() && !arm(0x6040_00c5).in_user_mode());
        assert!(!arm(0x3c9).in_user_mode());
    }
}
