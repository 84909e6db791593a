//! Who waits for whom, as a drawing: what is waited for stands above those that wait for it, one row each,
//! indented by how far behind they are. An arrow leads from each that waits up to what it waits for.
//!
//! Geometry only; `templates/waits.html` draws it. Roots and rings are told by a word as well as by colour,
//! and a wait that only a stack tells of by a broken line as well as by its label.

use crate::escape::Text;
use crate::value::Value;

/// Rows in reading order: each after the row that it waits for.
#[derive(Clone, Debug, Default)]
pub struct WaitMap {
    /// The rows that are drawn.
    pub rows: Vec<Waiter>,
    /// Waits that are only in the table.
    pub left_out: usize,
    /// The drawing in a sentence or two.
    pub summary: Text,
    /// The edges as a table: cells by [`WaitMap::head`].
    pub table: Vec<Vec<Value>>,
}

/// One row: a task, or what tasks wait for.
#[derive(Clone, Debug)]
pub struct Waiter {
    /// Who or what.
    pub name: Text,
    /// What is said of it beside.
    pub note: Text,
    /// The wait that leads up from here.
    pub wait: Text,
    /// Whether more than a stack tells of that wait.
    pub shown: bool,
    /// What it is.
    pub role: Role,
    /// The row that it waits for, above this one.
    pub parent: Option<usize>,
    /// The row that it waits for, below this one: where a ring closes.
    pub closes: Option<usize>,
}

/// What a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A task that others wait for and that waits for none of them.
    Root,
    /// One of a ring.
    Ring,
    /// Any other task.
    Task,
    /// No task: a lock of unknown holder, a page, a file system.
    Thing,
    /// Those for whom there is no room.
    More,
}

impl Role {
    /// Its name in style sheets.
    pub fn name(self) -> &'static str {
        match self {
            Role::Root => "root",
            Role::Ring => "ring",
            Role::Task => "task",
            Role::Thing => "thing",
            Role::More => "more",
        }
    }

    /// What is written before the name.
    fn mark(self) -> &'static str {
        match self {
            Role::Root => "root: ",
            Role::Ring => "ring: ",
            Role::Task | Role::Thing | Role::More => "",
        }
    }
}

/// Left margin: the lines that close rings run there.
const LEFT: i64 = 26;
/// How far a row stands right of what it waits for.
const INDENT: i64 = 30;
/// Steps of indentation; what is further behind stands below each other.
const DEEPEST: usize = 8;
/// Height of a box.
const BOX: i64 = 28;
/// Room above a box for the words at its arrow.
const LABEL: i64 = 20;
/// Room below a box.
const GAP: i64 = 8;
/// Width of a character, as far as one can know.
const CHAR: i64 = 7;
/// Characters of a text that are drawn.
const MOST_CHARS: usize = 60;
/// Narrowest drawing.
const NARROWEST: i64 = 320;

/// A box with its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boxed {
    /// Left edge.
    pub x: i64,
    /// Upper edge.
    pub y: i64,
    /// Width.
    pub width: i64,
    /// What it is.
    pub role: Role,
    /// What is written in it first.
    pub name: Text,
    /// What is written after that.
    pub note: Text,
    /// What is written above it.
    pub wait: Text,
}

/// A line from who waits to what it waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrow {
    /// The line, as the `d` of a path.
    pub path: String,
    /// Its head.
    pub head: String,
    /// Whether more than a stack tells of it.
    pub shown: bool,
    /// Whether it is part of a ring.
    pub ring: bool,
}

/// Everything that is drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitDrawing {
    /// Width of the view box.
    pub width: i64,
    /// Height of the view box.
    pub height: i64,
    /// Rows.
    pub boxes: Vec<Boxed>,
    /// Lines.
    pub arrows: Vec<Arrow>,
}

impl WaitMap {
    /// Headings of [`WaitMap::table`].
    pub fn head() -> Vec<&'static str> {
        vec!["task", "waits for", "object", "held by", "since", "proof"]
    }

    /// Puts every row in its place.
    pub fn draw(&self) -> WaitDrawing {
        let mut drawing = WaitDrawing { width: NARROWEST, ..WaitDrawing::default() };
        let mut depths: Vec<usize> = Vec::with_capacity(self.rows.len());
        let mut y = 2;
        for row in &self.rows {
            let above = row.parent.and_then(|it| depths.get(it).copied());
            let depth = above.map_or(0, |it| it + 1);
            depths.push(depth);
            let x = LEFT + INDENT * i64::try_from(depth.min(DEEPEST)).unwrap_or(0);
            let wait = cut(&row.wait, MOST_CHARS + 20);
            if !wait.is_empty() {
                y += LABEL;
            }
            let name = Text::new(format!("{}{}", row.role.mark(), cut(&row.name, MOST_CHARS)));
            let note = cut(&row.note, MOST_CHARS);
            let width = 20 + CHAR * (length(&name) + length(&note) + 2);
            drawing.width = drawing.width.max(x + width + 4).max(x + 14 + CHAR * length(&wait));
            drawing.boxes.push(Boxed { x, y, width, role: row.role, name, note, wait });
            y += BOX + GAP;
        }
        drawing.height = y;
        for (row, own) in self.rows.iter().zip(&drawing.boxes) {
            let ring = row.role == Role::Ring;
            if let Some(to) = row.parent.and_then(|it| drawing.boxes.get(it)) {
                let is_ring = ring && to.role == Role::Ring;
                drawing.arrows.push(up(own, to, row.shown, is_ring));
            }
            if let Some(to) = row.closes.and_then(|it| drawing.boxes.get(it)) {
                drawing.arrows.push(around(own, to, row.shown));
            }
        }
        drawing
    }
}

/// From a box up to the one that it stands under.
fn up(from: &Boxed, to: &Boxed, shown: bool, ring: bool) -> Arrow {
    let (x, top, middle) = (to.x + 13, to.y + BOX, from.y + BOX / 2);
    // At the deepest step the boxes stand below each other: the line keeps left of them.
    let x = x.min(from.x - 12);
    let arrow = if x > to.x { top } else { to.y + BOX / 2 };
    if x > to.x {
        let path = format!("M{} {middle}H{x}V{}", from.x, top + 6);
        Arrow { path, head: format!("M{x} {top}l-4 8h8z"), shown, ring }
    } else {
        let path = format!("M{} {middle}H{x}V{arrow}H{}", from.x, to.x - 6);
        Arrow { path, head: format!("M{} {arrow}l-8 -4v8z", to.x), shown, ring }
    }
}

/// From the top of a ring down its left side to its last one.
fn around(from: &Boxed, to: &Boxed, shown: bool) -> Arrow {
    let (begin, end) = (from.y + BOX / 2, to.y + BOX / 2);
    let path = format!("M{} {begin}H8V{end}H{}", from.x, to.x - 6);
    Arrow { path, head: format!("M{} {end}l-8 -4v8z", to.x), shown, ring: true }
}

fn length(text: &Text) -> i64 {
    i64::try_from(text.as_str().chars().count()).unwrap_or(0)
}

fn cut(text: &Text, most: usize) -> Text {
    if text.as_str().chars().count() <= most {
        return text.clone();
    }
    let mut short: String = text.as_str().chars().take(most).collect();
    short.push('…');
    Text::new(short)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(name: &str, parent: Option<usize>) -> Waiter {
        Waiter {
            name: name.into(),
            note: "D".into(),
            wait: if parent.is_some() { "a mutex".into() } else { Text::default() },
            shown: true,
            role: if parent.is_some() { Role::Task } else { Role::Root },
            parent,
            closes: None,
        }
    }

    fn drawn(rows: Vec<Waiter>) -> WaitDrawing {
        WaitMap { rows, ..WaitMap::default() }.draw()
    }

    #[test]
    fn who_waits_stands_below_and_right_of_what_it_waits_for() {
        let drawing =
            drawn(vec![row("holder", None), row("a", Some(0)), row("b", Some(0)), row("c", Some(2))]);
        let [holder, a, b, c] = &drawing.boxes[..] else { panic!() };
        assert!(holder.y < a.y && a.y < b.y && b.y < c.y);
        assert!(holder.x < a.x && a.x == b.x && b.x < c.x);
        assert_eq!(drawing.arrows.len(), 3);
        assert!(holder.name.as_str().starts_with("root: "));
    }

    #[test]
    fn a_ring_is_closed_by_a_line_on_its_left() {
        let mut rows = vec![row("a", None), row("b", Some(0))];
        for it in &mut rows {
            it.role = Role::Ring;
        }
        rows[0].closes = Some(1);
        let drawing = drawn(rows);
        assert_eq!(drawing.arrows.iter().filter(|it| it.ring).count(), 2);
        assert!(drawing.arrows.iter().any(|it| it.path.contains("H8V")));
    }

    #[test]
    fn a_chain_of_any_length_stays_within_its_width() {
        let rows = (0..40usize).map(|n| row("x", n.checked_sub(1))).collect();
        assert_eq!(drawn(rows).width, NARROWEST.max(LEFT + INDENT * 8 + 14 + CHAR * 7));
    }

    proptest! {
        #[test]
        fn every_box_lies_within_the_drawing(names in prop::collection::vec(any::<String>(), 1..40), seed in any::<usize>()) {
            let count = names.len();
            let rows = names.iter().enumerate().map(|(n, name)| row(name, n.checked_sub(1).map(|it| seed % (it + 1)))).collect();
            let drawing = drawn(rows);
            prop_assert_eq!(drawing.boxes.len(), count);
            for it in &drawing.boxes {
                prop_assert!(it.x > 0 && it.x + it.width <= drawing.width && it.y + BOX <= drawing.height);
            }
        }
    }
}
