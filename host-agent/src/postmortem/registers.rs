//! Registers as gdb wants them: one block of bytes and the description of what is where.
//!
//! The blocks are QEMU's: x86-64 has 608 bytes with bases and control registers between the segments and the
//! x87 stack (QEMU gdb-xml/i386-64bit.xml, which no table of gdb's or of a crate's has), arm64 has 268 (the
//! core feature). Names and features are gdb's (manual, "Standard Target Features"). What nobody knows of a
//! register is `xx`, which gdb shows as `<unavailable>`.

use vmward_kernel_lens::unwind::SavedRegisters;
use vmward_kernel_lens::{Arch, Registers};

/// One row of a description: name, bits, gdb's type.
type Row = (&'static str, usize, &'static str);

/// Registers of a thread in the order of the description; `None` for what is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegisterFile {
    bytes: Vec<Option<u8>>,
    pc: u64,
}

const X86_CORE: &[Row] = &[
    ("rax", 64, "int64"),
    ("rbx", 64, "int64"),
    ("rcx", 64, "int64"),
    ("rdx", 64, "int64"),
    ("rsi", 64, "int64"),
    ("rdi", 64, "int64"),
    ("rbp", 64, "data_ptr"),
    ("rsp", 64, "data_ptr"),
    ("r8", 64, "int64"),
    ("r9", 64, "int64"),
    ("r10", 64, "int64"),
    ("r11", 64, "int64"),
    ("r12", 64, "int64"),
    ("r13", 64, "int64"),
    ("r14", 64, "int64"),
    ("r15", 64, "int64"),
    ("rip", 64, "code_ptr"),
    ("eflags", 32, "int32"),
    ("cs", 32, "int32"),
    ("ss", 32, "int32"),
    ("ds", 32, "int32"),
    ("es", 32, "int32"),
    ("fs", 32, "int32"),
    ("gs", 32, "int32"),
    ("fs_base", 64, "int64"),
    ("gs_base", 64, "int64"),
    ("k_gs_base", 64, "int64"),
    ("cr0", 64, "int64"),
    ("cr2", 64, "int64"),
    ("cr3", 64, "int64"),
    ("cr4", 64, "int64"),
    ("cr8", 64, "int64"),
    ("efer", 64, "int64"),
    ("st0", 80, "i387_ext"),
    ("st1", 80, "i387_ext"),
    ("st2", 80, "i387_ext"),
    ("st3", 80, "i387_ext"),
    ("st4", 80, "i387_ext"),
    ("st5", 80, "i387_ext"),
    ("st6", 80, "i387_ext"),
    ("st7", 80, "i387_ext"),
    ("fctrl", 32, "int"),
    ("fstat", 32, "int"),
    ("ftag", 32, "int"),
    ("fiseg", 32, "int"),
    ("fioff", 32, "int"),
    ("foseg", 32, "int"),
    ("fooff", 32, "int"),
    ("fop", 32, "int"),
];

const X86_SSE: &[Row] = &[
    ("xmm0", 128, "uint128"),
    ("xmm1", 128, "uint128"),
    ("xmm2", 128, "uint128"),
    ("xmm3", 128, "uint128"),
    ("xmm4", 128, "uint128"),
    ("xmm5", 128, "uint128"),
    ("xmm6", 128, "uint128"),
    ("xmm7", 128, "uint128"),
    ("xmm8", 128, "uint128"),
    ("xmm9", 128, "uint128"),
    ("xmm10", 128, "uint128"),
    ("xmm11", 128, "uint128"),
    ("xmm12", 128, "uint128"),
    ("xmm13", 128, "uint128"),
    ("xmm14", 128, "uint128"),
    ("xmm15", 128, "uint128"),
    ("mxcsr", 32, "int"),
];

const ARM_X: [&str; 31] = [
    "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15",
    "x16", "x17", "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x29", "x30",
];
const ARM_REST: &[Row] = &[("sp", 64, "data_ptr"), ("pc", 64, "code_ptr"), ("cpsr", 32, "int")];

/// gdb's features with their registers, in the order of the block.
fn features(arch: Arch) -> Vec<(&'static str, Vec<Row>)> {
    match arch {
        Arch::X86_64 => {
            vec![("org.gnu.gdb.i386.core", X86_CORE.to_vec()), ("org.gnu.gdb.i386.sse", X86_SSE.to_vec())]
        }
        Arch::Aarch64 => {
            let x = ARM_X.iter().map(|name| (*name, 64, "int"));
            vec![("org.gnu.gdb.aarch64.core", x.chain(ARM_REST.iter().copied()).collect())]
        }
    }
}

/// gdb's name of an architecture.
pub(super) fn gdb_name(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "i386:x86-64",
        Arch::Aarch64 => "aarch64",
    }
}

/// The description that gdb asks for as `target.xml`.
#[must_use]
pub fn description(arch: Arch) -> String {
    let mut xml =
        String::from("<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n<target>\n");
    xml.push_str(&format!("<architecture>{}</architecture>\n", gdb_name(arch)));
    for (feature, rows) in features(arch) {
        xml.push_str(&format!("<feature name=\"{feature}\">\n"));
        for (name, bits, kind) in rows {
            xml.push_str(&format!("<reg name=\"{name}\" bitsize=\"{bits}\" type=\"{kind}\"/>\n"));
        }
        xml.push_str("</feature>\n");
    }
    xml.push_str("</target>\n");
    xml
}

impl RegisterFile {
    /// Nothing is known.
    fn unknown(arch: Arch) -> Self {
        let bits: usize = features(arch).iter().flat_map(|it| &it.1).map(|it| it.1).sum();
        Self { bytes: vec![None; bits / 8], pc: 0 }
    }

    /// A register's value, as far as its width goes.
    fn set(&mut self, arch: Arch, name: &str, value: u64) {
        let mut at = 0;
        for (known, bits, _) in features(arch).into_iter().flat_map(|it| it.1) {
            let width = bits / 8;
            if known == name {
                let bytes = value.to_le_bytes().into_iter().map(Some);
                for (to, from) in self.bytes.iter_mut().skip(at).take(width).zip(bytes) {
                    *to = from;
                }
                return;
            }
            at += width;
        }
    }

    /// Those of a vCPU.
    #[must_use]
    pub fn of_cpu(registers: &Registers) -> Self {
        match registers {
            Registers::X86_64(it) => {
                let arch = Arch::X86_64;
                let mut file = Self { pc: it.rip, ..Self::unknown(arch) };
                // rax rbx rcx rdx rsi rdi rbp rsp r8 ..: both sides count alike.
                for ((name, ..), value) in X86_CORE.iter().zip(it.general) {
                    file.set(arch, name, value);
                }
                let known = [
                    ("rip", Some(it.rip)),
                    ("eflags", Some(it.rflags)),
                    ("cs", Some(u64::from(it.cs))),
                    ("gs_base", Some(it.gs_base)),
                    ("k_gs_base", it.kernel_gs_base),
                    // One of zero was not told: no kernel runs with it.
                    ("cr2", Some(it.cr2).filter(|_| it.cr3 != 0)),
                    ("cr3", Some(it.cr3).filter(|it| *it != 0)),
                    ("cr4", Some(it.cr4).filter(|it| *it != 0)),
                ];
                for (name, value) in known.into_iter().filter_map(|(name, value)| Some((name, value?))) {
                    file.set(arch, name, value);
                }
                file
            }
            Registers::Aarch64(it) => {
                let arch = Arch::Aarch64;
                let mut file = Self { pc: it.pc, ..Self::unknown(arch) };
                for (name, value) in ARM_X.iter().zip(it.x) {
                    file.set(arch, name, value);
                }
                for (name, value) in [("sp", it.sp), ("pc", it.pc), ("cpsr", it.pstate)] {
                    file.set(arch, name, value);
                }
                file
            }
        }
    }

    /// Those that were saved of a task.
    #[must_use]
    pub fn of_task(saved: &SavedRegisters) -> Self {
        match saved {
            SavedRegisters::X86_64 { rip, rsp, rbp, rbx, r12_to_r15: [r12, r13, r14, r15] } => {
                let mut file = Self { pc: *rip, ..Self::unknown(Arch::X86_64) };
                let known = [("rip", rip), ("rsp", rsp), ("rbp", rbp), ("rbx", rbx)];
                let high = [("r12", r12), ("r13", r13), ("r14", r14), ("r15", r15)];
                for (name, value) in known.into_iter().chain(high) {
                    file.set(Arch::X86_64, name, *value);
                }
                file
            }
            SavedRegisters::Aarch64 { pc, sp, x19_to_x29 } => {
                let mut file = Self { pc: *pc, ..Self::unknown(Arch::Aarch64) };
                for (name, value) in ARM_X.iter().skip(19).zip(x19_to_x29) {
                    file.set(Arch::Aarch64, name, *value);
                }
                file.set(Arch::Aarch64, "sp", *sp);
                file.set(Arch::Aarch64, "pc", *pc);
                file
            }
        }
    }

    /// The instruction pointer.
    #[must_use]
    pub fn instruction(&self) -> u64 {
        self.pc
    }
}

impl gdbstub::arch::Registers for RegisterFile {
    type ProgramCounter = u64;

    fn pc(&self) -> u64 {
        self.pc
    }

    fn gdb_serialize(&self, write_byte: impl FnMut(Option<u8>)) {
        self.bytes.iter().copied().for_each(write_byte);
    }

    fn gdb_deserialize(&mut self, bytes: &[u8]) -> Result<(), ()> {
        self.bytes = bytes.iter().copied().map(Some).collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::rsp::Layout;
    use vmward_kernel_lens::X86Registers;

    #[test]
    fn the_block_of_x86_is_as_long_as_qemus() {
        assert_eq!(RegisterFile::unknown(Arch::X86_64).bytes.len(), 608);
        assert_eq!(RegisterFile::unknown(Arch::Aarch64).bytes.len(), 268);
    }

    #[test]
    fn what_is_known_is_read_back_by_the_description_and_the_rest_is_not_there() {
        let cpu = X86Registers {
            general: std::array::from_fn(|it| 0x100 + it as u64),
            rip: 0xffff_ffff_8100_0000,
            rflags: 0x246,
            cs: 0x10,
            cr3: 0x5000,
            gs_base: 0xff00,
            ..X86Registers::default()
        };
        let file = RegisterFile::of_cpu(&Registers::X86_64(cpu));
        let mut layout = Layout::default();
        layout.add(&description(Arch::X86_64));
        let found = layout.cut(&file.bytes);
        let value = |name: &str| found.iter().find(|it| it.name == name).and_then(|it| it.value());
        assert_eq!((value("rax"), value("rsp"), value("r15")), (Some(0x100), Some(0x107), Some(0x10f)));
        assert_eq!(
            (value("rip"), value("eflags"), value("cs")),
            (Some(0xffff_ffff_8100_0000), Some(0x246), Some(0x10))
        );
        assert_eq!((value("cr3"), value("gs_base")), (Some(0x5000), Some(0xff00)));
        assert_eq!((value("cr4"), value("k_gs_base"), value("xmm0"), value("ss")), (None, None, None, None));
    }

    #[test]
    fn of_a_task_the_saved_registers_are_there() {
        let saved =
            SavedRegisters::Aarch64 { pc: 1, sp: 2, x19_to_x29: std::array::from_fn(|it| 19 + it as u64) };
        let file = RegisterFile::of_task(&saved);
        let mut layout = Layout::default();
        layout.add(&description(Arch::Aarch64));
        let found = layout.cut(&file.bytes);
        let names: Vec<&str> = found.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names.first(), Some(&"x19"));
        assert_eq!(found.iter().find(|it| it.name == "x29").and_then(|it| it.value()), Some(29));
        assert!(!names.contains(&"x30") && names.ends_with(&["sp", "pc"]), "{names:?}");
    }
}
