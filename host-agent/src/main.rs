//! The `vmward` command.

fn main() {}
