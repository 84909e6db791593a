//! A flame graph of a picture over time: the width of a function is how often it was seen, what it called
//! stands above it. One SVG that needs nothing else; the names are in its text and in its tooltips.

use askama::Template;
use vmward_kernel_facts::{SampledStack, Samples};

use crate::escape::Text;

/// Width of the drawing.
const WIDTH: f64 = 1200.0;
/// Height of a row.
const ROW: f64 = 18.0;
/// Room above and below the rows.
const EDGE: f64 = 40.0;
/// A letter's width in the drawing's monospace type.
const LETTER: f64 = 6.7;
/// Rows at most; deeper stacks are cut at the inner end.
const MAX_DEPTH: usize = 96;
/// Boxes at most; narrower ones are left out before.
const MAX_BOXES: usize = 20_000;
/// Boxes narrower than this are not drawn.
const MIN_WIDTH: f64 = 0.4;

/// One function at its place.
struct Bar {
    x: f64,
    y: f64,
    width: f64,
    label: Text,
    title: Text,
    tone: &'static str,
}

#[derive(Template)]
#[template(path = "flame.svg", escape = "html")]
struct Drawing {
    title: Text,
    note: Text,
    width: f64,
    height: f64,
    row: f64,
    boxes: Vec<Bar>,
}

/// One function in the tree of calls.
struct Node {
    name: Text,
    tone: &'static str,
    count: u32,
    calls: Vec<Node>,
}

impl Node {
    fn new(name: Text, tone: &'static str) -> Node {
        Node { name, tone, count: 0, calls: Vec::new() }
    }

    fn add(&mut self, path: &[(Text, &'static str)], count: u32) {
        self.count = self.count.saturating_add(count);
        let mut at = self;
        for (name, tone) in path {
            let place = match at.calls.iter().position(|it| it.name == *name) {
                Some(place) => place,
                None => {
                    at.calls.push(Node::new(name.clone(), tone));
                    at.calls.len() - 1
                }
            };
            let Some(next) = at.calls.get_mut(place) else { return };
            next.count = next.count.saturating_add(count);
            at = next;
        }
    }

    fn depth(&self) -> usize {
        1 + self.calls.iter().map(Node::depth).max().unwrap_or(0)
    }
}

/// The path of a stack from the CPU to the innermost function.
fn path(it: &SampledStack) -> Vec<(Text, &'static str)> {
    let mut path = vec![(Text::new(format!("CPU {}", it.cpu)), "cpu")];
    let pid = it.pid.map_or_else(|| "?".to_owned(), |it| it.to_string());
    let task = format!("{} ({pid})", it.comm.as_deref().unwrap_or("?"));
    path.push((Text::new(task), if it.pid == Some(0) { "idle" } else { "task" }));
    if it.user_mode {
        path.push((Text::new("user code"), "user"));
    }
    path.extend(it.functions.iter().map(|it| (Text::new(it), "kernel")));
    path.truncate(MAX_DEPTH - 1);
    path
}

/// Draws it.
///
/// # Errors
/// Those of the template, of which none is known.
pub fn flame(guest: &str, samples: &Samples) -> Result<String, askama::Error> {
    let mut root = Node::new(Text::new("all CPUs"), "cpu");
    for stack in &samples.stacks {
        root.add(&path(stack), stack.count);
    }
    let depth = root.depth();
    let mut boxes = Vec::new();
    let height = depth as f64 * ROW + 2.0 * EDGE;
    place(&root, 0.0, WIDTH, 0, height - EDGE, root.count.max(1), &mut boxes);
    let missed = match samples.missed {
        0 => String::new(),
        missed => format!(", {missed} moments could not be looked at"),
    };
    let note = format!("{} moments in {} ms{missed}", samples.taken, samples.took_ms);
    Drawing {
        title: Text::new(format!("What the CPUs of {guest} ran")),
        note: Text::new(note),
        width: WIDTH,
        height,
        row: ROW - 1.0,
        boxes,
    }
    .render()
}

fn place(node: &Node, x: f64, width: f64, level: usize, bottom: f64, all: u32, boxes: &mut Vec<Bar>) {
    if width < MIN_WIDTH || boxes.len() >= MAX_BOXES {
        return;
    }
    let letters = ((width - 6.0) / LETTER).max(0.0) as usize;
    let name = node.name.as_str();
    let label = match name.chars().count() {
        count if count <= letters => name.to_owned(),
        _ if letters < 3 => String::new(),
        _ => name.chars().take(letters - 1).chain(['…']).collect(),
    };
    let share = f64::from(node.count) * 100.0 / f64::from(all);
    boxes.push(Bar {
        x,
        y: bottom - (level + 1) as f64 * ROW,
        width: (width - 0.5).max(MIN_WIDTH),
        label: Text::new(label),
        title: Text::new(format!("{name}: {share:.1} % ({} of {all})", node.count)),
        tone: node.tone,
    });
    let mut at = x;
    for call in &node.calls {
        let part = width * f64::from(call.count) / f64::from(node.count.max(1));
        place(call, at, part, level + 1, bottom, all, boxes);
        at += part;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(cpu: u32, functions: &[&str], count: u32) -> SampledStack {
        SampledStack {
            cpu,
            pid: Some(9),
            comm: Some("</title><script>".into()),
            user_mode: false,
            functions: functions.iter().map(|it| (*it).to_owned()).collect(),
            count,
        }
    }

    #[test]
    fn a_function_is_as_wide_as_it_was_often() {
        let stacks = vec![stack(0, &["thread", "spin"], 30), stack(0, &["thread", "idle"], 10)];
        let drawn = flame("g", &Samples { taken: 40, stacks, ..Samples::default() }).unwrap();
        assert!(drawn.contains("spin: 75.0 % (30 of 40)"), "{drawn}");
        assert!(drawn.contains("thread: 100.0 % (40 of 40)"));
    }

    #[test]
    fn a_name_that_a_guest_chose_stays_text() {
        let drawn = flame("<b>", &Samples { stacks: vec![stack(0, &[], 1)], ..Samples::default() }).unwrap();
        assert!(!drawn.contains("<script>") && !drawn.contains("<b>"), "{drawn}");
    }

    #[test]
    fn a_stack_without_end_is_cut() {
        let deep: Vec<String> = (0..4000).map(|it| format!("f{it}")).collect();
        let deep: Vec<&str> = deep.iter().map(String::as_str).collect();
        let drawn = flame("g", &Samples { stacks: vec![stack(0, &deep, 1)], ..Samples::default() }).unwrap();
        assert_eq!(drawn.matches("<rect").count(), 1 + MAX_DEPTH);
    }
}
