//! Modules that the kernel has loaded.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Taint;

/// Where a module is in its life (`enum module_state`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ModuleState {
    /// It works.
    #[default]
    Live,
    /// It is being loaded: its init function runs.
    Coming,
    /// It is being unloaded.
    Going,
}

/// One module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LoadedModule {
    /// Its name.
    pub name: String,
    /// Guest-virtual address of its code.
    pub address: u64,
    /// Bytes of its memory.
    pub bytes: u64,
    /// Where it is in its life.
    pub state: ModuleState,
    /// How many hold it; `None` for a kernel that unloads none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub references: Option<u64>,
    /// Modules that need it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<String>,
    /// What it taints the kernel with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
}
