//! A real guest's memory, changed: no reader of the lens may panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| vmward_tests::hostile::image(bytes));
