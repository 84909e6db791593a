//! Agent and controller killed at random points: nothing is lost and nothing is there twice.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use vmward_qemu_fixtures::unikernel::{self, Mode};
use vmward_tests::controller::Controller;
use vmward_tests::ward::{Plan, Ward};
use vmward_tests::{ask, stored};

/// The next number of a small generator (Knuth's MMIX constants), so that a run can be told again.
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

/// The counters, read from disk as they are: the sum holds at any moment.
fn counters(ward: &Ward) -> Result<Value> {
    let said = ask::vmward(ward, &["-o", "json", "spool"])?;
    let text = String::from_utf8_lossy(&said.stdout);
    let said: Value = serde_json::from_str(&text)
        .with_context(|| format!("no counters: {text}{}", String::from_utf8_lossy(&said.stderr)))?;
    let it = &said["counters"];
    let of = |name: &str| it[name].as_u64().with_context(|| format!("no {name} in {it}"));
    let dropped = it["dropped"].as_object().context("no drops")?;
    let dropped: u64 = dropped.values().filter_map(Value::as_u64).sum();
    let sum = of("stored")? + of("refused")? + dropped + of("waiting")?;
    ensure!(of("made")? == sum, "made {} is not {sum}: {it}", of("made")?);
    ensure!(dropped == 0 && of("refused")? == 0, "nothing had to be dropped: {it}");
    Ok(it.clone())
}

/// Waits until nothing waits; then the controller has everything that the host has.
fn settled(ward: &Ward, controller: &Controller) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let it = counters(ward)?;
        let ours: Vec<u64> = ward.events()?.into_iter().map(|it| it.seq).collect();
        let theirs = stored::event_numbers(controller)?;
        let once: BTreeSet<&u64> = theirs.iter().collect();
        ensure!(once.len() == theirs.len(), "an event is there twice: {theirs:?}");
        if it["waiting"] == 0 && ours == theirs && it["made"] == it["stored"] {
            break;
        }
        let lost: Vec<&u64> = ours.iter().filter(|it| !once.contains(it)).take(9).collect();
        ensure!(Instant::now() < until, "{it}; not at the controller: {lost:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    // A diagnosis that was under way may have put its bundle down since: it is sent as well, a moment later.
    loop {
        let missing = not_sent(ward, controller)?;
        if missing.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < until, "the controller has no report {missing:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Bundles of the host that the controller does not have.
fn not_sent(ward: &Ward, controller: &Controller) -> Result<Vec<String>> {
    let mut missing = Vec::new();
    for path in ward.bundles()? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // One that is being written, or was when the agent was killed.
        if name.starts_with('.') {
            continue;
        }
        let incident = name.split('.').next().unwrap_or_default();
        if !stored::has_report(controller, incident)? {
            missing.push(name);
        }
    }
    Ok(missing)
}

fn kill_many_times(kills: u32, mut seed: u64) -> Result<()> {
    let mut controller = Controller::start()?;
    let name = format!("vmward-upload-kill-{}", std::process::id());
    let _guest = unikernel::guest(&name, Mode::Heartbeat)?.boot()?;
    let plan = Plan {
        settings: "prompt = \"unikernel> $\"\nqmp-policy = \"hold\"\npolicy = { l3 = \"never\" }\n".into(),
        more: format!("{}\n[upload]\nlongest-pause = \"1s\"\n", controller.entry()),
        ..Plan::for_guest(&name)
    };
    let mut ward = Ward::start(&plan)?;
    ward.wait_well(&["app-label"], Duration::from_secs(60))?;
    for number in 0..kills {
        let before = next(&mut seed);
        ask::spawn_diagnose(&ward, &name)?;
        std::thread::sleep(Duration::from_millis(before % 2500));
        let who = next(&mut seed) % 3;
        let killed = format!("kill {number} (of {})", ["the agent", "the controller", "both"][who as usize]);
        if who != 1 {
            ward.kill().with_context(|| killed.clone())?;
            // As it lies on disk, with nobody running.
            counters(&ward).with_context(|| killed.clone())?;
        }
        if who != 0 {
            controller.kill().with_context(|| killed.clone())?;
            std::thread::sleep(Duration::from_millis(next(&mut seed) % 300));
            controller.restart().with_context(|| killed.clone())?;
        }
        if who != 1 {
            ward.restart().with_context(|| killed.clone())?;
            ward.wait_ready(Duration::from_secs(20)).with_context(|| killed.clone())?;
        }
        settled(&ward, &controller).with_context(|| format!("after {killed}"))?;
    }
    ensure!(ward.bundles()?.len() as u32 >= kills / 4, "too few reports for this to say anything");
    Ok(())
}

#[test]
fn ten_kills_lose_nothing_and_double_nothing() -> Result<()> {
    kill_many_times(10, 7)
}

#[test]
fn all_two_hundred_kills_lose_nothing_and_double_nothing() -> Result<()> {
    kill_many_times(200, 20261125)
}
