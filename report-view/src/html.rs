//! Renders a document as HTML: as one stand-alone page, and as the part that the controller's page
//! puts into its frame.
//!
//! The stand-alone page has no script, no external resource, dark and narrow windows, and a content
//! security policy that allows nothing but its own style sheet.

use std::borrow::Borrow;

use askama::Template;

use crate::asset;
use crate::diagram::{Drawing, Ladder, Outcome};
use crate::document::{Block, Document, Line};
use crate::value::{Form, Value};
use crate::wait_map::{WaitDrawing, WaitMap};

/// A page could not be rendered.
#[derive(Debug, thiserror::Error)]
#[error("cannot render the page: {0}")]
pub struct RenderError(#[from] askama::Error);

#[derive(Template)]
#[template(path = "chart.html")]
struct Page<'a> {
    document: &'a Document,
    sections: String,
    style: &'static str,
    style_hash: String,
}

/// The chart's head and sections.
#[derive(Template)]
#[template(path = "sections.html")]
struct Sections<'a> {
    document: &'a Document,
}

/// One block; renders itself again for what is folded in it.
#[derive(Template)]
#[template(path = "block.html")]
struct Blocks<'a>(&'a [Block]);

/// One line of console or stack.
#[derive(Template)]
#[template(path = "line.html")]
struct Lined<'a>(&'a Line);

/// A value.
#[derive(Template)]
#[template(path = "value.html")]
pub(crate) struct Shown<'a>(&'a Value);

impl Value {
    /// As HTML.
    pub(crate) fn html(&self) -> Shown<'_> {
        Shown(self)
    }
}

/// The safety ladder.
#[derive(Template)]
#[template(path = "ladder.html")]
struct Drawn<'a> {
    ladder: &'a Ladder,
    drawing: Drawing,
    table: [Block; 1],
}

impl Drawn<'_> {
    fn of(ladder: &Ladder) -> Drawn<'_> {
        let table = [Block::Table { head: Ladder::head(), rows: ladder.rows() }];
        Drawn { ladder, drawing: ladder.draw(), table }
    }
}

/// The wait graph.
#[derive(Template)]
#[template(path = "waits.html")]
struct Waits<'a> {
    map: &'a WaitMap,
    drawing: WaitDrawing,
    table: [Block; 1],
}

impl Waits<'_> {
    fn of(map: &WaitMap) -> Waits<'_> {
        let table = [Block::Table { head: WaitMap::head(), rows: map.table.clone() }];
        Waits { map, drawing: map.draw(), table }
    }
}

/// One step of the ladder.
#[derive(Template)]
#[template(path = "shape.html")]
struct Shape {
    x: i64,
    y: i64,
    width: i64,
    outcome: Outcome,
}

impl Shape {
    /// Takes values and references: a template passes either.
    fn at(
        x: impl Borrow<i64>,
        y: impl Borrow<i64>,
        width: impl Borrow<i64>,
        outcome: impl Borrow<Outcome>,
    ) -> Shape {
        Shape { x: *x.borrow(), y: *y.borrow(), width: *width.borrow(), outcome: *outcome.borrow() }
    }
}

/// A text as it may stand in an element or a quoted attribute.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for it in text.chars() {
        match it {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            it => safe.push(it),
        }
    }
    safe
}

/// The document as an HTML page in UTF-8.
///
/// # Errors
/// When the formatter fails, which it does not into a string.
pub fn render(document: &Document) -> Result<String, RenderError> {
    let style = asset::CHART_STYLE;
    Ok(Page { document, sections: sections(document)?, style, style_hash: asset::digest(style) }.render()?)
}

/// The document without a page around it: from its headline to its last section.
///
/// # Errors
/// When the formatter fails, which it does not into a string.
pub fn sections(document: &Document) -> Result<String, RenderError> {
    Ok(Sections { document }.render()?)
}
