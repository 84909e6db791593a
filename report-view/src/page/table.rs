//! A list as a table that becomes a list of cards in a narrow window.

use std::borrow::Borrow;

use askama::Template;

use crate::escape::Text;
use crate::html::RenderError;
use crate::value::{Tone, Value};

/// Characters of a value that is kept on one line.
const SHORT: usize = 26;

/// Rows under headings.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// What it lists, for who cannot see it.
    pub caption: Text,
    /// Headings.
    pub head: Vec<&'static str>,
    /// Rows, each with as many cells as the head.
    pub rows: Vec<Row>,
    /// What is said where there are no rows.
    pub empty: Text,
}

/// One row.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// What it means for whoever reads it.
    pub tone: Tone,
    /// Cells of values that stand beside each other.
    pub cells: Vec<Vec<Value>>,
}

#[derive(Template)]
#[template(path = "page/table.html")]
struct Page<'a>(&'a Table);

impl Row {
    /// Whether a cell can be kept on one line.
    fn is_short(&self, column: impl Borrow<usize>) -> bool {
        match self.cells.get(*column.borrow()).map(Vec::as_slice) {
            Some([value]) => value.text.as_str().chars().count() <= SHORT,
            _ => false,
        }
    }
}

impl Table {
    /// The heading of a column; a template passes a number or a reference to one.
    fn label(&self, column: impl Borrow<usize>) -> &'static str {
        self.head.get(*column.borrow()).copied().unwrap_or_default()
    }

    /// As HTML.
    pub(crate) fn html(&self) -> Result<String, RenderError> {
        Ok(Page(self).render()?)
    }
}
