//! What one CPU of the guest was doing.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Frame;

/// What one CPU of the guest was doing when somebody looked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CpuStack {
    /// The kernel's CPU number.
    pub cpu: u32,
    /// Thread id of what ran; 0 is this CPU's idle task. `None` when it was not printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Name of what ran. Guest text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comm: Option<String>,
    /// The CPU was idle: its idle task ran, or the kernel said that it skipped it for that.
    #[serde(default)]
    pub idle: bool,
    /// It was in user mode.
    #[serde(default)]
    pub user_mode: bool,
    /// Where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pc: Option<Frame>,
    /// Kernel stack, innermost frame first; empty in user mode.
    #[serde(default)]
    pub stack: Vec<Frame>,
    /// Registers by the kernel's name for them (`RAX`, `x0`, `sp`).
    #[serde(default)]
    pub registers: BTreeMap<String, u64>,
}
