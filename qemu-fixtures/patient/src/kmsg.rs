//! Lines into the kernel log, and so onto the console.

use std::fs::OpenOptions;
use std::io::Write;

/// `KERN_ERR`.
pub(crate) const ERROR: u8 = 3;
/// `KERN_INFO`.
pub(crate) const INFO: u8 = 6;

/// Writes one line. Without `/dev/kmsg` there is nowhere to complain, so a failure is only returned.
pub(crate) fn write(level: u8, text: &str) -> bool {
    // One write is one record; a line break would start another line without the time stamp.
    let line = format!("<{level}>{}", text.replace('\n', " | "));
    OpenOptions::new().write(true).open("/dev/kmsg").and_then(|mut it| it.write_all(line.as_bytes())).is_ok()
}
