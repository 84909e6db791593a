//! BTF that a hostile guest wrote: asked for everything, it neither panics nor goes on for long.

use proptest::prelude::*;

use super::Types;
use super::test_blob::Blob;

/// Asks for all that there is to ask.
fn ask(types: &Types) {
    for name in ["task_struct", "task_t", "colour", "sched_entity", "int", "size", "u64", ""] {
        let _ = (types.size(name), types.describe(name), types.enumerators(name));
        for path in ["pid", "se.vruntime", "slots[3]", "tail[9]", "high_bits", "inner_high", "parent", "none"]
        {
            let _ = (types.offset(name, path), types.member(name, path), types.pointee(name, path));
            let _ = (types.array_len(name, path), types.element_size(name, path));
        }
    }
    let _ = (types.enumerator("BLUE"), types.enumerator("HUGE"), types.enumerator(""));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn changed_bytes_do_no_harm(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12)) {
        let mut blob = Blob::small_kernel();
        for (at, byte) in changes {
            let at = at.index(blob.len());
            blob[at] = byte;
        }
        if let Ok(types) = Types::new(blob) {
            ask(&types);
        }
    }

    #[test]
    fn changed_ids_and_places_do_no_harm(changes in prop::collection::vec((any::<prop::sample::Index>(), 0u32..24), 1..24)) {
        let mut blob = Blob::small_kernel();
        for (at, word) in changes {
            // Behind the header, so that most of these blobs are taken.
            let at = 24 + at.index((blob.len() - 28) / 4) * 4;
            blob[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        if let Ok(mut types) = Types::new(blob.clone()) {
            ask(&types);
            let _ = types.add_module("itself", blob);
            ask(&types);
        }
    }

    #[test]
    fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut blob = Blob::small_kernel()[..24].to_vec();
        blob.extend(bytes);
        let _ = Types::new(blob).map(|types| ask(&types));
    }
}
