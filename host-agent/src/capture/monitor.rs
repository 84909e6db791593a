//! The real monitor behind [`Monitor`]: questions become commands of the transport's allow-list.

use std::time::Duration;

use qapi::qmp;
use serde_json::Value;
use vmward_model::observed::MonitorHealth;

use super::context::Answers;
use super::{AskFailure, Monitor, Question, Step, Unreachable};
use crate::transport::qmp::{self as transport, AskError, ConnectError, HmpRead, Qmp, QmpError};

/// A guest's monitor over QMP.
#[derive(Clone, Debug)]
pub struct OverQmp(pub transport::Monitor);

impl Monitor for OverQmp {
    fn ask(&self, questions: Vec<Question>, within: Duration) -> Step<'_, Result<Answers, Unreachable>> {
        Box::pin(async move {
            let answers = self.0.session(async |qmp| ask_all(qmp, questions, within).await).await;
            answers.map_err(|error| unreachable(&error))
        })
    }

    fn history(&self) -> Value {
        serde_json::to_value(self.0.book().history()).unwrap_or(Value::Null)
    }

    fn wire_log(&self) -> String {
        self.0.book().wire_log()
    }
}

async fn ask_all(qmp: &Qmp, questions: Vec<Question>, within: Duration) -> Answers {
    let mut answers = Answers::with_capacity(questions.len());
    let mut given_up = false;
    for question in questions {
        if given_up {
            answers.push(Err(AskFailure::NotAsked));
            continue;
        }
        let answer = ask(qmp, question, within).await.map_err(failure);
        given_up = matches!(answer, Err(AskFailure::NoAnswer(_)));
        answers.push(answer);
    }
    answers
}

async fn ask(qmp: &Qmp, question: Question, within: Duration) -> Result<Value, AskError> {
    match question {
        Question::Status => qmp.ask_raw(qmp::query_status {}, within).await,
        Question::Cpus => qmp.ask_raw(qmp::query_cpus_fast {}, within).await,
        Question::Version => qmp.ask_raw(qmp::query_version {}, within).await,
        Question::Target => qmp.ask_raw(qmp::query_target {}, within).await,
        Question::Name => qmp.ask_raw(qmp::query_name {}, within).await,
        Question::Uuid => qmp.ask_raw(qmp::query_uuid {}, within).await,
        Question::Migration => qmp.ask_raw(qmp::query_migrate {}, within).await,
        Question::Jobs => qmp.ask_raw(qmp::query_jobs {}, within).await,
        Question::BlockStats => qmp.ask_raw(qmp::query_blockstats { query_nodes: None }, within).await,
        Question::Virtio => qmp.ask_raw(qmp::x_query_virtio {}, within).await,
        Question::VirtioStatus { path } => qmp.ask_raw(qmp::x_query_virtio_status { path }, within).await,
        Question::VirtioQueue { path, queue } => {
            qmp.ask_raw(qmp::x_query_virtio_queue_status { path, queue }, within).await
        }
        Question::Registers => qmp.hmp(HmpRead::RegistersAll, within).await.map(Value::String),
        Question::MemoryTree => qmp.hmp(HmpRead::MemoryTree, within).await.map(Value::String),
        Question::HostAddress(at) => qmp.hmp(HmpRead::HostAddress(at), within).await.map(Value::String),
    }
}

fn failure(error: AskError) -> AskFailure {
    let why = error.to_string();
    let health = match error {
        AskError::Refused { .. } | AskError::Shape { .. } => return AskFailure::Refused(why),
        AskError::Timeout { .. } | AskError::Backlogged { .. } => MonitorHealth::Silent,
        AskError::Closed { .. } => MonitorHealth::Closed,
        AskError::Garbage { .. } => MonitorHealth::Garbage,
    };
    AskFailure::NoAnswer(Unreachable { health, why })
}

/// The monitor's health, from why it could not be asked.
pub(crate) fn unreachable(error: &QmpError) -> Unreachable {
    let health = match error {
        // Nothing is wrong with a monitor that answers slowly to somebody who may not wait.
        QmpError::OverTime(_) => MonitorHealth::Answers,
        QmpError::Ask(_) => MonitorHealth::Silent,
        QmpError::Connect(error) => match error {
            ConnectError::NoSocket { .. }
            | ConnectError::Refused { .. }
            | ConnectError::Denied { .. }
            | ConnectError::QemuGone { .. }
            | ConnectError::Io { .. } => MonitorHealth::Absent,
            ConnectError::Busy { peer, .. } => MonitorHealth::Busy { peer: peer.to_string() },
            ConnectError::Lent => MonitorHealth::Busy { peer: "our own guardian".to_owned() },
            ConnectError::QemuStopped { .. }
            | ConnectError::Silent { .. }
            | ConnectError::Negotiation { .. } => MonitorHealth::Silent,
            ConnectError::Garbage { .. } => MonitorHealth::Garbage,
            ConnectError::Closed { .. } => MonitorHealth::Closed,
        },
    };
    Unreachable { health, why: error.to_string() }
}
