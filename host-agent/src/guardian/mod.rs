//! The guardian: a small process beside the agent that undoes our stop of a guest, whatever becomes of
//! the agent.
//!
//! # Why a process, and why it holds the monitor
//!
//! Rung L2 pauses a guest for a few milliseconds: a one-page dump, or a gdb stub session (connecting
//! stops the guest; closing the connection without `D` leaves it paused **for ever**). The agent may
//! be killed at any moment in between, so somebody else must be there who (a) knows that the stop is
//! ours, (b) can reach QEMU, and (c) is not killed with the agent.
//!
//! A QMP socket serves one client. While the agent held the only socket, a guardian could connect
//! only after the agent's end, and anybody else might be faster. So for the time of an L2 operation
//! **the guardian is the one who holds the monitor**: the agent leaves it ([`Monitor::lend`]), the
//! guardian connects, and everything goes through it. Passing the agent's descriptor instead would
//! save one reconnection, and cost a hand-over of half-read lines and open ids; the reconnection is a
//! few milliseconds, and the event history says that there was a gap.
//!
//! # Moment by moment
//!
//! | the agent dies | what happens |
//! |---|---|
//! | before the guardian is ready | nothing was stopped; the guardian sees the end of its control socket and leaves |
//! | guardian ready, nothing asked | the same |
//! | during the one-page dump | the guardian itself waits for it; QEMU stops and resumes within the command, and if the guest is found stopped by it, the guardian continues it |
//! | gdb server open, not connected | the guardian closes the server; a connection in its backlog goes with it, so no stop can come later |
//! | about to connect, connected, reading, or detaching | the guardian closes the server (which drops the session), and continues the guest if the stop is ours |
//! | after the detach | the guardian finds the guest running and does nothing |
//!
//! Before it connects, the agent must be told *go* ([`protocol::Request::Connecting`]): with it the
//! guardian starts the pause budget, and makes sure that nobody stopped the guest since it looked. When
//! the budget is spent the same clean-up is done with the agent alive: it then finds its session closed.
//! `gdbserver none` and the accept of a connection run in the same QEMU main loop, so once the command
//! has returned no stop of ours can follow, and the state asked after it is final.
//!
//! The guardian lives in its own session, takes no notice of SIGTERM, SIGINT and SIGHUP, and has no
//! parent-death signal. A service manager that kills the whole control group would still reach it: the
//! unit must have `KillMode=process`; the guardian ends by itself. It ends when its work is done, and
//! tries for [`server::LINGER`] when QEMU does not answer. If the *guardian* is killed, the agent sees it
//! at once and undoes the stop itself ([`l2`]). Only both killed within the same few milliseconds
//! would leave a guest paused.
//!
//! # Whose stop is it
//!
//! [`ownership::decide`] is a pure function: `cont` is sent only when the guest ran before, is now paused
//! for a reason that our operation makes, nobody else stopped, panicked, migrated or shut it down
//! meanwhile. What cannot be seen: somebody who sends `stop` while our stop lasts (QEMU gives no event
//! for it). Their stop is then undone with ours; the window is the pause itself.
//!
//! # In flight
//!
//! QEMU's stop drains and flushes the block layer under its big lock and never returns on a disk that
//! does not answer. So the guardian refuses unless everything in flight can be read and is zero
//! ([`in_flight`]); between that look and the stop (well under a millisecond of ours, but QEMU's to
//! schedule) a request may still start. On a disk that answers, draining it is harmless; on one that
//! stops answering in that very moment QEMU hangs. This race cannot be closed from outside; it is the
//! reason why L2 is off by default.

pub mod client;
pub mod dump;
pub mod in_flight;
pub mod l2;
pub mod ownership;
pub mod protocol;
pub mod server;

pub use client::{Guardian, GuardianCommand};
pub use l2::{Captured, L2Error, L2Settings, registers_by_dump, registers_by_gdb};
pub use server::main;

#[cfg(doc)]
use crate::transport::qmp::Monitor;
