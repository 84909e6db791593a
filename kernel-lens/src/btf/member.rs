//! One member, with all that is needed to read it: place, bits, size, and the name of its type.

use super::Types;
use super::name::Detail;
use super::walk::Place;

/// A member of a structure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Bytes from the start of the structure; of a bit-field, to the first byte that has a bit of it.
    pub offset: u64,
    /// Of a bit-field: the lowest bit counted from `offset`, below 8, and how many there are.
    pub bits: Option<(u8, u8)>,
    /// Bytes to be read at `offset`; of a bit-field those that its bits touch. 0 if the type has no size.
    pub size: u64,
    /// Its type, without `const` and `volatile`: `struct list_head`, `struct task_struct *`, `char[16]`.
    pub type_name: String,
}

impl Member {
    /// The value, from the `size` bytes at `offset`, little-endian; `None` if it is no number or the bytes
    /// do not suffice. The sign of a signed one is the caller's to see.
    pub fn value(&self, bytes: &[u8]) -> Option<u64> {
        let size = usize::try_from(self.size).ok().filter(|it| (1..=9).contains(it))?;
        let bytes = bytes.get(..size)?;
        let all = bytes.iter().rev().fold(0u128, |all, byte| all << 8 | u128::from(*byte));
        match self.bits {
            Some((shift, width)) => {
                let mask = (1u128 << u32::from(width).min(64)) - 1;
                Some((all >> shift & mask) as u64)
            }
            None => u64::try_from(all).ok(),
        }
    }
}

impl Types {
    /// A member by its path.
    pub fn member(&self, type_name: &str, path: &str) -> Option<Member> {
        let place = self.place_of(type_name, path)?;
        let (bits, size) = self.extent(place);
        Some(Member { offset: place.bit / 8, bits, size, type_name: self.name(place.of, Detail::Plain) })
    }

    /// The bits and bytes of a place.
    pub(super) fn extent(&self, place: Place) -> (Option<(u8, u8)>, u64) {
        match place.width {
            Some(width) => {
                let shift = (place.bit % 8) as u8;
                (Some((shift, width)), (u64::from(shift) + u64::from(width)).div_ceil(8))
            }
            None => (None, self.size_of(place.of).unwrap_or(0)),
        }
    }

    /// What the pointer at a path leads to, as a name that can be asked for: `struct mm_struct`.
    pub fn pointee(&self, type_name: &str, path: &str) -> Option<String> {
        let place = self.place_of(type_name, path)?;
        Some(self.name(self.target(place.of)?, Detail::Plain))
    }

    /// Elements of the array at a path; 0 for one that goes on behind its structure.
    pub fn array_len(&self, type_name: &str, path: &str) -> Option<u64> {
        Some(self.array(self.place_of(type_name, path)?.of)?.1)
    }

    /// Bytes of one element of the array at a path.
    pub fn element_size(&self, type_name: &str, path: &str) -> Option<u64> {
        self.size_of(self.array(self.place_of(type_name, path)?.of)?.0)
    }

    /// Whether a path from a type leads somewhere: how to ask which layout a kernel has.
    pub fn has(&self, type_name: &str, path: &str) -> bool {
        self.place_of(type_name, path).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_blob::Blob;
    use super::*;

    #[test]
    fn a_bit_field_is_read_out_of_its_bytes() {
        let types = Types::new(Blob::small_kernel()).unwrap();
        let low = types.member("task_struct", "low_bits").unwrap();
        let high = types.member("task_struct", "high_bits").unwrap();
        assert_eq!((low.offset, low.bits, low.size), (12, Some((0, 5)), 1));
        assert_eq!((high.offset, high.bits, high.size), (12, Some((5, 3)), 1));
        assert_eq!(low.value(&[0b101_00011]), Some(3));
        assert_eq!(high.value(&[0b101_00011]), Some(5));
        assert_eq!(high.value(&[]), None);
    }

    #[test]
    fn a_member_names_its_type() {
        let types = Types::new(Blob::small_kernel()).unwrap();
        let name = |path| types.member("task_struct", path).unwrap().type_name;
        assert_eq!(name("pid"), "int");
        assert_eq!(name("se"), "struct sched_entity");
        assert_eq!(name("se.vruntime"), "u64");
        assert_eq!(name("slots"), "int[4]");
        assert_eq!(name("parent"), "struct task_struct *");
        assert_eq!(types.pointee("task_struct", "parent").unwrap(), "struct task_struct");
        assert_eq!(types.pointee("task_struct", "pid"), None);
    }

    #[test]
    fn arrays_have_a_length() {
        let types = Types::new(Blob::small_kernel()).unwrap();
        assert_eq!(types.array_len("task_struct", "slots"), Some(4));
        assert_eq!(types.element_size("task_struct", "slots"), Some(4));
        assert_eq!(types.array_len("task_struct", "tail"), Some(0));
        assert_eq!(types.offset("task_struct", "tail[100]"), Some(464));
    }
}
