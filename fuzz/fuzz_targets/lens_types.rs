//! The reader of BTF: no bytes may make it panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| vmward_tests::hostile::types(bytes));
