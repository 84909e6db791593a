//! Bytes at offsets: a file or a buffer, read without a cursor and without trust.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use rustix::fs::{SeekFrom, seek};

/// Something that holds bytes at offsets.
pub trait ReadAt: Send + Sync {
    /// How many there are.
    fn size(&self) -> u64;

    /// Fills `buf` with the bytes at `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` behind the end, and whatever the file says.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// The first run at or after `from` that may hold something but zeros.
    fn data(&self, from: u64) -> Option<Range<u64>> {
        (from < self.size()).then(|| from..self.size())
    }

    /// At most `len` bytes at `offset`, fewer where the end comes first, none behind it.
    ///
    /// # Errors
    /// As [`Self::read_at`].
    fn bytes(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let left = usize::try_from(self.size().saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len.min(left)];
        if !bytes.is_empty() {
            self.read_at(offset, &mut bytes)?;
        }
        Ok(bytes)
    }
}

impl ReadAt for Box<dyn ReadAt> {
    fn size(&self) -> u64 {
        self.as_ref().size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.as_ref().read_at(offset, buf)
    }

    fn data(&self, from: u64) -> Option<Range<u64>> {
        self.as_ref().data(from)
    }
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let found = usize::try_from(offset)
            .ok()
            .and_then(|from| self.get(from..from.checked_add(buf.len())?))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(found);
        Ok(())
    }
}

/// An open file. Reads are `pread`, so that nothing of a memfd is populated by them.
#[derive(Debug)]
pub struct FileBytes {
    file: File,
    size: u64,
}

impl FileBytes {
    /// Takes the file; its size is looked at once.
    ///
    /// The file's cursor is moved by [`ReadAt::data`]: the file must have been opened for this use (a
    /// descriptor that was duplicated shares its cursor).
    ///
    /// # Errors
    /// As `fstat`.
    pub fn new(file: File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        Ok(Self { file, size })
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl ReadAt for FileBytes {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    /// By `SEEK_DATA`. A file system that does not know it has no holes.
    fn data(&self, from: u64) -> Option<Range<u64>> {
        if from >= self.size {
            return None;
        }
        let start = match seek(&self.file, SeekFrom::Data(from)) {
            Ok(start) => start.max(from),
            Err(rustix::io::Errno::NXIO) => return None,
            Err(_) => return Some(from..self.size),
        };
        let end = seek(&self.file, SeekFrom::Hole(start)).unwrap_or(self.size).min(self.size);
        (start < end).then_some(start..end)
    }
}

/// A little-endian word of 16 bits at an offset of a buffer.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let part = bytes.get(at..at.checked_add(2)?)?;
    part.try_into().ok().map(u16::from_le_bytes)
}

/// A little-endian word of 32 bits at an offset of a buffer.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let part = bytes.get(at..at.checked_add(4)?)?;
    part.try_into().ok().map(u32::from_le_bytes)
}

/// A little-endian word of 64 bits at an offset of a buffer.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let part = bytes.get(at..at.checked_add(8)?)?;
    part.try_into().ok().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn holes_of_a_file_are_not_data() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4 << 20).unwrap();
        file.write_all_at(&[1; 4096], 1 << 20).unwrap();
        let bytes = FileBytes::new(file).unwrap();
        let data = bytes.data(0).unwrap();
        assert!(data.start <= 1 << 20 && data.end >= (1 << 20) + 4096 && data.end < 4 << 20);
        assert_eq!(bytes.data(data.end), None);
        assert_eq!(bytes.data(u64::MAX), None);
    }

    #[test]
    fn a_read_behind_the_end_is_an_error() {
        let bytes = vec![1u8, 2, 3];
        assert!(bytes.read_at(2, &mut [0; 2]).is_err());
        assert!(bytes.read_at(u64::MAX, &mut [0; 2]).is_err());
        assert_eq!(bytes.bytes(1, 100).unwrap(), [2, 3]);
        assert!(bytes.bytes(9, 100).unwrap().is_empty());
    }

    #[test]
    fn words_at_the_end_of_a_buffer_are_missing() {
        assert_eq!(u32_at(&[1, 0, 0, 0], 0), Some(1));
        assert_eq!(u32_at(&[1, 0, 0, 0], 1), None);
        assert_eq!(u64_at(&[0; 8], usize::MAX), None);
        assert_eq!(u16_at(&[1, 2], 0), Some(0x201));
    }
}
