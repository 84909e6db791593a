//! Every page that an examination reads, kept: the same byte is never seen with two values, and the pages
//! are the minicore.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::user_text::{UserKey, UserTexts};
use super::{PageMap, PhysRange, PhysicalMemory, Shared};
use crate::ReadError;

/// Bytes of a page in the record. Guests with larger pages are recorded in pieces of this size.
pub const PAGE_SIZE: u64 = 4096;

/// Reads of one examination before it gives up: some three hundred a task, so that a guest with 8,000 tasks needs
/// a quarter of them. They take half a second.
const MAX_READS: u64 = 10_000_000;
/// CPU time of one examination before it gives up: a guest with 5,000 tasks needs a sixth. It is counted and not
/// the time of day, so that a busy host or a slow source ends nothing.
const MAX_CPU: Duration = Duration::from_millis(1500);
/// Reads from one look at the clock to the next.
const CLOCK_EVERY: u64 = 1024;
/// Pages of one examination: three or four a task, so that a guest with 8,000 tasks is read whole.
const MAX_PAGES: usize = 32 << 10;

/// The pages that were read.
#[derive(Default)]
struct Record {
    /// Bytes as they were read: pages that lie side by side in one piece.
    runs: Vec<Arc<Box<[u8]>>>,
    /// Where each page lies: the run, and the place in it.
    places: PageMap<(u32, u32)>,
    /// Pages of all runs, those that were forgotten too.
    n_pages: usize,
}

impl Record {
    fn page(&self, number: u64) -> Option<&[u8]> {
        let (run, place) = self.places.get(&number)?;
        self.runs.get(*run as usize)?.get(*place as usize..)?.get(..PAGE_SIZE as usize)
    }

    /// Pages side by side that one run holds.
    fn side_by_side(&self, first: u64, count: usize) -> Option<(Arc<Box<[u8]>>, usize)> {
        let (run, place) = *self.places.get(&first)?;
        let mut each = (first..).zip((place..).step_by(PAGE_SIZE as usize)).take(count);
        let all = each.all(|(number, place)| self.places.get(&number) == Some(&(run, place)));
        let run = self.runs.get(run as usize)?;
        all.then(|| (Arc::clone(run), place as usize))
    }

    fn keep(&mut self, first: u64, run: Box<[u8]>) {
        let index = self.runs.len() as u32;
        for (number, place) in (first..).zip((0..run.len() as u32).step_by(PAGE_SIZE as usize)) {
            self.places.insert(number, (index, place));
            self.n_pages += 1;
        }
        self.runs.push(Arc::new(run));
    }
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// A source of memory with a record of what was read from it.
///
/// [`read`](Self::read) is for what a result is made from. [`scan`](Self::scan) is for looking through much
/// memory for little: it keeps nothing, so that whoever found something reads it again.
pub struct Recorder<'m> {
    memory: &'m dyn PhysicalMemory,
    record: RefCell<Record>,
    reads: Cell<u64>,
    began: Duration,
    user_texts: RefCell<UserTexts>,
    user_pages: RefCell<HashSet<u64>>,
}

impl<'m> Recorder<'m> {
    /// Starts a record with nothing in it.
    pub fn new(memory: &'m dyn PhysicalMemory) -> Self {
        Self {
            memory,
            record: RefCell::default(),
            reads: Cell::new(0),
            began: cpu_time(),
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
            let mut len = (buf.len() - done).min(PAGE_SIZE as usize - inside);
            self.spend()?;
            let number = at / PAGE_SIZE;
            let mut record = self.record.borrow_mut();
            if let Some(page) = record.page(number) {
                buf[done..done + len].copy_from_slice(&page[inside..inside + len]);
            } else {
                let last = at.saturating_add((buf.len() - done) as u64 - 1) / PAGE_SIZE;
                let missing = (number + 1..=last).take_while(|it| !record.places.contains_key(it)).count();
                if record.n_pages >= MAX_PAGES {
                    return Err(ReadError::Exhausted { spent: self.reads.get() });
                }
                let run = self.fetch(number, (missing + 1).min(MAX_PAGES - record.n_pages))?;
                len = run.len().saturating_sub(inside).min(buf.len() - done);
                buf[done..done + len].copy_from_slice(&run[inside..inside + len]);
                record.keep(number, run);
            }
            done += len;
        }
        Ok(())
    }

    /// Reads bytes and lends them as the record holds them; `None` if the source does not give them in one
    /// piece.
    ///
    /// # Errors
    /// [`ReadError::Exhausted`].
    pub(crate) fn share(&self, phys: u64, len: usize) -> Result<Option<Shared>, ReadError> {
        let Some(last) = phys.checked_add(len as u64).filter(|_| len > 0) else { return Ok(None) };
        let (first, inside) = (phys / PAGE_SIZE, (phys % PAGE_SIZE) as usize);
        let Ok(count) = usize::try_from(last.div_ceil(PAGE_SIZE) - first) else { return Ok(None) };
        self.spend()?;
        let mut record = self.record.borrow_mut();
        if record.side_by_side(first, count).is_none() {
            if record.n_pages.saturating_add(count) > MAX_PAGES {
                return Err(ReadError::Exhausted { spent: self.reads.get() });
            }
            let mut run = vec![0; count * PAGE_SIZE as usize];
            if self.memory.read(first * PAGE_SIZE, &mut run).is_err() {
                return Ok(None);
            }
            // What was read before stays as it was.
            for (number, page) in (first..).zip(run.chunks_exact_mut(PAGE_SIZE as usize)) {
                if let Some(known) = record.page(number) {
                    page.copy_from_slice(known);
                }
            }
            record.keep(first, run.into());
        }
        let found = record.side_by_side(first, count);
        Ok(found.map(|(run, place)| Shared::new(run, place + inside..place + inside + len)))
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
        self.record.borrow_mut().places.retain(|number, _| !numbers.contains(number));
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
        let mut all: Vec<u64> = self.record.borrow().places.keys().map(|it| it * PAGE_SIZE).collect();
        all.sort_unstable();
        all
    }

    fn spend(&self) -> Result<(), ReadError> {
        let spent = self.reads.get().saturating_add(1);
        self.reads.set(spent);
        if spent.is_multiple_of(CLOCK_EVERY) && cpu_time().saturating_sub(self.began) > MAX_CPU {
            // No later read looks at the clock to be refused.
            self.reads.set(MAX_READS);
        }
        if spent > MAX_READS { Err(ReadError::Exhausted { spent }) } else { Ok(()) }
    }

    /// Pages side by side, if the source gives them all at once, else the first one.
    fn fetch(&self, number: u64, count: usize) -> Result<Box<[u8]>, ReadError> {
        let phys = number.checked_mul(PAGE_SIZE).ok_or(ReadError::NotRam { phys: u64::MAX })?;
        if count > 1 {
            let mut run = vec![0; count * PAGE_SIZE as usize];
            if self.memory.read(phys, &mut run).is_ok() {
                return Ok(run.into());
            }
        }
        let mut page = vec![0; PAGE_SIZE as usize];
        match self.memory.read(phys, &mut page) {
            // A range may begin or end inside of a page.
            Err(ReadError::NotRam { .. }) => {
                let whole = PhysRange { start: phys, end: phys.saturating_add(PAGE_SIZE) };
                let part = self.memory.ranges().iter().find_map(|it| it.overlap(whole));
                let part = part.ok_or(ReadError::NotRam { phys })?;
                let inside = (part.start - phys) as usize..(part.end - phys) as usize;
                self.memory.read(part.start, &mut page[inside])?;
            }
            other => other?,
        }
        Ok(page.into())
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
    fn a_run_of_pages_is_read_at_once_and_around_those_that_are_known() {
        let memory = TestMemory::new(0x4800);
        memory.write(0x2000, &[1]);
        let recorder = Recorder::new(&memory);
        recorder.read(0x2000, &mut [0]).unwrap();
        memory.write(0x1fff, &[7, 8]);
        memory.write(0x3000, &[9]);
        let mut seen = [0; 0x3000];
        recorder.read(0x1000, &mut seen).unwrap();
        assert_eq!((seen[0xfff], seen[0x1000], seen[0x2000]), (7, 1, 9));
        assert_eq!(recorder.recorded(), [0x1000, 0x2000, 0x3000]);
        // The last page is RAM by half only.
        let mut seen = [1; 0x1800];
        Recorder::new(&memory).read(0x3000, &mut seen).unwrap();
        assert_eq!((seen[0], seen[0x17ff]), (9, 0));
        assert!(recorder.read(0x3000, &mut [0; 0x3000]).is_err());
    }

    #[test]
    fn what_is_lent_holds_what_was_read_before() {
        let memory = TestMemory::new(0x10000);
        memory.write(0x1ffe, &[1, 2, 3, 4]);
        let recorder = Recorder::new(&memory);
        recorder.read(0x2000, &mut [0; 2]).unwrap();
        memory.write(0x1ffe, &[9; 4]);
        let lent = recorder.share(0x1ffe, 0x3000).unwrap().unwrap();
        assert_eq!((&lent[..4], lent.len()), (&[9, 9, 3, 4][..], 0x3000));
        memory.write(0x1ffe, &[5; 4]);
        let mut seen = [0; 4];
        recorder.read(0x1ffe, &mut seen).unwrap();
        assert_eq!(seen, [9, 9, 3, 4]);
        assert_eq!(recorder.share(0x2000, 2).unwrap().as_deref(), Some(&[3, 4][..]));
        assert!(recorder.share(0xf000, 0x2000).unwrap().is_none());
        assert!(recorder.share(0, 0).unwrap().is_none());
        assert!(recorder.share(u64::MAX, 2).unwrap().is_none());
    }

    #[test]
    fn an_examination_that_has_no_end_is_given_up() {
        let memory = TestMemory::new(0x1000);
        let recorder = Recorder::new(&memory);
        recorder.read(0, &mut [0]).unwrap();
        let reads = (0..=MAX_READS).take_while(|_| recorder.read(0, &mut [0]).is_ok()).count() as u64;
        assert!(reads < MAX_READS && reads > 100_000, "{reads}");
        for _ in 0..2 * CLOCK_EVERY {
            assert!(matches!(recorder.scan(0, &mut [0]), Err(ReadError::Exhausted { .. })));
        }
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
