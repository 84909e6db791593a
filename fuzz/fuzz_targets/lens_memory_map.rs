//! The readers of `info mtree -f` and of registers: no text may make them panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| vmward_tests::hostile::memory_map(bytes));
