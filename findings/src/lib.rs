//! Turns a verdict and its captures into named findings.
//!
//! The engine is pure: the same [`Case`] gives the same conclusion on the host, on the controller
//! and from a bundle file.

mod case;

pub use case::{CASE_KIND, Case, KernelSeen, SysrqSeen};
