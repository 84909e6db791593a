//! Faults on the main kernel, each held against everything that `faults.toml` promises of it. The
//! ones here are CI's; `cargo xtask sweep` runs all of them on every kernel.

use anyhow::{Result, ensure};
use vmward_tests::sweep;

fn as_promised(fault: &str, kernel: &str) -> Result<()> {
    let run = sweep::run(fault, kernel)?;
    ensure!(run.is_as_promised(), "{fault} on {kernel}:\n{}\n{run:#?}", run.problems.join("\n"));
    Ok(())
}

#[test]
fn a_panic_is_named_within_two_seconds() -> Result<()> {
    as_promised("panic", "amd64-6.1")
}

#[test]
fn a_lock_chain_behind_a_silent_disk_is_a_lock_wait() -> Result<()> {
    as_promised("lock-chain", "amd64-6.1")
}

#[test]
fn real_time_spinners_are_a_cpu_spin() -> Result<()> {
    as_promised("rt-spin", "amd64-6.1")
}

#[test]
fn one_vcpu_with_interrupts_off_is_an_irq_off_spin() -> Result<()> {
    as_promised("irq-off-one", "amd64-6.1")
}

#[test]
fn a_frozen_user_space_is_told_from_a_hung_kernel() -> Result<()> {
    as_promised("userspace-stop", "amd64-6.1")
}

#[test]
fn a_dead_shell_is_a_lost_console_and_never_a_hang() -> Result<()> {
    as_promised("shell-dead", "amd64-6.1")
}

#[test]
fn a_stopped_qemu_is_named_as_such() -> Result<()> {
    as_promised("qemu-stopped", "amd64-6.1")
}
