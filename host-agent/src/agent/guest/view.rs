//! What the agent knows of one guest: moved by what is seen, read by the probes. No I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use vmward_model::observed::{BootPhase, MonitorHealth, ShellSeen};
use vmward_model::{EventKind, GuestInput, GuestState, Severity, Transition};

use super::qmp_event;
use super::seen::{Console, Monitor, Process, Seen, ShellReply, Trouble};

/// How long failures are excused after a guest was found, resumed, restored or migrated.
pub const GRACE: Duration = Duration::from_secs(5);
/// So much trouble of one boot is kept. Then more of a kind that is there takes the place of the oldest
/// of it and is no event, and a new kind takes the place of a repetition: a disk's errors must not hide
/// the panic that they end in.
const TROUBLE: usize = 64;

/// The view. Cloned for a round that waits for an answer, so it stays small.
#[derive(Clone, Debug)]
pub struct View {
    /// The state machine's state.
    pub state: GuestState,
    /// Since when.
    pub since: Instant,
    /// When the guest was found by this agent.
    pub found: Instant,
    /// Failures before this moment are excused.
    pub grace_until: Instant,
    /// Resets since the process started, as far as they were seen.
    pub boot: u32,
    /// When this boot began, if it was seen to begin.
    pub boot_began: Option<Instant>,
    /// The process.
    pub process: Process,
    /// The monitor's last answer and when it came.
    pub monitor: Option<(Monitor, Instant)>,
    /// Whether a migration is under way while the guest runs.
    pub migrating: bool,
    /// QEMU announced that it ends: its going is no trouble.
    pub leaving: bool,
    /// The console.
    pub console: ConsoleView,
    /// Trouble of this boot with the moment it was seen, oldest first.
    pub trouble: Vec<(Trouble, Instant)>,
    /// Trouble that did not fit.
    pub more_trouble: u64,
}

/// What is known of the console.
#[derive(Clone, Debug)]
pub struct ConsoleView {
    /// It can be read, or why not.
    pub link: Result<(), String>,
    /// When the last byte came.
    pub last_byte: Option<Instant>,
    /// How far this boot has come.
    pub phase: Option<BootPhase>,
    /// A person is attached.
    pub person: bool,
    /// Labels of this boot: how many, and when the last came.
    pub labels: BTreeMap<String, (u64, Instant)>,
    /// What the shell last did when it was asked.
    pub shell: Option<ShellSeen>,
    /// When that was.
    pub shell_at: Option<Instant>,
}

/// What a look at the guest changed.
#[derive(Debug, Default, PartialEq)]
pub struct Moved {
    /// Events to emit.
    pub events: Vec<(Severity, EventKind)>,
    /// What failed before is to be forgotten: the guest was paused, resumed, moved.
    pub excuse: bool,
    /// The guest started again.
    pub new_boot: bool,
    /// Ask `query-status` at once, because an event said that it changed.
    pub ask_status: bool,
}

impl View {
    /// A guest that was found just now.
    pub fn new(now: Instant) -> View {
        View {
            state: GuestState::Unknown,
            since: now,
            found: now,
            grace_until: now + GRACE,
            boot: 0,
            boot_began: None,
            process: Process::Alive,
            monitor: None,
            migrating: false,
            leaving: false,
            console: ConsoleView {
                link: Err("not connected yet".to_owned()),
                last_byte: None,
                phase: None,
                person: false,
                labels: BTreeMap::new(),
                shell: None,
                shell_at: None,
            },
            trouble: Vec::new(),
            more_trouble: 0,
        }
    }

    /// Why a failure of the guest to answer may not be held against it just now.
    pub fn excuse(&self, now: Instant) -> Option<String> {
        if self.state.excuses_silence() {
            return Some(format!("the guest is {}", name(self.state)));
        }
        (now < self.grace_until).then(|| "the guest was found, resumed or moved a moment ago".to_owned())
    }

    /// Takes what was seen.
    pub fn take(&mut self, seen: Seen, now: Instant) -> Moved {
        let mut moved = Moved::default();
        match seen {
            Seen::Process(process) => self.take_process(process, now, &mut moved),
            Seen::Monitor(monitor) => self.take_monitor(monitor, now, &mut moved),
            Seen::Qmp { name, data } => self.take_qmp(&name, data, now, &mut moved),
            Seen::Console(console) => self.take_console(console, now, &mut moved),
        }
        moved
    }

    /// Keeps what the shell did.
    pub fn shell(&mut self, reply: &ShellReply, now: Instant) {
        let millis = |it: &Duration| u64::try_from(it.as_millis()).unwrap_or(u64::MAX);
        self.console.shell = match reply {
            ShellReply::Answered { took } => {
                Some(ShellSeen { answered: true, took_ms: Some(millis(took)), said: None, ago_ms: None })
            }
            ShellReply::Said { text, took } => Some(ShellSeen {
                answered: true,
                took_ms: Some(millis(took)),
                said: Some(text.clone()),
                ago_ms: None,
            }),
            ShellReply::Silent { .. } => {
                Some(ShellSeen { answered: false, took_ms: None, said: None, ago_ms: None })
            }
            // Nothing was asked: what was seen before still holds.
            ShellReply::Refused(_) | ShellReply::Unreachable(_) => return,
        };
        self.console.shell_at = Some(now);
    }

    /// A probe passed that only a booted guest can pass.
    pub fn shows_life(&mut self, why: &str, now: Instant) -> Moved {
        let mut moved = Moved::default();
        self.input(GuestInput::ShowsLife, why, now, &mut moved);
        moved
    }

    fn take_process(&mut self, process: Process, now: Instant, moved: &mut Moved) {
        let before = std::mem::replace(&mut self.process, process);
        match process {
            Process::Gone => {
                moved.events.push((Severity::Warn, EventKind::GuestGone));
                self.input(GuestInput::ProcessGone, "the process ended", now, moved);
            }
            Process::Stopped => self.input(GuestInput::NoAnswer, "QEMU is stopped (state T)", now, moved),
            Process::Alive if before == Process::Stopped => {
                // What the guest missed meanwhile is not its fault.
                self.grace_until = now + GRACE;
                moved.excuse = true;
                moved.ask_status = true;
            }
            Process::Alive => {}
        }
    }

    fn take_monitor(&mut self, monitor: Monitor, now: Instant, moved: &mut Moved) {
        let before = self.monitor.as_ref().map(|(it, _)| it.health.clone());
        if before.as_ref() != Some(&monitor.health) {
            let problem = monitor.why.clone();
            let worse = monitor.health != MonitorHealth::Answers;
            let severity = if worse { Severity::Warn } else { Severity::Info };
            moved.events.push((severity, EventKind::Transport { transport: "qmp".to_owned(), problem }));
        }
        match (&monitor.health, &monitor.status) {
            (MonitorHealth::Answers, Some(status)) => {
                // After `postmigrate` the guest is elsewhere, or in a file: this QEMU has nothing left to do.
                self.leaving = qmp_event::leaves(status, self.leaving);
                if let Some(input) = qmp_event::of_status(status, self.migrating) {
                    let why = format!("query-status: {status}");
                    self.input(input, &why, now, moved);
                }
            }
            // Once may be a moment of load: the second in a row is silence.
            (MonitorHealth::Silent, _) if before == Some(MonitorHealth::Silent) => {
                self.input(GuestInput::NoAnswer, &monitor.why, now, moved);
            }
            _ => {}
        }
        self.monitor = Some((monitor, now));
    }

    fn take_qmp(&mut self, name: &str, data: serde_json::Value, now: Instant, moved: &mut Moved) {
        let meaning = qmp_event::meaning(name, &data);
        if let Some(severity) = meaning.report {
            moved.events.push((severity, EventKind::Qemu { name: name.to_owned(), data }));
        }
        if let Some(migrating) = meaning.migrating {
            self.migrating = migrating;
        }
        self.leaving |= meaning.leaving;
        if let Some(trouble) = meaning.trouble {
            self.add_trouble(trouble, now, moved);
        }
        match meaning.input {
            Some(GuestInput::Reset) => self.restarted(&format!("event {name}"), now, moved),
            // STOP follows the event that tells why; it must not cover that.
            Some(GuestInput::Paused) if name == "STOP" && !self.runs() => {}
            Some(input) => self.input(input, &format!("event {name}"), now, moved),
            None => {}
        }
        if meaning.grace {
            self.grace_until = now + GRACE;
            moved.excuse = true;
        }
        moved.ask_status |= meaning.ask_status;
    }

    fn take_console(&mut self, console: Console, now: Instant, moved: &mut Moved) {
        match console {
            Console::Link(link) => {
                if link != self.console.link {
                    let problem = link.clone().err().unwrap_or_default();
                    let severity = if link.is_ok() { Severity::Info } else { Severity::Warn };
                    moved
                        .events
                        .push((severity, EventKind::Transport { transport: "console".to_owned(), problem }));
                }
                if link.is_ok() && self.console.link.is_err() {
                    // Nothing was heard while it was not read.
                    self.grace_until = self.grace_until.max(now + GRACE);
                }
                self.console.link = link;
            }
            Console::Bytes(_) => self.console.last_byte = Some(now),
            Console::Trouble(trouble) => self.add_trouble(trouble, now, moved),
            Console::Label { rule } => {
                self.input(GuestInput::ShowsLife, "a label", now, moved);
                // The rules are the configuration's: a guest cannot make more of them.
                let entry = self.console.labels.entry(rule).or_insert((0, now));
                *entry = (entry.0.saturating_add(1), now);
            }
            Console::Phase(phase) => {
                let back = self.console.phase.is_some_and(|before| before > phase);
                if back && phase <= BootPhase::Kernel && self.boot_over(now) {
                    self.restarted("the console shows a boot", now, moved);
                }
                if phase <= BootPhase::Kernel && self.boot_began.is_none() {
                    self.boot_began = Some(now);
                }
                self.console.phase = Some(phase);
                if phase == BootPhase::Up {
                    self.input(GuestInput::ShowsLife, "the console shows a booted system", now, moved);
                }
            }
            Console::Person(person) => self.console.person = person,
        }
    }

    /// RESET and the firmware's first line tell of the same restart.
    fn boot_over(&self, now: Instant) -> bool {
        self.boot_began.is_none_or(|began| now.duration_since(began) > Duration::from_secs(10))
    }

    fn restarted(&mut self, why: &str, now: Instant, moved: &mut Moved) {
        self.boot = self.boot.saturating_add(1);
        self.boot_began = Some(now);
        self.trouble.clear();
        self.more_trouble = 0;
        self.console.labels.clear();
        self.console.phase = None;
        self.console.shell = None;
        self.grace_until = now + GRACE;
        moved.new_boot = true;
        self.input(GuestInput::Reset, why, now, moved);
    }

    fn add_trouble(&mut self, trouble: Trouble, now: Instant, moved: &mut Moved) {
        let known = self.trouble.iter().position(|(it, _)| same_kind(it, &trouble));
        let full = self.trouble.len() >= TROUBLE;
        if full {
            self.more_trouble = self.more_trouble.saturating_add(1);
            match known {
                // The first of what stops the kernel says most.
                Some(_) if trouble.fatal => return,
                Some(oldest) => drop(self.trouble.remove(oldest)),
                None => self.drop_a_repetition(),
            }
        }
        if !full || known.is_none() {
            let (kind, title) = (trouble.kind.clone(), trouble.title.clone());
            let severity = if trouble.fatal { Severity::Crit } else { Severity::Error };
            moved.events.push((severity, EventKind::ConsoleTrouble { kind, title }));
        }
        self.trouble.push((trouble, now));
    }

    /// There is always one: there are fewer kinds than places.
    fn drop_a_repetition(&mut self) {
        let repeats = |at: &usize| {
            let (before, rest) = self.trouble.split_at(*at);
            rest.first().is_some_and(|(it, _)| before.iter().any(|(other, _)| same_kind(it, other)))
        };
        let at = (0..self.trouble.len()).rev().find(repeats).unwrap_or(0);
        self.trouble.remove(at);
    }

    fn runs(&self) -> bool {
        matches!(self.state, GuestState::Running | GuestState::Unknown | GuestState::Migrating)
    }

    fn input(&mut self, input: GuestInput, why: &str, now: Instant, moved: &mut Moved) {
        match self.state.next(input) {
            Transition::Stay => {}
            Transition::Illegal => tracing::debug!(?input, state = ?self.state, "input makes no sense here"),
            Transition::Go(to) => {
                let from = std::mem::replace(&mut self.state, to);
                self.since = now;
                if from.excuses_silence() {
                    self.grace_until = now + GRACE;
                }
                moved.excuse |= from.excuses_silence() || to.excuses_silence();
                let severity = match to {
                    GuestState::Panicked => Severity::Crit,
                    GuestState::HostError | GuestState::Silent => Severity::Error,
                    GuestState::Gone if !self.leaving => Severity::Error,
                    _ => Severity::Info,
                };
                moved.events.push((severity, EventKind::StateChanged { from, to, why: why.to_owned() }));
            }
        }
    }
}

fn same_kind(a: &Trouble, b: &Trouble) -> bool {
    (&a.kind, &a.source) == (&b.kind, &b.source)
}

/// A state's name in a sentence.
pub fn name(state: GuestState) -> &'static str {
    match state {
        GuestState::Unknown => "of unknown state",
        GuestState::Running => "running",
        GuestState::Paused => "paused",
        GuestState::Migrating => "migrating",
        GuestState::Saving => "being saved or restored",
        GuestState::Rebooting => "rebooting",
        GuestState::ShutDown => "shut down",
        GuestState::Panicked => "panicked",
        GuestState::HostError => "stopped by QEMU for an error",
        GuestState::Silent => "behind a silent QEMU",
        GuestState::Gone => "gone",
    }
}
