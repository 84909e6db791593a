//! What a chart looks like before it is a page or a terminal's lines: sections of blocks of text.

use crate::diagram::Ladder;
use crate::escape::Text;
use crate::value::{Tone, Value};
use crate::wait_map::WaitMap;

/// A chart, ready for a renderer.
#[derive(Clone, Debug, Default)]
pub struct Document {
    /// For the window and the first line.
    pub title: Text,
    /// The verdict in one sentence.
    pub headline: Text,
    /// The final class.
    pub class: Text,
    /// What that means.
    pub tone: Tone,
    /// What the controller's engine says where the host's said something else.
    pub dissent: Option<Text>,
    /// Guest, host, when.
    pub facts: Vec<(Text, Value)>,
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
    Facts(Vec<(Text, Value)>),
    /// Signs for and against.
    Evidence(Vec<Sign>),
    /// A table; every row has as many cells as the head.
    Table {
        /// Column headings.
        head: Vec<&'static str>,
        /// Rows.
        rows: Vec<Vec<Value>>,
    },
    /// What happened, in order.
    Timeline(Vec<Moment>),
    /// Lines as they are, in a fixed-width font.
    Lines(Vec<Line>),
    /// Tasks, those with equal stacks in one entry.
    Tasks(Vec<TaskGroup>),
    /// The steps of a diagnosis on the safety ladder.
    Ladder(Ladder),
    /// Who waits for whom.
    Waits(WaitMap),
    /// Stations of a request, from the one that asks to the one that answers.
    Way(Vec<Station>),
    /// Blocks under a heading of their own.
    Headed {
        /// The heading.
        title: Text,
        /// Whether this is what a reader came for.
        important: bool,
        /// The contents.
        blocks: Vec<Block>,
    },
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
    /// Wall-clock time.
    pub at: Value,
    /// Seconds from the moment of notice.
    pub offset: Text,
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
    /// What it tells of, if it tells of trouble.
    pub mark: Option<Text>,
    /// It counts for less: a frame that the unwinder did not reach.
    pub faint: bool,
}

impl Line {
    /// An ordinary line.
    pub fn plain(text: impl Into<Text>) -> Line {
        Line { text: text.into(), mark: None, faint: false }
    }
}

/// Where a request passes.
#[derive(Clone, Debug)]
pub struct Station {
    /// Who or what.
    pub title: Text,
    /// What was seen there, a line each.
    pub lines: Vec<Text>,
    /// What it owes, if it does.
    pub owes: Option<Text>,
}

/// Tasks that stand at the same place.
#[derive(Clone, Debug)]
pub struct TaskGroup {
    /// How many.
    pub count: usize,
    /// The kernel's letter of their state, or `?`.
    pub state: Text,
    /// What that letter means for them.
    pub tone: Tone,
    /// What they do, in a few words (`waits for a mutex`).
    pub what: Text,
    /// The first of them by name.
    pub some: Text,
    /// All of them, where that is more than the first.
    pub all: Option<Text>,
    /// Their stack, innermost frame first.
    pub stack: Vec<Line>,
    /// Whether it begins unfolded.
    pub open: bool,
}
