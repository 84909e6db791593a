//! Bytes of user space that results are made from: command lines.

use std::collections::BTreeMap;

/// Bytes of all texts of one record at most; as much as all tasks together may bring to a result.
const MAX_BYTES: usize = 16 << 20;

/// Where bytes of user space lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserKey {
    /// Guest-physical address of the process's top page table.
    pub root: u64,
    /// The process's own address.
    pub virt: u64,
    /// Bytes that were asked for; fewer may have been there.
    pub len: u64,
}

/// Texts and where they lie, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserTexts {
    all: BTreeMap<UserKey, Vec<u8>>,
    bytes: usize,
}

impl UserTexts {
    /// The bytes that were there.
    pub fn get(&self, key: &UserKey) -> Option<&[u8]> {
        self.all.get(key).map(Vec::as_slice)
    }

    /// Keeps bytes, unless there are too many.
    pub fn insert(&mut self, key: UserKey, bytes: Vec<u8>) {
        // What a key costs counts too: a text may be empty.
        let cost = bytes.len() + size_of::<UserKey>();
        if self.bytes.saturating_add(cost) <= MAX_BYTES && !self.all.contains_key(&key) {
            self.bytes += cost;
            self.all.insert(key, bytes);
        }
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&UserKey, &[u8])> {
        self.all.iter().map(|(key, bytes)| (key, bytes.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_memory::TestMemory;
    use super::*;
    use crate::Recorder;

    #[test]
    fn a_text_read_twice_is_the_same_and_there_is_an_end_to_them() {
        let memory = TestMemory::new(0x1000);
        let recorder = Recorder::new(&memory);
        let key = UserKey { root: 0x1000, virt: 0x5000, len: 4 };
        assert_eq!(recorder.user_text(key, || b"init".to_vec()), b"init");
        assert_eq!(recorder.user_text(key, || b"else".to_vec()), b"init");
        assert_eq!(recorder.user_texts().iter().count(), 1);
        let mut texts = UserTexts::default();
        for virt in 0..20 {
            texts.insert(UserKey { virt, ..key }, vec![0; 1 << 20]);
        }
        assert_eq!(texts.iter().count(), 15);
    }
}
