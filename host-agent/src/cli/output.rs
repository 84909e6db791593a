//! What goes to stdout: tables, JSON and lines. The only place of the command line that writes.
//!
//! Names and texts may come from guests: every cell is escaped here, so that no subcommand can forget it.

use std::io::{self, Write};

use anyhow::{Context as _, Result};
use serde::Serialize;
use vmward_report_view::escape::{self, visible};

/// Columns grow no wider: one guest with a name of 100,000 characters must not push the others out of
/// sight (nor end the program: the formatter takes no width above 65,535). The cell itself stays whole.
const WIDEST: usize = 120;

/// Collects results and writes them at once.
#[derive(Debug, Default)]
pub struct Output(String);

impl Output {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One line of text that may come from anywhere.
    pub fn line(&mut self, text: &str) -> &mut Self {
        self.0.push_str(&visible(text));
        self.0.push('\n');
        self
    }

    /// Several lines of text that may come from anywhere.
    pub fn lines(&mut self, texts: impl IntoIterator<Item = String>) -> &mut Self {
        for text in texts {
            self.line(&text);
        }
        self
    }

    /// Text of our own that was made safe already, as it is.
    pub fn safe(&mut self, text: &str) -> &mut Self {
        self.0.push_str(text);
        self
    }

    /// Rows under their headings, in columns as wide as what is in them.
    pub fn table<const N: usize>(&mut self, headings: [&str; N], rows: &[[String; N]]) -> &mut Self {
        let rows: Vec<[String; N]> =
            rows.iter().map(|row| row.each_ref().map(|cell| visible(cell))).collect();
        let mut widths = headings.map(|it| it.chars().count());
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count().min(WIDEST));
            }
        }
        let mut put = |cells: [&str; N]| {
            let mut line = String::new();
            for (cell, width) in cells.iter().zip(widths) {
                line.push_str(&format!("{cell:<width$}  "));
            }
            self.0.push_str(line.trim_end());
            self.0.push('\n');
        };
        put(headings);
        for row in &rows {
            put(row.each_ref().map(String::as_str));
        }
        self
    }

    /// Writes everything to stdout.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn write(&mut self) -> Result<()> {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(self.0.as_bytes()).and_then(|()| stdout.flush());
        written.map_err(StdoutError).context("while writing the result")?;
        self.0.clear();
        Ok(())
    }
}

/// Stdout cannot be written. A type of its own, so that no other closed connection is taken for a
/// reader that has seen enough.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StdoutError(pub io::Error);

/// Writes `value` as JSON and a newline.
///
/// # Errors
/// When stdout cannot be written.
pub fn json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).context("while writing JSON")?;
    Output::new().safe(&escape::json(&text)).safe("\n").write()
}

/// Writes to stderr what went wrong. Lines stay lines; what a terminal would act on does not.
pub fn complain(text: &str) {
    let safe: Vec<String> = text.lines().map(visible).collect();
    // Where stderr cannot be written there is nobody left to tell.
    let _ = io::stderr().lock().write_all((safe.join("\n") + "\n").as_bytes());
}

/// Whether the reader of our output went away (`vmward events | head`), which is no failure.
#[must_use]
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<StdoutError>().is_some_and(|it| it.0.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_is_called_cannot_move_the_cursor() {
        let mut out = Output::new();
        out.table(["NAME", "X"], &[["a\x1b[2Jb".into(), "\u{202e}abc".into()], ["long".into(), "x".into()]]);
        assert!(!out.0.contains(['\x1b', '\u{202e}']), "{:?}", out.0);
        let starts: Vec<usize> =
            out.0.lines().skip(2).map(|line| line.find('x').unwrap_or_default()).collect();
        assert_eq!(starts.first(), out.0.lines().next().and_then(|it| it.find('X')).as_ref());
    }
    #[test]
    fn one_endless_name_does_not_widen_the_table() {
        let mut out = Output::new();
        let long = "n".repeat(70_000);
        out.table(["NAME", "X"], &[[long.clone(), "y".into()], ["web".into(), "z".into()]]);
        assert!(out.0.contains(&long), "nothing is cut");
        assert!(
            out.0.lines().last().is_some_and(|it| it.starts_with("web") && it.len() < 200),
            "{}",
            out.0.len()
        );
    }

    #[test]
    fn only_a_closed_stdout_is_a_reader_that_has_seen_enough() {
        let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(is_closed_pipe(&anyhow::Error::from(StdoutError(closed())).context("while writing")));
        assert!(!is_closed_pipe(&anyhow::Error::from(closed()).context("while asking the agent")));
        assert!(!is_closed_pipe(&StdoutError(io::Error::from(io::ErrorKind::StorageFull)).into()));
    }
}
