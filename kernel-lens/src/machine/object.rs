//! A structure in guest memory: an address and the name of its type.

use std::collections::HashSet;

use crate::{Kernel, ReadError};

/// Bytes of a text at most.
const MAX_TEXT: usize = 4096;
/// Elements of a list at most.
const MAX_LIST: usize = 1 << 14;

/// A structure in guest memory, read member by member through the kernel's types, so that a member that
/// moved or changed its width is still found.
#[derive(Clone, Copy)]
pub(crate) struct Object<'k, 'm> {
    pub(crate) kernel: &'k Kernel<'m>,
    /// Its address.
    pub(crate) at: u64,
    of: &'static str,
}

impl<'k, 'm> Object<'k, 'm> {
    pub(crate) fn new(kernel: &'k Kernel<'m>, of: &'static str, at: u64) -> Self {
        Self { kernel, at, of }
    }

    /// The variable of a name.
    pub(crate) fn symbol(
        kernel: &'k Kernel<'m>,
        of: &'static str,
        name: &'static str,
    ) -> Result<Self, ReadError> {
        Ok(Self::new(kernel, of, symbol(kernel, name)?))
    }

    /// A CPU's variable of a name.
    pub(crate) fn per_cpu(
        kernel: &'k Kernel<'m>,
        of: &'static str,
        name: &'static str,
        cpu: u32,
    ) -> Result<Self, ReadError> {
        let at = kernel.per_cpu(name, cpu);
        Ok(Self::new(kernel, of, at.ok_or(ReadError::Inconsistent { what: name, virt: 0 })?))
    }

    /// The structure that a link lies in as `member`.
    pub(crate) fn around(
        kernel: &'k Kernel<'m>,
        of: &'static str,
        member: &str,
        link: u64,
    ) -> Result<Self, ReadError> {
        let offset = kernel.offset(of, member).ok_or(ReadError::Inconsistent { what: of, virt: link })?;
        Ok(Self::new(kernel, of, link.wrapping_sub(offset)))
    }

    pub(crate) fn has(&self, member: &str) -> bool {
        self.kernel.offset(self.of, member).is_some()
    }

    /// Address of a member.
    pub(crate) fn address(&self, member: &str) -> Result<u64, ReadError> {
        let offset = self.kernel.offset(self.of, member).ok_or_else(|| self.unknown())?;
        Ok(self.at.wrapping_add(offset))
    }

    /// A number or a pointer of any width, also of a bit-field.
    pub(crate) fn number(&self, member: &str) -> Result<u64, ReadError> {
        let found = self.kernel.types.member(self.of, member).ok_or_else(|| self.unknown())?;
        let mut bytes = [0; 9];
        let size = usize::try_from(found.size).ok().filter(|it| *it <= bytes.len());
        let size = size.ok_or_else(|| self.unknown())?;
        self.kernel.space.read(self.at.wrapping_add(found.offset), &mut bytes[..size])?;
        found.value(&bytes).ok_or_else(|| self.unknown())
    }

    /// The first of several names for a member that this kernel has.
    pub(crate) fn either(&self, members: &[&str]) -> Result<u64, ReadError> {
        let found = members.iter().find(|it| self.has(it)).ok_or_else(|| self.unknown())?;
        self.number(found)
    }

    /// A number of 32 bits or fewer; what is above is cut.
    pub(crate) fn small(&self, member: &str) -> Result<u32, ReadError> {
        Ok(self.number(member)? as u32)
    }

    /// A signed number of 32 or 64 bits.
    pub(crate) fn signed(&self, member: &str) -> Result<i64, ReadError> {
        let value = self.number(member)?;
        let size = self.kernel.types.member(self.of, member).map_or(8, |it| it.size);
        Ok(if size == 4 { i64::from(value as u32 as i32) } else { value as i64 })
    }

    /// An element of an array of longs.
    pub(crate) fn element(&self, member: &str, index: u64) -> Result<u64, ReadError> {
        self.kernel.space.u64(self.address(member)?.wrapping_add(index.wrapping_mul(8)))
    }

    /// A structure inside of this one.
    pub(crate) fn inside(&self, member: &str, of: &'static str) -> Result<Self, ReadError> {
        Ok(Self::new(self.kernel, of, self.address(member)?))
    }

    /// The structure that a pointer leads to; `None` for a null pointer.
    pub(crate) fn follow(&self, member: &str, of: &'static str) -> Result<Option<Self>, ReadError> {
        let at = self.number(member)?;
        Ok((at != 0).then(|| Self::new(self.kernel, of, at)))
    }

    /// The text in an array of characters.
    pub(crate) fn text(&self, member: &str) -> Result<String, ReadError> {
        let size = self.kernel.types.member(self.of, member).map_or(16, |it| it.size);
        let size = usize::try_from(size).unwrap_or(MAX_TEXT).min(MAX_TEXT);
        self.kernel.space.text(self.address(member)?, size)
    }

    /// The text that a pointer leads to; `None` for a null pointer.
    pub(crate) fn text_behind(&self, member: &str) -> Result<Option<String>, ReadError> {
        match self.number(member)? {
            0 => Ok(None),
            at => self.kernel.space.text(at, MAX_TEXT).map(Some),
        }
    }

    /// Links of the list whose head is a member, the head left out.
    pub(crate) fn list(&self, member: &str) -> Result<Vec<u64>, ReadError> {
        list(self.kernel, self.address(member)?)
    }

    fn unknown(&self) -> ReadError {
        ReadError::Inconsistent { what: self.of, virt: self.at }
    }
}

/// Links of a list with a head (`struct list_head`, also `hlist_head`), the head left out. A list that does
/// not come back, as a torn or a damaged one, is cut where it repeats or cannot be read.
pub(crate) fn list(kernel: &Kernel<'_>, head: u64) -> Result<Vec<u64>, ReadError> {
    let mut links = Vec::new();
    let mut seen = HashSet::from([head]);
    let mut at = kernel.space.u64(head)?;
    while at != 0 && links.len() < MAX_LIST && seen.insert(at) {
        match kernel.space.u64(at) {
            Ok(next) => {
                links.push(at);
                at = next;
            }
            Err(error @ ReadError::Exhausted { .. }) => return Err(error),
            Err(_) => break,
        }
    }
    Ok(links)
}

/// The name of a function; its address if nothing has a name there.
pub(crate) fn function(kernel: &Kernel<'_>, at: u64) -> String {
    kernel.symbol_at(at).map_or_else(|| format!("{at:#x}"), |(symbol, _)| symbol.name.to_owned())
}

/// Address of a variable that the kernel must have.
pub(crate) fn symbol(kernel: &Kernel<'_>, name: &'static str) -> Result<u64, ReadError> {
    kernel.symbol(name).ok_or(ReadError::Inconsistent { what: name, virt: 0 })
}
