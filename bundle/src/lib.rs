//! Report bundles as they are read: one incident as one content-addressed bundle.
//!
//! A bundle is a folder with `manifest.json` and one file for each distinct content under
//! `artifacts/`, named by its SHA-256; packed, it is the same files in one `.tar.zst`. [`open`] reads
//! both forms, [`import`] takes a packed one from a stream that cannot be rewound, [`pack`] makes one
//! file of a folder. None of them takes sizes, names or digests on trust: a bundle may come from
//! anybody. Whoever writes bundles (the agent) takes the names and bounds from here.

mod archive;
mod chart;
mod digest;
mod entries;
pub mod hostile;
mod import;
pub mod limits;
pub mod name;
mod parts;
pub mod reader;
#[cfg(any(test, feature = "sample"))]
pub mod sample;
mod tar_entry;
mod unpack;

pub use archive::pack;
pub use chart::{chart, log_tail, words};
pub use digest::digest;
pub use import::{CHUNK, ImportError, Imported, Receiver, import};
pub use limits::{Limits, OpenError};
pub use parts::json_parts;
pub use reader::{Bundle, Checked, open};

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod import_tests;
