//! A real Debian guest with Debian's own SysRq mask, which refuses dumps: memory tells instead, the rest is
//! complete, and nobody types at its login prompt.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use vmward_model::CaptureOutcome;
use vmward_qemu_fixtures::debian;
use vmward_qemu_fixtures::qemu::Guest;
use vmward_tests::ask;
use vmward_tests::ward::{Plan, Ward};

/// Runs a program in the guest through its guest agent.
fn run_in_guest(guest: &Guest, path: &str, args: &[&str]) -> Result<Value> {
    let socket = guest.folder().join(debian::AGENT_SOCKET);
    let mut stream = UnixStream::connect(&socket).context("while reaching the guest agent")?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).context("while setting a deadline")?;
    let question = json!({ "execute": "guest-exec", "arguments": { "path": path, "arg": args } });
    stream.write_all(format!("{question}\n").as_bytes()).context("while asking the guest agent")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).context("while the guest agent answers")?;
    let answer: Value =
        serde_json::from_str(&line).with_context(|| format!("the guest agent said {line:?}"))?;
    ensure!(answer["return"]["pid"].is_u64(), "the guest agent did not run {path}: {answer}");
    Ok(answer)
}

#[test]
fn a_debian_guest_that_would_refuse_sysrq_is_read_from_memory() -> Result<()> {
    let name = format!("vmward-debian-{}", std::process::id());
    let guest = debian::guest(&name)?.boot()?;
    let mut ward = Ward::start(&Plan::for_guest(&name).without_prompt())?;
    ward.wait_well(&["app-label"], Duration::from_secs(90))?;
    run_in_guest(&guest, "/usr/bin/systemctl", &["stop", "app"])?;
    let (incident, _) = ward.wait_incident("opened", Duration::from_secs(60))?;
    ward.wait_incident("examined", Duration::from_secs(90))?;
    let bundle = ward.bundle(incident)?;
    ensure!(bundle.verify()?.is_whole(), "the bundle is not whole");
    let captures = &bundle.manifest().incident.captures;
    let outcome =
        |name: &str| captures.iter().find(|record| record.capture == name).map(|record| &record.outcome);
    ensure!(
        matches!(outcome("sysrq-w"), Some(CaptureOutcome::Skipped { .. })),
        "a key was pressed for what memory tells: {:?}",
        outcome("sysrq-w")
    );
    for name in
        ["memory", "host-threads", "console-tail", "run-state", "block-stats", "virtqueues", "registers"]
    {
        ensure!(
            matches!(outcome(name), Some(CaptureOutcome::Done | CaptureOutcome::Partial { .. })),
            "{name} gave nothing: {:?}",
            outcome(name)
        );
    }
    let shown = ask::vmward(&ward, &["report", "show", &bundle.path().to_string_lossy()])?;
    let chart = String::from_utf8_lossy(&shown.stdout).into_owned();
    ensure!(
        chart.to_lowercase().contains("tasks and cpus of the guest"),
        "the chart does not show what memory told:\n{chart}"
    );
    let console = guest.console_text()?;
    ensure!(!console.contains("uptime"), "somebody typed at the login prompt:\n{console}");
    Ok(())
}
