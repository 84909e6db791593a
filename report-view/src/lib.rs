//! Renders an incident for the terminal and as a stand-alone page.
//!
//! [`document`](fn@document) makes one document of a [`Chart`]; [`terminal`] and [`html`] render it. Every text
//! passes [`escape`] on its way in: a document cannot hold anything else.

mod chart;
mod document;
pub mod escape;
pub mod html;
mod section;
pub mod terminal;

pub use chart::{Chart, Sysrq, Words};
pub use document::{Block, Document, Line, Moment, Section, Sign};
pub use section::document;
