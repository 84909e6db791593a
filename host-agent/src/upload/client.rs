//! The HTTP client of one endpoint: which interface, address or proxy it leaves by, whom it trusts, and
//! the token that it shows.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Certificate, Client, Proxy, redirect};

use crate::config::ControllerEntry;

/// Longer ones are no tokens.
const MAX_TOKEN: u64 = 4096;
/// Longer ones are no certificates.
const MAX_CERTIFICATES: u64 = 4 << 20;
/// An idle connection is kept for so long.
const IDLE: Duration = Duration::from_secs(90);

/// Makes a client. Files are read anew each time, so that a token can be changed without a restart.
pub(crate) fn client(entry: &ControllerEntry) -> Result<Client, String> {
    // The one provider of cryptography; when it is set already, it is this one.
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut builder = Client::builder()
        .user_agent(concat!("vmward/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(entry.connect_timeout.get())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(2)
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy();
    if let Some(path) = &entry.token_file {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, token(path)?);
        builder = builder.default_headers(headers);
    }
    if let Some(path) = &entry.ca_file {
        let pem = read(path, MAX_CERTIFICATES)?;
        let unusable = |error: reqwest::Error| format!("{} holds no certificates: {error}", path.display());
        let certificates = Certificate::from_pem_bundle(&pem).map_err(unusable)?;
        if certificates.is_empty() {
            return Err(format!("{} holds no certificates", path.display()));
        }
        builder = builder.tls_certs_only(certificates);
    } else if entry.url.starts_with("http:") {
        // No TLS, so no need of the host's certificates, which may not be there.
        builder = builder.tls_certs_only([]);
    }
    if let Some(interface) = &entry.interface {
        builder = builder.interface(interface);
    }
    if let Some(address) = entry.source_address {
        builder = builder.local_address(address);
    }
    if let Some(proxy) = &entry.proxy {
        builder = builder.proxy(Proxy::all(proxy).map_err(|error| format!("the proxy {proxy}: {error}"))?);
    }
    builder.build().map_err(|error| format!("no client can be made: {}", chain(&error)))
}

/// The token of a file that nobody but its owner, and at most its group, can read.
fn token(path: &Path) -> Result<HeaderValue, String> {
    let shown = path.display();
    let meta = std::fs::metadata(path).map_err(|error| format!("the token file {shown}: {error}"))?;
    if meta.mode() & 0o037 != 0 {
        return Err(format!(
            "the token file {shown} has mode {:04o}, others can read or write it: chmod 0600 {shown}",
            meta.mode() & 0o7777
        ));
    }
    let bytes = read(path, MAX_TOKEN)?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!("the token file {shown} holds no token: one word of printable ASCII"));
    }
    let mut value = HeaderValue::try_from(format!("Bearer {text}"))
        .map_err(|error| format!("the token file {shown}: {error}"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn read(path: &Path, cap: u64) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|it| it.take(cap + 1).read_to_end(&mut bytes));
    read.map_err(|error| format!("{}: {error}", path.display()))?;
    if bytes.len() as u64 > cap {
        return Err(format!("{} is longer than {cap} bytes", path.display()));
    }
    Ok(bytes)
}

/// An error with what caused it, in one line.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(it) = next {
        let said = it.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = it.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_that_others_can_read_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "secret\n").unwrap();
        for (mode, good) in [(0o600, true), (0o640, true), (0o400, true), (0o644, false), (0o660, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(token(&path).is_ok(), good, "{mode:o}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(token(&path).unwrap(), "Bearer secret");
        assert!(!format!("{:?}", token(&path).unwrap()).contains("secret"));
        for bad in ["", "two words", "line\r\nX-Injected: 1", "\u{fc}"] {
            std::fs::write(&path, bad).unwrap();
            assert!(token(&path).is_err(), "{bad:?}");
        }
    }
}
