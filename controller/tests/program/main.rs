//! The real program, from outside: killed, stopped, filled up, guarded, copied.

#![expect(clippy::unwrap_used, reason = "what helps tests fails like a test")]

#[path = "../../src/sample.rs"]
mod sample;

mod backup;
mod client;
mod full;
mod guarded;
mod kill;
mod serve;
mod stop;
