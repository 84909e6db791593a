//! Whether a `VMCOREINFO` and page tables are of one kernel.

use crate::{AddressSpace, ReadError};

use super::VmcoreInfo;

/// Symbols that are looked at: more say no more.
const MAX_SYMBOLS: usize = 64;
/// Bytes of `struct uts_namespace` in which the names may begin: up to v5.10 a reference count lies before.
const NAMES_WITHIN: usize = 16;
/// Bytes of one name: `__NEW_UTS_LEN` and its NUL (include/uapi/linux/utsname.h).
const NAME: usize = 65;

/// How far a text and page tables agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Agreement {
    /// `init_uts_ns` holds the release that the text names.
    pub release: bool,
    /// Its symbols that the tables map.
    pub mapped: usize,
    /// Its symbols that were tried.
    pub symbols: usize,
}

impl Agreement {
    /// Whether they are of one kernel: the release is at its place, and the symbols are mapped. Some lie in
    /// parts that are freed after boot, or name a variable that is no address.
    pub fn is_good(&self) -> bool {
        self.release && self.mapped * 4 >= self.symbols * 3
    }
}

/// Follows the text's own symbols by the page tables.
///
/// # Errors
/// Only [`ReadError::Exhausted`].
pub fn agrees(space: &AddressSpace<'_>, info: &VmcoreInfo) -> Result<Agreement, ReadError> {
    let (mut mapped, mut symbols) = (0, 0);
    let addresses = info.text().lines().filter_map(|line| {
        let (name, _) = line.strip_prefix("SYMBOL(")?.split_once(")=")?;
        info.symbol(name)
    });
    for virt in addresses.take(MAX_SYMBOLS) {
        symbols += 1;
        match space.phys(virt) {
            Ok(_) => mapped += 1,
            Err(error @ ReadError::Exhausted { .. }) => return Err(error),
            Err(_) => {}
        }
    }
    Ok(Agreement { release: has_release(space, info), mapped, symbols })
}

/// `init_uts_ns.name`: sysname, nodename, release, each of a fixed length.
fn has_release(space: &AddressSpace<'_>, info: &VmcoreInfo) -> bool {
    let (Some(virt), Some(release)) = (info.symbol("init_uts_ns"), info.release()) else { return false };
    let mut bytes = [0; NAMES_WITHIN + 3 * NAME];
    if space.read(virt, &mut bytes).is_err() {
        return false;
    }
    (0..NAMES_WITHIN).step_by(4).any(|at| {
        let names = &bytes[at..];
        let rest = names[2 * NAME..].strip_prefix(release.as_bytes());
        names.starts_with(b"Linux\0") && rest.and_then(<[u8]>::first) == Some(&0)
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::text;
    use super::*;
    use crate::Recorder;
    use crate::arch::{Paging, X86Paging};
    use crate::memory::test_memory::TestMemory;

    #[test]
    fn the_release_must_lie_where_the_text_says() {
        let memory = TestMemory::new(0x0200_0000);
        memory.write_u64(0x1000 + 511 * 8, 0x2003);
        memory.write_u64(0x2000 + 510 * 8, 0x3003);
        for (index, phys) in [(8, 0x0040_0083u64), (10, 0x0060_0083), (11, 0x0080_0083)] {
            memory.write_u64(0x3000 + index * 8, phys);
        }
        memory.write(0x0080_0004, b"Linux\0");
        memory.write(0x0080_0004 + 130, b"6.12.1-test\0");
        let recorder = Recorder::new(&memory);
        let info = VmcoreInfo::parse(text("").as_bytes()).unwrap();
        let of = |root| {
            let paging = Paging::X86_64(X86Paging { root, five_levels: false });
            agrees(&AddressSpace::new(&recorder, paging), &info).unwrap()
        };
        assert_eq!(of(0x1000), Agreement { release: true, mapped: 3, symbols: 3 });
        assert!(of(0x1000).is_good());
        assert_eq!(of(0x5000), Agreement { release: false, mapped: 0, symbols: 3 });
        memory.write(0x0080_0004 + 130, b"6.12.1-tests\0");
        recorder.forget(crate::PhysRange { start: 0, end: u64::MAX });
        assert!(!of(0x1000).is_good());
    }
}
