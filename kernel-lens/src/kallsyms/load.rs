//! The table of symbols, read: what the scan found is read once more, so that the record holds it.

use super::encoding::{AddressTable, Anchors, given as given_place, places};
use super::layout::{self, Layout};
use super::token_table::{self, TokenTable};
use super::{Encoding, KallsymsAddresses, KallsymsError, KnownNames};
use crate::find::ImageRun;
use crate::symbols::{Asked, PackedNames, Tokens};
use crate::{AddressSpace, ReadError, Symbols};

/// Bytes of the index of tokens.
const INDEX_LEN: u64 = Tokens::COUNT as u64 * 2;
/// Bytes of a table of tokens at most: its index counts in 16 bits.
pub(super) const MAX_TOKENS: usize = 0x1_0000;

/// The symbols of a kernel's image.
#[derive(Debug)]
pub struct Kallsyms {
    /// The symbols.
    pub symbols: Symbols,
    /// Where they were found: enough for [`at`] to find them again without a scan.
    pub addresses: KallsymsAddresses,
    /// How their addresses are written.
    pub encoding: Encoding,
    /// What else was learned of them.
    pub(crate) layout: Layout,
}

/// Looks through the image for its table of symbols. `divide_error` is the handler of interrupt gate 0, if
/// it is known: one more symbol to tell the right table by.
///
/// # Errors
/// [`KallsymsError`], which says how far it came.
pub fn scan(
    space: &AddressSpace<'_>,
    image: &ImageRun,
    divide_error: Option<u64>,
) -> Result<Kallsyms, KallsymsError> {
    let memory = space.memory();
    let mut why = KallsymsError::NoTokens;
    let found = token_table::search(memory, image, |table| {
        let Some(layout) = layout::search(memory, image, &table)? else {
            why = KallsymsError::NoNames;
            return Ok(None);
        };
        let places = places(layout.num_syms, table.index + INDEX_LEN, layout.count);
        let names = load_names(space, &layout, &table)?;
        let count = names.symbols.positions_len();
        let found = finish(space, image, names, &places, divide_error)?;
        if found.is_none() {
            why = KallsymsError::NoAddresses { count };
        }
        Ok(found)
    })?;
    found.ok_or(why)
}

/// Reads the table of symbols where it is known to lie.
///
/// # Errors
/// [`KallsymsError`] if it does not lie there.
pub fn at(
    space: &AddressSpace<'_>,
    image: &ImageRun,
    addresses: &KallsymsAddresses,
    divide_error: Option<u64>,
) -> Result<Kallsyms, KallsymsError> {
    let memory = space.memory();
    let mut table = vec![0; MAX_TOKENS];
    image.scan(memory, addresses.token_table, &mut table)?;
    let tokens = Tokens::parse(&table).ok_or(KallsymsError::NoTokens)?;
    let table = TokenTable { virt: addresses.token_table, index: addresses.token_index, tokens };
    let layout = layout::given(memory, image, addresses.num_syms, addresses.names, &table)?;
    let layout = layout.ok_or(KallsymsError::NoNames)?;
    let count = layout.count;
    let names = load_names(space, &layout, &table)?;
    let place = given_place(addresses).ok_or(KallsymsError::NoAddresses { count })?;
    let found = finish(space, image, names, &[place], divide_error)?;
    found.ok_or(KallsymsError::NoAddresses { count })
}

/// The same where the names are known from an earlier look; `None` if they are others.
///
/// # Errors
/// As [`at`].
pub fn at_known(
    space: &AddressSpace<'_>,
    image: &ImageRun,
    addresses: &KallsymsAddresses,
    known: &KnownNames,
    divide_error: Option<u64>,
) -> Result<Option<Kallsyms>, KallsymsError> {
    let KallsymsAddresses { num_syms, names, token_table, token_index, .. } = *addresses;
    let Some((layout, symbols)) = known.read(space, num_syms, names, token_table) else { return Ok(None) };
    // For the record: a look at it must find the tables.
    space.u32(num_syms)?;
    space.bytes(token_index, INDEX_LEN as usize)?;
    let names = Names {
        symbols,
        addresses: KallsymsAddresses { num_syms, names, token_table, token_index, ..Default::default() },
        layout,
    };
    let Some(place) = given_place(addresses) else { return Ok(None) };
    Ok(finish(space, image, names, &[place], divide_error)?)
}

struct Names {
    symbols: Symbols,
    addresses: KallsymsAddresses,
    layout: Layout,
}

/// The names, read for the record: with the markers and the index, so that a scan of the record finds them.
fn load_names(space: &AddressSpace<'_>, layout: &Layout, table: &TokenTable) -> Result<Names, ReadError> {
    space.u32(layout.num_syms)?;
    space.bytes(table.index, INDEX_LEN as usize)?;
    let tokens = space.bytes(table.virt, table.tokens.len())?;
    let tokens = Tokens::parse(&tokens);
    let tokens = tokens.ok_or(ReadError::Inconsistent { what: "the table of tokens", virt: table.virt })?;
    let mut names = space.shared(layout.names, layout.walk.behind_markers)?;
    names.truncate(layout.walk.len);
    let names = PackedNames::new(names, layout.count, layout.walk.lengths, tokens);
    let addresses = KallsymsAddresses {
        num_syms: layout.num_syms,
        names: layout.names,
        token_table: table.virt,
        token_index: table.index,
        ..Default::default()
    };
    Ok(Names { symbols: Symbols::packed(names, Asked::new()), addresses, layout: *layout })
}

/// Finds and reads the addresses.
fn finish(
    space: &AddressSpace<'_>,
    image: &ImageRun,
    names: Names,
    places: &[super::encoding::Place],
    divide_error: Option<u64>,
) -> Result<Option<Kallsyms>, ReadError> {
    let Names { symbols, mut addresses, layout } = names;
    // Symbols of the tables themselves are in them since v6.11 or so.
    let mut known =
        vec![("kallsyms_token_table", addresses.token_table), ("kallsyms_names", addresses.names)];
    if let Some(handler) = divide_error {
        known.extend([("asm_exc_divide_error", handler), ("divide_error", handler)]);
    }
    let anchors = Anchors { memory: space.memory(), image, symbols: &symbols, known: &known };
    let Some(table) = anchors.choose(places)? else { return Ok(None) };
    anchors.record(space, &table)?;
    if let Some(base_at) = table.base_at {
        space.u64(base_at)?;
    }
    let values = load_addresses(space, &table, symbols.positions_len())?;
    match table.encoding {
        Encoding::Absolute => addresses.addresses = Some(table.virt),
        _ => addresses.offsets = Some(table.virt),
    }
    addresses.relative_base = table.base_at;
    let symbols = symbols.with_addresses(values);
    Ok(Some(Kallsyms { symbols, addresses, encoding: table.encoding, layout }))
}

fn load_addresses(
    space: &AddressSpace<'_>,
    table: &AddressTable,
    count: usize,
) -> Result<Vec<u64>, ReadError> {
    let (encoding, width) = (table.encoding, table.encoding.width());
    let bytes = space.shared(table.virt, count * width as usize)?;
    let mut addresses = Vec::with_capacity(count);
    if encoding == Encoding::Absolute {
        addresses.extend(bytes.as_chunks().0.iter().map(|it| u64::from_le_bytes(*it)));
    } else {
        for (number, value) in (0..).zip(bytes.as_chunks().0) {
            let value = u64::from(u32::from_le_bytes(*value));
            addresses.push(encoding.address(value, table.virt.wrapping_add(number * 4)));
        }
    }
    Ok(addresses)
}
