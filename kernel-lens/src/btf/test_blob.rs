//! Blobs of BTF for tests, put together record by record as the document describes them.

use super::kind;

#[derive(Default)]
pub(super) struct Blob {
    types: Vec<u8>,
    strings: Vec<u8>,
    layout: Vec<u8>,
    /// Added to every string's place: what a module continues.
    first_string: u32,
    next_id: u32,
}

impl Blob {
    pub(super) fn new() -> Self {
        Self { strings: vec![0], next_id: 1, ..Self::default() }
    }

    /// One that continues a blob with so many types and bytes of strings.
    pub(super) fn module(types: u32, strings: u32) -> Self {
        Self { strings: vec![0], next_id: types + 1, first_string: strings, ..Self::default() }
    }

    pub(super) fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let at = self.first_string + self.strings.len() as u32;
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        at
    }

    /// A record with words behind it; gives its id.
    pub(super) fn add(
        &mut self,
        name: &str,
        kind: u8,
        flag: bool,
        vlen: u32,
        word: u32,
        tail: &[u32],
    ) -> u32 {
        let name = self.string(name);
        self.add_named(name, kind, flag, vlen, word, tail)
    }

    /// The same with the place of a name, which may be its base's.
    pub(super) fn add_named(
        &mut self,
        name: u32,
        kind: u8,
        flag: bool,
        vlen: u32,
        word: u32,
        tail: &[u32],
    ) -> u32 {
        let info = u32::from(flag) << 31 | u32::from(kind) << 24 | vlen;
        for it in [name, info, word].iter().chain(tail) {
            self.types.extend_from_slice(&it.to_le_bytes());
        }
        self.next_id += 1;
        self.next_id - 1
    }

    pub(super) fn int(&mut self, name: &str, bytes: u32) -> u32 {
        self.add(name, kind::INT, false, 0, bytes, &[bytes * 8])
    }

    pub(super) fn pointer(&mut self, to: u32) -> u32 {
        self.add("", kind::PTR, false, 0, to, &[])
    }

    pub(super) fn array(&mut self, of: u32, len: u32) -> u32 {
        self.add("", kind::ARRAY, false, 0, 0, &[of, of, len])
    }

    /// A structure; members are name, type, and bit (with a width in the upper byte if `flag`).
    pub(super) fn structure(
        &mut self,
        name: &str,
        bytes: u32,
        flag: bool,
        members: &[(&str, u32, u32)],
    ) -> u32 {
        let tail: Vec<u32> =
            members.iter().flat_map(|(name, of, bit)| [self.string(name), *of, *bit]).collect();
        self.add(name, kind::STRUCT, flag, members.len() as u32, bytes, &tail)
    }

    pub(super) fn layout(&mut self, kind: u8, fixed: u8, each: u8) {
        let at = usize::from(kind) * 4;
        self.layout.resize(self.layout.len().max(at + 4), 0);
        self.layout[at..at + 2].copy_from_slice(&[fixed, each]);
    }

    pub(super) fn strings_len(&self) -> u32 {
        self.strings.len() as u32
    }

    /// The blob, with the long header if there is a layout.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let (types, strings, layout) =
            (self.types.len() as u32, self.strings.len() as u32, self.layout.len() as u32);
        let header = if layout == 0 { 24u32 } else { 32 };
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        let mut words = vec![header, 0, types, types + layout, strings];
        if layout != 0 {
            words.extend([types, layout]);
        }
        bytes.extend(words.iter().flat_map(|it| it.to_le_bytes()));
        for part in [&self.types, &self.layout, &self.strings] {
            bytes.extend_from_slice(part);
        }
        bytes
    }

    /// A kernel of a few types, with most of what a large one has.
    pub(super) fn small_kernel_blob() -> Self {
        let mut blob = Self::new();
        let int = blob.int("int", 4);
        let long = blob.int("long unsigned int", 8);
        let number = blob.add("u64", kind::TYPEDEF, false, 0, long, &[]);
        let entity =
            blob.structure("sched_entity", 16, false, &[("load", long, 0), ("vruntime", number, 64)]);
        let inner = blob.structure("", 8, false, &[("inner_low", int, 0), ("inner_high", int, 32)]);
        let slots = blob.array(int, 4);
        let task_id = blob.next_id + 3;
        let constant = blob.add("", kind::CONST, false, 0, task_id, &[]);
        let parent = blob.pointer(constant);
        let marked = blob.add("", kind::VOLATILE, false, 0, inner, &[]);
        let task = blob.structure(
            "task_struct",
            64,
            true,
            &[
                ("parent", parent, 0),
                ("pid", int, 64),
                ("low_bits", int, 96 | 5 << 24),
                ("high_bits", int, 101 | 3 << 24),
                ("se", entity, 128),
                ("", marked, 256),
                ("slots", slots, 320),
                ("tail", blob.next_id + 1, 512),
            ],
        );
        blob.array(int, 0);
        blob.add("task_t", kind::TYPEDEF, false, 0, task, &[]);
        let tail = [blob.string("RED"), 0, blob.string("BLUE"), -2i32 as u32];
        blob.add("colour", kind::ENUM, true, 2, 4, &tail);
        let tail = [blob.string("HUGE"), 1, 1];
        blob.add("size", kind::ENUM64, false, 1, 8, &tail);
        blob
    }

    pub(super) fn small_kernel() -> Vec<u8> {
        Self::small_kernel_blob().bytes()
    }
}
