//! `VMCOREINFO`: what a kernel says of itself for crash dumps, found in its memory.
//!
//! A text of `KEY=VALUE` lines (kernel/vmcore_info.c, up to v6.8 kernel/crash_core.c;
//! Documentation/admin-guide/kdump/vmcoreinfo.rst). Every kernel with kexec keeps it in one page, and once
//! more as an ELF note. It holds few addresses, but those of the page tables, and since v6.0 (commit
//! 5fd8fea935a1) those of the table of symbols. The text is the guest's: it is believed only as far as its
//! own page tables and its `init_uts_ns` agree with it ([`agrees`]).

mod build_id;
mod check;
mod find;
mod values;

pub use check::{Agreement, agrees};
pub(crate) use find::Spots;
pub use find::{Copies, MAX_COPIES, find};

use thiserror::Error;

/// Bytes of the text at most: it has one page of the guest's, and those have up to 64 KiB.
pub const MAX_TEXT: usize = 64 << 10;
/// Lines at most; the longest text seen has 114.
const MAX_LINES: usize = 2048;
/// Lines at least: v4.19 had 73, other architectures fewer.
const MIN_LINES: usize = 24;
/// Bytes of a line at most.
const MAX_LINE: usize = 512;

/// The text, with typed access to its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmcoreInfo {
    text: String,
}

/// Why a text is not taken for `VMCOREINFO`.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum VmcoreInfoError {
    /// It ends early: a copy half overwritten, or something else that begins alike.
    #[error("only {lines} lines of it can be read")]
    Short {
        /// Lines that could.
        lines: usize,
    },
    /// A key that every version has is not there or has no sensible value.
    #[error("{key} is missing or makes no sense")]
    Key {
        /// The key.
        key: &'static str,
    },
}

impl VmcoreInfo {
    /// Takes the text up to the first NUL or the first line that is none.
    ///
    /// # Errors
    /// [`VmcoreInfoError`] if it lacks what the text of every kernel has.
    pub fn parse(bytes: &[u8]) -> Result<Self, VmcoreInfoError> {
        let mut text = String::new();
        let mut lines = 0;
        let bytes = &bytes[..bytes.len().min(MAX_TEXT)];
        for line in bytes.split_inclusive(|it| *it == b'\n').take(MAX_LINES) {
            let Some(line) = line.strip_suffix(b"\n").and_then(clean) else { break };
            text.push_str(line);
            text.push('\n');
            lines += 1;
        }
        let info = Self { text };
        if lines < MIN_LINES {
            return Err(VmcoreInfoError::Short { lines });
        }
        let required = [
            ("OSRELEASE", info.release().is_some()),
            ("PAGESIZE", info.page_size().is_some()),
            ("SYMBOL(init_uts_ns)", info.symbol("init_uts_ns").is_some()),
            ("SYMBOL(_stext)", info.symbol("_stext").is_some()),
            ("SYMBOL(swapper_pg_dir)", info.symbol("swapper_pg_dir").is_some()),
        ];
        match required.iter().find(|(_, found)| !found) {
            Some((key, _)) => Err(VmcoreInfoError::Key { key }),
            None => Ok(info),
        }
    }

    /// The whole text, as far as it is clean: `KEY=VALUE` lines of printable ASCII.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The value of a key as it stands there, such as `OSRELEASE` or `NUMBER(phys_base)`; the first one if
    /// there are several.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    }
}

/// A line, if it is one: a key, `=` and a value, all printable.
fn clean(line: &[u8]) -> Option<&str> {
    let printable = line.iter().all(|it| (b' '..=b'~').contains(it));
    let key = memchr::memchr(b'=', line)?;
    (printable && key > 0 && line.len() <= MAX_LINE).then(|| std::str::from_utf8(line).ok())?
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The text of a small kernel, with lines of the test's own before the others.
    pub(crate) fn text(own: &str) -> String {
        let mut text = format!("OSRELEASE=6.12.1-test\n{own}PAGESIZE=4096\n");
        for (name, address) in
            [("init_uts_ns", 0x8160_0000u64), ("_stext", 0x8100_0000), ("swapper_pg_dir", 0x8140_0000)]
        {
            text.push_str(&format!("SYMBOL({name})={:x}\n", 0xffff_ffff_0000_0000 | address));
        }
        for index in 0..MIN_LINES {
            text.push_str(&format!("OFFSET(page.member_{index})={index}\n"));
        }
        text
    }

    #[test]
    fn the_text_ends_at_the_first_line_that_is_none() {
        let mut bytes = text("").into_bytes();
        bytes.extend(b"NUMBER(a)=1\nno key\nNUMBER(b)=2\n\0NUMBER(c)=3\n");
        let info = VmcoreInfo::parse(&bytes).unwrap();
        assert_eq!(info.get("NUMBER(a)"), Some("1"));
        assert_eq!(info.get("NUMBER(b)"), None);
        assert_eq!(info.get("NUMBER("), None);
        assert_eq!(info.get(""), None);
    }

    #[test]
    fn half_a_text_and_one_without_symbols_are_refused() {
        let whole = text("");
        let half = &whole.as_bytes()[..whole.len() / 3];
        assert!(matches!(VmcoreInfo::parse(half), Err(VmcoreInfoError::Short { .. })));
        let without = whole.replace("SYMBOL(_stext)", "SYMBOL(_stent)");
        let missing = VmcoreInfoError::Key { key: "SYMBOL(_stext)" };
        assert_eq!(VmcoreInfo::parse(without.as_bytes()), Err(missing));
        assert!(VmcoreInfo::parse(b"").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_stumble(bytes: Vec<u8>, at in 0usize..600) {
            let mut whole = text("").into_bytes();
            let at = at.min(whole.len());
            whole.splice(at..at, bytes);
            if let Ok(info) = VmcoreInfo::parse(&whole) {
                assert!(info.text().len() <= MAX_TEXT);
                assert!(info.page_size().is_some_and(u64::is_power_of_two));
            }
        }
    }
}
