//! Names and addresses: of the kernel's image, and of its modules.

use std::collections::HashMap;

/// Bytes of a function at most, where no next symbol bounds it.
const MAX_SIZE: u64 = 1 << 20;

/// A symbol as the kernel's own table holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// Its name.
    pub name: &'a str,
    /// Guest-virtual address.
    pub address: u64,
    /// Bytes up to the next symbol: the table holds no sizes.
    pub size: u64,
    /// Letter of `nm`: `T` and `t` are code.
    pub kind: u8,
}

/// Names of one address that are looked at, for a table in which all have the same.
const MAX_ALIASES: usize = 64;

#[derive(Debug, Clone, Copy)]
struct Entry {
    address: u64,
    /// Place and length of the name in the text of all names.
    name: u32,
    len: u16,
    kind: u8,
}

/// A table of symbols, to be asked by name and by address.
#[derive(Debug, Default)]
pub struct Symbols {
    names: String,
    /// Ascending by address; of one address in the table's order.
    entries: Vec<Entry>,
    /// From the hash of a name to the entries that may have it.
    by_name: HashMap<u64, Vec<u32>>,
}

impl Symbols {
    /// Makes a table of symbols in any order: address, kind and name.
    pub fn new<'a>(symbols: impl IntoIterator<Item = (u64, u8, &'a str)>) -> Self {
        let mut names = String::new();
        let mut entries = Vec::new();
        for (address, kind, name) in symbols {
            let Ok(at) = u32::try_from(names.len()) else { break };
            let Ok(len) = u16::try_from(name.len()) else { continue };
            names.push_str(name);
            entries.push(Entry { address, name: at, len, kind });
        }
        entries.sort_by_key(|it| it.address);
        let mut table = Self { names, entries, by_name: HashMap::new() };
        let mut by_name: HashMap<u64, Vec<u32>> = HashMap::with_capacity(table.entries.len());
        for (at, entry) in (0u32..).zip(&table.entries) {
            by_name.entry(hash(table.name(entry))).or_default().push(at);
        }
        table.by_name = by_name;
        table
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The address of a name; the lowest one if several symbols have it.
    pub fn address(&self, name: &str) -> Option<u64> {
        self.all(name).next()
    }

    /// Every address of a name, ascending: static functions may share one.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = u64> + 'a {
        let found = self.by_name.get(&hash(name)).map(Vec::as_slice).unwrap_or_default();
        found
            .iter()
            .filter_map(|at| self.entries.get(*at as usize))
            .filter(move |it| self.name(it) == name)
            .map(|it| it.address)
    }

    /// The symbol that an address lies in: code before data, and of aliases the first.
    pub fn at(&self, address: u64) -> Option<Symbol<'_>> {
        let behind = self.entries.partition_point(|it| it.address <= address);
        let nearest = self.entries.get(behind.checked_sub(1)?)?.address;
        let first = self.entries.partition_point(|it| it.address < nearest);
        let next = self.entries.get(behind).map_or(nearest.saturating_add(MAX_SIZE), |it| it.address);
        let same = &self.entries[first..behind.min(first + MAX_ALIASES)];
        let entry = same.iter().find(|it| matches!(it.kind, b'T' | b't' | b'W' | b'w')).or(same.first())?;
        let size = (next - nearest).min(MAX_SIZE);
        (address - nearest < size).then(|| self.symbol(entry, size))
    }

    /// Every symbol, ascending by address; sizes as in [`Self::at`].
    pub fn iter(&self) -> impl Iterator<Item = Symbol<'_>> {
        self.entries.iter().map(|entry| {
            let behind = self.entries.partition_point(|it| it.address <= entry.address);
            let next = self.entries.get(behind).map_or(u64::MAX, |it| it.address);
            self.symbol(entry, (next - entry.address).min(MAX_SIZE))
        })
    }

    fn symbol(&self, entry: &Entry, size: u64) -> Symbol<'_> {
        Symbol { name: self.name(entry), address: entry.address, size, kind: entry.kind }
    }

    fn name(&self, entry: &Entry) -> &str {
        let from = entry.name as usize;
        self.names.get(from..from + usize::from(entry.len)).unwrap_or_default()
    }
}

/// FNV-1a: names are short, and a collision costs one comparison.
fn hash(name: &str) -> u64 {
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Symbols {
        Symbols::new([
            (0x3000, b'D', "init_task"),
            (0x1000, b'T', "_text"),
            (0x1000, b'A', "startup"),
            (0x1040, b't', "show"),
            (0x1100, b't', "show"),
        ])
    }

    #[test]
    fn names_lead_to_addresses() {
        let table = table();
        assert_eq!(table.address("init_task"), Some(0x3000));
        assert_eq!(table.all("show").collect::<Vec<_>>(), [0x1040, 0x1100]);
        assert_eq!(table.address("nothing"), None);
        assert_eq!(table.iter().map(|it| it.size).collect::<Vec<_>>(), [0x40, 0x40, 0xc0, 0x1f00, MAX_SIZE]);
    }

    #[test]
    fn addresses_lead_to_the_symbol_that_holds_them() {
        let table = table();
        let at = |address| table.at(address).map(|it| (it.name, it.size));
        assert_eq!(at(0x103f), Some(("_text", 0x40)));
        assert_eq!(at(0x1050), Some(("show", 0xc0)));
        assert_eq!(at(0xfff), None);
        assert_eq!(at(0x3000 + MAX_SIZE), None);
        assert_eq!(at(u64::MAX), None);
    }
}
