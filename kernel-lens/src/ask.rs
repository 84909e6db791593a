//! Answers to questions about single things of a kernel.

use std::fmt::Write as _;

use vmward_kernel_facts::{Answer, Ask, FoundSymbol, Place};

use crate::{Kernel, PAGE_SIZE, ReadError, Symbol};

/// Questions of one look at most.
const MAX_ASKS: usize = 64;
/// Symbols of one name at most.
const MAX_SYMBOLS: usize = 256;
/// Bytes of one read at most.
const MAX_BYTES: u64 = 64 << 10;

/// Answers each question, in order. What is read for it is in the record.
pub fn answer(kernel: &Kernel<'_>, asks: &[Ask]) -> Vec<Answer> {
    asks.iter().take(MAX_ASKS).map(|it| one(kernel, it)).collect()
}

fn one(kernel: &Kernel<'_>, ask: &Ask) -> Answer {
    match ask {
        Ask::Symbol { name } => {
            let symbols = symbols(kernel, name);
            match symbols.is_empty() {
                true => nothing(format!("no symbol is named {name}")),
                false => Answer::Symbols { symbols },
            }
        }
        Ask::Address { address } => match kernel.symbol_at(*address) {
            Some((symbol, module)) => {
                let found = told(&symbol, module, address.wrapping_sub(symbol.address));
                Answer::Symbols { symbols: vec![found] }
            }
            None => nothing(format!("no symbol is at {address:#x}")),
        },
        Ask::Type { name } => match kernel.types.describe(name) {
            Some(text) => Answer::Type { text },
            None => nothing(format!("no type is named {name}")),
        },
        Ask::Read { at, length, physical } => read(kernel, at, *length, *physical),
    }
}

fn nothing(reason: String) -> Answer {
    Answer::Nothing { reason }
}

fn told(symbol: &Symbol<'_>, module: Option<&str>, offset: u64) -> FoundSymbol {
    FoundSymbol {
        name: symbol.name.to_owned(),
        address: symbol.address,
        size: symbol.size,
        kind: char::from(symbol.kind),
        module: module.map(str::to_owned),
        offset,
    }
}

fn symbols(kernel: &Kernel<'_>, name: &str) -> Vec<FoundSymbol> {
    let space = &kernel.space;
    let modules = kernel.modules().iter().map(|it| (it.symbols(space), Some(it.name.as_str())));
    let tables = std::iter::once((&kernel.symbols, None)).chain(modules);
    let mut found: Vec<FoundSymbol> = tables
        .flat_map(|(table, module)| {
            table.all(name).map(move |address| match table.at(address).filter(|it| it.name == name) {
                Some(symbol) => told(&symbol, module, 0),
                // One of several names of an address.
                None => FoundSymbol {
                    name: name.to_owned(),
                    address,
                    size: table.at(address).map_or(0, |it| it.size),
                    kind: '?',
                    module: module.map(str::to_owned),
                    offset: 0,
                },
            })
        })
        .take(MAX_SYMBOLS)
        .collect();
    found.sort_by_key(|it| it.address);
    found
}

fn read(kernel: &Kernel<'_>, at: &Place, length: u64, physical: bool) -> Answer {
    let start = match &at.symbol {
        None => Some(0),
        Some(name) => symbols(kernel, name).first().map(|it| it.address),
    };
    let Some(address) = start.map(|it| it.wrapping_add(at.offset)) else {
        return nothing(format!("no symbol is named {}", at.symbol.as_deref().unwrap_or_default()));
    };
    let mut bytes = Vec::new();
    let mut cut = (length > MAX_BYTES).then(|| format!("at most {MAX_BYTES} bytes are read at once"));
    let length = length.min(MAX_BYTES);
    while (bytes.len() as u64) < length {
        let next = address.wrapping_add(bytes.len() as u64);
        let left = length - bytes.len() as u64;
        let mut page = vec![0; left.min(PAGE_SIZE - next % PAGE_SIZE) as usize];
        if let Err(error) = fill(kernel, next, &mut page, physical) {
            if bytes.is_empty() {
                return nothing(error.to_string());
            }
            cut = Some(error.to_string());
            break;
        }
        bytes.append(&mut page);
    }
    let mut hex = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing into a text does not fail.
        let _written = write!(hex, "{byte:02x}");
    }
    Answer::Bytes { address, physical, hex, cut }
}

fn fill(kernel: &Kernel<'_>, at: u64, bytes: &mut [u8], physical: bool) -> Result<(), ReadError> {
    match physical {
        true => kernel.space.memory().read(at, bytes),
        false => kernel.space.read(at, bytes),
    }
}
