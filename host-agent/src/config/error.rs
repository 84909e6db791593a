//! What is wrong in a file, at which line and column, drawn with the line itself.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, or `<built in>/...` for a shipped one.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    source: Box<str>,
    span: Range<usize>,
}

/// Everything that is wrong in the files that were read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors {
    /// One or more, in the order of the files.
    pub problems: Vec<Problem>,
}

impl Problem {
    /// A problem at `span` (bytes) of `source`.
    pub(super) fn at(file: &Path, source: &str, span: Range<usize>, message: impl Into<String>) -> Self {
        let end = source.len();
        let start = char_start(source, span.start);
        let before = source.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        // Drawn on one line: a table's span would draw the whole table.
        let line_end = source.get(start..).and_then(|rest| rest.find('\n')).map_or(end, |at| start + at);
        Self {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
            message: message.into(),
            help: None,
            source: source.into(),
            span: start..char_start(source, span.end.clamp(start, line_end)),
        }
    }

    /// A problem with a file as a whole: it cannot be read.
    pub(super) fn of_file(file: &Path, message: impl Into<String>) -> Self {
        Self::at(file, "", 0..0, message)
    }

    /// The same with advice.
    #[must_use]
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The problem with its line of the file, as a compiler would draw it.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let file = self.file.display().to_string();
        let title = Level::ERROR.primary_title(self.message.as_str());
        let mut report: Vec<Group<'_>> = Vec::new();
        if self.source.is_empty() {
            report.push(title.element(Level::NOTE.message(format!("in {file}"))));
        } else {
            let mark = AnnotationKind::Primary.span(self.span.clone());
            report.push(title.element(Snippet::source(&*self.source).path(&file).annotation(mark)));
        }
        if let Some(help) = &self.help {
            report.push(Group::with_title(Level::HELP.secondary_title(help.as_str())));
        }
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&report)
    }
}

/// The start of the character that byte `at` is in, or the end of the text.
fn char_start(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|it| text.is_char_boundary(*it)).unwrap_or(0)
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file.display(), self.line, self.column, self.message)
    }
}

impl ConfigErrors {
    /// Every problem drawn with its line, a blank line between.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let drawn: Vec<String> = self.problems.iter().map(|it| it.render(colour)).collect();
        drawn.join("\n\n")
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn line_and_column_count_characters_from_one() {
        let text = "a = 1\nü = 'x'\n";
        let at = text.find('x').unwrap();
        let problem = Problem::at(Path::new("f.toml"), text, at..at + 1, "no x here").help("write y");
        assert_eq!((problem.line, problem.column), (2, 6));
        assert_eq!(problem.to_string(), "f.toml:2:6: no x here");
        let drawn = problem.render(false);
        assert!(drawn.contains("--> f.toml:2:6") && drawn.contains("ü = 'x'"), "{drawn}");
        assert!(drawn.contains("help: write y"), "{drawn}");
    }

    proptest! {
        #[test]
        fn any_span_of_any_text_can_be_drawn(text in any::<String>(), a in 0usize..300, b in 0usize..300) {
            let problem = Problem::at(Path::new("f"), &text, a..b, "wrong");
            prop_assert!(problem.render(false).contains("wrong"));
        }
    }
}
