//! `vmward-controller`.

fn main() {}
