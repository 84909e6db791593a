//! The layout of a target's registers, from its XML description.
//!
//! QEMU's `g` reply of an x86-64 machine has 608 bytes with control registers in the middle, which no
//! fixed table of gdb's has; so the target is asked. GDB manual, appendix "Target Descriptions". The
//! reader takes what it needs (`<reg>`, `<xi:include>`) and is total; it is no XML parser.

/// Most registers taken from one description (aarch64 with SVE and system registers has about 500).
const MAX_REGISTERS: usize = 4096;

/// One register of the description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Its name, as gdb shows it.
    pub name: String,
    /// Number for `p`.
    pub number: u32,
    /// Size in bytes.
    pub size: usize,
}

/// A register with its value.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Register {
    /// Its name, lower or upper case as the target says.
    pub name: String,
    /// Its bytes, least significant first.
    pub bytes_le: Vec<u8>,
}

impl Register {
    /// A 64-bit register.
    #[must_use]
    pub fn of(name: &str, value: u64) -> Self {
        Self { name: name.to_owned(), bytes_le: value.to_le_bytes().to_vec() }
    }

    /// The value, when it fits 64 bits.
    #[must_use]
    pub fn value(&self) -> Option<u64> {
        let high = self.bytes_le.get(8..).unwrap_or_default();
        if high.iter().any(|b| *b != 0) {
            return None;
        }
        let low = self.bytes_le.iter().take(8).rev();
        Some(low.fold(0, |value, byte| (value << 8) | u64::from(*byte)))
    }
}

/// The registers of a description, in the order of their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    registers: Vec<Described>,
}

impl Layout {
    /// Adds the registers of one XML file, in order: numbers go on from the last unless given.
    pub fn add(&mut self, xml: &str) {
        let mut next = self.registers.iter().map(|r| r.number + 1).max().unwrap_or(0);
        for tag in tags(xml, "reg") {
            let (Some(name), Some(bits)) = (attribute(tag, "name"), number(tag, "bitsize")) else {
                continue;
            };
            if self.registers.len() >= MAX_REGISTERS || bits == 0 || bits > 1 << 16 {
                return;
            }
            let number = number(tag, "regnum").unwrap_or(next);
            next = number.saturating_add(1);
            let size = (bits as usize).div_ceil(8);
            self.registers.push(Described { name: name.to_owned(), number, size });
        }
    }

    /// The registers.
    #[must_use]
    pub fn registers(&self) -> &[Described] {
        &self.registers
    }

    /// Cuts a `g` reply: the registers in the order of their numbers, as far as the bytes go. Registers
    /// that the target does not know (`xx`) are left out, see [`super::messages::registers`].
    #[must_use]
    pub fn cut(&self, mut bytes: &[Option<u8>]) -> Vec<Register> {
        let mut ordered: Vec<&Described> = self.registers.iter().collect();
        ordered.sort_by_key(|r| r.number);
        let mut out = Vec::new();
        for register in ordered {
            let Some(part) = bytes.get(..register.size) else {
                break;
            };
            bytes = bytes.get(register.size..).unwrap_or_default();
            if let Some(bytes_le) = part.iter().copied().collect::<Option<Vec<u8>>>() {
                out.push(Register { name: register.name.clone(), bytes_le });
            }
        }
        out
    }
}

/// Files that a description includes.
#[must_use]
pub fn includes(xml: &str) -> Vec<String> {
    tags(xml, "xi:include")
        .filter_map(|tag| attribute(tag, "href"))
        .filter(|name| name.len() < 200 && name.bytes().all(|b| b.is_ascii_graphic() && b != b':'))
        .take(64)
        .map(str::to_owned)
        .collect()
}

/// The insides of each `<name ...>`, comments skipped.
fn tags<'a>(xml: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    let mut rest = xml;
    std::iter::from_fn(move || {
        loop {
            let at = rest.find('<')?;
            rest = rest.get(at + 1..)?;
            if let Some(comment) = rest.strip_prefix("!--") {
                rest = comment.get(comment.find("-->")? + 3..)?;
                continue;
            }
            let end = rest.find('>')?;
            let tag = rest.get(..end)?;
            rest = rest.get(end + 1..)?;
            let inside = tag.strip_prefix(name).filter(|i| i.starts_with([' ', '\t', '\n', '\r']));
            if inside.is_some() {
                return inside;
            }
        }
    })
}

/// The value of `name="..."`.
fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = tag;
    loop {
        let at = rest.find(name)?;
        let before = rest.get(..at)?.chars().next_back();
        let after = rest.get(at + name.len()..)?;
        if before.is_none_or(char::is_whitespace)
            && let Some(value) = after.strip_prefix("=\"")
        {
            return value.split('"').next();
        }
        rest = after;
    }
}

fn number(tag: &str, name: &str) -> Option<u32> {
    attribute(tag, name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn registers_are_numbered_on_and_cut_in_the_order_of_their_numbers() {
        let mut layout = Layout::default();
        layout.add("<!-- <reg name=\"no\" bitsize=\"8\"/> --><feature><reg name=\"a\" bitsize=\"16\"/>\n<reg name=\"b\" bitsize=\"8\" regnum=\"5\"/></feature>");
        layout.add("<reg type=\"int\" bitsize=\"8\" name=\"c\"/><register name=\"no\" bitsize=\"8\"/>");
        let numbers: Vec<_> = layout.registers().iter().map(|r| (r.name.as_str(), r.number)).collect();
        assert_eq!(numbers, [("a", 0), ("b", 5), ("c", 6)]);
        let cut = layout.cut(&[Some(1), Some(2), None, Some(4)]);
        let values: Vec<_> = cut.iter().map(|r| (r.name.as_str(), r.value())).collect();
        assert_eq!(values, [("a", Some(0x201)), ("c", Some(4))]);
    }

    #[test]
    fn includes_are_names_of_files_only() {
        let xml = "<target><xi:include href=\"i386-64bit.xml\"/><xi:include href=\"a:b\"/></target>";
        assert_eq!(includes(xml), ["i386-64bit.xml"]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(xml in "[<>!=\"/a-z :regnambits0-9-]{0,200}") {
            let mut layout = Layout::default();
            layout.add(&xml);
            let _ = (includes(&xml), layout.cut(&[Some(0); 64]));
        }
    }
}
