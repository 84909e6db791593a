//! The other kernels: each boots, is watched, panics, and is heard.

use anyhow::{Result, ensure};
use vmward_tests::sweep;

fn a_panic_is_heard_on(kernel: &str) -> Result<()> {
    let run = sweep::run("panic", kernel)?;
    ensure!(run.is_as_promised(), "panic on {kernel}:\n{}\n{run:#?}", run.problems.join("\n"));
    Ok(())
}

#[test]
fn a_panic_is_heard_on_5_10() -> Result<()> {
    a_panic_is_heard_on("amd64-5.10")
}

#[test]
fn a_panic_is_heard_on_6_12() -> Result<()> {
    a_panic_is_heard_on("amd64-6.12")
}

#[test]
fn a_panic_is_heard_on_7() -> Result<()> {
    a_panic_is_heard_on("amd64-7.x")
}

#[test]
fn a_panic_is_heard_on_arm64() -> Result<()> {
    a_panic_is_heard_on("arm64-6.12")
}
