//! A guest's memory after the fact, served to a stock gdb: registers, memory, tasks.
//!
//! [`GuestFile`] opens a core, a minicore or the bundle that holds one. [`Snapshot`] is what gdb sees of it
//! (threads and their registers, memory through the kernel's page tables), [`Server`] is where gdb comes in.
//! Protocol work is `gdbstub`'s; what a file cannot do (write, go on) is answered before it, in words
//! ([`refusal`](packet::refusal)).
//!
//! The file may come from anybody, and so may what connects: packets are bounded, one peer is served at a time,
//! nothing is written but to the peer.

mod file;
mod listen;
mod monitor;
mod packet;
mod registers;
mod session;
mod target;
mod threads;

pub use file::{FileError, GuestFile};
pub use listen::{Door, Place, ServeError, Server};
pub use registers::{RegisterFile, description};
pub use session::Ended;
pub use target::Snapshot;
pub use threads::Thread;
