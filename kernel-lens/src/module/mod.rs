//! The modules that a kernel has loaded: where they lie, and their symbols.

mod layout;
mod symbols;

use std::cell::OnceCell;
use std::collections::HashSet;
use std::ops::Range;

use layout::{Layout, Memory};
use symbols::Table;

use crate::btf::Types;
use crate::{AddressSpace, ReadError, Symbol, Symbols};

/// Modules of a kernel at most: distributions build some 5,000, a machine loads some 200.
const MAX_MODULES: usize = 8192;
/// Symbols of all modules at most: of a machine with 200 modules some 60,000.
const MAX_SYMBOLS: u32 = 1 << 20;
/// `MODULE_NAME_LEN` of every 64-bit kernel.
const MAX_NAME: usize = 56;
/// Bytes of one part of a module at most; the largest graphics driver has 20 MiB.
const MAX_PART: u64 = 256 << 20;

/// A part of a module's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModulePart {
    /// Guest-virtual addresses.
    pub range: Range<u64>,
    /// Whether it is code.
    pub text: bool,
}

/// A module that is loaded.
#[derive(Debug)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// Guest-virtual address of its `struct module`.
    pub address: u64,
    /// Its memory, code first.
    pub parts: Vec<ModulePart>,
    table: Option<Table>,
    symbols: OnceCell<Symbols>,
}

impl Module {
    /// Whether an address lies in it.
    pub fn contains(&self, address: u64) -> bool {
        self.parts.iter().any(|it| it.range.contains(&address))
    }

    /// Whether an address lies in its code.
    pub fn has_code_at(&self, address: u64) -> bool {
        self.parts.iter().any(|it| it.text && it.range.contains(&address))
    }

    /// Its symbols, read when they are first asked for; none if they cannot be read.
    pub fn symbols(&self, space: &AddressSpace<'_>) -> &Symbols {
        self.symbols.get_or_init(|| {
            let read = self.table.as_ref().and_then(|it| it.read(space).ok());
            read.unwrap_or_default()
        })
    }
}

/// All modules that are loaded.
#[derive(Debug, Default)]
pub struct Modules {
    all: Vec<Module>,
    /// Parts of all, by their starts: start, end and the module's number.
    parts: Vec<(u64, u64, usize)>,
    broken: Option<ReadError>,
}

impl Modules {
    /// Walks the kernel's list of modules.
    ///
    /// A list that is torn gives the modules up to there; [`Self::broken`] then says why.
    pub fn read(space: &AddressSpace<'_>, symbols: &Symbols, types: &Types) -> Self {
        let head = symbols.address("modules");
        match (head, Layout::new(types)) {
            (Some(head), Some(layout)) => Self::walk(space, head, &layout),
            // A kernel without modules.
            (None, _) => Self::default(),
            (Some(virt), None) => {
                let broken = ReadError::Inconsistent { what: "the type of a module", virt };
                Self { broken: Some(broken), ..Self::default() }
            }
        }
    }

    fn walk(space: &AddressSpace<'_>, head: u64, layout: &Layout) -> Self {
        let mut modules = Self::default();
        if let Err(error) = modules.walk_on(space, head, layout) {
            modules.broken = Some(error);
        }
        let parts = modules.all.iter().enumerate();
        let parts = parts.flat_map(|(at, it)| it.parts.iter().map(move |part| (at, part)));
        modules.parts = parts.map(|(at, part)| (part.range.start, part.range.end, at)).collect();
        modules.parts.sort_unstable();
        modules
    }

    fn walk_on(&mut self, space: &AddressSpace<'_>, head: u64, layout: &Layout) -> Result<(), ReadError> {
        let (mut seen, mut symbols_left) = (HashSet::new(), MAX_SYMBOLS);
        let mut link = space.u64(head)?;
        while link != head {
            if !seen.insert(link) || seen.len() > MAX_MODULES {
                return Err(ReadError::Inconsistent { what: "the list of modules", virt: link });
            }
            let address = link.wrapping_sub(layout.list);
            if let Some(mut module) = one(space, address, layout)? {
                // Tables of a hostile guest may be as many as they are large.
                let count = module.table.as_ref().map_or(0, Table::count);
                match symbols_left.checked_sub(count) {
                    Some(left) => symbols_left = left,
                    None => module.table = None,
                }
                self.all.push(module);
            }
            link = space.u64(link)?;
        }
        Ok(())
    }

    /// The modules, the one loaded last first.
    pub fn iter(&self) -> impl Iterator<Item = &Module> {
        self.all.iter()
    }

    /// Why the list ended before its end, if it did.
    pub fn broken(&self) -> Option<&ReadError> {
        self.broken.as_ref()
    }

    /// The module that an address lies in.
    pub fn at(&self, address: u64) -> Option<&Module> {
        let behind = self.parts.partition_point(|it| it.0 <= address);
        let (_, end, module) = self.parts.get(behind.checked_sub(1)?)?;
        (address < *end).then(|| self.all.get(*module)).flatten()
    }

    /// The module and the symbol that an address lies in.
    pub fn symbol(&self, space: &AddressSpace<'_>, address: u64) -> Option<(&Module, Symbol<'_>)> {
        let module = self.at(address)?;
        Some((module, module.symbols(space).at(address)?))
    }
}

/// One module; `None` for one that is only being allocated.
fn one(space: &AddressSpace<'_>, address: u64, layout: &Layout) -> Result<Option<Module>, ReadError> {
    let at = |offset: u64| address.wrapping_add(offset);
    if let Some((state, unformed)) = layout.unformed
        && space.u32(at(state))? == unformed
    {
        return Ok(None);
    }
    let mut parts = Vec::new();
    let mut part = |start: u64, size: u32, text| {
        let range = start..start.saturating_add(u64::from(size));
        if size != 0 && u64::from(size) <= MAX_PART {
            parts.push(ModulePart { range, text });
        }
    };
    for it in &layout.memory {
        match *it {
            Memory::One { base, size, text } => part(space.u64(at(base))?, space.u32(at(size))?, text),
            Memory::Mixed { base, size, text_size } => {
                let (base, size) = (space.u64(at(base))?, space.u32(at(size))?);
                let text = space.u32(at(text_size))?.min(size);
                part(base, text, true);
                part(base.wrapping_add(u64::from(text)), size - text, false);
            }
        }
    }
    parts.sort_by_key(|it| !it.text);
    let table = match &layout.kallsyms {
        Some(it) => Table::new(space, address, it)?,
        None => None,
    };
    let name = space.text(at(layout.name), MAX_NAME)?;
    Ok(Some(Module { name, address, parts, table, symbols: OnceCell::new() }))
}

#[cfg(test)]
mod tests {
    use super::layout::tests::{layout, memory, put};
    use super::*;
    use crate::Recorder;
    use crate::memory::test_memory::TestMemory;

    const HEAD: u64 = 0x1000;

    /// Modules at 0x2000 and 0x3000.
    fn two() -> TestMemory {
        let memory = memory();
        memory.write_u64(HEAD, 0x2008);
        put(&memory, 0x2000, "one", 0x3008, (0x5_0000, 0x1000), (0x7_0000, 0x100));
        put(&memory, 0x3000, "two", HEAD, (0x6_0000, 0x1000), (0x5_8000, 0x100));
        memory
    }

    #[test]
    fn modules_are_found_with_their_parts() {
        let memory = two();
        let recorder = Recorder::new(&memory);
        let space = crate::module::layout::tests::space(&recorder);
        let modules = Modules::walk(&space, HEAD, &layout());
        assert!(modules.broken().is_none());
        assert_eq!(modules.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["one", "two"]);
        let at = |address| modules.at(address).map(|it| it.name.as_str());
        assert_eq!((at(0x5_0fff), at(0x5_1000), at(0x5_80ff)), (Some("one"), None, Some("two")));
        let one = modules.iter().next().unwrap();
        assert!(one.has_code_at(0x5_0000) && one.contains(0x7_0000) && !one.has_code_at(0x7_0000));
    }

    #[test]
    fn a_list_in_a_circle_ends() {
        let memory = two();
        memory.write_u64(0x3008, 0x2008);
        let recorder = Recorder::new(&memory);
        let space = crate::module::layout::tests::space(&recorder);
        let modules = Modules::walk(&space, HEAD, &layout());
        assert_eq!(modules.iter().count(), 2);
        assert!(matches!(modules.broken(), Some(ReadError::Inconsistent { virt: 0x2008, .. })));
    }

    #[test]
    fn a_list_that_leads_astray_keeps_what_came_before() {
        let memory = two();
        memory.write_u64(0x2008, 0xdead_0000_0000);
        let recorder = Recorder::new(&memory);
        let space = crate::module::layout::tests::space(&recorder);
        let modules = Modules::walk(&space, HEAD, &layout());
        assert_eq!(modules.iter().count(), 1);
        assert!(modules.broken().is_some());
    }
}
