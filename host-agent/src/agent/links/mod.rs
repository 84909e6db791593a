//! The real transports of one guest and the tasks that watch them for its actor.
//!
//! Each watcher only sends what it saw; a full channel holds up the watcher alone. All of them end
//! when [`Links`] is dropped.

mod console;
mod monitor;
mod process;
mod prompt;
mod shell;

use std::path::Path;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use vmward_model::Incarnation;

use super::guest::scenario::{Ask, BootDeadlines, Scenario};
use super::guest::seen::{Console as ConsoleSeen, Seen};
use crate::capture::KnownLayout;
use crate::config::{self, ConsoleKind, GuestPolicy, ProbeSpec};
use crate::probe::{Settings, named};
use crate::target::{ConsoleAddress, ConsoleAt, Target};
use crate::transport::console::{self as line, Console};
use crate::transport::qmp::{self, Monitor};

pub use prompt::Prompt;

/// What the watchers may have waiting for the actor.
pub const SEEN: usize = 256;

/// The handles of a guest's transports; clones share them.
#[derive(Clone, Debug)]
pub struct Handles {
    /// The monitor, where one was found.
    pub monitor: Option<Monitor>,
    /// The console, where one was found.
    pub console: Option<Console>,
    /// How the console is built: decides the ways of SysRq.
    pub built: Option<ConsoleAddress>,
    /// Has `query-status` asked now.
    pub nudge: Arc<Notify>,
    /// Where its memory stood when QEMU last told.
    pub layout: KnownLayout,
    /// Prompts of the scenarios, by scenario.
    pub prompts: Arc<Vec<Prompt>>,
}

/// The watchers of a guest.
#[derive(Debug)]
pub struct Links {
    /// The transports.
    pub handles: Handles,
    _tasks: JoinSet<()>,
}

impl Links {
    /// Opens what can be opened and begins to watch. What cannot be opened is told to the actor.
    pub fn start(
        target: &Target,
        scenarios: &[config::Scenario],
        policy: &GuestPolicy,
        rings: &Path,
        ring_cap: u64,
    ) -> (Links, mpsc::Receiver<Seen>) {
        let (send, seen) = mpsc::channel(SEEN);
        let mut tasks = JoinSet::new();
        let nudge = Arc::new(Notify::new());
        let prompts = Prompt::of_scenarios(scenarios, policy);
        let monitor = target.qmp.as_ref().map(|at| {
            Monitor::new(qmp::Settings {
                path: at.path.clone(),
                policy: policy.qmp_policy.unwrap_or(at.policy).into(),
                deadlines: qmp::Deadlines::default(),
                pid: target.pid(),
            })
        });
        if let Some(incarnation) = target.incarnation {
            tasks.spawn(process::watch(incarnation, send.clone(), nudge.clone()));
        }
        let layout = KnownLayout::default();
        if let Some(monitor) = &monitor {
            if let Some(incarnation) = target.incarnation {
                tasks.spawn(monitor::layout(monitor.clone(), incarnation, layout.clone()));
            }
            tasks.spawn(monitor::ask(monitor.clone(), send.clone(), nudge.clone()));
            tasks.spawn(monitor::listen(monitor.clone(), send.clone()));
        }
        let opened = target.console.as_ref().map(|at| {
            let ring = rings.join(target.id.to_string());
            open(at, &prompts, ring, ring_cap, target.incarnation)
        });
        let console = match opened {
            Some(Ok(console)) => {
                let labels = labels(scenarios);
                tasks.spawn(console::watch(console.clone(), labels, send.clone()));
                Some(console)
            }
            Some(Err(error)) => {
                let why = format!("its ring on disk cannot be opened: {error}");
                // The channel is new: there is room.
                drop(send.try_send(Seen::Console(ConsoleSeen::Link(Err(why)))));
                None
            }
            None => {
                let why = "no console was found".to_owned();
                drop(send.try_send(Seen::Console(ConsoleSeen::Link(Err(why)))));
                None
            }
        };
        let built = target.console.clone();
        let prompts = Arc::new(prompts);
        let handles = Handles { monitor, console, built, nudge, layout, prompts };
        (Links { handles, _tasks: tasks }, seen)
    }
}

fn open(
    at: &ConsoleAddress,
    prompts: &[Prompt],
    ring: std::path::PathBuf,
    cap: u64,
    incarnation: Option<Incarnation>,
) -> std::io::Result<Console> {
    let run = incarnation.map_or_else(|| "unknown".to_owned(), |it| format!("{}-{}", it.pid, it.start_ticks));
    Console::start(line::Settings {
        address: match &at.at {
            ConsoleAt::Unix(path) => line::Address::Unix(path.clone()),
            ConsoleAt::Tcp(address) => line::Address::Tcp(*address),
            ConsoleAt::Tty(path) => line::Address::Tty(path.clone()),
        },
        mux: at.mux,
        ring: Some(line::RingSettings { dir: ring, cap, incarnation: run }),
        qemu_log: at.logfile.clone(),
        prompts: prompts.iter().flat_map(|it| it.declared.iter().cloned()).collect(),
    })
}

fn labels(scenarios: &[config::Scenario]) -> Vec<vmward_console_log::LabelRule> {
    let rule = |it: &config::Scenario| match &it.probe {
        ProbeSpec::ConsoleLabel(label) => Some(vmward_console_log::LabelRule {
            name: it.name.clone(),
            matcher: vmward_console_log::LabelMatcher::Pattern(label.pattern.regex().clone()),
        }),
        _ => None,
    };
    scenarios.iter().filter_map(rule).collect()
}

/// A configured scenario as the actor runs it; none when its probe is not in the registry.
pub fn bind(it: &config::Scenario, boot: BootDeadlines) -> Option<Scenario> {
    let mut settings = Settings { timeout: it.timeout.get(), label: it.name.clone(), ..Settings::default() };
    match &it.probe {
        ProbeSpec::ConsoleCommand(command) => settings.command.clone_from(&command.command),
        ProbeSpec::ConsoleLabel(label) => settings.max_gap = label.max_gap.get(),
        ProbeSpec::KernelTrouble(trouble) => {
            settings.kinds.clone_from(&trouble.console);
            settings.events.clone_from(&trouble.qmp);
        }
        ProbeSpec::QmpStatus(_) => {}
    }
    let ask = Ask { probe: named(it.probe.kind())?, settings };
    Some(Scenario { name: it.name.clone(), every: it.every.get(), rule: it.rule(), asks: vec![ask], boot })
}

/// Whether the console is a virtconsole.
pub fn is_hvc(at: &ConsoleAddress) -> bool {
    at.kind == ConsoleKind::Hvc
}
