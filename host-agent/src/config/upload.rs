//! `[[controller]]` and `[upload]`: where events and reports are sent, over which link, and what may leave.

use std::net::IpAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vmward_model::Sensitivity;

use super::error::Problem;
use super::file::Config;
use super::source::{Key, Source, steps};
use super::units::{ByteSize, HumanDuration};

/// More endpoints than this are a mistake.
const MOST: usize = 16;
/// The longest name of a network interface (`IFNAMSIZ` of `linux/if.h`, less the zero).
const INTERFACE: usize = 15;
/// Less than this a second would not carry a batch before it times out.
const SLOWEST: ByteSize = ByteSize::from_bytes(1024);

/// One `[[controller]]`. They are tried in order, and the first that answers is used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ControllerEntry {
    /// `https://HOST[:PORT]`, or `http://` to this machine itself.
    pub url: String,
    /// File with the token that the controller gave this host. Others must not be able to read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// File with the certificates (PEM) of who may vouch for the controller; takes the place of the
    /// host's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Network interface that the connection leaves by, such as `wwan0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Address of this host that the connection leaves from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub source_address: Option<IpAddr>,
    /// Proxy: `http://HOST:PORT`, `https://...` or `socks5h://...`. The environment's are never used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// How long a connection may take to come about.
    #[serde(default = "connect")]
    pub connect_timeout: HumanDuration,
    /// How long an answer may take; bodies get more by their size.
    #[serde(default = "answer")]
    pub timeout: HumanDuration,
}

const fn connect() -> HumanDuration {
    HumanDuration::from_secs(10)
}

const fn answer() -> HumanDuration {
    HumanDuration::from_secs(30)
}

/// `[upload]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct UploadConfig {
    /// What may leave this host: `status`, `text`, `memory`. Memory leaves only of guests whose policy has
    /// `upload-memory = true` too.
    pub sensitivities: Vec<Sensitivity>,
    /// Bytes a second that all uploads together may take; absent means as fast as the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<ByteSize>,
    /// The longest pause between two tries while no controller answers.
    pub longest_pause: HumanDuration,
    /// At most so many events are sent at once.
    pub batch: u64,
    /// How often the guests' states are told, where nothing changed.
    pub status_every: HumanDuration,
}

impl Default for UploadConfig {
    fn default() -> Self {
        Self {
            sensitivities: vec![Sensitivity::Status, Sensitivity::Text],
            bandwidth: None,
            longest_pause: HumanDuration::from_secs(300),
            batch: 256,
            status_every: HumanDuration::from_secs(30),
        }
    }
}

/// What is wrong with `[[controller]]`, `[upload]` and `[spool]`.
pub(super) fn check(it: &Config, source: &Source) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut wrong = |at: &[Key<'_>], message: String| problems.push(source.problem(at, message));
    if it.controllers.len() > MOST {
        wrong(steps!["controller", MOST], format!("at most {MOST} controllers are tried"));
    }
    for (n, entry) in it.controllers.iter().enumerate().take(MOST) {
        if let Err(why) = base(&entry.url) {
            wrong(steps!["controller", n, "url"], why);
        }
        for (key, path) in [("token-file", &entry.token_file), ("ca-file", &entry.ca_file)] {
            if path.as_ref().is_some_and(|it| !it.is_absolute()) {
                wrong(steps!["controller", n, key], "the path must be absolute".to_owned());
            }
        }
        let bad = |it: &String| {
            it.is_empty() || it.len() > INTERFACE || !it.bytes().all(|b| b.is_ascii_graphic() && b != b'/')
        };
        if entry.interface.as_ref().is_some_and(bad) {
            let message = format!("the name of an interface has 1 to {INTERFACE} characters");
            wrong(steps!["controller", n, "interface"], message);
        }
        if let Some(why) = entry.proxy.as_ref().and_then(|it| proxy(it).err()) {
            wrong(steps!["controller", n, "proxy"], why);
        }
        for (key, time) in [("connect-timeout", entry.connect_timeout), ("timeout", entry.timeout)] {
            if time.get().is_zero() {
                wrong(steps!["controller", n, key], "must be more than 0".to_owned());
            }
        }
    }
    if it.upload.bandwidth.is_some_and(|it| it < SLOWEST) {
        wrong(steps!["upload", "bandwidth"], "at least 1KiB a second".to_owned());
    }
    if it.upload.batch == 0 {
        wrong(steps!["upload", "batch"], "must be at least 1".to_owned());
    }
    for (key, time) in [("longest-pause", it.upload.longest_pause), ("status-every", it.upload.status_every)]
    {
        if time.get() < HumanDuration::from_secs(1).get() {
            wrong(steps!["upload", key], "at least 1s".to_owned());
        }
    }
    problems
}

/// The address of a controller, without a slash at its end.
pub(crate) fn base(text: &str) -> Result<String, String> {
    let url = reqwest::Url::parse(text).map_err(|error| format!("{text:?} is no URL: {error}"))?;
    let secret = !url.username().is_empty() || url.password().is_some();
    if secret || url.query().is_some() || url.fragment().is_some() {
        return Err("only https://HOST[:PORT][/PATH]; a token belongs into token-file".to_owned());
    }
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let here = host == "localhost" || address.is_ok_and(|it| it.is_loopback());
    match url.scheme() {
        "https" if !host.is_empty() => {}
        "http" if here => {}
        "http" => {
            return Err(format!("http is only for this machine itself, {host:?} needs https"));
        }
        other => return Err(format!("{other:?} is no way to a controller: https")),
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn proxy(text: &str) -> Result<(), String> {
    let url = reqwest::Url::parse(text).map_err(|error| format!("{text:?} is no URL: {error}"))?;
    match (url.scheme(), url.host_str()) {
        ("http" | "https" | "socks5" | "socks5h", Some(_)) => Ok(()),
        _ => Err("a proxy is http://HOST:PORT, https://, socks5:// or socks5h://".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_goes_no_further_than_this_machine() {
        for good in ["https://c.example", "https://c.example:8443/a", "http://127.0.0.2:80", "http://[::1]:1"]
        {
            assert!(base(good).is_ok(), "{good}");
        }
        for bad in [
            "http://c.example",
            "http://10.0.0.1",
            "http://127.0.0.1.example",
            "ftp://127.0.0.1",
            "c.example",
            "https://user:secret@c.example",
            "https://c.example/?token=1",
        ] {
            assert!(base(bad).is_err(), "{bad}");
        }
        assert_eq!(base("https://c.example/").unwrap(), "https://c.example");
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_its_place() {
        let text = "[[controller]]\nurl = 'http://far.example'\ntoken-file = 'relative'\ninterface = 'a/b'\n\
                    proxy = 'gopher://x'\ntimeout = '0s'\n[upload]\nbatch = 0\nbandwidth = '1B'\n";
        let source = Source::built_in("t.toml", text);
        let found = check(&source.parse().unwrap(), &source);
        let lines: Vec<usize> = found.iter().map(|it| it.line).collect();
        assert_eq!(lines, [2, 3, 4, 5, 6, 9, 8], "{found:?}");
    }

    #[test]
    fn memory_stays_unless_both_the_upload_and_the_guest_say_otherwise() {
        let it: Config = Source::built_in("t.toml", "").parse().unwrap();
        assert_eq!(it.upload.sensitivities, [Sensitivity::Status, Sensitivity::Text]);
        assert!(!it.policy_for("g", None).upload_memory);
        let text = "[[guest]]\nname = 'g'\npolicy = { upload-memory = true }\n";
        let it: Config = Source::built_in("t.toml", text).parse().unwrap();
        assert!(it.policy_for("g", None).upload_memory && !it.policy_for("h", None).upload_memory);
    }
}
