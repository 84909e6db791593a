//! What `vmward.toml` says of guests: `[guest-defaults]`, then each `[[guest]]` that matches, in order.

use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::scenario::Wake;
use super::text::{Glob, Pattern, SysrqKeys};
use super::units::HumanDuration;

/// How a QMP socket may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum QmpPolicy {
    /// Ours alone: stay connected and see all events.
    Hold,
    /// Shared with the guest's manager: connect, ask, leave; events are incomplete.
    Brief,
}

impl From<QmpPolicy> for crate::transport::qmp::Policy {
    fn from(it: QmpPolicy) -> Self {
        match it {
            QmpPolicy::Hold => Self::Hold,
            QmpPolicy::Brief => Self::Brief,
        }
    }
}

/// When captures may be taken that change the guest (SysRq).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum L3 {
    /// Only after a failed verdict, and only for what nothing gentler gave.
    #[default]
    AfterFailure,
    /// Never.
    Never,
}

/// What kind of device the console is: decides how SysRq is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ConsoleKind {
    /// A UART (8250, PL011): knows BREAK.
    Uart,
    /// virtconsole (`hvc0`): no BREAK; SysRq is `^O`.
    Hvc,
}

/// `qmp = { path = "...", policy = "..." }` of a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct QmpEntry {
    /// The unix socket.
    pub path: PathBuf,
    /// How it may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<QmpPolicy>,
}

/// `console = { ... }` of a guest: exactly one of `unix`, `tcp` and `tty`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ConsoleEntry {
    /// A unix socket that QEMU listens on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unix: Option<PathBuf>,
    /// A TCP port that QEMU listens on: `127.0.0.1:4555`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub tcp: Option<SocketAddr>,
    /// A pty or a serial port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tty: Option<PathBuf>,
    /// Whether QEMU runs a multiplexer on it (`mux=on`), whose escape byte must be kept from it.
    #[serde(default)]
    pub mux: bool,
    /// What device it is; a UART when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ConsoleKind>,
    /// QEMU's id of the character device, for `chardev-send-break`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chardev: Option<String>,
    /// QEMU's `logfile=` of the character device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logfile: Option<PathBuf>,
}

/// How far captures may go; absent means "as set before".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PolicyEntry {
    /// Whether captures may pause the guest for a moment (rung L2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l2: Option<bool>,
    /// The longest single pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_budget: Option<HumanDuration>,
    /// When captures may change the guest (rung L3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l3: Option<L3>,
    /// SysRq keys, in the order of pressing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sysrq: Option<SysrqKeys>,
    /// Whether pages of its memory may be kept on this host, in the report: those of its kernel that a
    /// diagnosis read (a minicore of a few MiB).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_memory: Option<bool>,
    /// Whether contents of its memory and registers may be sent to a controller, where
    /// `upload.sensitivities` allows it too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload_memory: Option<bool>,
}

/// `[guest-defaults]`: for every guest; absent means "as built in".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct GuestDefaults {
    /// Whether guests are watched at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<bool>,
    /// The scenarios that they are bound to, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenarios: Option<Vec<String>>,
    /// How their QMP sockets may be used, wherever they were found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qmp_policy: Option<QmpPolicy>,
    /// The shell prompt on their consoles; takes the place of the scenario's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<Pattern>,
    /// Whether a silent console may be woken; takes the place of the scenario's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake: Option<Wake>,
    /// How long a boot that was seen may take before it counts as stuck.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_deadline: Option<HumanDuration>,
    /// The same for a kernel that waits for its root device and has nothing else to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_deadline: Option<HumanDuration>,
    /// How far captures may go.
    #[serde(default)]
    pub policy: PolicyEntry,
}

/// One `[[guest]]`: for every guest that matches, or, with a plain name and a `qmp` or `console`, a
/// guest of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct GuestEntry {
    /// Name of the guest, with `*` and `?`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Glob>,
    /// UUID of the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<Uuid>,
    /// Its monitor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qmp: Option<QmpEntry>,
    /// Its console.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console: Option<ConsoleEntry>,
    /// Whether it is watched at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<bool>,
    /// The scenarios that it is bound to, by name. Replaces what was bound before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenarios: Option<Vec<String>>,
    /// How its QMP socket may be used, wherever it was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qmp_policy: Option<QmpPolicy>,
    /// The shell prompt on its console; takes the place of the scenario's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<Pattern>,
    /// Whether a silent console may be woken; takes the place of the scenario's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake: Option<Wake>,
    /// How long a boot that was seen may take before it counts as stuck.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_deadline: Option<HumanDuration>,
    /// The same for a kernel that waits for its root device and has nothing else to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_deadline: Option<HumanDuration>,
    /// How far captures may go.
    #[serde(default)]
    pub policy: PolicyEntry,
}

impl GuestEntry {
    /// Whether it speaks of this guest. An entry with both a name and a UUID needs both.
    #[must_use]
    pub fn matches(&self, name: &str, uuid: Option<Uuid>) -> bool {
        let by_name = self.name.as_ref().map(|glob| glob.matches(name));
        let by_uuid = self.uuid.map(|want| Some(want) == uuid);
        match (by_name, by_uuid) {
            (None, None) => false,
            (a, b) => a.unwrap_or(true) && b.unwrap_or(true),
        }
    }
}

/// What holds for one guest, everything decided.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct GuestPolicy {
    /// Whether it is watched at all.
    pub watch: bool,
    /// The scenarios that it is bound to.
    pub scenarios: Vec<String>,
    /// How its QMP socket may be used, where the configuration says so.
    pub qmp_policy: Option<QmpPolicy>,
    /// Its shell prompt, where the configuration says so.
    pub prompt: Option<Pattern>,
    /// Whether its silent console may be woken, where the configuration says so.
    pub wake: Option<Wake>,
    /// How long a boot that was seen may take.
    pub boot_deadline: HumanDuration,
    /// How long a kernel may wait for its root device.
    pub root_deadline: HumanDuration,
    /// Whether it may be paused for a moment.
    pub l2: bool,
    /// The longest single pause.
    pub pause_budget: HumanDuration,
    /// When it may be changed.
    pub l3: L3,
    /// SysRq keys, in the order of pressing.
    pub sysrq: SysrqKeys,
    /// Whether pages of its memory may be kept in a report.
    pub keep_memory: bool,
    /// Whether contents of its memory and registers may be sent.
    pub upload_memory: bool,
}

impl Default for GuestPolicy {
    fn default() -> Self {
        Self {
            watch: true,
            scenarios: vec!["kernel-trouble".to_owned()],
            qmp_policy: None,
            prompt: None,
            wake: None,
            boot_deadline: HumanDuration::from_secs(180),
            root_deadline: HumanDuration::from_secs(60),
            l2: false,
            pause_budget: HumanDuration::from_millis(250),
            l3: L3::AfterFailure,
            sysrq: SysrqKeys::default(),
            keep_memory: false,
            upload_memory: false,
        }
    }
}

impl GuestPolicy {
    /// What holds by the defaults alone.
    #[must_use]
    pub fn of_defaults(defaults: &GuestDefaults) -> Self {
        let GuestDefaults {
            watch,
            scenarios,
            qmp_policy,
            prompt,
            wake,
            boot_deadline,
            root_deadline,
            policy,
        } = defaults;
        let mut it = Self { wake: *wake, ..Self::default() };
        it.apply_deadlines(*boot_deadline, *root_deadline);
        it.apply_parts(*watch, scenarios.as_ref(), *qmp_policy, prompt.as_ref(), policy);
        it
    }

    /// Takes over what `entry` sets.
    pub fn apply(&mut self, entry: &GuestEntry) {
        let GuestEntry { watch, scenarios, qmp_policy, prompt, wake, policy, .. } = entry;
        self.apply_deadlines(entry.boot_deadline, entry.root_deadline);
        self.wake = wake.or(self.wake);
        self.apply_parts(*watch, scenarios.as_ref(), *qmp_policy, prompt.as_ref(), policy);
    }

    fn apply_deadlines(&mut self, boot: Option<HumanDuration>, root: Option<HumanDuration>) {
        self.boot_deadline = boot.unwrap_or(self.boot_deadline);
        self.root_deadline = root.unwrap_or(self.root_deadline);
    }

    fn apply_parts(
        &mut self,
        watch: Option<bool>,
        scenarios: Option<&Vec<String>>,
        qmp_policy: Option<QmpPolicy>,
        prompt: Option<&Pattern>,
        policy: &PolicyEntry,
    ) {
        self.watch = watch.unwrap_or(self.watch);
        self.qmp_policy = qmp_policy.or(self.qmp_policy);
        self.l2 = policy.l2.unwrap_or(self.l2);
        self.l3 = policy.l3.unwrap_or(self.l3);
        self.keep_memory = policy.keep_memory.unwrap_or(self.keep_memory);
        self.upload_memory = policy.upload_memory.unwrap_or(self.upload_memory);
        self.pause_budget = policy.pause_budget.unwrap_or(self.pause_budget);
        if let Some(scenarios) = scenarios {
            self.scenarios.clone_from(scenarios);
        }
        if let Some(prompt) = prompt {
            self.prompt = Some(prompt.clone());
        }
        if let Some(keys) = &policy.sysrq {
            self.sysrq = keys.clone();
        }
    }
}
