//! The agent: one actor a guest, its incidents, the event store, the control socket.

pub mod clock;
pub mod durable;
pub mod events;
pub mod guest;
pub mod incident;
pub mod links;
pub mod live;
pub mod rounds;
pub mod scribe;
