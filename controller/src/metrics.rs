//! What is counted, for Prometheus.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use vmward_model::exchange::{Receipt, SpoolCounters};

use crate::store::view::HostRow;

/// One kind of request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Request {
    /// Method, or `other`.
    pub method: &'static str,
    /// The route's pattern, or `none`.
    pub route: String,
    /// The status.
    pub status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfHost {
    host: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSpool {
    host: String,
    what: &'static str,
}

/// Everything that is counted while the controller runs.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    seconds: Histogram,
    entries: Family<Outcome, Counter>,
    uploaded: Counter,
    /// Readers of the live stream.
    pub live_readers: Gauge,
}

/// What is looked up when somebody asks.
#[derive(Clone, Debug, Default)]
pub struct Looked {
    /// Hosts.
    pub hosts: Vec<HostRow>,
    /// Artifacts that are stored.
    pub artifacts: u64,
    /// Bytes of these.
    pub artifact_bytes: u64,
    /// Bytes of what is half sent.
    pub incoming_bytes: u64,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let mut registry = Registry::with_prefix("vmward");
        let requests = Family::default();
        let seconds = Histogram::new(exponential_buckets(0.001, 4.0, 8));
        let (entries, uploaded, live_readers) = (Family::default(), Counter::default(), Gauge::default());
        registry.register("http_requests", "Requests that were answered", requests.clone());
        registry.register("http_request_seconds", "Seconds until a request was answered", seconds.clone());
        registry.register("entries", "Entries of spools, by what became of them", entries.clone());
        registry.register("uploaded_bytes", "Bytes of artifacts that came in", uploaded.clone());
        registry.register("live_readers", "Readers of the live stream", live_readers.clone());
        Metrics { registry, requests, seconds, entries, uploaded, live_readers }
    }
}

impl Metrics {
    /// A request was answered.
    pub fn request(&self, request: Request, took: Duration) {
        self.requests.get_or_create(&request).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// Bytes of an artifact came in.
    pub fn uploaded(&self, bytes: u64) {
        self.uploaded.inc_by(bytes);
    }

    /// Entries were dealt with.
    pub fn receipts(&self, all: &[Receipt]) {
        for it in all {
            let outcome = match it {
                Receipt::Stored => "stored",
                Receipt::Duplicate => "duplicate",
                Receipt::Missing { .. } => "missing",
                Receipt::Refused { .. } => "refused",
            };
            self.entries.get_or_create(&Outcome { outcome }).inc();
        }
    }

    /// The text that Prometheus reads.
    ///
    /// # Errors
    /// Never, as far as known: the text is made in memory.
    pub fn text(&self, looked: &Looked) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode_registry(&mut text, &self.registry)?;
        encode(&mut text, &now(looked))?;
        Ok(text)
    }
}

/// The text with one of everything, for the reference of what there is.
///
/// # Errors
/// Never, as far as known: the text is made in memory.
pub fn specimen() -> Result<String, std::fmt::Error> {
    let metrics = Metrics::default();
    metrics.receipts(&[Receipt::Stored]);
    metrics.request(Request { method: "GET", route: "/".to_owned(), status: 200 }, Duration::ZERO);
    let host = HostRow {
        id: vmward_model::exchange::HostId(uuid::Uuid::nil()),
        name: String::new(),
        software: String::new(),
        protocols: Vec::new(),
        capabilities: Vec::new(),
        first_seen: jiff::Timestamp::UNIX_EPOCH,
        last_seen: jiff::Timestamp::UNIX_EPOCH,
        stored_entries: 0,
        counters: Some(SpoolCounters::default()),
    };
    metrics.text(&Looked { hosts: vec![host], ..Looked::default() })
}

/// Gauges of this moment.
fn now(looked: &Looked) -> Registry {
    let mut registry = Registry::with_prefix("vmward");
    let gauge = |value: u64| {
        let it: Gauge<u64, AtomicU64> = Gauge::default();
        it.set(value);
        it
    };
    registry.register("artifacts", "Artifacts that are stored", gauge(looked.artifacts));
    registry.register("artifact_bytes", "Bytes of stored artifacts", gauge(looked.artifact_bytes));
    registry.register("incoming_bytes", "Bytes of unfinished uploads", gauge(looked.incoming_bytes));
    let stored: Family<OfHost, Gauge<u64, AtomicU64>> = Family::default();
    let seen: Family<OfHost, Gauge> = Family::default();
    let spool: Family<OfSpool, Gauge<u64, AtomicU64>> = Family::default();
    for it in &looked.hosts {
        let host = it.id.to_string();
        stored.get_or_create(&OfHost { host: host.clone() }).set(it.stored_entries);
        seen.get_or_create(&OfHost { host: host.clone() }).set(it.last_seen.as_second());
        let Some(counters) = it.counters else { continue };
        let dropped = counters.dropped;
        for (what, value) in [
            ("made", counters.made),
            ("stored", counters.stored),
            ("refused", counters.refused),
            ("waiting", counters.waiting),
            ("waiting_bytes", counters.waiting_bytes),
            ("dropped_debug", dropped.debug),
            ("dropped_info", dropped.info),
            ("dropped_warn", dropped.warn),
            ("dropped_error", dropped.error),
            ("dropped_crit", dropped.crit),
        ] {
            spool.get_or_create(&OfSpool { host: host.clone(), what }).set(value);
        }
    }
    registry.register("host_stored_entries", "Entries of a host that are stored here", stored);
    registry.register("host_last_seen_seconds", "When a host was last heard of (Unix time)", seen);
    registry.register("host_spool", "How a host's spool stood when it last said so", spool);
    registry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_is_told_and_ends_once() {
        let metrics = Metrics::default();
        metrics.receipts(&[Receipt::Stored, Receipt::Duplicate, Receipt::Stored]);
        metrics.request(Request { method: "GET", route: "/x".into(), status: 200 }, Duration::from_millis(3));
        let text = metrics.text(&Looked { artifacts: 7, ..Looked::default() }).unwrap();
        assert!(text.contains("vmward_entries_total{outcome=\"stored\"} 2"), "{text}");
        assert!(text.contains("vmward_artifacts 7"), "{text}");
        assert_eq!(text.matches("# EOF").count(), 1);
    }
}
