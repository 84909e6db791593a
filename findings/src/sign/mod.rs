//! Readings of a case that several rules share. Each answers `None` where the case does not say.

pub(crate) mod border;
pub(crate) mod console;
pub(crate) mod cpu;
pub(crate) mod disk;
pub(crate) mod look;
pub(crate) mod memory;
pub(crate) mod task;
pub(crate) mod wait;

/// `1 task`, `3 tasks`.
pub(crate) fn count(n: usize, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
}

/// `350 ms`, `2.3 s`, `4 min`, `3 h`.
pub(crate) fn age(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{:.1} s", ms as f64 / 1000.0),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}

/// `17 KiB`, `380 MiB`, `2.5 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes / 1024),
        1_048_576..10_737_418_240 => format!("{} MiB", bytes >> 20),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}
