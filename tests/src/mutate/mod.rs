//! Memory of a guest that lies: an image with bytes changed as a hostile or a broken kernel could have left
//! them, over the real one and without a copy of it.
//!
//! What is changed, and how, is a list of [`Choices`]: by a seed, so that a failure comes again, or by the
//! bytes of a fuzzer. Changes go where a reader looks ([`Field`]): anywhere else they would not be seen.

mod change;
mod choices;
mod field;

use std::collections::HashMap;

use vmward_kernel_lens::{PAGE_SIZE, PhysRange, PhysicalMemory, ReadError};

pub use change::Change;
pub use choices::{Bytes, Choices, Seeded};
pub use field::Field;

/// Changes in one image at most.
const MAX_CHANGES: u32 = 512;

type Page = [u8; PAGE_SIZE as usize];

/// Memory with some pages changed.
pub struct Mutated<'m> {
    memory: &'m dyn PhysicalMemory,
    /// By page number.
    pages: HashMap<u64, Box<Page>>,
}

impl<'m> Mutated<'m> {
    /// Memory as it is.
    pub fn new(memory: &'m dyn PhysicalMemory) -> Self {
        Self { memory, pages: HashMap::new() }
    }

    /// Memory of which the choices have changed something in a field.
    pub fn by(memory: &'m dyn PhysicalMemory, field: &Field, choices: &mut dyn Choices) -> Self {
        let mut mutated = Self::new(memory);
        mutated.change(field, choices);
        mutated
    }

    /// Makes more changes.
    pub fn change(&mut self, field: &Field, choices: &mut dyn Choices) {
        // Few changes more often than many: with many the first reader stops, and none looks further.
        let mut power = || choices.below(MAX_CHANGES.ilog2().into());
        let (Some(one), Some(two)) = (power(), power()) else { return };
        for _ in 0..1_u32 << one.min(two) {
            // A change that has nothing to work on is left out.
            let _ = Change::choose(choices).and_then(|it| it.make(self, field, choices));
        }
    }

    /// How many pages were touched.
    pub fn changed(&self) -> usize {
        self.pages.len()
    }

    /// The page that holds an address, to be changed. None if it cannot be read.
    fn page(&mut self, phys: u64) -> Option<&mut Page> {
        let number = phys / PAGE_SIZE;
        if !self.pages.contains_key(&number) {
            let mut page = Box::new([0; PAGE_SIZE as usize]);
            self.memory.read(number * PAGE_SIZE, &mut page[..]).ok()?;
            self.pages.insert(number, page);
        }
        self.pages.get_mut(&number).map(|it| &mut **it)
    }

    /// Writes a word; an address that is no word's loses its low bits.
    fn put(&mut self, phys: u64, word: u64) {
        let inside = (phys % PAGE_SIZE) as usize & !7;
        if let Some(page) = self.page(phys) {
            page[inside..inside + 8].copy_from_slice(&word.to_le_bytes());
        }
    }
}

impl PhysicalMemory for Mutated<'_> {
    fn ranges(&self) -> &[PhysRange] {
        self.memory.ranges()
    }

    fn read(&self, phys: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        self.memory.read(phys, buf)?;
        let end = phys.saturating_add(buf.len() as u64);
        for number in phys / PAGE_SIZE..end.div_ceil(PAGE_SIZE) {
            let Some(page) = self.pages.get(&number) else { continue };
            let start = number * PAGE_SIZE;
            let (from, to) = (phys.max(start), end.min(start + PAGE_SIZE));
            let part = &page[(from - start) as usize..(to - start) as usize];
            buf[(from - phys) as usize..(to - phys) as usize].copy_from_slice(part);
        }
        Ok(())
    }

    fn populated(&self, from: u64) -> Option<PhysRange> {
        self.memory.populated(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting([PhysRange; 1]);

    impl PhysicalMemory for Counting {
        fn ranges(&self) -> &[PhysRange] {
            &self.0
        }

        fn read(&self, phys: u64, buf: &mut [u8]) -> Result<(), ReadError> {
            if phys.saturating_add(buf.len() as u64) > self.0[0].end {
                return Err(ReadError::NotRam { phys });
            }
            buf.iter_mut().zip(phys..).for_each(|(byte, at)| *byte = at as u8);
            Ok(())
        }
    }

    fn memory() -> Counting {
        Counting([PhysRange { start: 0, end: 64 * PAGE_SIZE }])
    }

    fn bytes(memory: &dyn PhysicalMemory) -> Vec<u8> {
        let mut all = vec![0; 64 * PAGE_SIZE as usize];
        memory.read(0, &mut all).unwrap();
        all
    }

    #[test]
    fn a_read_sees_the_changes_and_the_rest() {
        let memory = memory();
        let mut mutated = Mutated::new(&memory);
        mutated.put(PAGE_SIZE, u64::MAX);
        mutated.put(3 * PAGE_SIZE - 8, 0);
        let mut seen = [0; 12];
        mutated.read(PAGE_SIZE - 2, &mut seen).unwrap();
        assert_eq!(seen, [254, 255, 255, 255, 255, 255, 255, 255, 255, 255, 8, 9]);
        let all = bytes(&mutated);
        assert_eq!(&all[3 * 4096 - 9..3 * 4096 + 1], [247, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(mutated.changed(), 2);
        assert!(mutated.read(64 * PAGE_SIZE - 1, &mut seen).is_err());
    }

    #[test]
    fn a_seed_gives_the_same_memory_again_and_another_one_other_memory() {
        let memory = memory();
        let field = Field::new(&memory, (0..64).map(|it| it * PAGE_SIZE).collect(), |_| None);
        let by = |seed| bytes(&Mutated::by(&memory, &field, &mut Seeded::new(seed)));
        assert!((0..40).all(|seed| by(seed) == by(seed)));
        let mut all: Vec<_> = (0..40).map(by).chain([bytes(&memory)]).collect();
        all.sort_unstable();
        all.dedup();
        // Some changes have nothing to work on in memory without pointers.
        assert!(all.len() > 30, "{}", all.len());
    }

    #[test]
    fn a_fuzzers_bytes_make_changes_until_they_end() {
        let memory = memory();
        let field = Field::new(&memory, vec![0, PAGE_SIZE], |_| None);
        let none = Mutated::by(&memory, &field, &mut Bytes::new(&[]));
        assert_eq!(none.changed(), 0);
        for byte in 0..=255 {
            let long = [byte; 300];
            assert!(Mutated::by(&memory, &field, &mut Bytes::new(&long)).changed() <= 2);
        }
    }
}
