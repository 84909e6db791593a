//! `vmward.toml`: the agent's own configuration.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::guest::{GuestDefaults, GuestEntry, GuestPolicy};
use super::spool::SpoolConfig;
use super::units::{ByteSize, HumanDuration};
use super::upload::{ControllerEntry, UploadConfig};

/// The whole file. Every part may be left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Config {
    /// Where the agent keeps what it knows.
    pub state: StateConfig,
    /// How guests are found.
    pub discovery: Discovery,
    /// Folders with more scenarios (`*.toml`) and, in `diagnosis/` below them, diagnoses. A file there
    /// takes the place of the shipped one of the same name.
    pub scenario_folders: Vec<PathBuf>,
    /// What holds for every guest.
    pub guest_defaults: GuestDefaults,
    /// What holds for some, in order: later entries win.
    #[serde(rename = "guest")]
    pub guests: Vec<GuestEntry>,
    /// Where events and reports are sent, in the order of trying. Without one nothing is sent and no
    /// spool is kept.
    #[serde(rename = "controller")]
    pub controllers: Vec<ControllerEntry>,
    /// What is sent, and how fast.
    pub upload: UploadConfig,
    /// What waits for a controller.
    pub spool: SpoolConfig,
}

/// `[state]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct StateConfig {
    /// Folder of events, console rings and reports.
    pub folder: PathBuf,
    /// Folder of the control socket and other sockets that do not outlive the host.
    pub run_folder: PathBuf,
    /// How much of each guest's console is kept.
    pub console_ring: ByteSize,
    /// How much disk all reports together may take; the oldest go first.
    pub reports_cap: ByteSize,
}

impl Default for StateConfig {
    fn default() -> Self {
        Self {
            folder: PathBuf::from("/var/lib/vmward"),
            run_folder: PathBuf::from("/run/vmward"),
            console_ring: ByteSize::from_mib(4),
            reports_cap: ByteSize::from_mib(1024),
        }
    }
}

/// `[discovery]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Discovery {
    /// Whether QEMU processes are looked for in `/proc`.
    pub proc: bool,
    /// Whether EVE's folders are looked for.
    pub eve: bool,
    /// Where EVE keeps them.
    pub eve_root: PathBuf,
    /// How often the agent looks for guests.
    pub every: HumanDuration,
}

impl Default for Discovery {
    fn default() -> Self {
        Self {
            proc: true,
            eve: true,
            eve_root: PathBuf::from("/run/hypervisor/kvm"),
            every: HumanDuration::from_secs(5),
        }
    }
}

impl Config {
    /// What holds for one guest: the defaults, then every entry that matches it, in order.
    #[must_use]
    pub fn policy_for(&self, name: &str, uuid: Option<Uuid>) -> GuestPolicy {
        let mut policy = GuestPolicy::of_defaults(&self.guest_defaults);
        for entry in self.guests.iter().filter(|it| it.matches(name, uuid)) {
            policy.apply(entry);
        }
        policy
    }
}
