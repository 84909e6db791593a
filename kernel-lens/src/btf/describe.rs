//! A type as C would write it, with the place and the size of each member:
//!
//! ```text
//! struct mutex {
//!     atomic_long_t            owner;       /*     0     8 */
//!     raw_spinlock_t           wait_lock;   /*     8     4 */
//!     struct list_head         wait_list;   /*    16    16 */
//! };  /* size 32 */
//! ```
//!
//! Of a bit-field the place is `byte:bit` and the size is in bits. Structures without a name are written
//! where they are, with places counted from the start of the outermost one.

use std::fmt::Write as _;

use super::name::{Declaration, Detail, keyword};
use super::unit::Record;
use super::walk::{Entry, TypeRef};
use super::{Types, kind};

/// Lines of one description at most.
const MAX_LINES: usize = 20_000;
/// Bytes of one description at most: the longest of a real kernel have 60,000.
const MAX_TEXT: usize = 1 << 20;
/// Structures inside of each other at most.
const MAX_NESTED: usize = 16;
/// The column in which the places stand.
const WIDTH: usize = 56;

impl Types {
    /// Describes every type of a name, the likeliest first; those that read the same once. `None` if there
    /// is none.
    pub fn describe(&self, name: &str) -> Option<String> {
        let mut all: Vec<String> = Vec::new();
        for at in self.named(name) {
            let Some(text) = self.describe_one(at) else { continue };
            if !all.contains(&text) {
                all.push(text);
            }
        }
        (!all.is_empty()).then(|| all.join("\n"))
    }

    fn describe_one(&self, at: TypeRef) -> Option<String> {
        let (_, record) = self.record(at)?;
        let mut page = Page { types: self, text: String::new(), lines: 0 };
        match record.kind {
            kind::STRUCT | kind::UNION => {
                page.structure(at, 0, 0);
                page.finish(&format!("}};  /* size {} */", record.word));
            }
            kind::ENUM | kind::ENUM64 => {
                page.enumeration(at, record, 0);
                page.finish(&format!("}};  /* size {} */", record.word));
            }
            kind::TYPEDEF => {
                let target = TypeRef { unit: at.unit, id: record.word };
                let declared = self.declaration(target, &self.text(at.unit, record.name), Detail::Full);
                let size = self.size_of(at).map(|it| format!("  /* size {it} */")).unwrap_or_default();
                page.text.push_str("typedef ");
                page.declare(&declared, 0, 0, &size);
            }
            _ => {
                let size = self.size_of(at)?;
                page.finish(&format!("{};  /* size {size} */", self.name(at, Detail::Full)));
            }
        }
        Some(page.text)
    }
}

/// A description being written.
struct Page<'a> {
    types: &'a Types,
    text: String,
    lines: usize,
}

impl Page<'_> {
    /// The head of a structure and its members, up to the closing brace. `base` is its place in bits.
    fn structure(&mut self, at: TypeRef, base: u64, depth: usize) {
        let Some((_, record)) = self.types.record(at) else { return };
        let name = self.types.text(at.unit, record.name);
        let gap = if name.is_empty() { "" } else { " " };
        self.finish(&format!("{}{name}{gap}{{", keyword(record.kind, record.flag)));
        let Some(entries) = self.types.entries(at) else { return };
        let mut end = 0;
        for Entry { name, place } in entries {
            if self.is_full() {
                return;
            }
            let size = place.width.map_or_else(
                || self.types.size_of(place.of).and_then(|it| it.checked_mul(8)).unwrap_or(0),
                u64::from,
            );
            let hole = place.bit.saturating_sub(end) / 8;
            if record.kind == kind::STRUCT && hole > 0 {
                self.indent(depth + 1);
                self.finish(&format!("/* {hole} bytes hole */"));
            }
            end = end.max(place.bit.saturating_add(size));
            let bit = base.saturating_add(place.bit);
            let name = self.types.text(place.of.unit, name);
            let declared = self.types.declaration(place.of, &name, Detail::Full);
            let comment = match place.width {
                Some(width) => format!("/* {:>3}:{} {width:>5} bits */", bit / 8, bit % 8),
                None => format!("/* {:>5} {:>5} */", bit / 8, size / 8),
            };
            let width = place.width.map(|it| format!(":{it}")).unwrap_or_default();
            let declared = Declaration { right: format!("{}{width}", declared.right), ..declared };
            self.indent(depth + 1);
            self.declare(&declared, bit, depth + 1, &comment);
        }
        let size = u64::from(record.word) * 8;
        if record.kind == kind::STRUCT && end > 0 && size.saturating_sub(end) >= 8 {
            self.indent(depth + 1);
            self.finish(&format!("/* {} bytes padding */", (size - end) / 8));
        }
        self.indent(depth);
    }

    /// A declaration; a type without a name is written in its place.
    fn declare(&mut self, declared: &Declaration, bit: u64, depth: usize, comment: &str) {
        let unnamed = declared.base.and_then(|base| Some((base, self.types.record(base)?.1)));
        match unnamed.filter(|(_, record)| record.name == 0 && depth < MAX_NESTED) {
            Some((base, record)) if matches!(record.kind, kind::STRUCT | kind::UNION) => {
                // What a pointer leads to has places of its own.
                let base_bit = if declared.right.contains('*') { 0 } else { bit };
                self.structure(base, base_bit, depth);
            }
            Some((base, record)) if matches!(record.kind, kind::ENUM | kind::ENUM64) => {
                self.enumeration(base, record, depth);
            }
            _ => {
                return self.commented(&format!("{};", declared.text()), depth, comment);
            }
        }
        let gap = if declared.right.is_empty() { "" } else { " " };
        self.commented(&format!("}}{gap}{};", declared.right), depth, comment);
    }

    fn enumeration(&mut self, at: TypeRef, record: Record, depth: usize) {
        let name = self.types.text(at.unit, record.name);
        let gap = if name.is_empty() { "" } else { " " };
        self.finish(&format!("enum {name}{gap}{{"));
        for (name, value) in self.types.enumerators_of(at).unwrap_or_default() {
            if self.is_full() {
                return;
            }
            self.indent(depth + 1);
            self.finish(&format!("{name} = {value},"));
        }
        self.indent(depth);
    }

    /// A line with its comment in the column of all comments.
    fn commented(&mut self, text: &str, depth: usize, comment: &str) {
        let width = WIDTH.saturating_sub(depth * 4);
        self.finish(&format!("{text:<width$} {comment}"));
    }

    fn is_full(&self) -> bool {
        self.lines > MAX_LINES || self.text.len() > MAX_TEXT
    }

    fn indent(&mut self, depth: usize) {
        let _ = write!(self.text, "{:1$}", "", depth * 4);
    }

    fn finish(&mut self, rest: &str) {
        self.text.push_str(rest.trim_end());
        self.text.push('\n');
        self.lines += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_blob::Blob;
    use super::*;

    #[test]
    fn a_structure_reads_like_c_with_places() {
        let types = Types::new(Blob::small_kernel()).unwrap();
        let text = types.describe("task_struct").unwrap();
        let lines: Vec<String> =
            text.lines().map(|it| it.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            lines,
            [
                "struct task_struct {",
                "const struct task_struct *parent; /* 0 8 */",
                "int pid; /* 8 4 */",
                "int low_bits:5; /* 12:0 5 bits */",
                "int high_bits:3; /* 12:5 3 bits */",
                "/* 3 bytes hole */",
                "struct sched_entity se; /* 16 16 */",
                "struct {",
                "int inner_low; /* 32 4 */",
                "int inner_high; /* 36 4 */",
                "}; /* 32 8 */",
                "int slots[4]; /* 40 16 */",
                "/* 8 bytes hole */",
                "int tail[]; /* 64 0 */",
                "}; /* size 64 */",
            ]
        );
    }

    #[test]
    fn enums_typedefs_and_numbers_are_described_too() {
        let types = Types::new(Blob::small_kernel()).unwrap();
        assert_eq!(
            types.describe("colour").unwrap(),
            "enum colour {\n    RED = 0,\n    BLUE = -2,\n};  /* size 4 */\n"
        );
        assert!(types.describe("task_t").unwrap().starts_with("typedef struct task_struct task_t;"));
        assert_eq!(types.describe("int").unwrap(), "int;  /* size 4 */\n");
        assert_eq!(types.describe("nothing"), None);
    }

    #[test]
    fn a_structure_inside_of_itself_ends() {
        let mut blob = Blob::new();
        blob.structure("", 8, false, &[("", 1, 0), ("", 1, 0), ("a", 1, 0)]);
        blob.structure("loop", 8, false, &[("", 1, 0), ("", 2, 0), ("it", 2, 0)]);
        let types = Types::new(blob.bytes()).unwrap();
        assert!(types.describe("loop").unwrap().lines().count() < 100_000);
        assert_eq!(types.offset("loop", "nothing"), None);
    }
}
