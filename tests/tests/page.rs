//! The controller's pages in a real browser: `tests/page/run.mjs` looks, this gives it something to see.
//!
//! Screenshots are kept in `out/page`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use vmward_qemu_fixtures::fault;
use vmward_qemu_fixtures::standard::standard_patient;
use vmward_qemu_fixtures::unikernel::{self, Mode};
use vmward_tests::controller::Controller;
use vmward_tests::ward::{Plan, Ward};

fn root() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace has no folder")
}

/// The folder of the browser's part, with what it needs from npm in it.
fn scripts() -> Result<PathBuf> {
    let folder = root()?.join("tests/page");
    let age = |file: &str| std::fs::metadata(folder.join(file)).and_then(|it| it.modified());
    let lock = age("package-lock.json").context("while looking for tests/page/package-lock.json")?;
    if !age("node_modules/.package-lock.json").is_ok_and(|it| it >= lock) {
        let status = Command::new("npm")
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(&folder)
            .stdin(Stdio::null())
            .status()
            .context("no npm: `cargo xtask test` as root installs it")?;
        ensure!(status.success(), "`npm ci` in tests/page failed: {status}");
    }
    Ok(folder)
}

/// Runs the browser; `next` is called when it waits for the second fault.
fn look(controller: &Controller, more: &[&str], mut next: impl FnMut() -> Result<()>) -> Result<()> {
    let out = root()?.join("out/page");
    let mut node = Command::new("node")
        .arg(scripts()?.join("run.mjs"))
        .arg(controller.url())
        .arg(&out)
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("no node: `cargo xtask test` as root installs it")?;
    let stdout = node.stdout.take().context("node has no output")?;
    let mut said = Vec::new();
    let mut outcome = Ok(());
    for line in BufReader::new(stdout).lines() {
        let line = line.context("while reading what the browser did")?;
        if line == "next: second fault" && outcome.is_ok() {
            outcome = next();
        }
        said.push(line);
    }
    let status = node.wait().context("while waiting for node")?;
    outcome?;
    ensure!(status.success(), "the pages are not as they should be ({status}):\n{}", said.join("\n"));
    Ok(())
}

#[test]
fn a_person_finds_on_the_pages_what_agents_sent() -> Result<()> {
    let controller = Controller::start()?;
    look(&controller, &[], || Ok(()))
}

#[test]
fn a_second_fault_appears_on_an_open_page() -> Result<()> {
    let controller = Controller::start()?;
    let fault = fault::find("lock-chain")?;
    let name = format!("vmward-page-{}", std::process::id());
    let second = format!("vmward-next-{}", std::process::id());
    let mut patient = standard_patient("amd64-6.1", fault)?.name(&name).boot()?;
    let mut other = unikernel::guest(&second, Mode::Heartbeat)?.boot()?;
    let other_guest = format!(
        "\n[[guest]]\nname = {second:?}\nwatch = true\nscenarios = [\"shell-answers\", \"app-label\"]\n\
         prompt = \"unikernel> $\"\nqmp-policy = \"hold\"\n"
    );
    let plan = Plan { more: controller.entry() + &other_guest, ..Plan::for_guest(&name) };
    let mut ward = Ward::start(&plan)?;
    ward.wait_well(&["shell-answers", "app-label"], Duration::from_secs(60))?;
    fault.inject(&mut patient)?;
    let (incident, _) = ward.wait_incident("examined", Duration::from_secs(120))?;
    ward.wait_event("the report's way to the controller", Duration::from_secs(60), |_| {
        controller.has_report(&incident.to_string()).unwrap_or(false)
    })?;
    let looked = look(&controller, &[&name, &second], || {
        other.signal(Signal::SIGSTOP).context("while stopping the second guest")
    });
    // A stopped process would not end when it is told to.
    other.signal(Signal::SIGCONT).context("while letting the second guest go on")?;
    looked
}
