//! The lens behind one door for each form of what a guest or a file can put before it: for the fuzz targets
//! `lens_*` and for the replay of their corpora.

use std::cell::OnceCell;

use vmward::transport::memory::{MemoryMap, registers};
use vmward_kernel_lens::btf::Types;
use vmward_kernel_lens::source::open_bytes;

use crate::lens::Pictured;
use crate::mutate::{Bytes, Choices};
use crate::readers::{Subject, everything};

/// Names the kernel whose image `lens_image` changes; without it amd64-6.1.
const KERNEL_VARIABLE: &str = "VMWARD_FUZZ_KERNEL";
/// Runs of memory that are looked at: a file can claim any number.
const MOST_RUNS: usize = 64;

/// A fuzz target: its name and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] =
    &[("lens_image", image), ("lens_core", core), ("lens_types", types), ("lens_memory_map", memory_map)];

thread_local! {
    static SUBJECT: OnceCell<Subject> = const { OnceCell::new() };
}

/// A real guest's image that the input changes. Its first byte says which reader looks at it, the rest is
/// [`Bytes`].
///
/// # Panics
/// When a reader panics, or the image cannot be had.
pub fn image(bytes: &[u8]) {
    SUBJECT.with(|subject| {
        let subject = subject.get_or_init(|| {
            let kernel = std::env::var(KERNEL_VARIABLE).unwrap_or_else(|_| "amd64-6.1".to_owned());
            match Pictured::of(&kernel).and_then(Subject::new) {
                Ok(subject) => subject,
                Err(error) => panic!("no image of {kernel}: {error:#}"),
            }
        });
        let mut choices = Bytes::new(bytes);
        let readers = subject.readers();
        let Some(reader) = choices.below(256) else { return };
        // The last two numbers mean all of them, from the search for the kernel on.
        let reader = reader as usize % (readers.len() + 2);
        match readers.get(reader) {
            Some(reader) => assert!(subject.one(reader, &mut choices).is_ok(), "{reader} is no reader"),
            None if reader == readers.len() => drop(subject.whole(&mut choices)),
            None => drop(subject.without_registers(&mut choices)),
        }
    });
}

/// A file that somebody calls a core or a dump.
///
/// # Panics
/// When what it is taken for breaks a promise of memory.
pub fn core(bytes: &[u8]) {
    let Ok(opened) = open_bytes(Box::new(bytes.to_vec())) else { return };
    let memory = &*opened.memory;
    let ranges = memory.ranges();
    assert!(ranges.iter().all(|it| !it.is_empty()) && ranges.windows(2).all(|it| it[0].end < it[1].start));
    let mut from = 0;
    for _ in 0..MOST_RUNS {
        let Some(run) = memory.populated(from) else { break };
        assert!(run.start >= from && !run.is_empty(), "{run:?} is not behind {from:#x}");
        from = run.end;
    }
    for range in ranges.iter().take(MOST_RUNS) {
        for at in [range.start.saturating_sub(1), range.start, range.start + range.len() / 2, range.end - 1] {
            let (mut byte, mut page) = ([0], [0; 8192]);
            let _ = (memory.read(at, &mut byte), memory.read(at, &mut page));
        }
    }
    drop(everything(memory, &opened.cpus));
}

/// Types as a kernel would hold them.
///
/// # Panics
/// When the reader panics.
pub fn types(bytes: &[u8]) {
    let Ok(mut types) = Types::new(bytes.to_vec()) else { return };
    let ask = |types: &Types| {
        for name in ["task_struct", "list_head", "int", "u64", ""] {
            let _ = (types.size(name), types.describe(name), types.enumerators(name));
            for path in ["pid", "next", "tasks.next", "slots[3]", ""] {
                let _ = (types.offset(name, path), types.member(name, path), types.pointee(name, path));
            }
        }
        let _ = types.enumerator("PIDTYPE_MAX");
    };
    ask(&types);
    let _ = types.add_module("itself", bytes.to_vec());
    ask(&types);
}

/// What QEMU's monitor says of memory and registers.
///
/// # Panics
/// When rows of a map overlap what they cannot.
pub fn memory_map(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(map) = MemoryMap::parse(&text) {
        assert!(map.rows().iter().all(|it| !it.is_empty()));
        assert!(map.rows().windows(2).all(|it| it[0].start <= it[1].start));
        for block in map.likely_blocks() {
            assert!(map.first_of(block).is_some() && map.extent(block) > 0);
        }
    }
    let _ = registers::from_text(&text);
}
