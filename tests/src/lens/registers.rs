//! The text of `info registers -a` as vCPUs.

use anyhow::{Context, Result, ensure};
use vmward::capture::info_registers;
use vmward_kernel_lens::{Aarch64Registers, Cpu, Registers, X86Registers};
use vmward_model::observed::VcpuRegisters;

const X86_NAMES: [&str; 16] = [
    "RAX", "RBX", "RCX", "RDX", "RSI", "RDI", "RBP", "RSP", "R8", "R9", "R10", "R11", "R12", "R13", "R14",
    "R15",
];

/// All vCPUs.
pub(super) fn parse(text: &str) -> Result<Vec<Cpu>> {
    let (vcpus, problems) = info_registers::parse(text);
    ensure!(problems.is_empty(), "{problems:?}");
    vcpus.iter().map(|it| cpu(it).with_context(|| format!("vCPU {}", it.index))).collect()
}

fn cpu(vcpu: &VcpuRegisters) -> Result<Cpu> {
    let get = |name: &str| vcpu.all.get(name).copied().with_context(|| format!("no {name}"));
    let registers = if vcpu.all.contains_key("PC") {
        let mut x = [0; 31];
        for (number, register) in x.iter_mut().enumerate() {
            *register = get(&format!("X{number:02}"))?;
        }
        let (sp, pc, pstate) = (get("SP")?, get("PC")?, get("PSTATE")?);
        Registers::Aarch64(Aarch64Registers { x, sp, pc, pstate, system: None })
    } else {
        let mut general = [0; 16];
        for (register, name) in general.iter_mut().zip(X86_NAMES) {
            *register = get(name)?;
        }
        Registers::X86_64(X86Registers {
            general,
            rip: get("RIP")?,
            rflags: get("RFL")?,
            cs: u16::try_from(get("CS")?)?,
            cr2: get("CR2")?,
            cr3: get("CR3")?,
            cr4: get("CR4")?,
            gs_base: get("GS_BASE")?,
            kernel_gs_base: None,
            idt_base: Some(get("IDT")?),
            halted: vcpu.halted,
        })
    };
    Ok(Cpu { index: vcpu.index, registers })
}
