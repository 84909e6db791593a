//! Readings of a case that several rules share. Each answers `None` where the case does not say.

pub(crate) mod console;
pub(crate) mod cpu;
pub(crate) mod disk;
pub(crate) mod memory;
pub(crate) mod task;

/// `1 task`, `3 tasks`.
pub(crate) fn count(n: usize, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
}
