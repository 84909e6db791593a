//! The spool: reports and events on disk until a controller has them.
//!
//! * Its sources are the event store and the folder of reports. Both are caught up with ([`feed`]), so
//!   that nothing is lost wherever the agent is killed: an event with a number above the spool's, or a
//!   whole bundle that it does not know, becomes an entry.
//! * Each entry is a file that a person can read ([`record`]). What a report holds stays in its
//!   bundle, which the entry names; its bytes count.
//! * One ledger ([`ledger`]) says what waits and how many entries went which way. Each line is whole or
//!   not there, and stands for everything that happened at once, so `made = stored + refused + dropped +
//!   waiting` after every kill.
//! * The bound ([`bound`]) drops the lowest severity first, the oldest within one.
//! * One thread owns it all ([`keeper`]); others have a [`Handle`].
//!
//! Without a `[[controller]]` there is no spool: nothing would ever take its entries.

mod bound;
mod feed;
mod files;
mod keeper;
mod ledger;
pub mod record;
mod room;
mod store;
pub mod view;

#[cfg(test)]
mod keeper_tests;
#[cfg(test)]
mod memory_disk;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
pub(crate) mod test_report;

pub use bound::Bound;
pub use keeper::{Handle, Next, NextReport, Place, Standing, start};
pub use ledger::{Fate, Source, Waiting};
pub use record::{Body, Record};
pub use store::SpoolError;
