//! Every page that an examination reads, kept: the same byte is never seen with two values, and the pages
//! are the minicore.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};

use super::user_text::{UserKey, UserTexts};
use super::{PhysRange, PhysicalMemory};
use crate::ReadError;

/// Bytes of a page in the record. Guests with larger pages are recorded in pieces of this size.
pub const PAGE_SIZE: u64 = 4096;

/// Reads of one examination before it gives up: no healthy guest needs a tenth of them.
const MAX_READS: u64 = 40_000_000;
/// Pages of one examination: three or four a task, so that a guest with 8,000 tasks is read whole.
const MAX_PAGES: usize = 32 << 10;

type Page = [u8; PAGE_SIZE as usize];

/// A source of memory with a record of what was read from it.
///
/// [`read`](Self::read) is for what a result is made from. [`scan`](Self::scan) is for looking through much
/// memory for little: it keeps nothing, so that whoever found something reads it again.
pub struct Recorder<'m> {
    memory: &'m dyn PhysicalMemory,
    pages: RefCell<HashMap<u64, Box<Page>>>,
    reads: Cell<u64>,
    user_texts: RefCell<UserTexts>,
    user_pages: RefCell<HashSet<u64>>,
}

impl<'m> Recorder<'m> {
    /// Starts a record with nothing in it.
    pub fn new(memory: &'m dyn PhysicalMemory) -> Self {
        Self {
            memory,
            pages: RefCell::default(),
            reads: Cell::new(0),
            user_texts: RefCell::default(),
            user_pages: RefCell::default(),
        }
    }

    /// The source.
    pub fn memory(&self) -> &'m dyn PhysicalMemory {
        self.memory
    }

    /// Fills `buf` with the bytes at `phys`, from the record where they are in it.
    ///
    /// # Errors
    /// As [`PhysicalMemory::read`], and [`ReadError::Exhausted`] for an examination that has no end.
    pub fn read(&self, phys: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let mut done = 0;
        while done < buf.len() {
            let at = phys.checked_add(done as u64).ok_or(ReadError::NotRam { phys })?;
            let inside = (at % PAGE_SIZE) as usize;
            let len = (buf.len() - done).min(PAGE_SIZE as usize - inside);
            self.spend()?;
            let mut pages = self.pages.borrow_mut();
            let number = at / PAGE_SIZE;
            if !pages.contains_key(&number) {
                if pages.len() >= MAX_PAGES {
                    return Err(ReadError::Exhausted { spent: self.reads.get() });
                }
                pages.insert(number, self.fetch(number)?);
            }
            if let Some(page) = pages.get(&number) {
                buf[done..done + len].copy_from_slice(&page[inside..inside + len]);
            }
            done += len;
        }
        Ok(())
    }

    /// Fills `buf` past the record and leaves nothing in it.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn scan(&self, phys: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        self.spend()?;
        self.memory.read(phys, buf)
    }

    /// Forgets the pages of a run, so that the next read sees what is there now.
    pub fn forget(&self, range: PhysRange) {
        let numbers = range.start / PAGE_SIZE..range.end.div_ceil(PAGE_SIZE);
        self.pages.borrow_mut().retain(|number, _| !numbers.contains(number));
    }

    /// Bytes of user space that a result is made from: those in the record, those that the source kept of
    /// an earlier look, or what `read` reads now. The record keeps them and not the pages that they lie on,
    /// so that a minicore tells the same without the rest of user memory.
    pub fn user_text(&self, key: UserKey, read: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
        if let Some(known) = self.user_texts.borrow().get(&key) {
            return known.to_vec();
        }
        let bytes = self.memory.user_text(&key).map_or_else(read, <[u8]>::to_vec);
        self.user_texts.borrow_mut().insert(key, bytes.clone());
        bytes
    }

    /// What [`Self::user_text`] gave.
    pub fn user_texts(&self) -> UserTexts {
        self.user_texts.borrow().clone()
    }

    /// Remembers that a page is user space's, whoever reads it.
    pub(crate) fn mark_user(&self, phys: u64) {
        self.user_pages.borrow_mut().insert(phys / PAGE_SIZE);
    }

    /// Whether a page was seen to be user space's.
    pub(crate) fn is_user(&self, phys: u64) -> bool {
        self.user_pages.borrow().contains(&(phys / PAGE_SIZE))
    }

    /// Reads so far.
    pub fn reads(&self) -> u64 {
        self.reads.get()
    }

    /// The guest-physical addresses of the pages in the record, ascending.
    pub fn recorded(&self) -> Vec<u64> {
        let mut all: Vec<u64> = self.pages.borrow().keys().map(|it| it * PAGE_SIZE).collect();
        all.sort_unstable();
        all
    }

    fn spend(&self) -> Result<(), ReadError> {
        let spent = self.reads.get() + 1;
        self.reads.set(spent);
        if spent > MAX_READS { Err(ReadError::Exhausted { spent }) } else { Ok(()) }
    }

    /// A page, or what of it is RAM: a range may begin or end inside of one.
    fn fetch(&self, number: u64) -> Result<Box<Page>, ReadError> {
        let phys = number * PAGE_SIZE;
        let mut page = Box::new([0; PAGE_SIZE as usize]);
        match self.memory.read(phys, &mut page[..]) {
            Err(ReadError::NotRam { .. }) => {
                let whole = PhysRange { start: phys, end: phys.saturating_add(PAGE_SIZE) };
                let part = self.memory.ranges().iter().find_map(|it| it.overlap(whole));
                let part = part.ok_or(ReadError::NotRam { phys })?;
                let inside = (part.start - phys) as usize..(part.end - phys) as usize;
                self.memory.read(part.start, &mut page[inside])?;
            }
            other => other?,
        }
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_memory::TestMemory;
    use super::*;

    #[test]
    fn a_byte_read_twice_is_the_same_though_the_guest_wrote_it() {
        let memory = TestMemory::new(0x10000);
        memory.write(0x1ffe, &[1, 2, 3, 4]);
        let recorder = Recorder::new(&memory);
        let mut seen = [0; 4];
        recorder.read(0x1ffe, &mut seen).unwrap();
        memory.write(0x1ffe, &[9; 4]);
        recorder.read(0x1ffe, &mut seen).unwrap();
        assert_eq!(seen, [1, 2, 3, 4]);
        assert_eq!(recorder.recorded(), [0x1000, 0x2000]);
        recorder.forget(PhysRange { start: 0x2000, end: 0x2001 });
        recorder.read(0x1ffe, &mut seen).unwrap();
        assert_eq!(seen, [1, 2, 9, 9]);
    }

    #[test]
    fn a_scan_leaves_no_record() {
        let memory = TestMemory::new(0x10000);
        let recorder = Recorder::new(&memory);
        recorder.scan(0, &mut [0; 0x4000]).unwrap();
        assert!(recorder.recorded().is_empty());
    }

    #[test]
    fn a_page_that_is_partly_ram_is_read_as_far_as_it_goes() {
        let memory = TestMemory::new(0x1800);
        memory.write(0x17ff, &[7]);
        let recorder = Recorder::new(&memory);
        let mut byte = [0];
        recorder.read(0x17ff, &mut byte).unwrap();
        assert_eq!(byte, [7]);
        assert!(matches!(recorder.read(0x4000, &mut byte), Err(ReadError::NotRam { phys: 0x4000 })));
    }

    #[test]
    fn an_address_at_the_very_end_does_not_wrap() {
        let memory = TestMemory::new(0x1000);
        assert!(Recorder::new(&memory).read(u64::MAX, &mut [0; 2]).is_err());
    }
}
