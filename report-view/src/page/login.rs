//! The form that takes a reader's token. Whoever sees it may see nothing else yet, so that it has neither
//! navigation nor scripts.

use askama::Template;

use super::{Software, asset_named};
use crate::escape::Text;
use crate::html::RenderError;

#[derive(Template)]
#[template(path = "page/login.html")]
struct Page<'a> {
    said: &'a str,
    software: &'a Text,
    style: &'a str,
    mark: &'a str,
}

/// The form; `said` is what is told of the last try.
///
/// # Errors
/// When the formatter fails, which it does not into a string.
pub fn login(software: &Software, said: &str) -> Result<String, RenderError> {
    let page = Page { said, software: &software.0, style: asset_named(".css"), mark: asset_named(".svg") };
    Ok(page.render()?)
}
