//! The log that the lens reads is the one that the guest prints.

use anyhow::{Context, Result, ensure};
use vmward_kernel_facts::{KernelLog, LogRecord, LogStyle};
use vmward_kernel_lens::btf::Types;
use vmward_kernel_lens::{Recorder, printk};
use vmward_tests::lens::Pictured;

/// `dmesg -r` of the guest is the beginning of ours, byte for byte; what follows is younger.
fn prints_as_the_guest_does(guest: &Pictured, log: &KernelLog) -> Result<()> {
    let truth = guest.image().text("dmesg")?;
    let text = log.to_text(LogStyle { raw: true, caller: false });
    if let Some((ours, theirs)) = text.lines().zip(truth.lines()).find(|(ours, theirs)| ours != theirs) {
        // The last line of the answer may have lost its end.
        ensure!(truth.ends_with(theirs), "we read {ours:?}, the guest {theirs:?}");
    }
    ensure!(text.starts_with(truth.trim_end_matches('\n')), "the log is shorter than the guest's own");
    ensure!((log.torn, log.lost, log.left_out) == (0, 0, 0), "{} records are torn", log.torn);
    Ok(())
}

/// `/dev/kmsg` has what `dmesg` leaves out: `PRIORITY,SEQ,USEC,FLAGS[,caller=..];TEXT`, then lines with a
/// device. Returns how many records had one.
fn says_what_kmsg_says(guest: &Pictured, log: &KernelLog) -> Result<usize> {
    let (mut devices, mut current) = (0, None);
    for line in guest.image().text("kmsg")?.lines() {
        if let Some(dictionary) = line.strip_prefix(' ') {
            let record: &LogRecord = current.context("a dictionary of nothing")?;
            let (key, value) = dictionary.split_once('=').context("no value")?;
            let ours = match key {
                "SUBSYSTEM" => &record.subsystem,
                "DEVICE" => &record.device,
                other => anyhow::bail!("unknown key {other}"),
            };
            ensure!(ours.as_deref() == Some(value), "{line} of {record:?}");
            devices += usize::from(key == "DEVICE");
            continue;
        }
        let Some((head, _)) = line.split_once(';') else { continue };
        let words: Vec<&str> = head.split(',').collect();
        let [priority, seq, usec, flags, ..] = words[..] else { continue };
        let (Ok(priority), Ok(seq), Ok(usec)) =
            (priority.parse::<u32>(), seq.parse::<u64>(), usec.parse::<u64>())
        else {
            continue;
        };
        let record = log.records.iter().find(|it| it.seq == seq).with_context(|| format!("no {line}"))?;
        let ours = u32::from(record.facility) << 3 | u32::from(record.level);
        ensure!((ours, record.ts_nsec / 1000) == (priority, usec), "{line} of {record:?}");
        ensure!(record.continues == (flags == "c") || record.open, "{line} of {record:?}");
        current = Some(record);
    }
    Ok(devices)
}

fn reads_the_log(kernel: &str) -> Result<()> {
    let guest = Pictured::of(kernel)?;
    let recorder = Recorder::new(guest.memory());
    let mut found = guest.kernel(&recorder)?;
    let log = printk::read(&found)?;
    prints_as_the_guest_does(&guest, &log)?;
    let devices = says_what_kmsg_says(&guest, &log)?;
    ensure!(devices > 10, "only {devices} records have a device");
    // The wall clock at boot lies before every answer and after the kernel was built.
    let boot = log.boot_nsec.context("no wall clock")?;
    ensure!(boot > 1_700_000_000_000_000_000, "booted at {boot}");

    // Without types the kernel's own VMCOREINFO tells the layout.
    found.types = Types::none();
    let again = printk::read(&found)?;
    ensure!(again.to_text(LogStyle::default()) == log.to_text(LogStyle::default()));
    Ok(())
}

#[test]
fn the_log_of_5_10_is_the_guests_own() -> Result<()> {
    reads_the_log("amd64-5.10")
}

#[test]
fn the_log_of_6_1_is_the_guests_own() -> Result<()> {
    reads_the_log("amd64-6.1")
}

#[test]
fn the_log_of_6_12_is_the_guests_own() -> Result<()> {
    reads_the_log("amd64-6.12")
}

#[test]
fn the_log_of_7_is_the_guests_own() -> Result<()> {
    reads_the_log("amd64-7.x")
}
