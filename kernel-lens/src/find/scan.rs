//! One look at every page of a guest, for what can be told by a page's ends.

use std::ops::ControlFlow;

use crate::{PAGE_SIZE, PhysRange, ReadError, Recorder};

/// Bytes at the end of a page that are looked at: the last two entries of a table.
pub(crate) const TAIL: usize = 16;
/// Bytes at the start of a page that are looked at.
pub(crate) const HEAD: usize = 32;
/// Pages at most: those of 64 GiB. Whoever has more populated is looked through as far.
const MAX_PAGES: u64 = 16 << 20;

/// Runs that may hold something, ascending.
pub(crate) fn populated(memory: &Recorder<'_>) -> impl Iterator<Item = PhysRange> {
    let source = memory.memory();
    let mut from = Some(0);
    std::iter::from_fn(move || {
        let run = source.populated(from?)?;
        // A source that does not go on ends here.
        from = (run.end > from?).then_some(run.end);
        Some(run)
    })
}

/// What lies where one page ends and the next begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seam {
    /// Guest-physical address of the page that begins.
    pub(crate) phys: u64,
    /// The last bytes of the page before; zeros if there is none.
    pub(crate) tail: [u8; TAIL],
    /// The first bytes of the page that begins; zeros if there is none.
    pub(crate) head: [u8; HEAD],
}

/// Shows every seam between pages that may hold something. One read a page, and no more than both need:
/// for a whole gigabyte the reads, not the bytes, are what takes time. Whoever looks may end it.
///
/// # Errors
/// [`ReadError::Exhausted`] and whatever the source itself fails with; pages that it does not keep are left
/// out.
pub(crate) fn seams(
    memory: &Recorder<'_>,
    mut see: impl FnMut(&Seam) -> ControlFlow<()>,
) -> Result<(), ReadError> {
    let mut pages = 0;
    for run in populated(memory) {
        let start = run.start.next_multiple_of(PAGE_SIZE);
        let mut at = start;
        loop {
            let tail = if at == start { 0 } else { TAIL };
            let head = (run.end.saturating_sub(at) as usize).min(HEAD);
            if head == 0 && tail == 0 {
                break;
            }
            let mut bytes = [0; TAIL + HEAD];
            let whole = look(memory, at - tail as u64, &mut bytes[TAIL - tail..TAIL + head])?;
            if !whole {
                // A minicore may hold one of the two pages.
                look(memory, at - tail as u64, &mut bytes[TAIL - tail..TAIL])?;
                look(memory, at, &mut bytes[TAIL..TAIL + head])?;
            }
            let mut seam = Seam { phys: at, tail: [0; TAIL], head: [0; HEAD] };
            seam.tail.copy_from_slice(&bytes[..TAIL]);
            seam.head.copy_from_slice(&bytes[TAIL..]);
            pages += 1;
            if see(&seam).is_break() || pages > MAX_PAGES {
                return Ok(());
            }
            if head < HEAD {
                break;
            }
            at += PAGE_SIZE;
        }
    }
    Ok(())
}

/// Fills `buf`, or says that the source does not hold all of it and leaves zeros.
fn look(memory: &Recorder<'_>, phys: u64, buf: &mut [u8]) -> Result<bool, ReadError> {
    match memory.scan(phys, buf) {
        Ok(()) => Ok(true),
        Err(error @ (ReadError::Exhausted { .. } | ReadError::Source { .. })) => Err(error),
        Err(_) => {
            buf.fill(0);
            Ok(false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::test_memory::TestMemory;

    #[test]
    fn every_start_and_every_end_of_a_page_is_shown_once() {
        let memory = TestMemory::new(0x3000);
        memory.write(0x0000, b"first");
        memory.write(0x0ff8, b"end of 0");
        memory.write(0x2000, b"third");
        memory.write(0x2ff8, b"end of 2");
        let recorder = Recorder::new(&memory);
        let mut seen = Vec::new();
        let see = |it: &Seam| {
            seen.push((it.phys, it.tail[8], it.head[0]));
            ControlFlow::Continue(())
        };
        seams(&recorder, see).unwrap();
        assert_eq!(seen, [(0, 0, b'f'), (0x1000, b'e', 0), (0x2000, 0, b't'), (0x3000, b'e', 0)]);
        assert!(recorder.recorded().is_empty());
    }

    #[test]
    fn memory_that_ends_inside_of_a_page_is_no_error() {
        let memory = TestMemory::new(0x1010);
        memory.write(0x1000, b"x");
        let mut seen = 0;
        let see = |it: &Seam| {
            seen += usize::from(it.head[0] == b'x');
            ControlFlow::Continue(())
        };
        seams(&Recorder::new(&memory), see).unwrap();
        assert_eq!(seen, 1);
    }
}
