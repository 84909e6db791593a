//! Names of types and declarations of members, as C writes them.

use super::walk::TypeRef;
use super::{Types, kind};

/// Pointers, qualifiers, dimensions and parameters of one declaration at most, with those of its parameters.
const MAX_PARTS: usize = 128;
/// Functions that take functions that take functions, at most.
const MAX_NESTED: u32 = 3;

/// How much of a type is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    /// Without `const`, `volatile` and tags: a name that can be asked for.
    Plain,
    /// As declared.
    Full,
}

/// A declaration in two parts: the type at its left end, and the member's name with what is around it.
#[derive(Debug)]
pub(super) struct Declaration {
    /// The type at the left end; `None` for `void` and for what is broken.
    pub(super) base: Option<TypeRef>,
    /// Its name with qualifiers.
    pub(super) left: String,
    /// `*name[4]`.
    pub(super) right: String,
}

impl Declaration {
    /// Both parts.
    pub(super) fn text(&self) -> String {
        let gap = if self.right.is_empty() || self.right.starts_with('[') { "" } else { " " };
        format!("{}{gap}{}", self.left, self.right)
    }
}

impl Types {
    /// The name of a type.
    pub(super) fn name(&self, at: TypeRef, detail: Detail) -> String {
        self.declaration(at, "", detail).text()
    }

    /// Declares something of a type, from the name outwards.
    pub(super) fn declaration(&self, at: TypeRef, name: &str, detail: Detail) -> Declaration {
        self.declare(at, name, detail, 0, &mut { MAX_PARTS })
    }

    fn declare(
        &self,
        mut at: TypeRef,
        name: &str,
        detail: Detail,
        depth: u32,
        budget: &mut usize,
    ) -> Declaration {
        let mut right = name.to_owned();
        let mut qualifiers: Vec<&str> = Vec::new();
        let mut tags = String::new();
        let mut behind_star = false;
        while *budget > 0 {
            *budget -= 1;
            let Some((unit, record)) = self.record(at) else {
                let word = if at.id == 0 { "void" } else { "(broken)" };
                return Declaration { base: None, left: left(&qualifiers, word, &tags), right };
            };
            match record.kind {
                kind::PTR => {
                    let gap = if qualifiers.is_empty() || right.is_empty() { "" } else { " " };
                    right = format!("*{}{gap}{right}", qualifiers.join(" "));
                    qualifiers.clear();
                    behind_star = true;
                }
                kind::CONST | kind::VOLATILE | kind::RESTRICT | kind::TYPE_TAG if detail == Detail::Plain => {
                }
                kind::CONST => qualifiers.push("const"),
                kind::VOLATILE => qualifiers.push("volatile"),
                kind::RESTRICT => qualifiers.push("restrict"),
                kind::TYPE_TAG => {
                    tags.push_str(" __");
                    tags.push_str(&self.text(at.unit, record.name));
                }
                kind::ARRAY => {
                    let Some((element, len)) = self.array(at) else { break };
                    bracket(&mut right, &mut behind_star);
                    let dimension = if len == 0 { String::new() } else { len.to_string() };
                    right.push_str(&format!("[{dimension}]"));
                    at = element;
                    continue;
                }
                kind::FUNC_PROTO => {
                    bracket(&mut right, &mut behind_star);
                    let mut all: Vec<String> = Vec::new();
                    for index in 0..record.vlen as usize {
                        let Some(id) = unit.word(record.body + index * 8 + 4) else { break };
                        if id == 0 || depth >= MAX_NESTED || *budget == 0 {
                            all.push("...".into());
                            break;
                        }
                        let parameter = TypeRef { unit: at.unit, id };
                        all.push(self.declare(parameter, "", detail, depth + 1, budget).text());
                    }
                    let all = if all.is_empty() { "void".into() } else { all.join(", ") };
                    right.push_str(&format!("({all})"));
                }
                other => {
                    let name = self.text(at.unit, record.name);
                    let word = format!("{}{name}", keyword(other, record.flag));
                    let word = if name.is_empty() { format!("{word}(anonymous)") } else { word };
                    return Declaration { base: Some(at), left: left(&qualifiers, &word, &tags), right };
                }
            }
            at.id = record.word;
        }
        Declaration { base: None, left: left(&qualifiers, "(broken)", &tags), right }
    }

    /// A string for people. Guest text: any bytes may be in it, and none of them moves a cursor.
    pub(super) fn text(&self, unit: usize, at: u32) -> String {
        let bytes = if at == 0 { None } else { self.string(unit, at) };
        let text = String::from_utf8_lossy(bytes.unwrap_or_default());
        text.chars().map(|it| if it.is_control() { '\u{fffd}' } else { it }).collect()
    }
}

/// The word before the name of a type of this kind.
pub(super) fn keyword(of: u8, flag: bool) -> &'static str {
    match of {
        kind::STRUCT => "struct ",
        kind::UNION => "union ",
        kind::ENUM | kind::ENUM64 => "enum ",
        kind::FWD if flag => "union ",
        kind::FWD => "struct ",
        _ => "",
    }
}

fn left(qualifiers: &[&str], word: &str, tags: &str) -> String {
    let mut text: String = qualifiers.iter().flat_map(|it| [*it, " "]).collect();
    text.push_str(word);
    text.push_str(tags);
    text
}

/// A star binds less than a dimension.
fn bracket(right: &mut String, behind_star: &mut bool) {
    if std::mem::take(behind_star) {
        *right = format!("({right})");
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_blob::Blob;
    use super::*;

    #[test]
    fn declarations_are_written_from_the_name_outwards() {
        let mut blob = Blob::new();
        let int = blob.int("int", 4);
        let task = blob.structure("task", 8, false, &[]);
        let constant = blob.add("", kind::CONST, false, 0, task, &[]);
        let pointer = blob.pointer(constant);
        let fixed = blob.add("", kind::CONST, false, 0, pointer, &[]);
        let pointers = blob.array(fixed, 4);
        let array = blob.array(int, 2);
        let grid = blob.array(array, 3);
        let to_grid = blob.pointer(grid);
        let function = blob.add("", kind::FUNC_PROTO, false, 2, int, &[0, pointer, 0, 0]);
        let callback = blob.pointer(function);
        let bare = blob.pointer(0);
        let tag = blob.add("rcu", kind::TYPE_TAG, false, 0, task, &[]);
        let tagged = blob.pointer(tag);
        let types = Types::new(blob.bytes()).unwrap();
        let text = |id, detail| types.declaration(TypeRef { unit: 0, id }, "it", detail).text();
        assert_eq!(text(pointers, Detail::Full), "const struct task *const it[4]");
        assert_eq!(text(pointers, Detail::Plain), "struct task *it[4]");
        assert_eq!(text(to_grid, Detail::Full), "int (*it)[3][2]");
        assert_eq!(text(callback, Detail::Full), "int (*it)(const struct task *, ...)");
        assert_eq!(text(bare, Detail::Full), "void *it");
        assert_eq!(text(tagged, Detail::Full), "struct task __rcu *it");
        assert_eq!(types.name(TypeRef { unit: 0, id: grid }, Detail::Plain), "int[3][2]");
    }

    #[test]
    fn a_type_that_is_made_of_itself_has_an_end() {
        let mut blob = Blob::new();
        blob.add("", kind::CONST, false, 0, 1, &[]);
        blob.pointer(2);
        blob.array(3, 2);
        blob.add("", kind::FUNC_PROTO, false, 3, 4, &[0, 4, 0, 4, 0, 4]);
        let types = Types::new(blob.bytes()).unwrap();
        for id in 0..6 {
            let name = types.name(TypeRef { unit: 0, id }, Detail::Full);
            assert!(name.len() < 100_000, "{}", name.len());
        }
    }
}
