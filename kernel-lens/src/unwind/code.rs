//! What is code: the kernel's image, its modules, and what was made at run time.

use std::cell::OnceCell;
use std::ops::Range;

use super::layout::{MadeCodeLayout, ModuleLayout};
use super::stacks::words;
use crate::{AddressSpace, Symbols};

/// Modules, BPF programs and tracers that are looked at, at most.
const MAX_LISTED: usize = 8192;
/// Text of one module at most. The whole area of x86 has 1.5 GiB.
const MAX_TEXT: u64 = 256 << 20;
/// The memory types `MOD_TEXT` and `MOD_INIT_TEXT` of `enum mod_mem_type` (v6.4).
const TEXT_MEMORIES: [u64; 2] = [0, 4];
/// `FTRACE_OPS_FL_SAVE_REGS`, unchanged since v3.19.
const SAVE_REGS: u64 = 1 << 2;

/// A module's code.
#[derive(Debug, Clone)]
pub(super) struct ModuleCode {
    /// What stays, and what is freed after the module's start.
    pub(super) text: [Range<u64>; 2],
    /// Count of ORC entries, their addresses, the entries.
    pub(super) orc: Option<[u64; 3]>,
}

/// Code that was made at run time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MadeCode {
    /// A BPF program or trampoline: it keeps frame pointers.
    Bpf,
    /// A copy of one of ftrace's callers: in the tables it stands at that symbol.
    Ftrace(&'static str),
}

/// All code that is known.
pub(super) struct Code<'k, 'm> {
    space: &'k AddressSpace<'m>,
    symbols: &'k Symbols,
    image: Vec<Range<u64>>,
    modules: OnceCell<Vec<ModuleCode>>,
    made: OnceCell<Vec<(Range<u64>, MadeCode)>>,
    module_layout: ModuleLayout,
    made_layout: MadeCodeLayout,
}

impl<'k, 'm> Code<'k, 'm> {
    /// Asks for the bounds of the image; modules are read when an address is not in it.
    pub(super) fn new(
        space: &'k AddressSpace<'m>,
        symbols: &'k Symbols,
        module_layout: ModuleLayout,
        made_layout: MadeCodeLayout,
    ) -> Self {
        let bounds = [("_stext", "_etext"), ("_sinittext", "_einittext")];
        let range = |(start, end)| Some(symbols.address(start)?..symbols.address(end)?);
        let image = bounds.into_iter().filter_map(range).collect();
        let (modules, made) = (OnceCell::new(), OnceCell::new());
        Self { space, symbols, image, modules, made, module_layout, made_layout }
    }

    /// The kernel's memory.
    pub(super) fn space(&self) -> &'k AddressSpace<'m> {
        self.space
    }

    /// Whether an address is in the image's code.
    pub(super) fn in_image(&self, address: u64) -> bool {
        self.image.iter().any(|it| it.contains(&address))
    }

    /// Whether an address is in code at all.
    pub(super) fn holds(&self, address: u64) -> bool {
        self.in_image(address) || self.module(address).is_some() || self.made(address).is_some()
    }

    /// The module whose code holds an address.
    pub(super) fn module(&self, address: u64) -> Option<&ModuleCode> {
        let modules = self.modules.get_or_init(|| self.read_modules());
        modules.iter().find(|it| it.text.iter().any(|text| text.contains(&address)))
    }

    /// What made the code at an address.
    pub(super) fn made(&self, address: u64) -> Option<&MadeCode> {
        let made = self.made.get_or_init(|| self.read_made());
        made.iter().find(|(range, _)| range.contains(&address)).map(|(_, what)| what)
    }

    fn read_modules(&self) -> Vec<ModuleCode> {
        let (Some(head), Some(list)) = (self.symbols.address("modules"), self.module_layout.list) else {
            return Vec::new();
        };
        let entries = self.list(head, list);
        entries.into_iter().filter_map(|module| self.read_module(module)).collect()
    }

    fn read_module(&self, module: u64) -> Option<ModuleCode> {
        let layout = &self.module_layout;
        let at = |offset: u64| module.checked_add(offset);
        let text = if let Some([mem, base, size, stride]) = layout.mem {
            let memory =
                |number: u64| Some([at(mem + number * stride + base)?, at(mem + number * stride + size)?]);
            [self.text(memory(TEXT_MEMORIES[0])?)?, self.text(memory(TEXT_MEMORIES[1])?)?]
        } else {
            let [stays, goes] = layout.layouts?;
            [self.text([at(stays[0])?, at(stays[1])?])?, self.text([at(goes[0])?, at(goes[1])?])?]
        };
        let orc = layout.orc.and_then(|[count, ips, entries]| {
            Some([self.word32(at(count)?)?, self.word(at(ips)?)?, self.word(at(entries)?)?])
        });
        Some(ModuleCode { text, orc })
    }

    /// A text by the places of its base and of its size.
    fn text(&self, [base, size]: [u64; 2]) -> Option<Range<u64>> {
        let (base, size) = (self.word(base)?, self.word32(size)?.min(MAX_TEXT));
        Some(base..base.checked_add(size)?)
    }

    fn read_made(&self) -> Vec<(Range<u64>, MadeCode)> {
        let mut made = Vec::new();
        if let (Some(head), Some([node, start, end, _])) =
            (self.symbols.address("bpf_kallsyms"), self.made_layout.bpf_ksym)
        {
            let range = |it: u64| Some(self.word(it.checked_add(start)?)?..self.word(it.checked_add(end)?)?);
            let programs = self.list(head, node).into_iter().filter_map(range);
            made.extend(programs.map(|it| (it, MadeCode::Bpf)));
        }
        made.extend(self.read_ftrace().unwrap_or_default());
        made.retain(|(range, _)| range.end.saturating_sub(range.start) <= MAX_TEXT);
        made
    }

    /// Trampolines of tracers (`ftrace_ops_list` points to the first; `ftrace_list_end` is the last).
    fn read_ftrace(&self) -> Option<Vec<(Range<u64>, MadeCode)>> {
        let [next, flags, trampoline, size] = self.made_layout.ftrace_ops?;
        let end = self.symbols.address("ftrace_list_end")?;
        let mut ops = self.word(self.symbols.address("ftrace_ops_list")?)?;
        let mut made = Vec::new();
        for _ in 0..MAX_LISTED {
            if ops == end || ops == 0 {
                break;
            }
            let at = |offset: u64| self.word(ops.checked_add(offset)?);
            let (Some(start), Some(size), Some(flags)) = (at(trampoline), at(size), at(flags)) else { break };
            if start != 0 {
                let copied = if flags & SAVE_REGS != 0 { "ftrace_regs_call" } else { "ftrace_call" };
                made.push((start..start.saturating_add(size), MadeCode::Ftrace(copied)));
            }
            let Some(following) = at(next) else { break };
            ops = following;
        }
        Some(made)
    }

    /// The structures on a list, by the place of its entry in them. Ends at the head, at what cannot be
    /// read, and at a bound: whoever makes a circle of it gets a long list, not an endless one.
    fn list(&self, head: u64, entry: u64) -> Vec<u64> {
        let mut found = Vec::new();
        let mut at = self.word(head);
        while let Some(node) = at
            && node != head
            && node != 0
            && found.len() < MAX_LISTED
        {
            found.push(node.wrapping_sub(entry));
            at = self.word(node);
        }
        found
    }

    fn word(&self, at: u64) -> Option<u64> {
        words::<1>(self.space, at).ok().map(|[it]| it)
    }

    fn word32(&self, at: u64) -> Option<u64> {
        self.space.u32(at).ok().map(u64::from)
    }
}

/// Whether the instruction before a return address is a call: on x86 relative or through register or
/// memory, on arm64 `bl` or a `blr`.
pub(super) fn follows_call(space: &AddressSpace<'_>, x86: bool, address: u64) -> bool {
    if !x86 {
        let word = address.checked_sub(4).and_then(|it| space.u32(it).ok()).unwrap_or(0);
        let branch = word & 0xfc00_0000 == 0x9400_0000;
        return branch || word & 0xffff_fc1f == 0xd63f_0000 || word & 0xfeff_f800 == 0xd63f_0800;
    }
    let mut before = [0; 7];
    let read = address.checked_sub(7).map(|it| space.read(it, &mut before));
    if !matches!(read, Some(Ok(()))) {
        return false;
    }
    before[2] == 0xe8 || (2..=7).any(|len| before[7 - len] == 0xff && call_length(&before[8 - len..]) == len)
}

/// Length of `ff /2` with its operand; 0 if it is no call.
fn call_length(operand: &[u8]) -> usize {
    let Some(modrm) = operand.first() else { return 0 };
    if (modrm >> 3) & 7 != 2 {
        return 0;
    }
    let sib = usize::from(modrm & 7 == 4);
    match modrm >> 6 {
        3 => 2,
        1 => 3 + sib,
        2 => 6 + sib,
        _ if modrm & 7 == 5 => 6,
        _ if sib == 1 && operand.get(1).is_some_and(|it| it & 7 == 5) => 7,
        _ => 2 + sib,
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_kernel::TestKernel;
    use super::*;

    #[test]
    fn return_addresses_stand_behind_calls() {
        let kernel = TestKernel::new();
        kernel.write_bytes(
            0x1000,
            &[0x90, 0x90, 0xe8, 1, 2, 3, 4, 0x41, 0xff, 0xd4, 0xff, 0x54, 0x24, 8, 0xc3],
        );
        kernel.write_bytes(0x2000, &0x9400_1234u32.to_le_bytes());
        kernel.write_bytes(0x2004, &0xd63f_0260u32.to_le_bytes());
        kernel.write_bytes(0x2008, &0xd73f_0a70u32.to_le_bytes());
        kernel.write_bytes(0x200c, &0xd65f_03c0u32.to_le_bytes());
        kernel.with(|space| {
            let x86: Vec<u64> = (0x1007..0x1010).filter(|it| follows_call(space, true, *it)).collect();
            assert_eq!(x86, [0x1007, 0x100a, 0x100e]);
            let arm = [0x2004, 0x2008, 0x200c, 0x2010].map(|it| follows_call(space, false, it));
            assert_eq!(arm, [true, true, true, false]);
            assert!(!follows_call(space, true, 3) && !follows_call(space, false, u64::MAX));
        });
    }

    #[test]
    fn modules_of_both_layouts_are_found_and_a_circle_ends() {
        let kernel = TestKernel::new();
        // Two modules at 0x3000 and 0x4000 with their list entry at 8; the second leads back to itself.
        kernel.write(0x2000, &[0x3008]);
        kernel.write(0x3008, &[0x4008, 0, 0x8000, 0x100, 0, 0]);
        kernel.write(0x4008, &[0x4008, 0, 0x9000, 0x100, 0xa000, 0x80]);
        let layouts = Some([[0x18, 0x20], [0x28, 0x30]]);
        let layout = ModuleLayout { list: Some(8), layouts, ..Default::default() };
        let symbols = Symbols::new([(0x2000, b'D', "modules")]);
        kernel.with(|space| {
            let code = Code::new(space, &symbols, layout, MadeCodeLayout::default());
            assert!(code.holds(0x80ff) && code.holds(0x9000) && code.holds(0xa07f));
            assert!(!code.holds(0x8100) && !code.holds(0));
        });
        let mem = Some([0x18, 0, 8, 16]);
        let layout = ModuleLayout { list: Some(8), mem, ..Default::default() };
        kernel.with(|space| {
            let code = Code::new(space, &symbols, layout, MadeCodeLayout::default());
            assert!(code.holds(0x80ff) && !code.holds(0xa07f));
        });
    }

    #[test]
    fn programs_and_trampolines_are_code_too() {
        let kernel = TestKernel::new();
        kernel.write(0x2000, &[0x3010]);
        kernel.write(0x3000, &[0x8000, 0x8040, 0x2000]);
        kernel.write(0x2100, &[0x5000]);
        kernel.write(0x5000, &[0x2200, SAVE_REGS, 0x9000, 0x80]);
        let symbols = [(0x2000, b'D', "bpf_kallsyms"), (0x2100, b'D', "ftrace_ops_list")];
        let symbols = Symbols::new(symbols.into_iter().chain([(0x2200, b'D', "ftrace_list_end")]));
        let made = MadeCodeLayout { bpf_ksym: Some([0x10, 0, 8, 0]), ftrace_ops: Some([0, 8, 16, 24]) };
        kernel.with(|space| {
            let code = Code::new(space, &symbols, ModuleLayout::default(), made);
            assert_eq!(code.made(0x803f), Some(&MadeCode::Bpf));
            assert_eq!(code.made(0x9000), Some(&MadeCode::Ftrace("ftrace_regs_call")));
            assert_eq!(code.made(0x9080), None);
        });
    }
}
