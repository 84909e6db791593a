//! What people write: `vmward.toml`, scenarios and diagnoses. Errors point at file, line and column.

mod diagnosis;
mod file;
mod guest;
mod scenario;
mod text;
mod units;

pub use diagnosis::{CaptureSpec, Diagnosis};
pub use file::{Config, Discovery, StateConfig};
pub use guest::{
    ConsoleEntry, ConsoleKind, GuestDefaults, GuestEntry, GuestPolicy, L3, PolicyEntry, QmpEntry, QmpPolicy,
};
pub use scenario::{ConsoleCommand, ConsoleLabel, KernelTrouble, ProbeSpec, QmpStatus, Scenario, Wake};
pub use text::{FailRule, Glob, Pattern, SysrqKeys};
pub use units::{BadUnit, ByteSize, HumanDuration};
