//! Guest-virtual memory: reads through page tables, with the record behind it.

use std::cell::RefCell;

use crate::arch::{Mapping, Paging};
use crate::memory::{PageMap, Shared};
use crate::{PAGE_SIZE, ReadError, Recorder};

/// Bytes of one read at most: no structure of a kernel is as long, a wild length is.
const MAX_READ: usize = 64 << 20;

/// Translations kept at most.
const MAX_CACHED: usize = 1 << 16;

/// One address space of the guest.
pub struct AddressSpace<'m> {
    memory: &'m Recorder<'m>,
    paging: Paging,
    cached: RefCell<PageMap<u64>>,
}

impl<'m> AddressSpace<'m> {
    /// The space that page tables span.
    pub fn new(memory: &'m Recorder<'m>, paging: Paging) -> Self {
        Self { memory, paging, cached: RefCell::default() }
    }

    /// The memory behind it.
    pub fn memory(&self) -> &'m Recorder<'m> {
        self.memory
    }

    /// The page tables that span it.
    pub fn paging(&self) -> Paging {
        self.paging
    }

    /// Where an address leads.
    ///
    /// # Errors
    /// [`ReadError::NotMapped`], and what the memory says of the tables.
    pub fn translate(&self, virt: u64) -> Result<Mapping, ReadError> {
        self.paging.translate(self.memory, virt)?.ok_or(ReadError::NotMapped { virt })
    }

    /// Guest-physical address of a byte.
    ///
    /// # Errors
    /// As [`Self::translate`].
    pub fn phys(&self, virt: u64) -> Result<u64, ReadError> {
        let (page, inside) = (virt / PAGE_SIZE, virt % PAGE_SIZE);
        if let Some(found) = self.cached.borrow().get(&page) {
            return Ok(found + inside);
        }
        let found = self.translate(virt)?;
        self.note(virt - inside, found.phys - inside, 1, found.user);
        Ok(found.phys)
    }

    /// Keeps where pages lead that lie side by side.
    fn note(&self, virt: u64, phys: u64, count: u64, user: bool) {
        let mut cached = self.cached.borrow_mut();
        for number in 0..count {
            if user {
                self.memory.mark_user(phys + number * PAGE_SIZE);
            }
            if cached.len() < MAX_CACHED {
                cached.insert(virt / PAGE_SIZE + number, phys + number * PAGE_SIZE);
            }
        }
    }

    /// Every page that was asked for and where it leads: guest-virtual and guest-physical address, ascending.
    pub(crate) fn translated(&self) -> Vec<(u64, u64)> {
        let mut all: Vec<(u64, u64)> =
            self.cached.borrow().iter().map(|(page, phys)| (page * PAGE_SIZE, *phys)).collect();
        all.sort_unstable();
        all
    }

    /// Fills `buf` with the bytes at an address.
    ///
    /// # Errors
    /// The first byte's that cannot be read.
    pub fn read(&self, virt: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        self.each_run(virt, buf, |phys, part| self.memory.read(phys, part))
    }

    /// The same past the record, for a look through much memory ([`Recorder::scan`]).
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn scan(&self, virt: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        self.each_run(virt, buf, |phys, part| self.memory.scan(phys, part))
    }

    /// Where an address leads, and how many bytes on from it lie side by side there: to the end of its page,
    /// and where more are wanted, to the end of whatever maps it.
    fn run(&self, virt: u64, wanted: usize) -> Result<(u64, u64), ReadError> {
        let rest = PAGE_SIZE - virt % PAGE_SIZE;
        if wanted as u64 <= rest {
            return Ok((self.phys(virt)?, rest));
        }
        let found = self.translate(virt)?;
        let together = found.size.max(PAGE_SIZE) - virt % found.size.max(PAGE_SIZE);
        let inside = virt % PAGE_SIZE;
        let count = (inside + together.min(wanted as u64)).div_ceil(PAGE_SIZE);
        self.note(virt - inside, found.phys - inside, count, found.user);
        Ok((found.phys, together))
    }

    /// Shows the parts of a buffer that lie side by side in guest-physical memory.
    fn each_run(
        &self,
        virt: u64,
        buf: &mut [u8],
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let mut done = 0;
        let mut next = None;
        while done < buf.len() {
            let at = virt.checked_add(done as u64).ok_or(ReadError::NotMapped { virt })?;
            let left = buf.len() - done;
            let (phys, mut len) = match next.take() {
                Some(found) => found,
                None => self.run(at, left)?,
            };
            while len < left as u64 {
                let Some(behind) = at.checked_add(len) else { break };
                let Ok(found) = self.run(behind, left - len as usize) else { break };
                if phys.checked_add(len) != Some(found.0) {
                    next = Some(found);
                    break;
                }
                len = len.saturating_add(found.1);
            }
            let len = usize::try_from(len).unwrap_or(left).min(left);
            read(phys, &mut buf[done..done + len])?;
            done += len;
        }
        Ok(())
    }

    /// `len` bytes.
    ///
    /// # Errors
    /// As [`Self::read`]; [`ReadError::Inconsistent`] for a length beyond all reason.
    pub fn bytes(&self, virt: u64, len: usize) -> Result<Vec<u8>, ReadError> {
        if len > MAX_READ {
            return Err(ReadError::Inconsistent { what: "the length of what lies", virt });
        }
        let mut bytes = vec![0; len];
        self.read(virt, &mut bytes)?;
        Ok(bytes)
    }

    /// The same without a copy where the record holds them side by side.
    ///
    /// # Errors
    /// As [`Self::bytes`].
    pub(crate) fn shared(&self, virt: u64, len: usize) -> Result<Shared, ReadError> {
        if (1..=MAX_READ).contains(&len) {
            let (phys, mut together) = self.run(virt, len)?;
            while together < len as u64
                && let Some(behind) = virt.checked_add(together)
                && let Ok((next, more)) = self.run(behind, len - together as usize)
                && phys.checked_add(together) == Some(next)
            {
                together = together.saturating_add(more);
            }
            if together >= len as u64
                && let Some(shared) = self.memory.share(phys, len)?
            {
                return Ok(shared);
            }
        }
        Ok(self.bytes(virt, len)?.into())
    }

    /// One byte.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn u8(&self, virt: u64) -> Result<u8, ReadError> {
        let mut bytes = [0];
        self.read(virt, &mut bytes)?;
        Ok(bytes[0])
    }

    /// A 16-bit word. Both architectures are little-endian.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn u16(&self, virt: u64) -> Result<u16, ReadError> {
        let mut bytes = [0; 2];
        self.read(virt, &mut bytes)?;
        Ok(u16::from_le_bytes(bytes))
    }

    /// A 32-bit word.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn u32(&self, virt: u64) -> Result<u32, ReadError> {
        let mut bytes = [0; 4];
        self.read(virt, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// A 64-bit word.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn u64(&self, virt: u64) -> Result<u64, ReadError> {
        let mut bytes = [0; 8];
        self.read(virt, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// A text up to its NUL, or up to `max` bytes. Guest text: any bytes may be in it.
    ///
    /// # Errors
    /// As [`Self::read`], if not even the first byte can be read.
    pub fn text(&self, virt: u64, max: usize) -> Result<String, ReadError> {
        let mut text = Vec::new();
        let mut at = virt;
        while text.len() < max {
            let len = (max - text.len()).min((PAGE_SIZE - at % PAGE_SIZE) as usize);
            let mut part = vec![0; len];
            match self.read(at, &mut part) {
                Ok(()) => {}
                Err(error) if text.is_empty() => return Err(error),
                Err(_) => break,
            }
            if let Some(end) = memchr::memchr(0, &part) {
                text.extend_from_slice(&part[..end]);
                break;
            }
            text.extend_from_slice(&part);
            let Some(next) = at.checked_add(len as u64) else { break };
            at = next;
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::X86Paging;
    use crate::memory::test_memory::TestMemory;

    /// Two neighbouring pages of virtual memory, far apart and in turned order in physical memory.
    fn memory() -> TestMemory {
        let memory = TestMemory::new(0x10000);
        for (table, index, value) in [
            (0x1000, 0, 0x2003),
            (0x2000, 0, 0x3003),
            (0x3000, 0, 0x4003),
            (0x4000, 1, 0x9003),
            (0x4000, 2, 0x6003),
        ] {
            memory.write_u64(table + index * 8, value);
        }
        memory.write(0x9ffc, b"abcd");
        memory.write(0x6000, b"efgh\0");
        memory
    }

    #[test]
    fn a_read_crosses_pages_that_are_apart() {
        let memory = memory();
        let recorder = Recorder::new(&memory);
        let paging = Paging::X86_64(X86Paging { root: 0x1000, five_levels: false });
        let space = AddressSpace::new(&recorder, paging);
        assert_eq!(space.bytes(0x1ffc, 8).unwrap(), b"abcdefgh");
        assert_eq!(space.text(0x1ffc, 100).unwrap(), "abcdefgh");
        assert_eq!(space.text(0x1ffc, 6).unwrap(), "abcdef");
        assert_eq!(space.u32(0x1ffe).unwrap(), u32::from_le_bytes(*b"cdef"));
        assert!(matches!(space.u64(0x2ffc), Err(ReadError::NotMapped { virt: 0x3000 })));
    }

    #[test]
    fn wild_lengths_and_addresses_are_errors() {
        let memory = memory();
        let recorder = Recorder::new(&memory);
        let paging = Paging::X86_64(X86Paging { root: 0x1000, five_levels: false });
        let space = AddressSpace::new(&recorder, paging);
        assert!(space.bytes(0x1000, usize::MAX).is_err());
        assert!(space.read(u64::MAX - 1, &mut [0; 8]).is_err());
    }
}
