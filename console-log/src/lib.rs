//! Reads guest console text: kernel trouble, SysRq dumps, boot steps, prompts, labels.
//!
//! A library without I/O and without a clock. [`Reader`] takes a console's bytes as they come and
//! gives [`Event`]s; [`sysrq::parse`] reads what a kernel prints on SysRq keys, as kernel facts. Every
//! byte is taken for hostile: nothing panics, everything kept is bounded.

mod assemble;
mod block;
mod clean;
mod cpu_header;
mod event;
mod frame;
mod label;
mod marks;
mod prefix;
mod prompt;
mod reader;
mod shell;
pub mod sysrq;
mod title;
mod trouble;

pub use assemble::MAX_LINE_BYTES;
pub use event::{Event, EventKind, Trouble};
pub use frame::parse_frame;
pub use label::{LabelGaps, LabelMatcher, LabelRule, last_number};
pub use marks::{BootMark, Phase, ShutdownMark};
pub use prefix::{Caller, Line, Source};
pub use prompt::{PromptKind, prompt_kind};
pub use reader::Reader;
pub use shell::{ShellAnswer, shell_answer};
pub use trouble::{Severity, TroubleKind};
