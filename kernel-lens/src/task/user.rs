//! Memory of a process, through its own page tables.

use crate::{Kernel, PAGE_SIZE, Recorder};

/// A process's address space.
///
/// What is read of it is recorded apart from the kernel's pages, its page tables among it, so that a
/// minicore holds no secrets of user space unless it is told to.
pub(super) struct UserSpace<'a, 'm> {
    memory: &'a Recorder<'m>,
    paging: crate::arch::Paging,
}

impl<'a, 'm> UserSpace<'a, 'm> {
    /// The space of a process, by the guest-physical address of its top page table.
    pub(super) fn new(kernel: &Kernel<'_>, memory: &'a Recorder<'m>, root: u64) -> Self {
        Self { memory, paging: kernel.space.paging().with_root(root) }
    }

    /// The bytes at an address, as far as they are in memory and user space may read them: a page that is
    /// swapped out ends them.
    pub(super) fn bytes(&self, virt: u64, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < len {
            let Some(at) = virt.checked_add(bytes.len() as u64) else { break };
            let part = (len - bytes.len()).min((PAGE_SIZE - at % PAGE_SIZE) as usize);
            let Ok(Some(mapping)) = self.paging.translate(self.memory, at) else { break };
            let done = bytes.len();
            bytes.resize(done + part, 0);
            if mapping.user {
                self.memory.mark_user(mapping.phys);
            }
            if !mapping.user || self.memory.read(mapping.phys, &mut bytes[done..]).is_err() {
                bytes.truncate(done);
                break;
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{Paging, X86Paging};
    use crate::memory::test_memory::TestMemory;

    #[test]
    fn what_is_not_in_memory_or_not_the_users_ends_the_bytes() {
        let memory = TestMemory::new(0x10000);
        for (at, to) in [
            (0x1000, 0x2007),
            (0x2000, 0x3007),
            (0x3000, 0x4007),
            (0x4008, 0x9007),
            // Pages 2 and 4 are the user's, 5 is the kernel's.
            (0x4010, 0x6007),
            (0x4020, 0x7007),
            (0x4028, 0x8003),
        ] {
            memory.write_u64(at, to);
        }
        memory.write(0x9ffc, b"/bin");
        memory.write(0x6000, b"/sh\0");
        let recorder = Recorder::new(&memory);
        let paging = Paging::X86_64(X86Paging { root: 0x1000, five_levels: false });
        let space = UserSpace { memory: &recorder, paging };
        assert_eq!(space.bytes(0x1ffc, 8), b"/bin/sh\0");
        assert_eq!(space.bytes(0x2ffc, 8).len(), 4);
        assert_eq!(space.bytes(0x4ffc, 8).len(), 4);
        assert!(space.bytes(u64::MAX - 3, 100).is_empty());
    }
}
