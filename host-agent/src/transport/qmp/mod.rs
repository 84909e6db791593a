//! QMP, QEMU's machine protocol, on our own wire over the generated types of the `qapi` crate.
//!
//! `qapi`'s own transport sends no ids, panics after a timed-out command and ends the connection at
//! the first event that it does not know; a guest that hangs is our main case, so only its types are
//! used.
//!
//! * [`Monitor`]: what the rest of the agent uses; holds the socket or visits it ([`Policy`]).
//! * [`Qmp`]: one connection. [`Qmp::ask`] takes only commands of the allow-list ([`allowed`]).
//! * [`ConnectError`], [`AskError`]: no socket, refused, busy, silent, stopped, gone, garbage, closed.
//! * [`Book`]: bounded event ring and wire log.
//! * [`codec`], [`message`], [`session`]: the sans-I/O core.

pub mod allowed;
mod book;
mod client;
pub mod codec;
mod error;
pub mod message;
mod monitor;
pub mod session;
mod wire;

#[cfg(test)]
pub(crate) mod tests;

pub use allowed::{
    Allowed, GdbSocketPath, HealthyPermit, HmpGdbServer, HmpRead, L2Permit, L3Permit, Pauses, Touches,
    WhenHealthy,
};
pub use book::{Book, Event, EventHistory};
pub use client::{Deadlines, Qmp};
pub use error::{AskError, ConnectError, QmpError};
pub use message::{Greeting, short};
pub use monitor::{BRIEF_SESSION, Lease, Monitor, Policy, Settings};
