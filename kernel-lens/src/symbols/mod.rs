//! Names and addresses: of the kernel's image, and of its modules.

mod hash;
mod packed;

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;

use hash::{Hash, Index};
#[cfg(test)]
pub(crate) use packed::tests::token_table;
pub(crate) use packed::{Lengths, MAX_NAME, PackedNames, Tokens};

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

#[derive(Debug)]
enum Names {
    Plain(Vec<Plain>, String),
    Packed(PackedNames),
}

impl Default for Names {
    fn default() -> Self {
        Self::Plain(Vec::new(), String::new())
    }
}

#[derive(Debug, Clone, Copy)]
struct Plain {
    /// Place and length of the name in the text of all names.
    name: u32,
    len: u16,
    kind: u8,
}

impl Names {
    fn len(&self) -> usize {
        match self {
            Self::Plain(places, _) => places.len(),
            Self::Packed(it) => it.len(),
        }
    }

    fn name(&self, index: usize) -> &str {
        match self {
            Self::Plain(places, text) => {
                let found = places.get(index).and_then(|it| {
                    let from = it.name as usize;
                    text.get(from..from + usize::from(it.len))
                });
                found.unwrap_or_default()
            }
            Self::Packed(it) => it.name(index),
        }
    }

    fn kind(&self, index: usize) -> u8 {
        match self {
            Self::Plain(places, _) => places.get(index).map_or(b'?', |it| it.kind),
            Self::Packed(it) => it.kind(index),
        }
    }

    fn is(&self, index: usize, name: &str) -> bool {
        match self {
            Self::Plain(..) => self.name(index) == name,
            Self::Packed(it) => it.is(index, name),
        }
    }

    fn index(&self) -> Index {
        match self {
            Self::Plain(places, _) => {
                let hashes = (0..places.len()).map(|it| Hash::of(self.name(it).as_bytes()));
                Index::new(places.len(), hashes)
            }
            Self::Packed(it) => Index::new(it.len(), it.hashes()),
        }
    }
}

/// Names that were asked for, and where in the table they stand.
pub(crate) type Asked = BTreeMap<String, Vec<u32>>;

/// Answers that are kept at most: names that readers ask for are written in them.
const MAX_ASKED: usize = 4096;
/// Places of one name that are kept at most.
const MAX_SAME: usize = 64;

/// A table of symbols, to be asked by name and by address.
#[derive(Debug, Default)]
pub struct Symbols {
    /// Ascending; of one address in the table's order.
    addresses: Vec<u64>,
    names: Names,
    /// Made when the first name is asked for whose answer is not known.
    index: OnceCell<Index>,
    asked: RefCell<Asked>,
}

impl Symbols {
    /// Makes a table of symbols in any order: address, kind and name.
    pub fn new<'a>(symbols: impl IntoIterator<Item = (u64, u8, &'a str)>) -> Self {
        let mut text = String::new();
        let mut entries = Vec::new();
        for (address, kind, name) in symbols {
            let Ok(at) = u32::try_from(text.len()) else { break };
            let Ok(len) = u16::try_from(name.len()) else { continue };
            text.push_str(name);
            entries.push((address, Plain { name: at, len, kind }));
        }
        entries.sort_by_key(|it| it.0);
        let (addresses, places) = entries.into_iter().unzip();
        Self { addresses, names: Names::Plain(places, text), ..Self::default() }
    }

    /// Takes names as the kernel packs them, whose addresses are not known yet, with answers that an earlier
    /// look had from the same table.
    pub(crate) fn packed(names: PackedNames, asked: Asked) -> Self {
        Self { names: Names::Packed(names), asked: asked.into(), ..Self::default() }
    }

    /// The packed names, and what was asked of them.
    pub(crate) fn answers(&self) -> Option<(&PackedNames, Asked)> {
        match &self.names {
            Names::Packed(names) if names.is_in_order() => Some((names, self.asked.borrow().clone())),
            _ => None,
        }
    }

    /// Where the names of this text stand in the table, ascending.
    pub(crate) fn positions(&self, name: &str) -> impl Iterator<Item = usize> {
        let known = self.asked.borrow().get(name).cloned();
        let found = known.unwrap_or_else(|| {
            let index = self.index.get_or_init(|| self.names.index());
            let mut all = index.candidates(Hash::of(name.as_bytes()));
            all.retain(|it| self.names.is(*it as usize, name));
            let mut asked = self.asked.borrow_mut();
            if all.len() <= MAX_SAME && asked.len() < MAX_ASKED {
                asked.insert(name.to_owned(), all.clone());
            }
            all
        });
        found.into_iter().map(|it| it as usize)
    }

    /// How many names there are, with addresses or not.
    pub(crate) fn positions_len(&self) -> usize {
        self.names.len()
    }

    /// Gives the names their addresses, one for each in the table's order.
    pub(crate) fn with_addresses(mut self, addresses: Vec<u64>) -> Self {
        self.addresses = addresses;
        if self.addresses.is_sorted() {
            return self;
        }
        let mut order: Vec<u32> = (0..).take(self.names.len().min(self.addresses.len())).collect();
        order.sort_by_key(|it| self.addresses.get(*it as usize));
        self.addresses = order.iter().filter_map(|it| self.addresses.get(*it as usize).copied()).collect();
        if let Names::Packed(names) = &mut self.names {
            names.reorder(order);
        }
        (self.index, self.asked) = Default::default();
        self
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// The address of a name; the lowest one if several symbols have it.
    pub fn address(&self, name: &str) -> Option<u64> {
        self.all(name).next()
    }

    /// Every address of a name, ascending: static functions may share one.
    pub fn all(&self, name: &str) -> impl Iterator<Item = u64> {
        self.positions(name).filter_map(|it| self.addresses.get(it).copied())
    }

    /// The symbol that an address lies in: code before data, and of aliases the first.
    pub fn at(&self, address: u64) -> Option<Symbol<'_>> {
        let behind = self.addresses.partition_point(|it| *it <= address);
        let nearest = *self.addresses.get(behind.checked_sub(1)?)?;
        let first = self.addresses.partition_point(|it| *it < nearest);
        let next = self.addresses.get(behind).copied().unwrap_or(nearest.saturating_add(MAX_SIZE));
        let mut same = first..behind.min(first + MAX_ALIASES);
        let code = same.find(|it| matches!(self.names.kind(*it), b'T' | b't' | b'W' | b'w'));
        let size = (next - nearest).min(MAX_SIZE);
        (address - nearest < size).then(|| self.symbol(code.unwrap_or(first), nearest, size))
    }

    /// Every symbol, ascending by address; sizes as in [`Self::at`].
    pub fn iter(&self) -> impl Iterator<Item = Symbol<'_>> {
        let mut behind = 0;
        self.addresses.iter().enumerate().map(move |(index, address)| {
            while self.addresses.get(behind).is_some_and(|it| it <= address) {
                behind += 1;
            }
            let next = self.addresses.get(behind).copied().unwrap_or(u64::MAX);
            self.symbol(index, *address, (next - address).min(MAX_SIZE))
        })
    }

    fn symbol(&self, index: usize, address: u64, size: u64) -> Symbol<'_> {
        Symbol { name: self.names.name(index), address, size, kind: self.names.kind(index) }
    }
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
