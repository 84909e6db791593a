//! The minicore's own note, `VMWARD`/1: what an ELF core has no place for.
//!
//! A version word (1), then records, each a tag, a length (32 bits both), the content and zeros up to a
//! multiple of eight. Records of an unknown tag are for later versions to add and are skipped.
//!
//! | tag | content |
//! |---|---|
//! | 1 | RAM ranges: pairs of first address and first address behind, 64 bits each |
//! | 2 | one CPU: index, kind (1 x86-64, 2 arm64), bits that say which optional values are there, values |
//! | 3 | counts: pages kept, left out by the policy, not readable |
//! | 4 | bytes of user space that a result was made from: guest-physical address of the top page table,
//!     virtual address, length that was asked for, the bytes that were there |
//!
//! Which pages are kept, the program headers say.

use super::OpenError;
use super::bytes::{u32_at, u64_at};
use crate::{Aarch64Registers, Aarch64System, Cpu, PhysRange, Registers, UserKey, UserTexts, X86Registers};

/// The version that is written, and the last that is read.
const VERSION: u32 = 1;
const RANGES: u32 = 1;
const CPU: u32 = 2;
const COUNTS: u32 = 3;
const USER_TEXT: u32 = 4;
/// CPUs taken at most.
const MAX_CPUS: usize = 8192;

/// Pages of a minicore.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// In the file.
    pub kept: u64,
    /// Left out by the policy: user memory.
    pub left_out: u64,
    /// Wanted and not readable.
    pub unreadable: u64,
}

/// The note's content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WardNote {
    pub(crate) ranges: Vec<PhysRange>,
    pub(crate) cpus: Vec<Cpu>,
    pub(crate) counts: Counts,
    pub(crate) user_texts: UserTexts,
}

impl WardNote {
    /// The bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = VERSION.to_le_bytes().to_vec();
        out.extend([0; 4]);
        let ranges = self.ranges.iter().flat_map(|it| [it.start, it.end]);
        record(&mut out, RANGES, ranges);
        for cpu in &self.cpus {
            record(&mut out, CPU, cpu_words(cpu));
        }
        record(&mut out, COUNTS, [self.counts.kept, self.counts.left_out, self.counts.unreadable]);
        for (key, bytes) in self.user_texts.iter() {
            record_bytes(&mut out, USER_TEXT, [key.root, key.virt, key.len], bytes);
        }
        out
    }
}

fn record(out: &mut Vec<u8>, tag: u32, words: impl IntoIterator<Item = u64>) {
    record_bytes(out, tag, words, &[]);
}

fn record_bytes(out: &mut Vec<u8>, tag: u32, words: impl IntoIterator<Item = u64>, bytes: &[u8]) {
    let mut content: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
    content.extend(bytes);
    out.extend(tag.to_le_bytes());
    out.extend((content.len() as u32).to_le_bytes());
    out.extend(content);
    out.resize(out.len().next_multiple_of(8), 0);
}

fn cpu_words(cpu: &Cpu) -> Vec<u64> {
    let mut words = vec![u64::from(cpu.index)];
    match &cpu.registers {
        Registers::X86_64(it) => {
            let there = u64::from(it.kernel_gs_base.is_some())
                | u64::from(it.idt_base.is_some()) << 1
                | u64::from(it.halted.is_some()) << 2;
            words.extend([1, there]);
            words.extend(it.general);
            words.extend([it.rip, it.rflags, u64::from(it.cs), it.cr2, it.cr3, it.cr4, it.gs_base]);
            words.extend([it.kernel_gs_base.unwrap_or(0), it.idt_base.unwrap_or(0)]);
            words.push(u64::from(it.halted.unwrap_or(false)));
        }
        Registers::Aarch64(it) => {
            words.extend([2, u64::from(it.system.is_some())]);
            words.extend(it.x);
            words.extend([it.sp, it.pc, it.pstate]);
            let system = it.system.clone().unwrap_or_default();
            words.extend([system.ttbr0, system.ttbr1, system.tcr, system.vbar]);
            words.extend([system.sp_el0, system.tpidr_el1]);
        }
    }
    words
}

/// Reads the note.
pub(crate) fn read(bytes: &[u8]) -> Result<WardNote, OpenError> {
    let damaged = |what| OpenError::Damaged { format: "minicore", what };
    match u32_at(bytes, 0) {
        Some(VERSION) => {}
        Some(newer) if newer > VERSION => {
            return Err(OpenError::Unsupported {
                what: format!("a minicore of version {newer}"),
                instead: "a newer vmward reads it",
            });
        }
        _ => return Err(damaged("its note has no version")),
    }
    let mut note = WardNote::default();
    let mut rest = bytes.get(8..).unwrap_or_default();
    while let (Some(tag), Some(len)) = (u32_at(rest, 0), u32_at(rest, 4)) {
        let len = len as usize;
        let content = rest.get(8..8usize.saturating_add(len)).ok_or(damaged("its note is cut"))?;
        let next = 8usize.saturating_add(len).checked_next_multiple_of(8).unwrap_or(usize::MAX);
        rest = rest.get(next..).unwrap_or_default();
        let word = |index: usize| u64_at(content, index.checked_mul(8)?);
        match tag {
            RANGES => {
                let pairs = content.chunks_exact(16).filter_map(|it| Some((u64_at(it, 0)?, u64_at(it, 8)?)));
                note.ranges.extend(pairs.map(|(start, end)| PhysRange { start, end }));
            }
            CPU if note.cpus.len() < MAX_CPUS => {
                note.cpus.push(cpu(word).ok_or(damaged("a CPU of it is cut"))?);
            }
            COUNTS => {
                let count = |index| word(index).unwrap_or(0);
                note.counts = Counts { kept: count(0), left_out: count(1), unreadable: count(2) };
            }
            USER_TEXT => {
                let key = || Some(UserKey { root: word(0)?, virt: word(1)?, len: word(2)? });
                let key = key().ok_or(damaged("a text of it is cut"))?;
                note.user_texts.insert(key, content.get(24..).unwrap_or_default().to_vec());
            }
            _ => {}
        }
    }
    Ok(note)
}

fn cpu(word: impl Fn(usize) -> Option<u64>) -> Option<Cpu> {
    let index = u32::try_from(word(0)?).ok()?;
    let there = word(2)?;
    let registers = match word(1)? {
        1 => {
            let mut general = [0; 16];
            for (at, register) in general.iter_mut().enumerate() {
                *register = word(3 + at)?;
            }
            let rest = |at: usize| word(19 + at);
            Registers::X86_64(X86Registers {
                general,
                rip: rest(0)?,
                rflags: rest(1)?,
                cs: u16::try_from(rest(2)?).ok()?,
                cr2: rest(3)?,
                cr3: rest(4)?,
                cr4: rest(5)?,
                gs_base: rest(6)?,
                kernel_gs_base: rest(7).filter(|_| there & 1 != 0),
                idt_base: rest(8).filter(|_| there & 2 != 0),
                halted: rest(9).filter(|_| there & 4 != 0).map(|it| it != 0),
            })
        }
        2 => {
            let mut x = [0; 31];
            for (at, register) in x.iter_mut().enumerate() {
                *register = word(3 + at)?;
            }
            let rest = |at: usize| word(34 + at);
            let system = || {
                Some(Aarch64System {
                    ttbr0: rest(3)?,
                    ttbr1: rest(4)?,
                    tcr: rest(5)?,
                    vbar: rest(6)?,
                    sp_el0: rest(7)?,
                    tpidr_el1: rest(8)?,
                })
            };
            let system = if there & 1 != 0 { Some(system()?) } else { None };
            Registers::Aarch64(Aarch64Registers { x, sp: rest(0)?, pc: rest(1)?, pstate: rest(2)?, system })
        }
        _ => return None,
    };
    Some(Cpu { index, registers })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> WardNote {
        let x86 = X86Registers {
            general: std::array::from_fn(|it| it as u64),
            rip: 100,
            cs: 0x33,
            cr3: 102,
            gs_base: 103,
            idt_base: Some(104),
            halted: Some(true),
            ..X86Registers::default()
        };
        let system = Aarch64System { ttbr1: 7, tpidr_el1: 8, ..Aarch64System::default() };
        let mut user_texts = UserTexts::default();
        user_texts.insert(UserKey { root: 1, virt: 2, len: 9 }, b"/bin/sh".to_vec());
        user_texts.insert(UserKey { root: 1, virt: 3, len: 1 }, Vec::new());
        let arm = Aarch64Registers { pc: 9, system: Some(system), ..Aarch64Registers::default() };
        WardNote {
            ranges: vec![PhysRange { start: 0, end: 0x1000 }, PhysRange { start: 1 << 32, end: 1 << 33 }],
            cpus: vec![
                Cpu { index: 0, registers: Registers::X86_64(x86) },
                Cpu { index: 5, registers: Registers::Aarch64(arm) },
            ],
            counts: Counts { kept: 3, left_out: 1, unreadable: 0 },
            user_texts,
        }
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(read(&sample().to_bytes()).unwrap(), sample());
    }

    #[test]
    fn a_later_version_says_so_and_a_later_record_is_skipped() {
        let mut bytes = sample().to_bytes();
        record(&mut bytes, 99, [1, 2]);
        assert_eq!(read(&bytes).unwrap(), sample());
        bytes[0] = 2;
        assert!(read(&bytes).unwrap_err().to_string().contains("version 2"));
    }

    proptest! {
        #[test]
        fn any_note_is_read_without_a_panic(at in 0..900usize, byte in any::<u8>(), cut in 0..900usize) {
            let mut bytes = sample().to_bytes();
            if let Some(it) = bytes.get_mut(at) {
                *it = byte;
            }
            let _ = read(&bytes[..bytes.len().min(cut)]);
        }
    }
}
