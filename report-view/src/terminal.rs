//! Renders a document as plain text for a terminal of some width, coloured or not.

use crate::diagram::Ladder;
use crate::document::{Block, Document, Line, Moment, Sign, Station, TaskGroup};
use crate::escape::Text;
use crate::value::Value;
use crate::wait_map::WaitMap;

/// How to render.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Columns; at least 40 are used.
    pub width: usize,
    /// Whether to use SGR colours.
    pub colour: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { width: 100, colour: false }
    }
}

#[derive(Clone, Copy)]
enum Style {
    Heading,
    Trouble,
    Quiet,
}

/// The document as lines, each ended by a newline. The only control sequences in it are the colours.
pub fn render(document: &Document, options: Options) -> String {
    let mut out = Out { text: String::new(), width: options.width.max(40), colour: options.colour };
    out.wrapped(document.headline.as_str(), "", Some(Style::Trouble));
    if let Some(it) = &document.dissent {
        out.wrapped(it.as_str(), "", Some(Style::Trouble));
    }
    out.facts(&document.facts, "  ");
    for section in &document.sections {
        out.text.push('\n');
        out.wrapped(section.title.as_str(), "", Some(Style::Heading));
        out.blocks(&section.blocks, "  ");
    }
    out.text
}

struct Out {
    text: String,
    width: usize,
    colour: bool,
}

impl Out {
    fn blocks(&mut self, blocks: &[Block], indent: &str) {
        for block in blocks {
            self.block(block, indent);
        }
    }

    fn block(&mut self, block: &Block, indent: &str) {
        match block {
            Block::Para(text) => self.wrapped(text.as_str(), indent, None),
            Block::Items(items) => {
                for it in items {
                    self.hanging("- ", it.as_str(), indent, None);
                }
            }
            Block::Facts(facts) => self.facts(facts, indent),
            Block::Evidence(signs) => {
                for Sign { supports, text, source } in signs {
                    let (mark, style) =
                        if *supports { ("+ ", None) } else { ("- against: ", Some(Style::Quiet)) };
                    self.hanging(mark, &format!("{text} [{source}]"), indent, style);
                }
            }
            Block::Table { head, rows } => self.table(head, rows, indent),
            Block::Timeline(moments) => {
                for Moment { at, offset, text, marked } in moments {
                    let mark = if *marked { ">> " } else { "   " };
                    let style = marked.then_some(Style::Trouble);
                    self.hanging(&format!("{mark}{} {offset}  ", at.text), text.as_str(), indent, style);
                }
            }
            Block::Lines(lines) => self.lines(lines, indent),
            Block::Tasks(groups) => {
                for it in groups {
                    self.tasks(it, indent);
                }
            }
            Block::Ladder(ladder) => {
                self.wrapped(&ladder.summary(), indent, None);
                self.table(&Ladder::head(), &ladder.rows(), indent);
            }
            Block::Waits(map) => {
                self.table(&WaitMap::head(), &map.table, indent);
            }
            Block::Way(stations) => {
                for (n, Station { title, lines, owes }) in stations.iter().enumerate() {
                    let arrow = if n == 0 { "   " } else { "-> " };
                    let lines = lines.iter().map(Text::as_str).collect::<Vec<_>>().join("; ");
                    let (mark, style, owes) = match owes {
                        Some(it) => (">> ", Some(Style::Trouble), format!(" [{it}]")),
                        None => (arrow, None, String::new()),
                    };
                    self.hanging(mark, &format!("{title}{owes}: {lines}"), indent, style);
                }
            }
            Block::Headed { title, blocks, .. } => {
                let end = if blocks.is_empty() { "." } else { ":" };
                self.wrapped(&format!("{title}{end}"), indent, None);
                self.blocks(blocks, indent);
            }
            Block::Fold { summary, blocks, .. } => {
                self.wrapped(summary.as_str(), indent, None);
                self.blocks(blocks, &format!("{indent}  "));
            }
        }
    }

    fn lines(&mut self, lines: &[Line], indent: &str) {
        for it in lines {
            match &it.mark {
                Some(mark) => {
                    let text = format!("{} <- {mark}", it.text);
                    self.hanging("!! ", &text, indent, Some(Style::Trouble));
                }
                None => self.hanging("   ", it.text.as_str(), indent, None),
            }
        }
    }

    fn tasks(&mut self, group: &TaskGroup, indent: &str) {
        let TaskGroup { count, state, what, some, all, stack, .. } = group;
        self.wrapped(&format!("{count} x {state}, {what}: {}", all.as_ref().unwrap_or(some)), indent, None);
        self.lines(stack, &format!("{indent}  "));
    }

    fn facts(&mut self, facts: &[(Text, Value)], indent: &str) {
        for (name, value) in facts {
            self.hanging(&format!("{name}: "), value.text.as_str(), indent, None);
        }
    }

    fn table(&mut self, head: &[&str], rows: &[Vec<Value>], indent: &str) {
        let columns = head.len();
        let cell = |row: &[Value], n: usize| row.get(n).map_or(0, |it| it.text.as_str().chars().count());
        let widths: Vec<usize> = (0..columns)
            .map(|n| rows.iter().map(|row| cell(row, n)).chain([head[n].chars().count()]).max().unwrap_or(0))
            .collect();
        let line = |cells: Vec<&str>| {
            let padded: Vec<String> = cells
                .iter()
                .zip(&widths)
                .map(|(it, width)| format!("{it:<width$}", width = *width))
                .collect();
            padded.join("  ").trim_end().to_owned()
        };
        if indent.len() + widths.iter().sum::<usize>() + 2 * columns.saturating_sub(1) <= self.width {
            self.styled(&format!("{indent}{}", line(head.to_vec())), Some(Style::Quiet));
            for row in rows {
                let cells = row.iter().map(|it| it.text.as_str()).collect();
                self.styled(&format!("{indent}{}", line(cells)), None);
            }
        } else {
            // Too wide for columns: one row a paragraph.
            for row in rows {
                let cells: Vec<String> = head
                    .iter()
                    .zip(row)
                    .filter(|(_, it)| !it.is_empty())
                    .map(|(name, it)| format!("{name} {}", it.text).trim().to_owned())
                    .collect();
                self.hanging("- ", &cells.join("; "), indent, None);
            }
        }
    }

    fn wrapped(&mut self, text: &str, indent: &str, style: Option<Style>) {
        self.hanging("", text, indent, style);
    }

    /// A text that begins with `mark` and goes on below its first word.
    fn hanging(&mut self, mark: &str, text: &str, indent: &str, style: Option<Style>) {
        // A long mark on a narrow terminal must leave room for words.
        let hang = mark.chars().count().min(self.width / 3);
        let below = format!("{indent}{}", " ".repeat(hang));
        let room = self.width.saturating_sub(indent.chars().count() + hang).max(16);
        let first_room = self.width.saturating_sub(indent.chars().count() + mark.chars().count()).max(16);
        for (n, part) in wrap(text, first_room, room).into_iter().enumerate() {
            let line = if n == 0 { format!("{indent}{mark}{part}") } else { format!("{below}{part}") };
            self.styled(line.trim_end(), style);
        }
    }

    fn styled(&mut self, line: &str, style: Option<Style>) {
        let code = match style.filter(|_| self.colour) {
            None => None,
            Some(Style::Heading) => Some("1"),
            Some(Style::Trouble) => Some("1;31"),
            Some(Style::Quiet) => Some("2"),
        };
        match code {
            Some(code) => self.text.push_str(&format!("\u{1b}[{code}m{line}\u{1b}[0m\n")),
            None => {
                self.text.push_str(line);
                self.text.push('\n');
            }
        }
    }
}

/// Parts of a text that fit, broken at blanks where there are any; at least one part. Linear: a text may
/// be a foreign manifest's, of megabytes.
fn wrap(text: &str, first_room: usize, room: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    let mut limit = first_room;
    // The character that does not fit may be the blank at which to break.
    while let Some((end, _)) = rest.char_indices().nth(limit) {
        let upto = rest[end..].chars().next().map_or(end, |it| end + it.len_utf8());
        let blank = rest[..upto].rfind(' ').filter(|at| rest[..*at].chars().count() > limit / 3);
        let (part, tail) = rest.split_at(blank.unwrap_or(end));
        parts.push(part);
        rest = tail.trim_start_matches(' ');
        limit = room;
    }
    parts.push(rest);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_are_kept_whole_and_long_ones_cut() {
        assert_eq!(wrap("one two three", 8, 8), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij", 4, 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("", 4, 4), [""]);
    }

    #[test]
    fn a_text_of_megabytes_is_wrapped_in_one_go() {
        let began = std::time::Instant::now();
        let parts = wrap(&"x".repeat(8 << 20), 80, 80).len();
        assert_eq!(parts, (8 << 20) / 80 + 1);
        // Copying the rest for each line would take minutes.
        assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
    }

    proptest! {
        #[test]
        fn nothing_is_lost_by_wrapping(text in "[a-z ]{0,200}", room in 16usize..60) {
            let parts = wrap(&text, room, room);
            prop_assert!(parts.iter().all(|it| it.chars().count() <= room));
            let bare = |it: &str| it.replace(' ', "");
            prop_assert_eq!(bare(&parts.concat()), bare(&text));
        }
    }
}
