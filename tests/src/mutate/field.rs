//! Where changes are made: the pages that a reader looks at, and the pointers that stand in them.

use vmward_kernel_lens::{PAGE_SIZE, PhysicalMemory};

use super::Choices;

/// Pointers kept at most.
const MAX_POINTERS: usize = 1 << 16;
/// Pointers kept at most of which it is known where they lead.
const MAX_PLACED: usize = 1 << 13;

/// The pages, and what changes are made of.
#[derive(Debug, Clone)]
pub struct Field {
    pages: Vec<u64>,
    pointers: Vec<u64>,
    placed: Vec<(u64, u64)>,
}

impl Field {
    /// The pages at these guest-physical addresses; `leads` says where a kernel's pointer leads.
    pub fn new(memory: &dyn PhysicalMemory, pages: Vec<u64>, leads: impl Fn(u64) -> Option<u64>) -> Self {
        let mut field = Self { pages, pointers: Vec::new(), placed: Vec::new() };
        let mut page = [0; PAGE_SIZE as usize];
        let mut all = Vec::new();
        for phys in &field.pages {
            if memory.read(*phys, &mut page).is_ok() {
                all.extend(words(&page).filter(|word| is_pointer(*word)));
            }
        }
        let every = |n: usize, most: usize| n.div_ceil(most).max(1);
        field.pointers = all.iter().step_by(every(all.len(), MAX_POINTERS)).copied().collect();
        let some = field.pointers.iter().step_by(every(field.pointers.len(), MAX_PLACED));
        field.placed = some.filter_map(|it| Some((*it, leads(*it)?))).collect();
        field
    }

    /// How many pages there are.
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// Any page.
    pub(super) fn page(&self, choices: &mut dyn Choices) -> Option<u64> {
        one_of(&self.pages, choices)
    }

    /// Any pointer.
    pub(super) fn pointer(&self, choices: &mut dyn Choices) -> Option<u64> {
        one_of(&self.pointers, choices)
    }

    /// Any pointer, with the guest-physical address of what it points to.
    pub(super) fn placed(&self, choices: &mut dyn Choices) -> Option<(u64, u64)> {
        one_of(&self.placed, choices)
    }
}

fn one_of<T: Copy>(list: &[T], choices: &mut dyn Choices) -> Option<T> {
    if list.is_empty() {
        return None;
    }
    let at = choices.below(list.len() as u64)?;
    list.get(usize::try_from(at).ok()?).copied()
}

/// The words of a page.
pub(super) fn words(page: &[u8]) -> impl Iterator<Item = u64> + '_ {
    page.as_chunks::<8>().0.iter().map(|it| u64::from_le_bytes(*it))
}

/// Whether a word may be a kernel's pointer: the upper half, small negative numbers left out.
pub(super) fn is_pointer(word: u64) -> bool {
    (0xff00_0000_0000_0000..0xffff_ffff_ffff_0000).contains(&word) && word & 0xffff_ffff != 0
}
