//! One guest: what is known of it, its rounds, its incident, and the task that owns all of it.
//!
//! [`view`] and [`round`] are pure; [`actor`] is the task; [`ports`] is all that it has others do.

pub mod actor;
#[cfg(test)]
mod actor_tests;
mod history;
pub mod memory;
pub mod order;
pub mod ports;
mod qmp_event;
mod round;
pub(crate) mod running;
pub mod scenario;
mod schedule;
pub mod seen;
pub mod view;
#[cfg(test)]
mod view_tests;
pub mod ward;

pub use running::ScenarioStatus;
