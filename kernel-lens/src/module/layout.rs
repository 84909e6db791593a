//! Where the members of a module lie in this kernel.

use crate::btf::Types;

/// Parts of a module at most; v6.4 has seven.
const MAX_PARTS: u64 = 16;

/// Offsets into `struct module`.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) list: u64,
    pub(super) name: u64,
    /// `state`, and its value while there is nothing in the module yet.
    pub(super) unformed: Option<(u64, u32)>,
    pub(super) memory: Vec<Memory>,
    /// None without `CONFIG_KALLSYMS`.
    pub(super) kallsyms: Option<Kallsyms>,
}

/// Where the start and the size of a part are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Memory {
    /// All code or all data: `module.mem[]`, since commit ac3b43283923 (v6.4).
    One { base: u64, size: u64, text: bool },
    /// Code, then data: `core_layout` and `init_layout` before.
    Mixed { base: u64, size: u64, text_size: u64 },
}

/// Offset of the pointer in `struct module`, and offsets into `struct mod_kallsyms`.
#[derive(Debug)]
pub(super) struct Kallsyms {
    pub(super) at: u64,
    pub(super) symtab: u64,
    pub(super) num_symtab: u64,
    pub(super) strtab: u64,
    /// Since commit 1c7651f43777 (v5.2); the letter stood in `st_info` before.
    pub(super) typetab: Option<u64>,
}

impl Layout {
    /// What the types say; `None` if they do not say where a module is.
    pub(super) fn new(types: &Types) -> Option<Self> {
        let offset = |path: &str| types.offset("module", path);
        let unformed = types.enumerator("MODULE_STATE_UNFORMED").and_then(|it| u32::try_from(it).ok());
        let mut memory = parts(types).unwrap_or_default();
        for (base, size, text_size) in [
            ("core_layout.base", "core_layout.size", "core_layout.text_size"),
            ("init_layout.base", "init_layout.size", "init_layout.text_size"),
        ] {
            if let (Some(base), Some(size), Some(text_size)) = (offset(base), offset(size), offset(text_size))
            {
                memory.push(Memory::Mixed { base, size, text_size });
            }
        }
        Some(Self {
            list: offset("list")?,
            name: offset("name")?,
            unformed: offset("state").zip(unformed),
            memory,
            kallsyms: kallsyms(types),
        })
    }
}

fn parts(types: &Types) -> Option<Vec<Memory>> {
    let mem = types.member("module", "mem")?;
    let each = types.size("module_memory").filter(|it| *it > 0)?;
    let (base, size) = (types.offset("module_memory", "base")?, types.offset("module_memory", "size")?);
    let texts = ["MOD_TEXT", "MOD_INIT_TEXT"].map(|it| types.enumerator(it));
    let part = |number: u64| {
        let at = mem.offset + number * each;
        let text = texts.iter().flatten().any(|it| u64::try_from(*it) == Ok(number));
        Memory::One { base: at + base, size: at + size, text }
    };
    Some((0..(mem.size / each).min(MAX_PARTS)).map(part).collect())
}

fn kallsyms(types: &Types) -> Option<Kallsyms> {
    let offset = |path: &str| types.offset("mod_kallsyms", path);
    Some(Kallsyms {
        at: types.offset("module", "kallsyms")?,
        symtab: offset("symtab")?,
        num_symtab: offset("num_symtab")?,
        strtab: offset("strtab")?,
        typetab: offset("typetab"),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::arch::{Paging, X86Paging};
    use crate::memory::test_memory::TestMemory;
    use crate::{AddressSpace, Recorder};

    /// Tables of a flat space at 0x10_0000: each address leads to itself, up to 1 GiB.
    pub(in crate::module) fn memory() -> TestMemory {
        let memory = TestMemory::new(0x20_0000);
        memory.write_u64(0x10_0000, 0x10_1003);
        memory.write_u64(0x10_1000, 0x83);
        memory
    }

    pub(in crate::module) fn space<'m>(recorder: &'m Recorder<'m>) -> AddressSpace<'m> {
        AddressSpace::new(recorder, Paging::X86_64(X86Paging { root: 0x10_0000, five_levels: false }))
    }

    pub(in crate::module) fn layout() -> Layout {
        Layout {
            list: 8,
            name: 24,
            unformed: Some((0, 3)),
            memory: vec![
                Memory::One { base: 0x80, size: 0x88, text: false },
                Memory::One { base: 0x90, size: 0x98, text: true },
            ],
            kallsyms: Some(Kallsyms { at: 0xa0, symtab: 0, num_symtab: 8, strtab: 16, typetab: Some(24) }),
        }
    }

    /// A module of that layout.
    pub(in crate::module) fn put(
        memory: &TestMemory,
        at: u64,
        name: &str,
        next: u64,
        (text, text_size): (u64, u64),
        (data, data_size): (u64, u64),
    ) {
        memory.write_u64(at + 8, next);
        memory.write(at + 24, name.as_bytes());
        for (offset, value) in [(0x80, data), (0x88, data_size), (0x90, text), (0x98, text_size)] {
            memory.write_u64(at + offset, value);
        }
    }
}
