//! From the name of an enumerator to its value. The index of all of them is made when the first is asked
//! for.

use super::names::Names;
use super::unit::Unit;
use super::walk::TypeRef;
use super::{Types, kind};

/// Enumerators of a unit at most.
const MAX_ALL: usize = 1 << 20;
/// Enumerators of one type that are listed at most.
const MAX_OF_ONE: usize = 1 << 15;

/// Answers that are kept at most.
const MAX_VALUES: usize = 4096;

/// The smallest value that is taken as negative where a blob does not tell.
const SMALLEST_UNTOLD: i32 = -0x1_0000;

/// Names of all enumerators of a unit.
#[derive(Debug, Default)]
pub(super) struct Enumerators {
    names: Names,
    /// By number: the type, and where in the types the enumerator is.
    places: Vec<(u32, u32)>,
}

impl Enumerators {
    /// Of at most [`MAX_ALL`]: the largest kernel has a tenth.
    fn new(unit: &Unit, base: Option<&Unit>) -> Self {
        let mut places = Vec::new();
        for (id, record) in unit.records() {
            let Some(each) = bytes_of_each(record.kind) else { continue };
            let left = MAX_ALL - places.len();
            let all = (0..(record.vlen as usize).min(left)).map(|index| record.body + index * each);
            places.extend(all.map(|at| (id, at as u32)));
        }
        let name = |place: &(u32, u32)| {
            let at = unit.word(place.1 as usize)?;
            unit.home(at, base).own_string(at)
        };
        let names = (0..).zip(&places).filter_map(|(number, place)| Some((name(place)?, number)));
        Self { names: Names::new(names), places }
    }
}

fn bytes_of_each(kind: u8) -> Option<usize> {
    match kind {
        kind::ENUM => Some(kind::ENUMERATOR),
        kind::ENUM64 => Some(kind::ENUMERATOR64),
        _ => None,
    }
}

impl Types {
    /// The value of an enumerator: `PIDTYPE_TGID`. Of several with one name that of the first type.
    /// A value above `i64::MAX` wraps.
    pub fn enumerator(&self, name: &str) -> Option<i64> {
        self.units.iter().find_map(|it| it.enumerator(name, self.units.first()))
    }

    /// Every enumerator of an enum type, in its order: names and values.
    pub fn enumerators(&self, type_name: &str) -> Option<Vec<(String, i64)>> {
        self.named(type_name).find_map(|it| self.enumerators_of(it))
    }

    pub(super) fn enumerators_of(&self, at: TypeRef) -> Option<Vec<(String, i64)>> {
        let (found, record) = self.resolve(at)?;
        let (unit, _) = self.record(found)?;
        let each = bytes_of_each(record.kind)?;
        let all = (0..(record.vlen as usize).min(MAX_OF_ONE)).filter_map(|index| {
            let at = record.body + index * each;
            Some((self.text(found.unit, unit.word(at)?), unit.enumerator_value(found.id, at)?))
        });
        Some(all.collect())
    }
}

impl Unit {
    fn enumerator(&self, name: &str, base: Option<&Unit>) -> Option<i64> {
        if let Some(known) = self.values.borrow().get(name) {
            return *known;
        }
        let all = self.enumerators.get_or_init(|| Enumerators::new(self, base));
        let found = all.names.candidates(name.as_bytes()).find_map(|number| {
            let (id, at) = *all.places.get(number as usize)?;
            let (id_name, at) = (self.word(at as usize)?, at as usize);
            let is = self.home(id_name, base).own_string_is(id_name, name.as_bytes());
            is.then(|| self.enumerator_value(id, at))?
        });
        let mut values = self.values.borrow_mut();
        if values.len() < MAX_VALUES {
            values.insert(name.to_owned(), found);
        }
        found
    }

    /// The value at a place of an enum type of this unit.
    ///
    /// Since v6.0 (commit 6089fb325cf7) the flag of the type tells that it is signed. In a blob from before
    /// nothing does: `PERF_EVENT_STATE_DEAD` is -4, `PROC_IPC_INIT_INO` is 0xefffffff. There a value is
    /// taken as negative if it is a small one.
    fn enumerator_value(&self, id: u32, at: usize) -> Option<i64> {
        let record = self.record(id)?;
        let low = self.word(at + 4)?;
        if record.kind == kind::ENUM64 {
            return Some((u64::from(self.word(at + 8)?) << 32 | u64::from(low)) as i64);
        }
        let signed = record.flag || (!self.tells_signs && low as i32 >= SMALLEST_UNTOLD);
        Some(if signed { i64::from(low as i32) } else { i64::from(low) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_blob::Blob;
    use super::*;

    #[test]
    fn values_of_an_old_blob_that_tells_no_signs() {
        let mut blob = Blob::new();
        let tail = [blob.string("PERF_EVENT_STATE_DEAD"), -4i32 as u32, blob.string("INACTIVE"), 0];
        blob.add("perf_event_state", kind::ENUM, false, 2, 4, &tail);
        let tail = [blob.string("PROC_IPC_INIT_INO"), 0xefff_ffff];
        blob.add("", kind::ENUM, false, 1, 4, &tail);
        let types = Types::new(blob.bytes()).unwrap();
        assert_eq!(types.enumerator("PERF_EVENT_STATE_DEAD"), Some(-4));
        assert_eq!(types.enumerator("PROC_IPC_INIT_INO"), Some(0xefff_ffff));
        assert_eq!(types.enumerators("perf_event_state").unwrap()[1], ("INACTIVE".to_owned(), 0));
    }

    #[test]
    fn a_blob_that_tells_signs_is_believed() {
        let mut blob = Blob::small_kernel_blob();
        let tail = [blob.string("MASK"), 0xffff_ffff];
        blob.add("", kind::ENUM, false, 1, 4, &tail);
        let types = Types::new(blob.bytes()).unwrap();
        assert_eq!((types.enumerator("MASK"), types.enumerator("BLUE")), (Some(0xffff_ffff), Some(-2)));
    }
}
