//! Renders an incident for the terminal, as a stand-alone page, and as the controller's page; and the
//! lists that lead to it.
//!
//! [`document`](fn@document) makes one document of a [`Chart`]; [`terminal`] and [`html`] render it.
//! [`page`] renders what the controller shows around it. Every text passes [`escape`] on its way in:
//! neither a document nor a page's data can hold anything else.

pub mod asset;
mod chart;
mod diagram;
mod document;
pub mod escape;
mod flame;
pub mod html;
pub mod page;
mod section;
pub mod terminal;
mod value;
mod wait_map;

pub use chart::{Again, Chart, Lens, Place, Raw, Sysrq, Words};
pub use diagram::{Ladder, Outcome, Step};
pub use document::{Block, Document, Line, Moment, Section, Sign, Station, TaskGroup};
pub use flame::flame;
pub use section::{LOG_KIND, document, document_at};
pub use value::{Form, Href, Tone, Value};
pub use wait_map::{Role, WaitMap, Waiter};
