//! What the lens knows of a kernel from an earlier look: where in its image things lie.
//!
//! A file of a few hundred bytes for each kernel saves the searches of the next look. It holds **places, not
//! contents**, and every place passes the test that a search would have to pass, in the guest at hand:
//! symbols are read from this guest's table and must name what holds what they say, page tables must map
//! this image and this RAM.
//!
//! **A guest may lie about its build id.** It can so write an entry that bears the name of another guest's
//! kernel, with places of its own. Those fail the tests in an honest guest, which is then searched as if there
//! were no entry: a lie costs it the milliseconds that it would have saved. That is why no symbols, types or
//! offsets are kept, though they would save a few milliseconds more: of them no test could tell which are
//! the guest's own. Entries of one build id stand beside each other, told apart by a hash of their places, so
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
