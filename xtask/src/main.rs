//! `cargo xtask`: the project's only script language.

fn main() {}
