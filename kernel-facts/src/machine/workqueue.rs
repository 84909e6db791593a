//! What the kernel's workqueues do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::TaskName;

/// A piece of work that a worker is at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunningWork {
    /// The worker; `None` for work that runs in a soft interrupt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<TaskName>,
    /// The function that it runs.
    pub function: String,
    /// The workqueue that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workqueue: Option<String>,
    /// The worker is the queue's rescuer: there was no memory for another worker, or no time to make one.
    #[serde(default)]
    pub rescuer: bool,
    /// For how long, in milliseconds, where the kernel keeps that (v7.2 does).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
}

/// A pool of workers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerPool {
    /// Its number.
    pub id: i32,
    /// Its CPU; `None` for one whose workers run anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// Workers, all. A pool whose work runs in a soft interrupt has one that is no task.
    pub workers: u32,
    /// Workers with nothing to do.
    pub idle: u32,
    /// Pieces of work that wait for a worker.
    pub pending: u64,
    /// Functions of the first of them.
    pub pending_functions: Vec<String>,
    /// Milliseconds since a piece of work was last begun, if some wait: at 30 s the kernel complains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalled_ms: Option<u64>,
    /// What its workers are at.
    pub running: Vec<RunningWork>,
}
