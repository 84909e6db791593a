//! A file's text with the way from a value back to its place.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Problem;

/// Largest file that is read.
const MAX_FILE: u64 = 1 << 20;

/// One step from a table or an array to what is in it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Key<'a> {
    /// A key of a table.
    Name(&'a str),
    /// A place in an array.
    At(usize),
}

impl<'a> From<&'a str> for Key<'a> {
    fn from(name: &'a str) -> Self {
        Key::Name(name)
    }
}

impl From<usize> for Key<'_> {
    fn from(at: usize) -> Self {
        Key::At(at)
    }
}

/// The steps to a value: `steps!["guest", 0, "name"]`.
macro_rules! steps {
    ($($step:expr),* $(,)?) => { &[$(crate::config::source::Key::from($step)),*] };
}
pub(super) use steps;

/// A file that was read.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) file: PathBuf,
    pub(super) text: String,
}

impl Source {
    /// Reads `file`, at most 1 MiB of UTF-8.
    pub(super) fn read(file: &Path) -> Result<Self, Problem> {
        let size =
            std::fs::metadata(file).map_err(|e| Problem::of_file(file, format!("cannot be read: {e}")))?;
        if size.len() > MAX_FILE {
            let message = format!("{} bytes are too many for a configuration file", size.len());
            return Err(Problem::of_file(file, message).help("at most 1 MiB is read"));
        }
        let text = std::fs::read_to_string(file)
            .map_err(|e| Problem::of_file(file, format!("cannot be read: {e}")))?;
        Ok(Self { file: file.to_owned(), text })
    }

    /// A file that is part of the program.
    pub(super) fn built_in(name: &str, text: &str) -> Self {
        Self { file: Path::new("<built in>").join(name), text: text.to_owned() }
    }

    /// The whole file as a `T`.
    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        toml::from_str(&self.text).map_err(|e| {
            Problem::at(&self.file, &self.text, e.span().unwrap_or(0..0), e.message().trim_end())
        })
    }

    /// A problem with the value at `path`, or with the innermost one that is written down.
    pub(super) fn problem(&self, path: &[Key<'_>], message: impl Into<String>) -> Problem {
        Problem::at(&self.file, &self.text, self.locate(path), message)
    }

    fn locate(&self, path: &[Key<'_>]) -> Range<usize> {
        let Ok(table) = DeTable::parse(&self.text) else { return 0..0 };
        let mut span = 0..0;
        let mut value: Option<&Spanned<DeValue<'_>>> = None;
        for (depth, step) in path.iter().enumerate() {
            let next = match (step, depth) {
                (Key::Name(name), 0) => table.get_ref().get(*name),
                (Key::Name(name), _) => {
                    value.and_then(|it| it.get_ref().as_table()).and_then(|it| it.get(*name))
                }
                (Key::At(at), _) => value.and_then(|it| it.get_ref().as_array()).and_then(|it| it.get(*at)),
            };
            let Some(found) = next else { break };
            span = found.span();
            value = Some(found);
        }
        span
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::built_in("test.toml", text)
    }

    #[test]
    fn a_value_deep_in_arrays_and_tables_is_found() {
        let it = source("[[guest]]\nname = 'a'\n[[guest]]\nname = 'b'\nscenarios = ['x', 'y']\n");
        let problem = it.problem(steps!["guest", 1, "scenarios", 1], "unknown");
        assert_eq!((problem.line, problem.column), (5, 19));
    }

    #[test]
    fn what_is_not_written_is_shown_at_the_table_where_it_is_missing() {
        let it = source("a = 1\n[state]\nfolder = '/x'\n");
        assert_eq!(it.problem(steps!["state", "ring"], "missing").line, 2);
        assert_eq!(it.problem(steps!["nowhere"], "missing").line, 1);
    }

    #[test]
    fn an_error_of_the_syntax_has_its_place() {
        let problem = source("a = 1\nb = = 2\n").parse::<toml::Table>().unwrap_err();
        assert_eq!((problem.line, problem.column), (2, 5));
    }
}
