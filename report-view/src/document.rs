//! What a chart looks like before it is a page or a terminal's lines: sections of blocks of text.

use crate::escape::Text;

/// A chart, ready for a renderer.
#[derive(Clone, Debug, Default)]
pub struct Document {
    /// For the window and the first line.
    pub title: Text,
    /// The verdict in one sentence.
    pub headline: Text,
    /// The final class.
    pub class: Text,
    /// Guest, host, when.
    pub facts: Vec<(Text, Text)>,
    /// The rest.
    pub sections: Vec<Section>,
}

/// One part of a chart.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// Anchor within a page: ASCII letters and `-`.
    pub id: &'static str,
    /// Heading.
    pub title: Text,
    /// Contents, in order.
    pub blocks: Vec<Block>,
}

/// One block.
#[derive(Clone, Debug)]
pub enum Block {
    /// A paragraph.
    Para(Text),
    /// A list.
    Items(Vec<Text>),
    /// Names and values.
    Facts(Vec<(Text, Text)>),
    /// Signs for and against.
    Evidence(Vec<Sign>),
    /// A table; every row has as many cells as the head.
    Table {
        /// Column headings.
        head: Vec<&'static str>,
        /// Rows.
        rows: Vec<Vec<Text>>,
    },
    /// What happened, in order.
    Timeline(Vec<Moment>),
    /// Lines as they are, in a fixed-width font.
    Lines(Vec<Line>),
    /// Something that is shown on demand, and always on a terminal.
    Fold {
        /// What it is.
        summary: Text,
        /// Whether it begins unfolded.
        open: bool,
        /// The contents.
        blocks: Vec<Block>,
    },
}

/// A sign for or against a conclusion.
#[derive(Clone, Debug)]
pub struct Sign {
    /// For (`true`) or against.
    pub supports: bool,
    /// What was seen.
    pub text: Text,
    /// Where it comes from.
    pub source: Text,
}

/// One entry of a timeline.
#[derive(Clone, Debug)]
pub struct Moment {
    /// Wall-clock time, and seconds from the moment of notice.
    pub at: Text,
    /// What happened.
    pub text: Text,
    /// It is the moment at which the trouble was noticed.
    pub marked: bool,
}

/// One line of console or stack.
#[derive(Clone, Debug)]
pub struct Line {
    /// The line.
    pub text: Text,
    /// It tells of trouble.
    pub marked: bool,
}

impl Line {
    /// An ordinary line.
    pub fn plain(text: impl Into<Text>) -> Line {
        Line { text: text.into(), marked: false }
    }
}
