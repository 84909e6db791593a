//! The text of HMP `info registers -a`, x86-64 and aarch64 (QEMU `target/i386/cpu-dump.c`,
//! `target/arm/cpu.c`), as registers.
//!
//! The values are a guest's to choose, and the text changes with QEMU's version, so the reader is total:
//! what it does not know it leaves out, what is cut or doubled it complains about, and it never guesses.
//! Vector and floating point registers are left in the raw text.

use vmward_model::observed::VcpuRegisters;

/// vCPUs read at most.
pub const MAX_CPUS: usize = 4096;
/// Registers of one vCPU kept at most.
const MAX_REGISTERS: usize = 128;
/// Complaints kept at most.
const MAX_PROBLEMS: usize = 16;
/// `RFLAGS.IF` (Intel SDM volume 1, 3.4.3).
const RFLAGS_IF: u64 = 1 << 9;
/// `PSTATE.I` (Arm ARM, SPSR_EL1).
const PSTATE_I: u64 = 1 << 7;

/// Reads the text. The second part says what is missing or odd.
///
/// `interrupts_off` is RFLAGS.IF or PSTATE.I alone: an arm64 kernel that masks by priority
/// (`irqchip.gicv3_pseudo_nmi`) leaves PSTATE.I clear. `halted` is x86's HLT; arm64's text has no such
/// field.
pub fn parse(text: &str) -> (Vec<VcpuRegisters>, Vec<String>) {
    let mut cpus: Vec<VcpuRegisters> = Vec::new();
    let mut problems = Problems(Vec::new());
    let mut skipping = false;
    for line in text.lines() {
        let line = line.trim_end();
        if let Some(rest) = line.strip_prefix("CPU#") {
            skipping = true;
            match rest.trim().parse::<u32>() {
                Ok(index) if cpus.len() >= MAX_CPUS => {
                    problems.say(|| format!("CPU#{index} and later were left out"))
                }
                Ok(index) if cpus.iter().any(|it| it.index == index) => {
                    problems.say(|| format!("CPU#{index} came twice: the second was left out"));
                }
                Ok(index) => {
                    cpus.push(VcpuRegisters { index, ..VcpuRegisters::default() });
                    skipping = false;
                }
                Err(_) => problems.say(|| format!("a vCPU without a number: {:?}", short(rest))),
            }
        } else if !skipping && let Some(cpu) = cpus.last_mut() {
            read_line(line, cpu, &mut problems);
        }
    }
    for cpu in &mut cpus {
        finish(cpu, &mut problems);
    }
    if cpus.is_empty() {
        problems.say(|| format!("no vCPU in {:?}", short(text)));
    }
    (cpus, problems.0)
}

struct Problems(Vec<String>);

impl Problems {
    fn say(&mut self, what: impl FnOnce() -> String) {
        if self.0.len() < MAX_PROBLEMS {
            self.0.push(what());
        }
    }
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

/// `RIP=ffffffff81a3 RFL=00000246 [...] CPL=0`, `CS =0010 0000000000000000 ffffffff 00af9b00`,
/// `GDT=     fffffe0000001000 0000007f`, ` PC=ffff800080 X00=0000`.
fn read_line(line: &str, cpu: &mut VcpuRegisters, problems: &mut Problems) {
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('=') {
        let name = before.trim_end().rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        let padding = after.len() - after.trim_start_matches(' ').len();
        let value = after.trim_start_matches(' ');
        let digits = value.bytes().take_while(u8::is_ascii_hexdigit).count();
        rest = after;
        if !is_kept(name) {
            continue;
        }
        let table = matches!(name, "GDT" | "IDT");
        let Some(number) = hex(value.get(..digits).unwrap_or_default()).filter(|_| table || padding == 0)
        else {
            problems.say(|| format!("CPU#{}: {name} has no value in {:?}", cpu.index, short(line)));
            continue;
        };
        let tail = value.get(digits..).unwrap_or_default();
        if !tail.is_empty() && !tail.starts_with([' ', '[']) {
            problems.say(|| format!("CPU#{}: {name} is cut in {:?}", cpu.index, short(line)));
            continue;
        }
        if is_segment(name) {
            // The base follows the selector.
            let base = tail.split_ascii_whitespace().next().and_then(hex);
            match base {
                Some(base) => put(cpu, format!("{name}_BASE"), base, problems),
                None => problems.say(|| format!("CPU#{}: {name} has no base", cpu.index)),
            }
        }
        put(cpu, name.to_owned(), number, problems);
        rest = tail;
    }
}

fn put(cpu: &mut VcpuRegisters, name: String, value: u64, problems: &mut Problems) {
    if cpu.all.contains_key(&name) {
        problems.say(|| format!("CPU#{}: {name} came twice: the first is kept", cpu.index));
    } else if cpu.all.len() < MAX_REGISTERS {
        cpu.all.insert(name, value);
    }
}

fn hex(digits: &str) -> Option<u64> {
    if digits.is_empty() || digits.len() > 16 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}

fn is_segment(name: &str) -> bool {
    matches!(name, "ES" | "CS" | "SS" | "DS" | "FS" | "GS" | "LDT" | "TR")
}

/// The registers that are kept; everything else (XMM, FPR, Z, opmasks) stays in the raw text.
fn is_kept(name: &str) -> bool {
    const X86: [&str; 40] = [
        "RAX", "RBX", "RCX", "RDX", "RSI", "RDI", "RBP", "RSP", "R8", "R9", "R10", "R11", "R12", "R13",
        "R14", "R15", "RIP", "RFL", "EAX", "EBX", "ECX", "EDX", "ESI", "EDI", "EBP", "ESP", "EIP", "EFL",
        "CPL", "II", "A20", "SMM", "HLT", "GDT", "IDT", "CR0", "CR2", "CR3", "CR4", "EFER",
    ];
    let arm_general =
        name.strip_prefix('X').is_some_and(|n| n.len() == 2 && n.parse::<u8>().is_ok_and(|n| n <= 30));
    X86.contains(&name) || is_segment(name) || arm_general || matches!(name, "PC" | "SP" | "PSTATE" | "CR8")
}

/// What follows from the registers. A vCPU of which the essential is missing is complained about.
fn finish(cpu: &mut VcpuRegisters, problems: &mut Problems) {
    let get = |names: [&str; 3]| names.iter().find_map(|name| cpu.all.get(*name).copied());
    cpu.ip = get(["RIP", "EIP", "PC"]);
    cpu.sp = get(["RSP", "ESP", "SP"]);
    let flags = get(["RFL", "EFL", ""]);
    let pstate = cpu.all.get("PSTATE").copied();
    cpu.interrupts_off = match (flags, pstate) {
        (Some(flags), _) => Some(flags & RFLAGS_IF == 0),
        (None, Some(pstate)) => Some(pstate & PSTATE_I != 0),
        (None, None) => None,
    };
    // AArch64: M[3:2] is the exception level; AArch32 (M[4] set): M[3:0] of zero is user mode.
    let level = pstate.map(|it| if it & 0x10 == 0 { it & 0xc == 0 } else { it & 0xf == 0 });
    cpu.user_mode = cpu.all.get("CPL").map(|cpl| *cpl == 3).or(level);
    cpu.halted = cpu.all.get("HLT").map(|hlt| *hlt != 0);
    if cpu.ip.is_none() || cpu.interrupts_off.is_none() {
        problems.say(|| format!("CPU#{}: its instruction pointer or flags are missing", cpu.index));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // Recorded from QEMU 7.2 with Linux 6.1 and 6.12; what is expected of the x86 one was read at the same
    // moment through QEMU's gdb stub (p/x $rip, $rsp, $eflags, $gs_base, $cr3, $cs, $r8).
    const X86: &str = include_str!("info_registers/x86_64.txt");
    const REAL_MODE: &str = include_str!("info_registers/x86_real_mode.txt");
    const ARM: &str = include_str!("info_registers/aarch64.txt");

    #[test]
    fn a_64_bit_x86_guest_is_read() {
        let (cpus, problems) = parse(X86);
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(cpus.iter().map(|it| it.index).collect::<Vec<_>>(), [0, 1]);
        let cpu = &cpus[0];
        assert_eq!(cpu.ip, Some(0xffff_ffff_b980_dfeb));
        assert_eq!(cpu.sp, Some(0xffff_ffff_ba80_3e90));
        assert_eq!((cpu.interrupts_off, cpu.user_mode, cpu.halted), (Some(false), Some(false), Some(true)));
        let get = |name: &str| cpu.all.get(name).copied();
        assert_eq!(get("GS_BASE"), Some(0xff1f_cd33_4f60_0000));
        assert_eq!(
            (get("CR3"), get("RFL"), get("R8"), get("CS")),
            (Some(0x2a5_8000), Some(0x246), Some(0), Some(0x10))
        );
        let cpu = &cpus[1];
        assert_eq!((cpu.ip, cpu.sp), (Some(0x42_ed71), Some(0x7ffd_c8db_bbb0)));
        assert_eq!((cpu.interrupts_off, cpu.user_mode, cpu.halted), (Some(false), Some(true), Some(false)));
        assert!(!cpu.all.contains_key("XMM00") && !cpu.all.contains_key("FCW"));
    }

    #[test]
    fn firmware_in_real_mode_is_read() {
        let (cpus, problems) = parse(REAL_MODE);
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!((cpus[0].ip, cpus[0].sp), (Some(0xb7b9), Some(0x6f94)));
        assert_eq!(cpus[0].all.get("CS_BASE"), Some(&0xf0000));
        assert_eq!(cpus[1].interrupts_off, Some(true));
    }

    #[test]
    fn an_aarch64_guest_is_read() {
        let (cpus, problems) = parse(ARM);
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(cpus.len(), 2);
        // QEMU prints the level and the flags beside PSTATE: EL1h on both.
        assert_eq!((cpus[0].ip, cpus[0].sp), (Some(0xffff_b105_0c2c_d408), Some(0xffff_8000_8068_b680)));
        assert_eq!((cpus[0].interrupts_off, cpus[0].user_mode), (Some(false), Some(false)));
        assert_eq!(
            (cpus[1].interrupts_off, cpus[1].user_mode, cpus[1].halted),
            (Some(true), Some(false), None)
        );
        assert_eq!(cpus[0].all.len(), 31 + 3);
        // SPSR_EL1 of EL0t with nothing masked is 0, of AArch32 user mode 0x10.
        for (pstate, user) in
            [("60000000", true), ("00000010", true), ("00000013", false), ("00000009", false)]
        {
            let (cpus, _) = parse(&format!(
                "CPU#0\n PC=0000000000400000 X00=0000000000000000\nPSTATE={pstate} ---- EL0t\n"
            ));
            assert_eq!(cpus[0].user_mode, Some(user), "{pstate}");
        }
    }

    #[test]
    fn a_cut_text_is_complained_about_and_the_rest_is_kept() {
        let cut = X86.get(..X86.find("RFL=").unwrap() + 8).unwrap();
        let (cpus, problems) = parse(cut);
        assert_eq!(cpus.len(), 1);
        assert_eq!(cpus[0].ip, Some(0xffff_ffff_b980_dfeb));
        let (_, problems2) = parse("CPU#0\nRIP=12zz\nCPU#0\nRIP=1\n");
        assert!(problems2.iter().any(|it| it.contains("is cut")), "{problems2:?}");
        assert!(problems2.iter().any(|it| it.contains("came twice")), "{problems2:?}");
        assert!(problems.len() <= 1, "{problems:?}");
    }

    #[test]
    fn the_saved_inputs_of_the_fuzzer_are_read_without_a_panic() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/info_registers");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            let (cpus, problems) = parse(&String::from_utf8_lossy(&bytes));
            assert!(cpus.len() <= MAX_CPUS && problems.len() <= MAX_PROBLEMS);
            seen += 1;
        }
        assert!(seen >= 5);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(
            text in "(CPU#[0-9]{0,3}\n|[A-Z0-9]{1,4} ?=[ 0-9a-f]{0,18}[ \n\\[]|.){0,60}",
        ) {
            let (cpus, problems) = parse(&text);
            prop_assert!(cpus.iter().all(|it| it.all.len() <= MAX_REGISTERS));
            prop_assert!(problems.len() <= MAX_PROBLEMS);
        }

        #[test]
        fn registers_come_back_as_they_were_written(rip: u64, rsp: u64, flags in any::<u32>(), cpl in 0u64..4, hlt: bool) {
            let text = format!(
                "\nCPU#7\nRAX=0000000000000000 RSP={rsp:016x}\nRIP={rip:016x} RFL={flags:08x} [-------] CPL={cpl} II=0 A20=1 SMM=0 HLT={}\n",
                u8::from(hlt)
            );
            let (cpus, problems) = parse(&text);
            prop_assert_eq!(problems, Vec::<String>::new());
            prop_assert_eq!((cpus[0].ip, cpus[0].sp), (Some(rip), Some(rsp)));
            prop_assert_eq!(cpus[0].user_mode, Some(cpl == 3));
            prop_assert_eq!(cpus[0].halted, Some(hlt));
            prop_assert_eq!(cpus[0].interrupts_off, Some(flags & 0x200 == 0));
        }
    }
}
