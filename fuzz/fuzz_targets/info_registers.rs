//! The reader of `info registers -a`: no text may make it panic or grow without bound.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vmward::capture::info_registers::{MAX_CPUS, parse};

fuzz_target!(|bytes: &[u8]| {
    let (cpus, _) = parse(&String::from_utf8_lossy(bytes));
    assert!(cpus.len() <= MAX_CPUS);
});
