//! The address of the Debian archive that this machine uses, read from apt's configuration.
//!
//! The fixtures name no host: whoever set up this machine chose a mirror, and other suites are asked
//! of the same one.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Overrides the address, for a machine whose mirror lacks a suite.
pub const ARCHIVE_VARIABLE: &str = "VMWARD_FIXTURES_ARCHIVE";

const SUITES: [&str; 10] = [
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "sid",
    "stable",
    "testing",
    "unstable",
    "oldstable",
    "oldoldstable",
];

/// The archive's address.
///
/// # Errors
/// When no source of this machine is Debian's own archive.
pub(super) fn archive() -> Result<String> {
    if let Ok(address) = std::env::var(ARCHIVE_VARIABLE) {
        return Ok(address);
    }
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.flatten().map(|it| it.path()));
    }
    files.sort();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        if let Some(address) = address_in(&file, &text) {
            return Ok(address);
        }
    }
    bail!(
        "no Debian archive in /etc/apt/sources.list or /etc/apt/sources.list.d: \
         add one, or name it in {ARCHIVE_VARIABLE}"
    )
}

/// Debian's archive keyring.
///
/// # Errors
/// When it is not installed.
pub(super) fn keyring() -> Result<PathBuf> {
    for name in ["debian-archive-keyring.pgp", "debian-archive-keyring.gpg"] {
        let path = Path::new("/usr/share/keyrings").join(name);
        if path.is_file() {
            return Ok(path);
        }
    }
    bail!("Debian's archive keyring is missing: install the package debian-archive-keyring")
}

fn address_in(file: &Path, text: &str) -> Option<String> {
    match file.extension().and_then(|it| it.to_str()) {
        Some("sources") => deb822(text),
        Some("list") => one_line(text),
        _ => None,
    }
}

/// Is this an entry of the archive itself, not of security updates or of somebody else?
fn is_archive(address: &str, suites: &[&str], components: &[&str], signed_by: Option<&str>) -> bool {
    // Third parties use Debian's suite names too, but bring their own key.
    let ours = signed_by.is_none_or(|it| it.contains("debian-archive"));
    ours && !address.contains("security")
        && components.contains(&"main")
        && suites.iter().any(|it| SUITES.contains(it))
}

/// `deb [options] address suite component...`, see sources.list(5).
fn one_line(text: &str) -> Option<String> {
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or("").trim();
        let Some(rest) = line.strip_prefix("deb ") else { continue };
        let rest = rest.trim_start();
        let (options, rest) = match rest.strip_prefix('[').and_then(|it| it.split_once(']')) {
            Some((options, rest)) => (options, rest),
            None => ("", rest),
        };
        let signed_by = options.split_whitespace().find_map(|it| it.strip_prefix("signed-by="));
        let words: Vec<&str> = rest.split_whitespace().collect();
        if let [address, suite, components @ ..] = words.as_slice()
            && is_archive(address, &[suite], components, signed_by)
        {
            return Some((*address).to_owned());
        }
    }
    None
}

/// Paragraphs of `Field: value`, see sources.list(5), "deb822-style format".
fn deb822(text: &str) -> Option<String> {
    for paragraph in super::apt::paragraphs(text) {
        let words = |name: &str| -> Vec<&str> {
            paragraph.get(name).map(|it| it.split_whitespace().collect()).unwrap_or_default()
        };
        if words("enabled") == ["no"] || !words("types").contains(&"deb") {
            continue;
        }
        let signed_by = paragraph.get("signed-by").map(String::as_str);
        for address in words("uris") {
            if is_archive(address, &words("suites"), &words("components"), signed_by) {
                return Some(address.to_owned());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_one_line_source_is_read() {
        let text = "# deb http://old.example/debian sid main\n\
            deb https://tools.example/apt bookworm stable\n\
            deb [arch=amd64 signed-by=/k/hashi.gpg] https://third.example bookworm main\n\
            deb http://mirror.example/debian-security bookworm-security main\n\
            deb [arch=amd64]  http://mirror.example/debian/ bookworm main contrib # note\n";
        assert_eq!(one_line(text).as_deref(), Some("http://mirror.example/debian/"));
    }

    #[test]
    fn a_deb822_source_is_read() {
        let text = "Types: deb\nURIs: https://other.example\nSuites: bookworm\nComponents: main\n\
            Signed-By: /usr/share/keyrings/other.gpg\n\n\
            Enabled: no\nTypes: deb\nURIs: http://off.example\nSuites: bookworm\nComponents: main\n\n\
            Types: deb\n# a comment\nURIs: http://mirror.example/debian\n\
            Suites: bookworm bookworm-updates\nComponents: main\n\
            Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n";
        assert_eq!(deb822(text).as_deref(), Some("http://mirror.example/debian"));
    }

    #[test]
    fn a_key_written_inline_is_somebody_elses() {
        let text = "Types: deb\nURIs: https://x.example\nSuites: sid\nComponents: main\nSigned-By:\n -----BEGIN\n .\n abc\n";
        assert_eq!(deb822(text), None);
    }
}
