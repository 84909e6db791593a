//! Images of real guests open as memory with registers, and kernels are found in them.

use anyhow::{Context, Result, ensure};
use vmward_kernel_lens::{PhysicalMemory, Recorder};
use vmward_tests::lens::Pictured;

/// The kernel in an image is the one that the guest says it runs.
fn opens(kernel: &str) -> Result<()> {
    let guest = Pictured::of(kernel)?;
    let size: u64 = guest.memory().ranges().iter().map(|it| it.len()).sum();
    ensure!(size == u64::from(guest.image().meta().memory_mib) << 20, "{size} bytes of RAM");
    let mut populated = 0;
    let mut from = 0;
    while let Some(run) = guest.memory().populated(from) {
        ensure!(run.start >= from && !run.is_empty());
        populated += run.len();
        from = run.end;
    }
    ensure!((10 << 20..size).contains(&populated), "{populated} of {size} bytes are populated");

    let recorder = Recorder::new(guest.memory());
    let found = guest.kernel(&recorder)?;
    let banner = found.symbol("linux_banner").context("no banner")?;
    let banner = found.space.text(banner, 512)?;
    ensure!(banner.trim_end() == guest.image().text("version")?.trim_end(), "{banner}");
    Ok(())
}

#[test]
fn an_image_of_5_10_opens() -> Result<()> {
    opens("amd64-5.10")
}

#[test]
fn an_image_of_6_1_opens() -> Result<()> {
    opens("amd64-6.1")
}

#[test]
fn an_image_of_6_12_opens() -> Result<()> {
    opens("amd64-6.12")
}

#[test]
fn an_image_of_7_opens() -> Result<()> {
    opens("amd64-7.x")
}

#[test]
fn an_image_of_arm64_opens() -> Result<()> {
    opens("arm64-6.12")
}
