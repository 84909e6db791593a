//! The symbols of a module: what the kernel keeps of its ELF symbol table.

use super::layout::Kallsyms;
use crate::{AddressSpace, ReadError, Symbols};

/// Symbols of a module at most; the largest drivers have some 60,000.
const MAX_SYMBOLS: u32 = 1 << 19;
/// Bytes of names by symbol at most, and what a module with few may have.
const STRINGS_EACH: u32 = 128;
const FEW_STRINGS: u32 = 64 << 10;
/// `KSYM_NAME_LEN`.
const MAX_NAME: usize = 512;
/// Bytes of an `Elf64_Sym`: ELF-64 Object File Format, section 5.
const SYMBOL: usize = 24;

/// Where the tables lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Table {
    symtab: u64,
    count: u32,
    strtab: u64,
    typetab: Option<u64>,
}

impl Table {
    /// Reads where a module's tables lie; `None` if it has none.
    pub(super) fn new(
        space: &AddressSpace<'_>,
        module: u64,
        layout: &Kallsyms,
    ) -> Result<Option<Self>, ReadError> {
        let at = space.u64(module.wrapping_add(layout.at))?;
        if at == 0 {
            return Ok(None);
        }
        let word = |offset: u64| space.u64(at.wrapping_add(offset));
        Ok(Some(Self {
            symtab: word(layout.symtab)?,
            count: space.u32(at.wrapping_add(layout.num_symtab))?,
            strtab: word(layout.strtab)?,
            typetab: layout.typetab.map(word).transpose()?.filter(|it| *it != 0),
        }))
    }

    /// How many symbols there are.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Reads the symbols.
    pub(super) fn read(&self, space: &AddressSpace<'_>) -> Result<Symbols, ReadError> {
        if self.count > MAX_SYMBOLS {
            return Err(ReadError::Inconsistent {
                what: "the number of a module's symbols",
                virt: self.symtab,
            });
        }
        let count = self.count as usize;
        let table = space.bytes(self.symtab, count * SYMBOL)?;
        let kinds = self.typetab.map(|it| space.bytes(it, count)).transpose()?;
        let symbols = || table.as_chunks::<SYMBOL>().0.iter().map(Entry::parse).enumerate();
        let most = self.count.saturating_mul(STRINGS_EACH).max(FEW_STRINGS);
        let last = symbols().map(|it| it.1.name).filter(|it| *it < most).max().unwrap_or(0);
        let mut names = space.bytes(self.strtab, last as usize)?;
        names.extend_from_slice(space.text(self.strtab.wrapping_add(u64::from(last)), MAX_NAME)?.as_bytes());
        Ok(Symbols::new(symbols().filter_map(|(number, entry)| {
            let name = names.get(entry.name as usize..)?;
            let name = &name[..memchr::memchr(0, name).unwrap_or(name.len()).min(MAX_NAME)];
            let name = std::str::from_utf8(name).ok().filter(|it| !is_nameless(it))?;
            let kind = kinds.as_ref().map_or(Some(&entry.info), |it| it.get(number))?;
            (entry.section != 0).then_some((entry.value, *kind, name))
        })))
    }
}

/// What the compiler marks, not the author: `is_mapping_symbol` of `include/linux/module_symbol.h`, which
/// the kernel's own lookup skips too.
fn is_nameless(name: &str) -> bool {
    name.is_empty() || name.starts_with(".L") || name.starts_with("L0") || name.starts_with('$')
}

struct Entry {
    name: u32,
    info: u8,
    /// 0 is that of a symbol of elsewhere.
    section: u16,
    value: u64,
}

impl Entry {
    fn parse(bytes: &[u8; SYMBOL]) -> Self {
        let [a, b, c, d, info, _, e, f, value @ ..] = bytes;
        let [g, h, i, j, k, l, m, n, ..] = value;
        Self {
            name: u32::from_le_bytes([*a, *b, *c, *d]),
            info: *info,
            section: u16::from_le_bytes([*e, *f]),
            value: u64::from_le_bytes([*g, *h, *i, *j, *k, *l, *m, *n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::tests::{layout, memory, space};
    use super::*;
    use crate::Recorder;
    use crate::memory::test_memory::TestMemory;

    /// A module at 0x2000 whose tables lie behind it.
    fn module(count: u64) -> TestMemory {
        let memory = memory();
        memory.write_u64(0x20a0, 0x3000);
        for (offset, value) in [(0, 0x4000), (8, count), (16, 0x5000), (24, 0x6000)] {
            memory.write_u64(0x3000 + offset, value);
        }
        let entries = [(0u32, 1u64, 0u64), (1, 1, 0x9000), (6, 1, 0x9100), (9, 0, 0x9200), (12, 1, 0x9300)];
        for (at, (name, section, value)) in (0x4000..).step_by(SYMBOL).zip(entries) {
            memory.write(at, &name.to_le_bytes());
            memory.write(at + 6, &section.to_le_bytes()[..2]);
            memory.write_u64(at + 8, value);
        }
        memory.write(0x5000, b"\0init\0$x\0un\0last\0");
        memory.write(0x6000, b"?tttd");
        memory
    }

    fn read(memory: &TestMemory) -> Result<Symbols, ReadError> {
        let recorder = Recorder::new(memory);
        let space = space(&recorder);
        let table = Table::new(&space, 0x2000, layout().kallsyms.as_ref().unwrap())?;
        table.unwrap().read(&space)
    }

    #[test]
    fn symbols_have_names_letters_and_addresses() {
        let symbols = read(&module(5)).unwrap();
        let all: Vec<_> = symbols.iter().map(|it| (it.address, it.kind, it.name)).collect();
        assert_eq!(all, [(0x9000, b't', "init"), (0x9300, b'd', "last")]);
    }

    #[test]
    fn wild_counts_are_errors_and_wild_names_are_left_out() {
        assert!(read(&module(1 << 20)).is_err());
        let memory = module(5);
        memory.write(0x4000 + 4 * 24, &u32::MAX.to_le_bytes());
        assert_eq!(read(&memory).unwrap().len(), 1);
        memory.write_u64(0x3010, 0xdead_0000_0000);
        assert!(read(&memory).is_err());
    }

    #[test]
    fn a_module_without_a_table_has_no_symbols() {
        let memory = module(5);
        memory.write_u64(0x20a0, 0);
        let recorder = Recorder::new(&memory);
        let found = Table::new(&space(&recorder), 0x2000, layout().kallsyms.as_ref().unwrap());
        assert_eq!(found.unwrap(), None);
    }
}
