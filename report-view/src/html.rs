//! Renders a document as one stand-alone page: no script, no external resource, dark and narrow
//! windows, and a content security policy that allows nothing but its own style sheet.

use askama::Template;

use crate::document::{Block, Document};

/// The style sheet, put into the page.
const STYLE: &str = include_str!("../templates/chart.css");
/// SHA-256 of [`STYLE`] in base64, as CSP wants it; a test keeps it current.
const STYLE_HASH: &str = include_str!("../templates/chart.css.sha256");

/// A page could not be rendered.
#[derive(Debug, thiserror::Error)]
#[error("cannot render the page: {0}")]
pub struct RenderError(#[from] askama::Error);

#[derive(Template)]
#[template(path = "chart.html")]
struct Page<'a> {
    document: &'a Document,
    style: &'static str,
    style_hash: &'static str,
}

/// One block; renders itself again for what is folded in it.
#[derive(Template)]
#[template(path = "block.html")]
struct Blocks<'a>(&'a [Block]);

/// The document as an HTML page in UTF-8.
///
/// # Errors
/// When the formatter fails, which it does not into a string.
pub fn render(document: &Document) -> Result<String, RenderError> {
    Ok(Page { document, style: STYLE, style_hash: STYLE_HASH.trim() }.render()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    /// Base64 with the standard alphabet (RFC 4648, section 4).
    fn base64(bytes: &[u8]) -> String {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for chunk in bytes.chunks(3) {
            let word = (0..3).fold(0u32, |word, n| word << 8 | u32::from(*chunk.get(n).unwrap_or(&0)));
            for n in 0..4 {
                let digit = ALPHABET[(word >> (18 - 6 * n) & 63) as usize];
                text.push(if n <= chunk.len() { digit as char } else { '=' });
            }
        }
        text
    }

    #[test]
    fn the_policy_allows_the_style_sheet_that_is_there() {
        assert_eq!(base64(b"Man"), "TWFu");
        assert_eq!(base64(b"Ma"), "TWE=");
        assert_eq!(
            STYLE_HASH.trim(),
            base64(&Sha256::digest(STYLE)),
            "put this into templates/chart.css.sha256"
        );
    }
}
