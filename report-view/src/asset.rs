//! Style sheets and scripts of the controller's pages. Each is served under a name that holds its
//! content's hash, so that a browser may keep it for ever.

use std::fmt::Write as _;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// The style sheet of a stand-alone chart, put into the page.
pub(crate) const CHART_STYLE: &str =
    concat!(include_str!("../static/base.css"), include_str!("../static/chart.css"));

/// The style sheet of the controller's pages.
const PAGES_STYLE: &str = concat!(
    include_str!("../static/base.css"),
    include_str!("../static/chart.css"),
    include_str!("../static/pages.css")
);

/// A file that pages refer to.
#[derive(Clone, Debug)]
pub struct Asset {
    /// Its name under `/static/`: stem, hash, extension.
    pub name: String,
    /// Its media type.
    pub media_type: &'static str,
    /// Its content.
    pub content: &'static str,
}

impl Asset {
    fn new(stem: &str, extension: &str, media_type: &'static str, content: &'static str) -> Asset {
        Asset { name: format!("{stem}.{}.{extension}", version(content)), media_type, content }
    }
}

static ALL: LazyLock<[Asset; 5]> = LazyLock::new(|| {
    let script = |stem, content| Asset::new(stem, "js", "text/javascript; charset=utf-8", content);
    [
        Asset::new("ward", "css", "text/css; charset=utf-8", PAGES_STYLE),
        script("live-updates", include_str!("../static/live-updates.js")),
        script("stack-fold", include_str!("../static/stack-fold.js")),
        script("local-time", include_str!("../static/local-time.js")),
        Asset::new("mark", "svg", "image/svg+xml", include_str!("../static/mark.svg")),
    ]
});

/// Every asset.
pub fn all() -> &'static [Asset] {
    &*ALL
}

/// The asset of that name.
pub fn find(name: &str) -> Option<&'static Asset> {
    ALL.iter().find(|it| it.name == name)
}

/// A short name of a content: 16 hexadecimal digits.
pub(crate) fn version(content: &str) -> String {
    let mut name = String::with_capacity(16);
    for byte in Sha256::digest(content).iter().take(8) {
        // Writing into a string does not fail.
        let _written = write!(name, "{byte:02x}");
    }
    name
}

/// A content as a policy names it: `sha256-` and base64 (CSP level 3, section 2.3.1).
pub(crate) fn digest(content: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(content)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_names_a_content_by_its_digest() {
        // `printf '' | openssl dgst -sha256 -binary | base64`
        assert_eq!(digest(""), "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
        assert_eq!(version(""), "e3b0c44298fc1c14");
    }

    #[test]
    fn every_asset_is_found_by_its_name_and_nothing_else_is() {
        for it in all() {
            assert_eq!(find(&it.name).map(|found| found.content), Some(it.content));
        }
        assert!(find("ward.css").is_none() && find("../Cargo.toml").is_none());
    }

    #[test]
    fn no_script_makes_markup_of_text() {
        for it in all().iter().filter(|it| it.name.ends_with(".js")) {
            for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "style="]
            {
                assert!(!it.content.contains(word), "{} has {word}", it.name);
            }
        }
    }

    #[test]
    fn nothing_is_fetched_from_elsewhere() {
        for it in all() {
            for word in ["@import", "url(", "https://"] {
                assert!(!it.content.contains(word), "{} has {word}", it.name);
            }
        }
    }
}
