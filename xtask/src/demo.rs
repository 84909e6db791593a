//! `cargo xtask demo`: boots a real guest, breaks it, and shows how vmward finds out.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};
use vmward_model::EventKind;
use vmward_qemu_fixtures::fault::catalogue::Catalogue;
use vmward_qemu_fixtures::fault::{self, Fault};
use vmward_qemu_fixtures::qemu::{Guest, clean_up_all};
use vmward_qemu_fixtures::standard::standard_patient;
use vmward_tests::binary;
use vmward_tests::controller::Controller;
use vmward_tests::ward::{Plan, Ward, tail};

use crate::{run, setup};

mod live;

/// Arguments of `cargo xtask demo`.
#[derive(clap::Args)]
pub struct Args {
    /// Ask no questions.
    #[arg(long)]
    yes: bool,
    /// What to break; `cargo xtask fixtures list` names them.
    #[arg(long, default_value = "lock-chain")]
    fault: String,
    /// Guest kernel.
    #[arg(long, default_value = "amd64-6.1")]
    kernel: String,
    /// Leave guest, agent and controller running until Ctrl-C.
    #[arg(long)]
    keep: bool,
}

/// How long the guest is watched before it is broken.
const QUIET: Duration = Duration::from_secs(8);
/// How long trouble may take to be noticed.
const NOTICE: Duration = Duration::from_secs(60);
/// How long the examination may take after that.
const EXAMINE: Duration = Duration::from_secs(90);
/// How long the report may take from there to the controller.
const UPLOAD: Duration = Duration::from_secs(30);

/// Runs it. The work is done on a thread of its own, so that this one can wait for Ctrl-C.
pub fn run(args: &Args) -> Result<ExitCode> {
    let fault = fault::find(&args.fault)?;
    if let Some(stop) = setup::ready(|_| ask(args.yes))? {
        return Ok(stop);
    }
    // Caught, not blocked: what is blocked is blocked in every child as well, and a Ctrl-C would leave
    // the compiler and the downloads of a first run behind.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("while taking over Ctrl-C")?;
    let entered = runtime.enter();
    let caught = |kind| signal(kind).context("while taking over Ctrl-C");
    let mut interrupt = caught(SignalKind::interrupt())?;
    let mut terminate = caught(SignalKind::terminate())?;
    let mut hangup = caught(SignalKind::hangup())?;
    drop(entered);
    std::thread::scope(|scope| {
        let (told, over) = tokio::sync::oneshot::channel();
        let work = scope.spawn(|| {
            let outcome = show(args, fault);
            // Nobody listens when a signal came first, and then the process ends.
            let _ = told.send(());
            outcome
        });
        let stopped = runtime.block_on(async {
            tokio::select! {
                _ = over => false,
                _ = interrupt.recv() => true,
                _ = terminate.recv() => true,
                _ = hangup.recv() => true,
            }
        });
        if !stopped {
            return work.join().unwrap_or_else(|_| bail!("the demo failed in a way that it did not foresee"));
        }
        eprintln!("\nstopping: guest, agent, controller and their sockets are removed");
        clean_up_all();
        std::process::exit(130);
    })
}

fn ask(yes: bool) -> Result<bool> {
    if yes {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() {
        eprintln!("nobody is there to ask; --yes installs it without a question");
        return Ok(false);
    }
    eprint!("install it now? [y/N] ");
    std::io::stderr().flush().context("while asking")?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("while reading your answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// The demo itself.
fn show(args: &Args, fault: &'static dyn Fault) -> Result<ExitCode> {
    say("building vmward and its controller");
    binary::vmward()?;
    binary::controller()?;
    let state = output_folder()?;
    let name = format!("demo-{}", std::process::id());

    say(&format!("booting {} under QEMU (the first run fetches the kernel)", args.kernel));
    let begun = Instant::now();
    let builder = standard_patient(&args.kernel, fault)?.name(&name);
    let mut guest = if fault.boots() { builder.boot()? } else { builder.start()? };
    say(&format!(
        "guest {name} is up after {:.1} s, QEMU is process {}",
        begun.elapsed().as_secs_f64(),
        guest.pid()
    ));

    let controller = Controller::start()?;
    say(&format!("the controller shows what comes in at {}", controller.url()));
    let mut plan = Plan::for_guest(&name);
    plan.state = Some(state.clone());
    plan.more = controller.entry();
    let mut ward = Ward::start(&plan)?;
    ward.wait_event("discovery of the guest", Duration::from_secs(30), |event| {
        matches!(event.kind, EventKind::GuestFound { .. }) && event.name.as_deref() == Some(&name)
    })?;
    say("the agent found it; its rounds:");
    let mut live = live::Live::of(&state);
    if fault.boots() {
        ward.wait_well(&["shell-answers", "app-label"], Duration::from_secs(60))?;
        live.watch_for(QUIET)?;
    }
    let code = break_it(args, fault, &mut guest, &mut ward, &controller, &mut live, &state)?;
    if args.keep {
        say("guest, agent and controller are left running; Ctrl-C ends them");
        say(&format!("look around with: vmward --config {} events -f", ward.config().display()));
        loop {
            live.watch_for(Duration::from_secs(1))?;
        }
    }
    Ok(code)
}

fn break_it(
    args: &Args,
    fault: &'static dyn Fault,
    guest: &mut Guest,
    ward: &mut Ward,
    controller: &Controller,
    live: &mut live::Live,
    state: &Path,
) -> Result<ExitCode> {
    say(&format!("breaking it: {}", args.fault));
    let proof = fault.inject(guest)?;
    let broken = Instant::now();
    say(&format!("the guest itself shows it: {}", proof.text));
    let catalogue = Catalogue::shipped()?;
    let entry = catalogue.entry(&args.fault)?;
    let wait = entry.deadline.max(NOTICE);
    let opened = loop {
        live.watch_for(Duration::from_millis(200))?;
        let opened = ward.events()?.into_iter().find_map(|event| match event.kind {
            EventKind::Incident { id, what, summary } if what == "opened" => Some((id, summary)),
            _ => None,
        });
        if let Some(found) = opened {
            break found;
        }
        if broken.elapsed() > wait {
            if entry.is_harmless() {
                say("nothing was noticed, as it should be: this does a guest no harm");
                return Ok(ExitCode::SUCCESS);
            }
            say("nothing was noticed: vmward missed it");
            return Ok(ExitCode::from(1));
        }
    };
    say(&format!("noticed after {:.1} s: {}", broken.elapsed().as_secs_f64(), opened.1));
    ward.wait_incident("examined", EXAMINE)?;
    let bundle = ward.bundle(opened.0)?;
    say(&format!("examined after {:.1} s", broken.elapsed().as_secs_f64()));
    println!();
    let vmward = binary::vmward()?;
    let shown = Command::new(&vmward)
        .args(["report", "show"])
        .arg(bundle.path())
        .status()
        .context("while showing the report")?;
    if !tells(shown.code()) {
        bail!("vmward report show ended with {shown}");
    }
    let chart = state.join("chart.html");
    let html = Command::new(&vmward)
        .args(["report", "html"])
        .arg(bundle.path())
        .arg("--output")
        .arg(&chart)
        .status()
        .context("while drawing the chart")?;
    if !tells(html.code()) {
        bail!("vmward report html ended with {html}");
    }
    println!();
    say(&format!("bundle: {}", bundle.path().display()));
    say(&format!("chart:  {}", chart.display()));
    let id = opened.0.to_string();
    while !controller.has_report(&id)? {
        if broken.elapsed() > wait + EXAMINE + UPLOAD {
            bail!("the report is not at the controller; its last lines:\n{}", tail(&controller.log(), 30));
        }
        live.watch_for(Duration::from_millis(100))?;
    }
    say(&format!("page:   {}/incidents/{id}", controller.url()));
    if !args.keep {
        say("        (with --keep the controller stays up)");
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether vmward ended with something to tell: 0 is "well", 1 "a finding", 2 "nothing was decided";
/// anything else is a failure of ours.
fn tells(code: Option<i32>) -> bool {
    matches!(code, Some(0..=2))
}

/// A folder of this run that stays: the bundle and the chart are for keeping.
fn output_folder() -> Result<PathBuf> {
    let folder = run::root().join("out/demo").join(std::process::id().to_string());
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("while emptying {}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("while making {}", folder.display()))?;
    Ok(folder)
}

fn say(text: &str) {
    println!("demo: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_failure_of_the_tool_or_a_signal_ends_the_demo() {
        let codes = [Some(0), Some(1), Some(2), Some(3), Some(101), None];
        assert_eq!(codes.map(tells), [true, true, true, false, false, false]);
    }
}
