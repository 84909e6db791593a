//! Monitors that misbehave are told apart and named, and a flood on a console is taken and survived.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use vmward_qemu_fixtures::qemu::RunFolder;
use vmward_qemu_fixtures::unikernel::{self, Mode};
use vmward_tests::ask;
use vmward_tests::fake::{Console, FLOOD, FakeQemu, Monitor};
use vmward_tests::ward::{Plan, Ward};

/// Asks for rounds until one says `word` of the monitor.
fn wait_said(ward: &Ward, guest: &str, word: &str) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(40);
    loop {
        let output = ask::vmward(ward, &["--format", "json", "round", guest])?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if text.contains(word) {
            return Ok(());
        }
        ensure!(
            Instant::now() < until,
            "no round said {word:?}; the last one: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// A plan that also watches the fake.
fn with_fake(mut plan: Plan, name: &str, fake: &FakeQemu) -> Plan {
    plan.more = format!(
        "\n[[guest]]\nname = {name:?}\nwatch = true\nscenarios = [\"kernel-trouble\", \"app-label\"]\n\
         qmp = {{ path = {:?}, policy = \"hold\" }}\nconsole = {{ unix = {:?} }}\n",
        fake.qmp_path(),
        fake.console_path(),
    );
    plan
}

#[test]
fn silent_garbled_and_closing_monitors_are_each_named() -> Result<()> {
    let folder = RunFolder::new()?;
    let fake = FakeQemu::start(folder.path())?;
    let name = format!("vmward-fake-{}", std::process::id());
    let plan = with_fake(Plan { guests: Vec::new(), ..Plan::for_guest("") }, &name, &fake);
    let ward = Ward::start(&plan)?;
    wait_said(&ward, &name, "\"pass\"")?;
    for (behaves, word) in [
        (Monitor::Silent, "the monitor is silent"),
        (Monitor::Garbage, "does not speak QMP"),
        (Monitor::ClosesMidReply, "closed in the middle"),
    ] {
        fake.monitor(behaves);
        wait_said(&ward, &name, word).with_context(|| format!("with a monitor that is {behaves:?}"))?;
        fake.monitor(Monitor::Healthy);
    }
    Ok(())
}

#[test]
fn a_held_monitor_and_a_stopped_qemu_are_each_named() -> Result<()> {
    let name = format!("vmward-held-{}", std::process::id());
    let mut guest = unikernel::guest(&name, Mode::Heartbeat)?.boot()?;
    let holder = UnixStream::connect(guest.qmp_path()).context("while taking the monitor")?;
    let plan = Plan {
        settings: "prompt = \"unikernel> $\"\nqmp-policy = \"hold\"\n".into(),
        ..Plan::for_guest(&name)
    };
    let ward = Ward::start(&plan)?;
    wait_said(&ward, &name, "the monitor is held by")?;
    ensure!(ward.incidents()?.is_empty(), "a monitor that somebody else holds was called trouble");
    drop(holder);
    guest.signal(Signal::SIGSTOP)?;
    let said = wait_said(&ward, &name, "stopped by a signal");
    guest.signal(Signal::SIGCONT)?;
    said
}

#[test]
fn a_hundred_megabytes_of_console_are_taken_within_bounds() -> Result<()> {
    let folder = RunFolder::new()?;
    let fake = FakeQemu::start(folder.path())?;
    let name = format!("vmward-flood-{}", std::process::id());
    let plan = with_fake(Plan { guests: Vec::new(), ..Plan::for_guest("") }, &name, &fake);
    let ward = Ward::start(&plan)?;
    wait_said(&ward, &name, "\"pass\"")?;
    fake.console(Console::Floods);
    let until = Instant::now() + Duration::from_secs(120);
    while fake.flooded() < FLOOD {
        ensure!(Instant::now() < until, "only {} bytes of the flood were taken", fake.flooded());
        std::thread::sleep(Duration::from_millis(100));
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", ward.pid()))
        .context("while looking at the agent")?;
    let peak: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .context("no VmHWM")?;
    ensure!(peak < 64 << 10, "the agent took {peak} KiB at most while 100 MB came in");
    let kept: u64 = walk(&ward.state().join("consoles"))?;
    ensure!(kept < 8 << 20, "the ring on disk has {kept} bytes");
    wait_said(&ward, &name, "\"pass\"")
}

/// Bytes of all files below a folder.
fn walk(folder: &std::path::Path) -> Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder).with_context(|| format!("while listing {}", folder.display()))? {
        let entry = entry?;
        let meta = entry.metadata()?;
        sum += if meta.is_dir() { walk(&entry.path())? } else { meta.len() };
    }
    Ok(sum)
}
