//! Images of guests: what the guest said of itself is found in its RAM, where the guest said it is.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};
use vmward_qemu_fixtures::image::{self, Image, Stillness};

/// The kernel's banner, read out of RAM at the physical address that follows from the guest's own
/// `/proc/iomem` and `/proc/kallsyms`.
fn banner(image: &Image) -> Result<String> {
    let symbols = image.text("kallsyms")?;
    let symbol = |name: &str| -> Result<u64> {
        let line = symbols.lines().find(|it| it.split(' ').nth(2) == Some(name));
        let digits = line.and_then(|it| it.split(' ').next()).with_context(|| format!("no {name}"))?;
        Ok(u64::from_str_radix(digits, 16)?)
    };
    let iomem = image.text("iomem")?;
    let line = iomem.lines().find(|it| it.ends_with(": Kernel code")).context("no code in /proc/iomem")?;
    let start = u64::from_str_radix(line.trim().split('-').next().unwrap_or_default(), 16)?;
    // Where the RAM block lies: QEMU's virt machine has devices below 1 GiB.
    let block = if image.meta().kernel.starts_with("arm64") { 0x4000_0000 } else { 0 };
    let at = start - block + symbol("linux_banner")? - symbol("_text")?;
    let mut text = [0; 256];
    File::open(image.ram())?.read_exact_at(&mut text, at)?;
    let end = text.iter().position(|it| *it == b'\n').context("the banner has no end")?;
    Ok(String::from_utf8(text[..end].to_vec())?)
}

/// Everything that a healthy guest must have told, in one image.
fn look(kernel: &str) -> Result<()> {
    let image = image::of(kernel)?;
    ensure!(image.meta().stillness == Stillness::Paused, "{:?}", image.meta());
    ensure!(image.meta().untold.is_empty(), "{:?}", image.meta().untold);
    ensure!(File::open(image.ram())?.metadata()?.len() == u64::from(image.meta().memory_mib) << 20);
    // `/proc/version` is the banner.
    ensure!(banner(&image)? == image.text("version")?.trim_end());
    ensure!(image.registers()?.matches("CPU#").count() == 2);

    let tasks = image.files("tasks")?;
    let still = image.still_threads()?;
    ensure!(tasks.threads().len() > 30 && still.len() > 20, "{} of {}", still.len(), tasks.threads().len());
    let kthreadd = (2, 2);
    ensure!(still.contains(&kthreadd), "kthreadd ran: {still:?}");
    let stack = tasks.of_thread(kthreadd, "stack").context("no stack of kthreadd")?;
    ensure!(stack.contains("kthreadd+0x"), "{stack}");
    ensure!(image.text("sysrq_t")?.contains("kthreadd"));
    let log = image.text("kmsg")?;
    ensure!(log.contains("Linux version") && log.trim_end().ends_with("the end of the log"));
    ensure!(image.text("dmesg")?.lines().count() > 200);
    Ok(())
}

#[test]
fn a_guests_memory_is_where_the_guest_says_it_is() -> Result<()> {
    look("amd64-6.1")
}

#[test]
fn all_guests_memory_is_where_they_say_it_is() -> Result<()> {
    for kernel in vmward_qemu_fixtures::kernels::KERNELS {
        look(kernel).with_context(|| format!("on {kernel}"))?;
    }
    Ok(())
}

#[test]
fn two_that_want_an_image_get_the_same() -> Result<()> {
    let both: Vec<_> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..2).map(|_| scope.spawn(|| image::of("amd64-6.1"))).collect();
        asked.into_iter().filter_map(|it| it.join().ok()).collect::<Result<_>>()
    })?;
    ensure!(both.len() == 2 && both[0].folder() == both[1].folder());
    ensure!(both[0].meta() == both[1].meta());
    Ok(())
}

/// The disk still owes an answer: QEMU's `stop` would never come back, so the process was stopped instead.
#[test]
fn all_a_guest_whose_disk_is_silent_is_taken_too() -> Result<()> {
    let image = image::of_fault("lock-chain", "amd64-6.1")?;
    ensure!(image.meta().stillness == Stillness::Held, "{:?}", image.meta());
    ensure!(banner(&image)? == image.text("version")?.trim_end());
    let tasks = image.files("tasks")?;
    // The holder, and two of the application's writers behind it.
    let stuck =
        |it: &(u32, u32)| tasks.of_thread(*it, "status").is_some_and(|status| status.contains("State:\tD"));
    let stuck = image.still_threads()?.into_iter().filter(stuck).count();
    ensure!(stuck >= 3, "{stuck} threads wait still");
    Ok(())
}
