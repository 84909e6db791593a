//! The agent: one actor a guest, its incidents, the event store, the control socket.
//!
//! [`run`] is the daemon; [`control::client`] asks a daemon; [`once`] does without one.

pub mod clock;
pub mod control;
pub mod durable;
pub mod events;
pub mod examine;
pub mod guest;
pub mod incident;
pub mod links;
pub mod live;
pub mod once;
pub mod paths;
pub mod roster;
#[cfg(test)]
mod roster_tests;
pub mod rounds;
mod run;
#[cfg(test)]
mod run_tests;
pub mod scribe;

pub use run::{Find, run};
