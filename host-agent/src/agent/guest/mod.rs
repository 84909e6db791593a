//! One guest: what is known of it, its rounds, its incident, and the task that owns all of it.

mod qmp_event;
pub mod seen;
pub mod view;
#[cfg(test)]
mod view_tests;
