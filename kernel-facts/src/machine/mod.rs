//! The state of the machine as its kernel keeps it: CPUs, memory, RCU, workqueues, devices.
//!
//! Plain data; whoever reads it fills in what it found, and what it did not find is `None` or missing.

mod clock;

pub use clock::Clock;
