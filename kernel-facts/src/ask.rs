//! Questions about single things of a kernel: a symbol, an address, a type, memory. They go along with a look
//! and come back answered with it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A place in the guest's memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Place {
    /// Counted from this symbol, if one is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// An address, or bytes behind the symbol.
    pub offset: u64,
}

impl Place {
    /// What somebody wrote: `0xffffffff81000000`, `init_task`, `init_task+0x40`. What has the form of a number
    /// is an address.
    pub fn parse(text: &str) -> Self {
        let number = |text: &str| match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        };
        if let Some(offset) = number(text) {
            return Self { symbol: None, offset };
        }
        let (symbol, offset) = match text.rsplit_once('+') {
            Some((symbol, offset)) if number(offset).is_some() => (symbol, number(offset).unwrap_or(0)),
            _ => (text, 0),
        };
        Self { symbol: Some(symbol.to_owned()), offset }
    }
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Ask {
    /// Every symbol of a name.
    Symbol {
        /// The name.
        name: String,
    },
    /// The symbol that an address lies in.
    Address {
        /// The address.
        address: u64,
    },
    /// The layout of a type.
    Type {
        /// Its name: `task_struct`, `struct task_struct`.
        name: String,
    },
    /// Bytes.
    Read {
        /// Where.
        at: Place,
        /// How many.
        length: u64,
        /// The place is a guest-physical address.
        #[serde(default)]
        physical: bool,
    },
}

/// A symbol.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FoundSymbol {
    /// Its name.
    pub name: String,
    /// Guest-virtual address.
    pub address: u64,
    /// Bytes up to the next symbol.
    pub size: u64,
    /// Letter of `nm`: `T` and `t` are code.
    pub kind: char,
    /// The module that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// Bytes from its start to the address that was asked for.
    #[serde(default)]
    pub offset: u64,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// Symbols.
    Symbols {
        /// Ascending by address.
        symbols: Vec<FoundSymbol>,
    },
    /// A type.
    Type {
        /// As C would write it, with places and sizes.
        text: String,
    },
    /// Bytes.
    Bytes {
        /// The address of the first one.
        address: u64,
        /// It is guest-physical.
        physical: bool,
        /// Two digits a byte.
        hex: String,
        /// Why there are fewer than were asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cut: Option<String>,
    },
    /// There is none.
    Nothing {
        /// Why not.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_an_address_or_a_symbol_with_an_offset() {
        let place = |symbol: Option<&str>, offset| Place { symbol: symbol.map(str::to_owned), offset };
        assert_eq!(Place::parse("0xffffffff81000000"), place(None, 0xffff_ffff_8100_0000));
        assert_eq!(Place::parse("4096"), place(None, 4096));
        assert_eq!(Place::parse("init_task"), place(Some("init_task"), 0));
        assert_eq!(Place::parse("init_task+0x40"), place(Some("init_task"), 64));
        assert_eq!(Place::parse("c++filt"), place(Some("c++filt"), 0));
    }
}
