//! `run-state` (L1): QEMU's word on the guest: run state, vCPU threads, version, target, name, migration
//! and jobs. It goes first on its rung, since it shows whether the monitor answers at all.
//!
//! `query-cpus-fast` does not synchronise vCPUs, so it is safe while one is stuck.

use std::time::Duration;

use serde_json::{Map, Value};
use vmward_model::observed::{MonitorHealth, RunState};
use vmward_model::{Rung, Sensitivity, TransportKind};

use super::context::Answers;
use super::{
    AskFailure, Capture, Context, Miss, Outcome, Part, Question, Raw, Step, Taken, Unreachable, json,
};

const EACH: Duration = Duration::from_secs(2);
/// vCPUs read at most.
const MAX_VCPUS: usize = 4096;

const ASKED: [(&str, Question); 8] = [
    ("query-status", Question::Status),
    ("query-cpus-fast", Question::Cpus),
    ("query-version", Question::Version),
    ("query-target", Question::Target),
    ("query-name", Question::Name),
    ("query-uuid", Question::Uuid),
    ("query-migrate", Question::Migration),
    ("query-jobs", Question::Jobs),
];

pub(super) struct RunStateOf;

/// Its name: the runner begins rung L1 with it.
pub(super) const NAME: &str = "run-state";

impl Capture for RunStateOf {
    fn name(&self) -> &'static str {
        NAME
    }

    fn rung(&self) -> Rung {
        Rung::L1
    }

    fn transport(&self) -> TransportKind {
        TransportKind::Qmp
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(8)
    }

    fn cap(&self) -> usize {
        256 << 10
    }

    fn take<'a>(&'a self, cx: &'a Context) -> Step<'a, Outcome> {
        Box::pin(take(cx))
    }
}

async fn take(cx: &Context) -> Outcome {
    let questions = ASKED.iter().map(|(_, question)| question.clone()).collect();
    let answers = match cx.monitor()?.ask(questions, EACH).await {
        Ok(answers) => answers,
        Err(Unreachable { health, why }) => {
            let known = Taken { parts: vec![Part::RunState(unknown(cx, health))], ..Taken::default() };
            return Err(Miss::Failed(why).with(known));
        }
    };
    let (answered, missing, health) = sort_out(answers);
    let get = |name: &str| answered.get(name).unwrap_or(&Value::Null);

    let threads: Vec<(u32, u32)> = json::list(get("query-cpus-fast"), MAX_VCPUS)
        .filter_map(|it| Some((json::small(it, "cpu-index")?, json::small(it, "thread-id")?)))
        .collect();
    if !threads.is_empty() {
        // What the agent had learnt before stays: threads do not change their vCPU.
        let _ = cx.vcpu_threads.set(threads);
    }
    let state = RunState {
        status: json::text(get("query-status"), "status"),
        qemu_version: version(get("query-version")),
        arch: json::text(get("query-target"), "arch"),
        ..unknown(cx, health)
    };
    let none = state.status.is_none();
    let taken = Taken {
        parts: vec![Part::RunState(state)],
        raw: vec![Raw::json(&Value::Object(answered), Sensitivity::Status)],
        missing: missing.clone(),
        paused_us: 0,
    };
    if none { Err(Miss::Failed(missing.join("; ")).with(taken)) } else { Ok(taken) }
}

fn unknown(cx: &Context, monitor: MonitorHealth) -> RunState {
    RunState { monitor, status: None, state: cx.guest_state, qemu_version: None, arch: None }
}

/// Answers by command, complaints, and how the monitor fares.
fn sort_out(answers: Answers) -> (Map<String, Value>, Vec<String>, MonitorHealth) {
    let mut answered = Map::new();
    let mut missing = Vec::new();
    let mut health = MonitorHealth::Answers;
    for ((name, _), answer) in ASKED.iter().zip(answers) {
        match answer {
            Ok(value) => {
                answered.insert((*name).to_owned(), value);
            }
            Err(AskFailure::NotAsked) => {}
            Err(failure) => {
                if let AskFailure::NoAnswer(unreachable) = &failure {
                    health = unreachable.health.clone();
                }
                missing.push(format!("{name}: {failure}"));
            }
        }
    }
    (answered, missing, health)
}

fn version(answer: &Value) -> Option<String> {
    let qemu = answer.get("qemu")?;
    let part = |name| json::number(qemu, name);
    let plain = format!("{}.{}.{}", part("major")?, part("minor")?, part("micro")?);
    let package = json::text(answer, "package").filter(|it| !it.is_empty());
    Some(package.map_or(plain.clone(), |it| format!("{plain} ({it})")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_version_is_told_with_its_package() {
        let answer = json!({"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian 1:7.2"});
        assert_eq!(version(&answer).as_deref(), Some("7.2.22 (Debian 1:7.2)"));
        assert_eq!(version(&json!({"qemu": {"micro": "x"}})), None);
    }

    #[test]
    fn a_monitor_that_falls_silent_is_not_said_to_answer() {
        let silent = Unreachable { health: MonitorHealth::Silent, why: "no answer".into() };
        let answers = vec![
            Ok(json!({"status": "running"})),
            Err(AskFailure::NoAnswer(silent)),
            Err(AskFailure::NotAsked),
        ];
        let (answered, missing, health) = sort_out(answers);
        assert_eq!(answered.len(), 1);
        assert_eq!(missing, ["query-cpus-fast: no answer"]);
        assert_eq!(health, MonitorHealth::Silent);
    }
}
