//! Reports on disk: one incident as one content-addressed bundle.
//!
//! A bundle is a folder with `manifest.json` and one file for each distinct content under
//! `artifacts/`, named by its SHA-256; packed, it is the same files in one `.tar.zst`.
//! [`write`] leaves a whole bundle or none, whatever moment the power is cut at; [`sweep`] removes
//! what a killed writer left, [`enforce`] the oldest reports where all together take too much. [`open`] reads both forms, and takes neither size, names nor digests
//! on trust: a bundle may come from anybody.
//!
//! Only this module knows the names of files in a bundle.

pub mod archive;
mod cap;
mod chart;
pub mod disk;
pub mod hostile;
pub mod limits;
mod name;
pub mod reader;
mod sweep;
mod tar_entry;
mod writer;

pub use archive::pack;
pub use cap::{Dropped, enforce};
pub use chart::chart;
pub use limits::{Limits, OpenError};
pub use reader::{Bundle, Checked, open};
pub use sweep::{Swept, sweep};
pub use writer::{BundlePath, Content, Origin, WriteError, write, write_on};

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod test_bundle;
