//! Every reader of the transports: QMP lines, gdb packets, register layouts, dump notes, console text.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| vmward::transport::hostile::read(bytes));
