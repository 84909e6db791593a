//! Guest-physical memory as pieces of files: what a raw image, an ELF core, a minicore and a live memfd
//! have in common.

use super::bytes::ReadAt;
use crate::{PhysRange, PhysicalMemory, ReadError};

/// A run of guest-physical memory and where a file holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// First guest-physical address.
    pub phys: u64,
    /// Length in bytes.
    pub len: u64,
    /// Which of the files.
    pub file: usize,
    /// Offset of its first byte in that file.
    pub offset: u64,
}

impl Segment {
    fn end(&self) -> u64 {
        self.phys.saturating_add(self.len)
    }
}

/// Memory made of segments.
pub struct SegmentMemory<R> {
    files: Vec<R>,
    segments: Vec<Segment>,
    ranges: Vec<PhysRange>,
    holes: bool,
}

impl<R: ReadAt> SegmentMemory<R> {
    /// Memory of which the segments are all there is.
    pub fn new(files: Vec<R>, segments: Vec<Segment>) -> Self {
        Self::with_ranges(files, segments, Vec::new())
    }

    /// Memory of which `ranges` are RAM too, though the segments may not hold all of it.
    ///
    /// What is wrong with segments costs no more than themselves: where two overlap the one with the lower
    /// address is taken, then the one that came first; what reaches behind the end of its file is cut.
    pub fn with_ranges(files: Vec<R>, segments: Vec<Segment>, ranges: Vec<PhysRange>) -> Self {
        let claimed = segments.iter().map(|it| PhysRange { start: it.phys, end: it.end() });
        let ranges = merged(claimed.chain(ranges).collect());
        let segments = apart(segments, &files);
        Self { files, segments, ranges, holes: true }
    }

    /// Does not look for holes in the files: a file that was written as a stream has none.
    #[must_use]
    pub fn without_holes(mut self) -> Self {
        self.holes = false;
        self
    }

    /// The segments, ascending and apart.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The files.
    pub fn files(&self) -> &[R] {
        &self.files
    }

    /// The first segment that ends behind an address.
    fn index(&self, phys: u64) -> usize {
        self.segments.partition_point(|it| it.end() <= phys)
    }
}

impl<R: ReadAt> PhysicalMemory for SegmentMemory<R> {
    fn ranges(&self) -> &[PhysRange] {
        &self.ranges
    }

    fn read(&self, phys: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let mut done = 0;
        let mut next = self.index(phys);
        while let Some(rest) = buf.get_mut(done..).filter(|it| !it.is_empty()) {
            let at = phys.checked_add(done as u64).ok_or(ReadError::NotRam { phys })?;
            let found = self.segments.get(next).filter(|it| it.phys <= at);
            let Some(segment) = found else {
                let ram = range_at(&self.ranges, at).is_some();
                return Err(if ram {
                    ReadError::NotKept { phys: at }
                } else {
                    ReadError::NotRam { phys: at }
                });
            };
            let len = usize::try_from(segment.end() - at).unwrap_or(usize::MAX).min(rest.len());
            let Some(part) = rest.get_mut(..len) else { break };
            let offset = segment.offset + (at - segment.phys);
            let file = self.files.get(segment.file).ok_or(ReadError::NotKept { phys: at })?;
            file.read_at(offset, part).map_err(|source| ReadError::Source { phys: at, source })?;
            done += len;
            next += 1;
        }
        Ok(())
    }

    fn populated(&self, from: u64) -> Option<PhysRange> {
        for segment in self.segments.get(self.index(from)..)? {
            let start = segment.phys.max(from);
            let whole = PhysRange { start, end: segment.end() };
            if !self.holes {
                return Some(whole);
            }
            let offset = segment.offset + (start - segment.phys);
            let Some(data) = self.files.get(segment.file).and_then(|it| it.data(offset)) else { continue };
            let in_guest = |at: u64| segment.phys.saturating_add(at.saturating_sub(segment.offset));
            let found = PhysRange { start: in_guest(data.start), end: in_guest(data.end) };
            if let Some(found) = found.overlap(whole) {
                return Some(found);
            }
        }
        None
    }
}

/// The range that holds an address.
pub(crate) fn range_at(ranges: &[PhysRange], phys: u64) -> Option<PhysRange> {
    let index = ranges.partition_point(|it| it.end <= phys);
    ranges.get(index).copied().filter(|it| it.contains(phys))
}

/// Ranges in order, none touching the next.
pub fn merged(mut ranges: Vec<PhysRange>) -> Vec<PhysRange> {
    ranges.retain(|it| !it.is_empty());
    ranges.sort_unstable();
    let mut out: Vec<PhysRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match out.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => out.push(range),
        }
    }
    out
}

/// Segments in order and apart, cut to what their files hold.
fn apart<R: ReadAt>(mut segments: Vec<Segment>, files: &[R]) -> Vec<Segment> {
    // Stable: of two at one address the first stays.
    segments.sort_by_key(|it| it.phys);
    let mut out: Vec<Segment> = Vec::with_capacity(segments.len());
    let mut end = 0;
    for mut segment in segments {
        let size = files.get(segment.file).map_or(0, R::size);
        segment.len = segment.len.min(size.saturating_sub(segment.offset));
        segment.len = segment.len.min(u64::MAX - segment.phys);
        let cut = end.max(segment.phys) - segment.phys;
        if cut >= segment.len {
            continue;
        }
        segment.phys += cut;
        segment.offset += cut;
        segment.len -= cut;
        end = segment.end();
        out.push(segment);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn segment(phys: u64, len: u64, offset: u64) -> Segment {
        Segment { phys, len, file: 0, offset }
    }

    fn counting() -> Vec<u8> {
        (0..=255).collect()
    }

    #[test]
    fn a_read_crosses_segments_that_touch_and_stops_at_a_hole() {
        let memory = SegmentMemory::new(vec![counting()], vec![segment(16, 16, 0), segment(0, 16, 100)]);
        let mut seen = [0; 4];
        memory.read(14, &mut seen).unwrap();
        assert_eq!(seen, [114, 115, 0, 1]);
        assert_eq!(memory.ranges(), [PhysRange { start: 0, end: 32 }]);
        assert!(matches!(memory.read(30, &mut seen), Err(ReadError::NotRam { phys: 32 })));
    }

    #[test]
    fn ram_that_no_segment_holds_is_not_kept() {
        let ram = PhysRange { start: 0, end: 64 };
        let memory = SegmentMemory::with_ranges(vec![counting()], vec![segment(16, 16, 0)], vec![ram]);
        assert!(matches!(memory.read(14, &mut [0; 4]), Err(ReadError::NotKept { phys: 14 })));
        assert!(matches!(memory.read(30, &mut [0; 4]), Err(ReadError::NotKept { phys: 32 })));
        assert!(matches!(memory.read(64, &mut [0; 4]), Err(ReadError::NotRam { phys: 64 })));
        assert_eq!(memory.populated(0), Some(PhysRange { start: 16, end: 32 }));
    }

    #[test]
    fn a_file_that_ends_early_holds_less() {
        let memory = SegmentMemory::new(vec![counting()], vec![segment(0, 1000, 200)]);
        memory.read(55, &mut [0]).unwrap();
        assert!(matches!(memory.read(56, &mut [0]), Err(ReadError::NotKept { phys: 56 })));
    }

    #[test]
    fn several_blocks_lie_in_several_files() {
        let four_gib = 4 << 30;
        let low = Segment { phys: 0, len: 8, file: 0, offset: 0 };
        let high = Segment { phys: four_gib, len: 8, file: 0, offset: 8 };
        let dimm = Segment { phys: four_gib + 8, len: 8, file: 1, offset: 0 };
        let memory = SegmentMemory::new(vec![counting(), vec![7; 8]], vec![dimm, high, low]);
        let mut seen = [0; 4];
        memory.read(four_gib + 6, &mut seen).unwrap();
        assert_eq!(seen, [14, 15, 7, 7]);
        assert_eq!(memory.ranges().len(), 2);
    }

    proptest! {
        #[test]
        fn any_segments_are_read_without_a_panic(
            list in prop::collection::vec((any::<u64>(), any::<u64>(), 0..3usize, any::<u64>()), 0..8),
            near in prop::collection::vec((0..64u64, 0..64u64, 0..3usize, 0..300u64), 0..8),
            at in any::<u64>(),
        ) {
            let of = |(phys, len, file, offset)| Segment { phys, len, file, offset };
            let segments = list.into_iter().chain(near).map(of).collect();
            let memory = SegmentMemory::new(vec![counting(), vec![0; 10]], segments);
            for at in [at, at % 128, 0] {
                let _ = memory.read(at, &mut [0; 40]);
                let mut from = at;
                while let Some(found) = memory.populated(from) {
                    prop_assert!(found.start >= from && !found.is_empty());
                    from = found.end;
                }
            }
            prop_assert!(memory.ranges().windows(2).all(|it| it[0].end < it[1].start));
        }
    }
}
