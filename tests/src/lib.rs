//! What the end-to-end tests, the demo and the benchmarks share: an agent process that watches given
//! guests, and one run of one fault with everything that is expected of it.
//!
//! The agent is always the real program in a process of its own, so that it can be killed like one.

pub mod ask;
pub mod binary;
pub mod controller;
pub mod fake;
pub mod hostile;
pub mod lens;
pub mod memory_sources;
pub mod mutate;
pub mod readers;
pub mod record;
pub mod roots;
pub mod still;
pub mod stored;
pub mod sweep;
pub mod ward;
