//! What is shown when a page cannot be.

use super::{Here, Parts, Software, wrap};
use crate::escape::Text;
use crate::html::{self, RenderError};

/// The page of an error: an HTTP status with its words, and a sentence.
///
/// # Errors
/// When the formatter fails, which it does not into a string.
pub fn error(software: &Software, status: u16, title: &Text, detail: &Text) -> Result<String, RenderError> {
    let fixed = format!(
        "<p class=\"status\">{status}</p>\n<h1>{}</h1>\n<p>{}</p>\n<p><a href=\"/\">To the overview</a></p>\n",
        html::escaped(title.as_str()),
        html::escaped(detail.as_str()),
    );
    wrap(
        software,
        &Parts {
            here: Here::Elsewhere,
            title: title.clone(),
            fixed,
            live: String::new(),
            said: Text::default(),
        },
    )
}
