//! Reports on disk: one incident as one content-addressed bundle.
//!
//! [`write`] leaves a whole bundle or none, whatever moment the power is cut at; [`sweep`] removes
//! what a killed writer left, [`enforce`] the oldest reports where all together take too much. What
//! a bundle is, its names and bounds and how it is read are `vmward-bundle`'s, which the controller
//! uses too.

mod cap;
mod chart;
pub mod disk;
mod sweep;
mod writer;

pub use cap::{Dropped, Retention, age, enforce, enforce_by, folders, size};
pub use chart::chart;
pub use sweep::{Swept, sweep};
use vmward_bundle::name;
pub use vmward_bundle::{Bundle, Checked, Limits, OpenError, open, pack};
pub use writer::{BundlePath, Content, Origin, WriteError, write, write_on};

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod test_bundle;
#[cfg(test)]
mod writer_tests;
