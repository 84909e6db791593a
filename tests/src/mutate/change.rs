//! The kinds of changes.

use super::field::{Field, is_pointer, words};
use super::{Choices, Mutated};
use vmward_kernel_lens::PAGE_SIZE;

const WORDS: u64 = PAGE_SIZE / 8;

/// One kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Some bits of a page are the other way round.
    FlipBits,
    /// A page of zeros.
    Zeros,
    /// A page of ones.
    Ones,
    /// Two pages have changed places.
    Swap,
    /// A page holds what another one holds.
    Repeat,
    /// A page holds one of its words over and over: a page table whose entries all lead to the same one.
    OneWord,
    /// Every word of a page is a pointer.
    Pointers,
    /// Some words of a page are any numbers.
    AnyWords,
    /// A pointer leads to where another one leads, or near it.
    OtherPointer,
    /// What a pointer leads to points to itself, as an empty list does and a broken one.
    SelfPointer,
    /// What two pointers lead to points to each other: a list without an end.
    Ring,
    /// A small number, such as a length, is a huge one.
    HugeNumber,
    /// A text has no end.
    NoEnd,
    /// A small number is one off.
    OneOff,
}

impl Change {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::FlipBits,
        Self::Zeros,
        Self::Ones,
        Self::Swap,
        Self::Repeat,
        Self::OneWord,
        Self::Pointers,
        Self::AnyWords,
        Self::OtherPointer,
        Self::SelfPointer,
        Self::Ring,
        Self::HugeNumber,
        Self::NoEnd,
        Self::OneOff,
    ];

    /// Any of them.
    pub(super) fn choose(choices: &mut dyn Choices) -> Option<Self> {
        let at = choices.below(Self::ALL.len() as u64)?;
        Self::ALL.get(usize::try_from(at).ok()?).copied()
    }

    /// Makes it. None when there are no choices left, or nothing to change.
    pub(super) fn make(
        self,
        memory: &mut Mutated<'_>,
        field: &Field,
        choices: &mut dyn Choices,
    ) -> Option<()> {
        let phys = field.page(choices)?;
        match self {
            Self::FlipBits => {
                for _ in 0..=choices.below(32)? {
                    let bit = choices.below(PAGE_SIZE * 8)?;
                    let page = memory.page(phys)?;
                    page[(bit / 8) as usize] ^= 1 << (bit % 8);
                }
            }
            Self::Zeros => memory.page(phys)?.fill(0),
            Self::Ones => memory.page(phys)?.fill(0xff),
            Self::Swap => {
                let other = field.page(choices)?;
                let (one, two) = (*memory.page(phys)?, *memory.page(other)?);
                *memory.page(phys)? = two;
                *memory.page(other)? = one;
            }
            Self::Repeat => {
                let other = field.page(choices)?;
                *memory.page(phys)? = *memory.page(other)?;
            }
            Self::OneWord => {
                let at = place(memory, phys, choices, |word| word != 0)?;
                let inside = (at % PAGE_SIZE) as usize;
                let page = memory.page(phys)?;
                for word in (0..page.len()).step_by(8).filter(|it| *it != inside) {
                    page.copy_within(inside..inside + 8, word);
                }
            }
            Self::Pointers => {
                let step = choices.below(PAGE_SIZE)?;
                let first = field.pointer(choices)?;
                for word in 0..WORDS {
                    memory.put(phys + word * 8, first.wrapping_add(word * step));
                }
            }
            Self::AnyWords => {
                for _ in 0..=choices.below(32)? {
                    let at = phys + choices.below(WORDS)? * 8;
                    memory.put(at, choices.word()?);
                }
            }
            Self::OtherPointer => {
                let at = place(memory, phys, choices, is_pointer)?;
                let other = field.pointer(choices)?;
                let near = [0, 0, 0, 1, 4, 8, 64, PAGE_SIZE];
                let near = near[choices.below(near.len() as u64)? as usize];
                memory.put(at, other.wrapping_add(near));
            }
            Self::SelfPointer => {
                let (pointer, target) = field.placed(choices)?;
                memory.put(target, pointer);
                if choices.below(2)? == 1 {
                    memory.put(target + 8, pointer);
                }
            }
            Self::Ring => {
                let (one, two) = (field.placed(choices)?, field.placed(choices)?);
                memory.put(one.1, two.0);
                memory.put(two.1, one.0);
            }
            Self::HugeNumber => {
                let at = place(memory, phys, choices, is_small)?;
                let huge = [
                    u64::MAX,
                    u64::MAX >> 1,
                    u64::from(u32::MAX),
                    0x7fff_ffff,
                    0x8000_0000,
                    1 << 40,
                    1 << 20,
                    0xffff,
                    0xffff_ffff_0000_0000,
                ];
                memory.put(at, huge[choices.below(huge.len() as u64)? as usize]);
            }
            Self::NoEnd => {
                let from = choices.below(PAGE_SIZE)? as usize;
                let len = choices.below(PAGE_SIZE)? as usize;
                let page = memory.page(phys)?;
                for byte in page.iter_mut().skip(from).take(len) {
                    if *byte == 0 {
                        *byte = b'a';
                    }
                }
            }
            Self::OneOff => {
                let at = place(memory, phys, choices, is_small)?;
                let page = memory.page(at)?;
                let inside = (at % PAGE_SIZE) as usize;
                page[inside] = page[inside].wrapping_add(if choices.below(2)? == 0 { 1 } else { 255 });
            }
        }
        Some(())
    }
}

/// Whether a word may be a count, a length, a state or an offset.
fn is_small(word: u64) -> bool {
    word < 1 << 20 || (word as u32) < 1 << 20
}

/// The address of any word of a page that is of a kind; of any word when there is none.
fn place(
    memory: &mut Mutated<'_>,
    phys: u64,
    choices: &mut dyn Choices,
    is: impl Fn(u64) -> bool,
) -> Option<u64> {
    let page = memory.page(phys)?;
    let found: Vec<u64> = (0..).zip(words(page)).filter(|(_, word)| is(*word)).map(|(at, _)| at).collect();
    let word = match choices.below(WORDS)? {
        any if found.is_empty() => any,
        any => found[any as usize % found.len()],
    };
    Some(phys - phys % PAGE_SIZE + word * 8)
}
