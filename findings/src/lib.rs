//! Turns a verdict and its captures into named findings.
//!
//! The engine is pure: the same [`Case`] gives the same [`Conclusion`] on the host, on the
//! controller and from a bundle file. [`conclude`] puts every rule of [`rule::RULES`] to the case; the
//! words about findings come from a [`catalogue::Catalogue`].

mod case;
pub mod catalogue;
mod engine;
pub mod rule;
mod sign;

/// Name and JSON Schema of each document of this crate, for `cargo xtask gen`.
pub fn schemas() -> Vec<(&'static str, schemars::Schema)> {
    vec![("case", schemars::schema_for!(Case))]
}

pub use case::{CASE_KIND, Case, KernelSeen, Look, ON_DEMAND, SysrqSeen};
pub use engine::{Conclusion, Undecided, conclude};
