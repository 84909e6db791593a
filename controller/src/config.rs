//! What an operator may set. Nothing must be.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use vmward_model::exchange::ExchangeLimits;

use crate::artifacts::Bounds;

/// Port that is listened on where nobody says another.
pub const PORT: u16 = 8471;
/// Where a packaged controller keeps its data.
const PACKAGED: &str = "/var/lib/vmward-controller";
/// Where any other does, from where it is started.
const LOCAL: &str = "vmward-controller-data";

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Everything that can be set.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address and port.
    pub listen: SocketAddr,
    /// The data folder.
    pub data: PathBuf,
    /// TLS; without it, plain HTTP.
    pub tls: Option<Tls>,
    /// Bounds.
    pub limits: Limits,
}

/// Where certificate and key are.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM file with the certificate and those between it and the root.
    pub certificate: PathBuf,
    /// PEM file with its key.
    pub key: PathBuf,
}

/// Bounds on what peers may cost.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of one piece of an artifact.
    pub chunk_bytes: u64,
    /// Bytes of one artifact.
    pub artifact_bytes: u64,
    /// Bytes of one JSON body.
    pub body_bytes: u64,
    /// Entries or events in one call.
    pub batch_entries: u64,
    /// Bytes of all uploads that are not finished.
    pub incoming_bytes: u64,
    /// Hours after which an upload that nobody goes on with is dropped.
    pub incoming_hours: u64,
    /// Requests a second of one token or address.
    pub requests_per_second: u32,
    /// Requests that one token or address may make at once.
    pub requests_burst: u32,
    /// Requests that read and are worked on at the same time; of those that send, four times as many.
    pub concurrent_requests: u32,
    /// Connections that are open at the same time.
    pub connections: u32,
    /// Readers of the live stream.
    pub live_readers: u32,
    /// Seconds that a request may take.
    pub request_seconds: u64,
    /// Seconds that an upload may take.
    pub upload_seconds: u64,
    /// Seconds without a byte after which a body is given up.
    pub idle_seconds: u64,
    /// Seconds for what runs when the controller is told to stop.
    pub stop_seconds: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)),
            data: usual_folder(),
            tls: None,
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            chunk_bytes: MIB,
            artifact_bytes: 32 * MIB,
            body_bytes: 4 * MIB,
            batch_entries: 500,
            incoming_bytes: 1024 * MIB,
            incoming_hours: 48,
            requests_per_second: 500,
            requests_burst: 2000,
            concurrent_requests: 32,
            connections: 512,
            live_readers: 64,
            request_seconds: 30,
            upload_seconds: 300,
            idle_seconds: 20,
            stop_seconds: 10,
        }
    }
}

/// The service manager's folder, that of a package, or one where the program was started.
fn usual_folder() -> PathBuf {
    match std::env::var_os("STATE_DIRECTORY") {
        Some(it) if !it.is_empty() => PathBuf::from(it),
        _ if Path::new(PACKAGED).is_dir() => PathBuf::from(PACKAGED),
        _ => PathBuf::from(LOCAL),
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or says what cannot be; with line and column.
    pub fn read(path: &Path) -> anyhow::Result<Config> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("while reading {}", path.display()))?;
        Config::parse(&text).with_context(|| format!("in {}", path.display()))
    }

    /// Reads a text.
    ///
    /// # Errors
    /// When it says what cannot be; with line and column.
    pub fn parse(text: &str) -> anyhow::Result<Config> {
        let config: Config = toml::from_str(text)?;
        config.limits.check()?;
        Ok(config)
    }
}

impl Limits {
    fn check(&self) -> anyhow::Result<()> {
        let ranges = [
            ("chunk_bytes", self.chunk_bytes, 4 * KIB, 16 * MIB),
            ("artifact_bytes", self.artifact_bytes, 64 * KIB, 1024 * MIB),
            ("body_bytes", self.body_bytes, 64 * KIB, 64 * MIB),
            ("batch_entries", self.batch_entries, 1, 10_000),
            ("incoming_bytes", self.incoming_bytes, self.artifact_bytes, u64::MAX >> 1),
            ("incoming_hours", self.incoming_hours, 1, 24 * 365),
            ("requests_per_second", self.requests_per_second.into(), 1, 1_000_000),
            ("requests_burst", self.requests_burst.into(), 1, 1_000_000),
            ("concurrent_requests", self.concurrent_requests.into(), 1, 4096),
            ("connections", self.connections.into(), 1, 65_536),
            ("live_readers", self.live_readers.into(), 1, 4096),
            ("request_seconds", self.request_seconds, 1, 3600),
            ("upload_seconds", self.upload_seconds, 1, 24 * 3600),
            ("idle_seconds", self.idle_seconds, 1, 3600),
            ("stop_seconds", self.stop_seconds, 0, 3600),
        ];
        for (name, value, low, high) in ranges {
            anyhow::ensure!(
                (low..=high).contains(&value),
                "limits.{name} is {value}, and has to be from {low} to {high}"
            );
        }
        Ok(())
    }

    /// What an agent is told.
    pub fn exchange(&self) -> ExchangeLimits {
        ExchangeLimits {
            chunk_bytes: self.chunk_bytes,
            artifact_bytes: self.artifact_bytes,
            batch_entries: self.batch_entries,
            body_bytes: self.body_bytes,
        }
    }

    /// Bounds of the artifact folder.
    pub fn bounds(&self) -> Bounds {
        Bounds {
            artifact: self.artifact_bytes,
            incoming: self.incoming_bytes,
            age: Duration::from_secs(self.incoming_hours.saturating_mul(3600)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_has_to_be_set() {
        let it = Config::parse("").unwrap();
        assert_eq!(it.listen.to_string(), "127.0.0.1:8471");
        assert!(it.tls.is_none());
    }

    #[test]
    fn what_is_unknown_is_refused_with_its_place() {
        let error = format!("{:#}", Config::parse("listen = \"[::1]:1\"\nlisen = 1\n").unwrap_err());
        assert!(error.contains("line 2, column 1") && error.contains("lisen"), "{error}");
    }

    #[test]
    fn a_bound_that_would_stop_everything_is_refused() {
        let error = Config::parse("[limits]\nconnections = 0\n").unwrap_err().to_string();
        assert_eq!(error, "limits.connections is 0, and has to be from 1 to 65536");
    }
}
