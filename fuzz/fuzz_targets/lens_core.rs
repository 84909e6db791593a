//! The readers of cores, dumps and minicores: no file may make them panic or break a promise of memory.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| vmward_tests::hostile::core(bytes));
