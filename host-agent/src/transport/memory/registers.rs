//! vCPU registers as the lens wants them, from QEMU's text and from the gdb stub.
//!
//! The text of `info registers -a` is read by [`crate::capture::info_registers`], once for all uses.

use vmward_kernel_lens::{Aarch64Registers, Aarch64System, Cpu, Registers, X86Registers};
use vmward_model::observed::VcpuRegisters;

use crate::capture::info_registers;
use crate::transport::rsp;

/// `EFER.LMA`: long mode is active (Intel SDM volume 3, 2.2.1).
const LONG_MODE: u64 = 1 << 10;

/// Reads the text. The second part says what is missing or odd; a vCPU that is not in 64-bit mode (in
/// firmware, not started yet) is left out and said there.
pub fn from_text(text: &str) -> (Vec<Cpu>, Vec<String>) {
    let (all, mut problems) = info_registers::parse(text);
    let mut cpus = Vec::with_capacity(all.len());
    for vcpu in &all {
        match from_vcpu(vcpu) {
            Some(cpu) => cpus.push(cpu),
            None => problems.push(format!("CPU#{}: not in 64-bit mode, or cut", vcpu.index)),
        }
    }
    (cpus, problems)
}

/// One vCPU as QEMU's text names its registers.
pub fn from_vcpu(vcpu: &VcpuRegisters) -> Option<Cpu> {
    let get = |name: &str| vcpu.all.get(name).copied();
    let registers = match get("PC") {
        Some(pc) => {
            Registers::Aarch64(aarch64(|n| get(&format!("X{n:02}")), pc, get("SP")?, get("PSTATE")?)?)
        }
        None => Registers::X86_64(x86_text(get, vcpu.halted)?),
    };
    Some(Cpu { index: vcpu.index, registers })
}

/// A user program of 32 bits on a 64-bit kernel is printed with the names of 32 bits.
fn x86_text(get: impl Fn(&str) -> Option<u64>, halted: Option<bool>) -> Option<X86Registers> {
    const WIDE: [&str; 16] = [
        "RAX", "RBX", "RCX", "RDX", "RSI", "RDI", "RBP", "RSP", "R8", "R9", "R10", "R11", "R12", "R13",
        "R14", "R15",
    ];
    const NARROW: [&str; 8] = ["EAX", "EBX", "ECX", "EDX", "ESI", "EDI", "EBP", "ESP"];
    get("EFER").filter(|it| it & LONG_MODE != 0)?;
    let wide = get("RIP").is_some();
    let mut general = [0; 16];
    for (register, name) in general.iter_mut().zip(if wide { &WIDE[..] } else { &NARROW[..] }) {
        *register = get(name)?;
    }
    let cs = u16::try_from(get("CS")?).ok()?;
    Some(X86Registers {
        general,
        rip: get("RIP").or_else(|| get("EIP"))?,
        rflags: get("RFL").or_else(|| get("EFL"))?,
        // QEMU keeps the privilege level apart from the selector.
        cs: get("CPL").and_then(|it| u16::try_from(it & 3).ok()).map_or(cs, |cpl| cs & !3 | cpl),
        cr2: get("CR2")?,
        cr3: get("CR3")?,
        cr4: get("CR4")?,
        gs_base: get("GS_BASE")?,
        kernel_gs_base: None,
        idt_base: get("IDT"),
        halted,
    })
}

fn aarch64(x: impl Fn(u8) -> Option<u64>, pc: u64, sp: u64, pstate: u64) -> Option<Aarch64Registers> {
    let mut all = [0; 31];
    for (number, register) in (0..).zip(all.iter_mut()) {
        *register = x(number)?;
    }
    Some(Aarch64Registers { x: all, sp, pc, pstate, system: None })
}

/// One vCPU as the gdb stub tells it (names of the target description: i386-64bit.xml, aarch64-core.xml,
/// and QEMU's own for system registers).
pub fn from_stub(vcpu: &rsp::VcpuRegisters) -> Option<Cpu> {
    let get = |name: &str| vcpu.value(name);
    let registers = match get("rip") {
        Some(rip) => {
            const NAMES: [&str; 16] = [
                "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12",
                "r13", "r14", "r15",
            ];
            get("efer").filter(|it| it & LONG_MODE != 0)?;
            let mut general = [0; 16];
            for (register, name) in general.iter_mut().zip(NAMES) {
                *register = get(name)?;
            }
            Registers::X86_64(X86Registers {
                general,
                rip,
                rflags: get("eflags")?,
                cs: u16::try_from(get("cs")?).ok()?,
                cr2: get("cr2")?,
                cr3: get("cr3")?,
                cr4: get("cr4")?,
                gs_base: get("gs_base")?,
                kernel_gs_base: get("k_gs_base"),
                idt_base: None,
                halted: None,
            })
        }
        None => {
            let x = |n| get(&format!("x{n}"));
            let mut it = aarch64(x, get("pc")?, get("sp")?, get("cpsr")?)?;
            it.system = get("TTBR1_EL1").zip(get("TCR_EL1")).map(|(ttbr1, tcr)| Aarch64System {
                ttbr0: get("TTBR0_EL1").unwrap_or(0),
                ttbr1,
                tcr,
                vbar: get("VBAR").or_else(|| get("VBAR_EL1")).unwrap_or(0),
                sp_el0: get("SP_EL0").unwrap_or(0),
                tpidr_el1: get("TPIDR_EL1").unwrap_or(0),
            });
            Registers::Aarch64(it)
        }
    };
    Some(Cpu { index: u32::try_from(vcpu.index).ok()?, registers })
}

#[cfg(test)]
mod tests {
    use super::*;

    const X86: &str = include_str!("../../capture/info_registers/x86_64.txt");
    const REAL_MODE: &str = include_str!("../../capture/info_registers/x86_real_mode.txt");
    const ARM: &str = include_str!("../../capture/info_registers/aarch64.txt");

    #[test]
    fn x86_vcpus_have_what_finds_the_kernel() {
        let (cpus, problems) = from_text(X86);
        assert_eq!(problems, Vec::<String>::new());
        let Registers::X86_64(first) = &cpus[0].registers else { panic!("not x86") };
        // As gdb said at the same moment, see capture/info_registers.rs.
        assert_eq!((first.rip, first.rsp()), (0xffff_ffff_b980_dfeb, 0xffff_ffff_ba80_3e90));
        assert_eq!((first.cr3, first.gs_base, first.rflags), (0x2a5_8000, 0xff1f_cd33_4f60_0000, 0x246));
        assert_eq!((first.idt_base, first.halted), (Some(0xffff_fe00_0000_0000), Some(true)));
        assert!(first.has_five_levels() && !first.in_user_mode());
        let Registers::X86_64(second) = &cpus[1].registers else { panic!("not x86") };
        assert!(second.in_user_mode());
    }

    #[test]
    fn arm_vcpus_have_pc_sp_and_all_of_x() {
        let (cpus, problems) = from_text(ARM);
        assert_eq!(problems, Vec::<String>::new());
        let Registers::Aarch64(first) = &cpus[0].registers else { panic!("not arm64") };
        assert_eq!((first.pc, first.sp), (0xffff_b105_0c2c_d408, 0xffff_8000_8068_b680));
        assert!(first.system.is_none() && !first.in_user_mode());
    }

    #[test]
    fn a_program_of_32_bits_has_the_kernels_page_tables_too() {
        let text = "CPU#0\nEAX=0000000b EBX=00000001 ECX=00000002 EDX=00000003\n\
                    ESI=00000004 EDI=00000005 EBP=00000006 ESP=ffffd000\n\
                    EIP=f7fc4579 EFL=00000246 [---Z-P-] CPL=3 II=0 A20=1 SMM=0 HLT=0\n\
                    CS =0023 0000000000000000 ffffffff 00cffb00 DPL=3 CS32 [-RA]\n\
                    GS =0063 00000000f7d8a500 0000ffff 00d0f300\n\
                    IDT=     fffffe0000000000 00000fff\n\
                    CR0=80050033 CR2=0000000056557000 CR3=0000000003c56001 CR4=000006f0\n\
                    EFER=0000000000000d01\n";
        let (cpus, _) = from_text(text);
        let Registers::X86_64(it) = &cpus[0].registers else { panic!("not x86") };
        assert_eq!((it.rip, it.rsp(), it.cr3), (0xf7fc_4579, 0xffff_d000, 0x3c5_6001));
        assert!(it.in_user_mode());
    }

    #[test]
    fn a_vcpu_in_firmware_is_left_out_and_said() {
        let (cpus, problems) = from_text(REAL_MODE);
        assert_eq!(cpus, []);
        assert_eq!(problems.len(), 2);
    }

    #[test]
    fn a_cut_text_is_no_panic() {
        for text in [X86, ARM, REAL_MODE] {
            for end in (0..text.len()).step_by(7) {
                let _ = from_text(&text[..end]);
            }
        }
    }
}
