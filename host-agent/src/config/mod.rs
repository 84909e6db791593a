//! What people write: `vmward.toml`, scenarios and diagnoses. Errors point at file, line and column.

mod check;
mod diagnosis;
mod error;
mod file;
mod guest;
mod load;
mod prompt;
mod scenario;
mod schema;
mod source;
mod spool;
mod text;
mod units;
mod upload;

pub use diagnosis::{CaptureSpec, Diagnosis};
pub use error::{ConfigErrors, Problem};
pub use file::{Config, Discovery, StateConfig};
pub use guest::{
    ConsoleEntry, ConsoleKind, GuestDefaults, GuestEntry, GuestPolicy, L3, PolicyEntry, QmpEntry, QmpPolicy,
};
pub use load::{DEFAULT_PATH, Loaded, load};
pub use prompt::prompt_ends;
pub use scenario::{ConsoleCommand, ConsoleLabel, KernelTrouble, ProbeSpec, QmpStatus, Scenario, Wake};
pub use schema::schemas;
pub use spool::SpoolConfig;
pub use text::{FailRule, Glob, Pattern, SysrqKeys};
pub use units::{BadUnit, ByteSize, HumanDuration};
pub(crate) use upload::base as controller_base;
pub use upload::{ControllerEntry, UploadConfig};
