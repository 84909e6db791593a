//! The reader of reports, folder and packed: no bundle may make it panic or give what its name denies.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

/// One folder for the whole run, in memory where the host has such a place.
static PLACE: LazyLock<PathBuf> = LazyLock::new(|| {
    let shm = std::path::Path::new("/dev/shm");
    let mut builder = tempfile::Builder::new();
    builder.prefix("vmward-fuzz-").disable_cleanup(true);
    let made = if shm.is_dir() { builder.tempdir_in(shm) } else { builder.tempdir() };
    made.expect("a folder for bundles").keep()
});

fuzz_target!(|bytes: &[u8]| vmward_bundle::hostile::read(bytes, &PLACE));
