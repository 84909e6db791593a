//! What the lens knows of a kernel from an earlier look: where in its image things lie, and how its tables of
//! symbols and types are laid out.
//!
//! An [`Entry`] for each kernel, some ten kilobytes, saves the searches and the indexing of the next look. It is
//! a plain value for serde: whoever looks in a process that may not open files is given entries, and gives
//! back what was learned ([`crate::examine_known`]); [`Cache`] keeps them in a folder.
//!
//! **A guest may lie about its build id.** It can so write an entry that bears the name of another guest's
//! kernel. So nothing of it is believed in another guest:
//!
//! * places pass the test that a search would have to pass, in the guest at hand: symbols are read from this
//!   guest's table and must name what holds what they say, page tables must map this image and this RAM;
//! * what was derived from the bytes of a table is used only if the guest at hand has the same bytes. A digest
//!   tells that, under a secret key that no guest ever sees (`memory/digest.rs`).
//!
//! What does not pass is searched as if there were no entry: a lie costs the milliseconds that it would have
//! saved. Entries of one build id stand beside each other, told apart by a hash of their places, so
//! that one lie does not replace the honest entry; the youngest few of each build id are kept, and a few dozen
//! of all.
//!
//! Files are written beside and renamed. One that is damaged is ignored with a reason.

mod build_id;
mod entry;
mod store;

pub use build_id::{BuildId, build_id};
pub use entry::{Entry, EntryError, Root};
pub use store::{Cache, CacheError};
