//! Transports: the ways to reach a guest. Each owns its connection, has a deadline on every wait and
//! says in types why it could not be used.
//!
//! # What the rest of the agent uses
//!
//! **QMP**: [`qmp::Monitor`], one for each guest, from [`qmp::Settings`] (path, [`qmp::Policy::Hold`] for
//! a socket of our own or `Brief` for a shared one).
//! * [`qmp::Monitor::ask`] takes only commands of the L1 allow-list ([`qmp::Allowed`]) with a deadline;
//!   `ask_raw` gives the JSON as it came; `hmp` takes [`qmp::HmpRead`]; `session` asks several on one
//!   connection.
//! * [`qmp::ConnectError`] tells `NoSocket`, `Refused`, `Busy { peer }`, `QemuStopped`, `QemuGone`, `Silent`,
//!   `Garbage`, `Closed` apart; [`qmp::AskError`] the same for a command.
//! * [`qmp::Monitor::book`]: [`qmp::Book::history`] (event ring, `complete` or not), `subscribe`, `wire_log`
//!   for the bundle.
//! * Rungs above L1 need a permit: [`qmp::HealthyPermit`], [`qmp::L2Permit`], [`qmp::L3Permit`]. L2 is done
//!   through `crate::guardian` ([`crate::guardian::registers_by_dump`],
//!   [`crate::guardian::registers_by_gdb`]), never directly.
//!
//! **Console**: [`console::Console::start`] from [`console::Settings`].
//! * Reading is by position: `position`, `read_from`, `newest`, `beyond`. Each reader keeps its own position.
//! * [`console::Console::ask`] types a command by the rules of [`console::guard`]. Of
//!   [`console::AskError`] only `NoAnswer`, `StillOpen` and `NotTaken` say something about the guest; the
//!   others are reasons for *unknown*.
//! * [`console::Console::attach`] lets a person in; [`console::Console::state`] is the link's state;
//!   `restarted` tells it of a QMP RESET.
//!
//! **SysRq**: [`sysrq::press`] with [`sysrq::Ways`], a [`sysrq::Key`] and [`sysrq::Limits`]; gives
//! `Answered`, `Refused` (by the guest's mask: it lives) or `NoAnswer` with what each path said.
//!
//! **gdb stub**: [`rsp`], used by the guardian's operations.
//!
//! **Memory**: [`memory`], a live guest's memory and registers for the lens.
//!
//! [`holders`] (who holds a socket), [`process`] (state of a process) and [`stamp`] are small helpers.

pub mod console;
pub mod holders;
#[doc(hidden)]
pub mod hostile;
pub mod memory;
pub mod process;
pub mod qmp;
pub mod rsp;
pub mod stamp;
pub mod sysrq;
