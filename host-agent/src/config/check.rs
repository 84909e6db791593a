//! What cannot be seen from one value alone: names that must exist, bounds that belong together.

use std::collections::{BTreeMap, BTreeSet};

use vmward_console_log::TroubleKind;
use vmward_model::Rung;

use super::diagnosis::Diagnosis;
use super::error::Problem;
use super::file::Config;
use super::guest::{ConsoleEntry, GuestEntry, PolicyEntry};
use super::prompt::prompt_ends;
use super::scenario::{ProbeSpec, Scenario};
use super::source::{Key, Source, steps};
use super::text::Pattern;
use super::units::HumanDuration;
use crate::probe::kernel_trouble::EVENTS;
use crate::verdict::Rule;

const LONGEST_COMMAND: usize = 1024;
const LONGEST_PAUSE: HumanDuration = HumanDuration::from_secs(5);
const SHORTEST_ROUND: HumanDuration = HumanDuration::from_millis(200);
const SHORTEST_BOOT: HumanDuration = HumanDuration::from_secs(1);
const SHORTEST_SEARCH: HumanDuration = HumanDuration::from_secs(1);

/// Checks `vmward.toml` against the scenarios that there are.
pub(super) fn config(it: &Config, source: &Source, scenarios: &BTreeMap<String, Scenario>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (key, folder) in [("folder", &it.state.folder), ("run-folder", &it.state.run_folder)] {
        if !folder.is_absolute() {
            problems.push(source.problem(steps!["state", key], "the path must be absolute"));
        }
    }
    if it.discovery.every < SHORTEST_SEARCH {
        let message = format!("guests are looked for at most every {SHORTEST_SEARCH}");
        problems.push(source.problem(steps!["discovery", "every"], message));
    }
    let mut bound = |at: &[Key<'_>], names: Option<&Vec<String>>| {
        for (n, name) in names.into_iter().flatten().enumerate() {
            if !scenarios.contains_key(name) {
                let place: Vec<Key<'_>> =
                    at.iter().copied().chain([Key::from("scenarios"), n.into()]).collect();
                let known: Vec<&str> = scenarios.keys().map(String::as_str).collect();
                let help = format!("there are: {}", known.join(", "));
                problems.push(source.problem(&place, format!("no scenario is called {name:?}")).help(help));
            }
        }
    };
    bound(steps!["guest-defaults"], it.guest_defaults.scenarios.as_ref());
    for (n, entry) in it.guests.iter().enumerate() {
        bound(steps!["guest", n], entry.scenarios.as_ref());
    }
    problems.extend(pause(&it.guest_defaults.policy, source, steps!["guest-defaults"]));
    problems.extend(prompt(it.guest_defaults.prompt.as_ref(), source, steps!["guest-defaults", "prompt"]));
    let defaults = [
        ("boot-deadline", it.guest_defaults.boot_deadline),
        ("root-deadline", it.guest_defaults.root_deadline),
    ];
    problems.extend(boot(defaults, source, steps!["guest-defaults"]));
    problems.extend(super::upload::check(it, source));
    for (n, entry) in it.guests.iter().enumerate() {
        problems.extend(guest(entry, source, n));
        problems.extend(pause(&entry.policy, source, steps!["guest", n]));
        problems.extend(prompt(entry.prompt.as_ref(), source, steps!["guest", n, "prompt"]));
        let deadlines = [("boot-deadline", entry.boot_deadline), ("root-deadline", entry.root_deadline)];
        problems.extend(boot(deadlines, source, steps!["guest", n]));
    }
    problems
}

fn guest(entry: &GuestEntry, source: &Source, n: usize) -> Vec<Problem> {
    let mut problems = Vec::new();
    if entry.name.is_none() && entry.uuid.is_none() {
        let help = "add name = \"...\" (with * and ? for several) or uuid = \"...\"";
        problems.push(
            source.problem(steps!["guest", n], "this entry does not say which guest it is for").help(help),
        );
    }
    let one = entry.uuid.is_some() || entry.name.as_ref().is_some_and(super::Glob::is_plain);
    if (entry.qmp.is_some() || entry.console.is_some()) && !one {
        let message = "an address belongs to one guest, this name may match several";
        problems
            .push(source.problem(steps!["guest", n, "name"], message).help("write the whole name or a uuid"));
    }
    if let Some(qmp) = entry.qmp.as_ref().filter(|it| !it.path.is_absolute()) {
        let message = format!("the path {:?} must be absolute", qmp.path);
        problems.push(source.problem(steps!["guest", n, "qmp", "path"], message));
    }
    if let Some(ConsoleEntry { unix, tcp, tty, .. }) = &entry.console {
        let given = [unix.is_some(), tcp.is_some(), tty.is_some()].into_iter().filter(|it| *it).count();
        if given != 1 {
            let message = format!("a console has one address, this has {given}");
            problems.push(
                source.problem(steps!["guest", n, "console"], message).help("give one of unix, tcp and tty"),
            );
        }
    }
    problems
}

fn pause(policy: &PolicyEntry, source: &Source, at: &[Key<'_>]) -> Option<Problem> {
    let budget = policy.pause_budget.filter(|it| *it > LONGEST_PAUSE)?;
    let place: Vec<Key<'_>> =
        at.iter().copied().chain(steps!["policy", "pause-budget"].iter().copied()).collect();
    let message = format!("a pause of {budget} is too long: at most {LONGEST_PAUSE}");
    Some(source.problem(&place, message))
}

/// Said here, since later there is only a console at which nothing is ever typed.
fn prompt(pattern: Option<&Pattern>, source: &Source, at: &[Key<'_>]) -> Option<Problem> {
    let unusable = pattern.filter(|it| prompt_ends(it.as_str()).is_empty())?;
    let message = format!("{:?} may stand for too many prompts to type at", unusable.as_str());
    let help = "write how the prompt ends: literal characters and sets of a few, such as '~[#$] ?$'";
    Some(source.problem(at, message).help(help))
}

/// A boot that is stuck from its first moment would be an alarm at every start.
fn boot(deadlines: [(&str, Option<HumanDuration>); 2], source: &Source, at: &[Key<'_>]) -> Vec<Problem> {
    let short = |(_, it): &(&str, Option<HumanDuration>)| it.is_some_and(|it| it < SHORTEST_BOOT);
    let problem = |(key, _): (&str, Option<HumanDuration>)| {
        let place: Vec<Key<'_>> = at.iter().copied().chain([Key::from(key)]).collect();
        source.problem(&place, format!("no guest boots in less: at least {SHORTEST_BOOT}"))
    };
    deadlines.into_iter().filter(short).map(problem).collect()
}

/// Checks one scenario against the diagnoses that there are.
pub(super) fn scenario(
    it: &Scenario,
    source: &Source,
    diagnoses: &BTreeMap<String, Diagnosis>,
) -> Vec<Problem> {
    let mut problems = name(&it.name, source);
    let mut wrong = |at: &[Key<'_>], message: String| problems.push(source.problem(at, message));
    if it.every < SHORTEST_ROUND {
        wrong(steps!["every"], format!("rounds come at most every {SHORTEST_ROUND}"));
    }
    if it.timeout > it.every || it.timeout.get().is_zero() {
        wrong(
            steps!["timeout"],
            format!("the timeout must be more than 0 and at most `every`, {}", it.every),
        );
    }
    if !(1..=Rule::MAX).contains(&it.recover) {
        wrong(steps!["recover"], format!("must be from 1 to {}", Rule::MAX));
    }
    if !diagnoses.contains_key(&it.diagnosis) {
        let known: Vec<&str> = diagnoses.keys().map(String::as_str).collect();
        let message = format!("no diagnosis is called {:?}; there are: {}", it.diagnosis, known.join(", "));
        wrong(steps!["diagnosis"], message);
    }
    let kind = it.probe.kind();
    match &it.probe {
        ProbeSpec::ConsoleCommand(probe) => {
            let printable = probe.command.bytes().all(|b| (b' '..=b'~').contains(&b));
            if !printable || probe.command.trim().is_empty() || probe.command.len() > LONGEST_COMMAND {
                let message =
                    format!("a command is one line of printable ASCII, at most {LONGEST_COMMAND} bytes");
                wrong(steps!["probe", kind, "command"], message);
            }
            problems.extend(prompt(Some(&probe.prompt), source, steps!["probe", kind, "prompt"]));
        }
        ProbeSpec::ConsoleLabel(probe) if probe.max_gap.get().is_zero() => {
            wrong(steps!["probe", kind, "max-gap"], "no guest can write labels without a gap".to_owned());
        }
        ProbeSpec::KernelTrouble(probe) => {
            if probe.console.is_empty() && probe.qmp.is_empty() {
                wrong(
                    steps!["probe", kind],
                    "looks for nothing: name console kinds or QMP events".to_owned(),
                );
            }
            for (n, name) in probe.console.iter().enumerate() {
                if TroubleKind::from_name(name).is_none() {
                    let known = TroubleKind::ALL.map(TroubleKind::name).join(", ");
                    let message = format!("no trouble on the console is called {name:?}; there are: {known}");
                    wrong(steps!["probe", kind, "console", n], message);
                }
            }
            for (n, event) in probe.qmp.iter().enumerate() {
                if !EVENTS.contains(&event.as_str()) {
                    let known = EVENTS.join(", ");
                    let message =
                        format!("{event:?} is no QMP event that tells of kernel trouble; there are: {known}");
                    wrong(steps!["probe", kind, "qmp", n], message);
                }
            }
        }
        ProbeSpec::ConsoleLabel(_) | ProbeSpec::QmpStatus(_) => {}
    }
    problems
}

/// Checks one diagnosis against the captures that there are.
pub(super) fn diagnosis(it: &Diagnosis, source: &Source, captures: &[&str]) -> Vec<Problem> {
    let mut problems = name(&it.name, source);
    let mut wrong = |at: &[Key<'_>], message: String| problems.push(source.problem(at, message));
    if it.deadline.get().is_zero() {
        wrong(steps!["deadline"], "must be more than 0".to_owned());
    }
    if it.captures.is_empty() {
        wrong(steps!["capture"], "a diagnosis needs at least one [[capture]]".to_owned());
    }
    let mut seen = BTreeSet::new();
    for (n, capture) in it.captures.iter().enumerate() {
        if !captures.contains(&capture.name.as_str()) {
            let message =
                format!("no capture is called {:?}; there are: {}", capture.name, captures.join(", "));
            wrong(steps!["capture", n, "name"], message);
        }
        if !seen.insert(&capture.name) {
            wrong(steps!["capture", n, "name"], format!("{:?} stands twice", capture.name));
        }
        if capture.deadline > it.deadline || capture.deadline.get().is_zero() {
            let message = format!("must be more than 0 and at most the diagnosis's, {}", it.deadline);
            wrong(steps!["capture", n, "deadline"], message);
        }
        if capture.cap.bytes() == 0 {
            wrong(steps!["capture", n, "cap"], "must be more than 0".to_owned());
        }
        // L0 sees the host alone and may stand anywhere; the others climb.
        let gentler_later = it.captures.iter().find(|other| {
            other.rung != Rung::L0 && other.rung < capture.rung && other.group >= capture.group
        });
        if let Some(other) = gentler_later {
            let message = format!(
                "{:?} on {:?} must come before this one on {:?}: give this a higher group",
                other.name, other.rung, capture.rung
            );
            wrong(steps!["capture", n, "group"], message);
        }
    }
    problems
}

fn name(name: &str, source: &Source) -> Vec<Problem> {
    let mut problems = Vec::new();
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
        let message = "a name has 1 to 64 of the characters a-z, 0-9 and -";
        problems.push(source.problem(steps!["name"], message));
    } else if source.file.file_stem().is_none_or(|stem| stem != name) {
        let message = format!("the file of {name:?} must be called {name}.toml");
        problems.push(source.problem(steps!["name"], message));
    }
    problems
}
