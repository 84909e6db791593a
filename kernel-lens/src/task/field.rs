//! Members of a structure, read out of its bytes.

use crate::Kernel;

/// A number in a structure: where and how wide. Absent in kernels that have no such member.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Field(Option<(usize, u8)>);

impl Field {
    /// The first of some members that the structure has: names change from version to version.
    pub(super) fn find(kernel: &Kernel<'_>, of: &str, paths: &[&str]) -> Self {
        let known = |path: &&str| {
            let member = kernel.types.member(of, path)?;
            let size = u8::try_from(member.size).ok().filter(|it| (1..=8).contains(it))?;
            Some((usize::try_from(member.offset).ok()?, size))
        };
        Self(paths.iter().find_map(known))
    }

    /// The address of a member that is a structure itself: its value is not asked for, only its place.
    pub(super) fn place(kernel: &Kernel<'_>, of: &str, path: &str) -> Self {
        let offset = kernel.offset(of, path).and_then(|it| usize::try_from(it).ok());
        Self(offset.map(|it| (it, 8)))
    }

    /// Bytes from the start of the structure to the member.
    pub(super) fn offset(self) -> Option<u64> {
        self.0.map(|(at, _)| at as u64)
    }

    /// The bytes that it takes.
    pub(super) fn range(self) -> Option<(usize, usize)> {
        self.0.map(|(at, size)| (at, at.saturating_add(usize::from(size))))
    }

    /// The number, out of bytes that begin `skipped` bytes into the structure.
    pub(super) fn get(self, bytes: &[u8], skipped: usize) -> Option<u64> {
        let (from, to) = self.range()?;
        let bytes = bytes.get(from.checked_sub(skipped)?..to.checked_sub(skipped)?)?;
        Some(bytes.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte)))
    }

    #[cfg(test)]
    pub(super) fn at(offset: usize, size: u8) -> Self {
        Self(Some((offset, size)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_as_wide_as_it_is() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!(Field::at(101, 4).get(&bytes, 100), Some(0x0504_0302));
        assert_eq!(Field::at(101, 1).get(&bytes, 100), Some(2));
        assert_eq!(Field::at(101, 8).get(&bytes, 100), Some(0x0908_0706_0504_0302));
        assert_eq!(Field::at(102, 8).get(&bytes, 100), None);
        assert_eq!(Field::at(99, 4).get(&bytes, 100), None);
        assert_eq!(Field::default().get(&bytes, 100), None);
    }
}
