//! Makes what changes with each run the same for each: order and kind stay.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use vmward_model::Stamp;

/// Numbers that name a process.
const PROCESS: [&str; 2] = ["pid", "start_ticks"];
/// Names of hosts.
const HOST: [&str; 2] = ["host_name", "hostname"];

/// What stands for what.
#[derive(Debug)]
pub(super) struct Stable {
    places: Vec<String>,
    ids: BTreeMap<String, String>,
    /// Each moment with its place among all.
    times: BTreeMap<String, usize>,
}

impl Stable {
    /// For everything in these bodies.
    pub(super) fn new(bodies: impl Iterator<Item = Value>, places: &[&Path]) -> Stable {
        let mut found = Found::default();
        bodies.for_each(|it| found.look(&it, ""));
        let mut times: Vec<_> = found.times.into_iter().filter_map(|it| Some((stamp(&it)?, it))).collect();
        times.sort_by_key(|(at, _)| at.utc);
        Stable {
            places: places.iter().map(|it| it.display().to_string()).collect(),
            ids: found
                .ids
                .into_iter()
                .zip((1u64..).map(|n| format!("00000000-0000-4000-8000-{n:012}")))
                .collect(),
            times: times.into_iter().enumerate().map(|(n, (_, it))| (it, n)).collect(),
        }
    }

    /// A string with the ids and places in it.
    pub(super) fn text(&self, text: &str) -> String {
        let places = self.places.iter().map(|it| (it.as_str(), "/run/example"));
        let ids = self.ids.iter().map(|(was, is)| (was.as_str(), is.as_str()));
        places.chain(ids).fold(text.to_owned(), |text, (was, is)| text.replace(was, is))
    }

    /// The bytes of a body.
    pub(super) fn pretty(&self, value: Value) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(&self.value(value, "")).context("while writing JSON")?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    fn value(&self, value: Value, name: &str) -> Value {
        match value {
            // Both clocks go by the finer one: two moments of one millisecond stay two in every run.
            Value::Object(all) if all.contains_key("mono_ms") => {
                let at = all.get("utc").and_then(Value::as_str).and_then(|it| self.times.get(it));
                at.map_or(Value::Null, |n| moment(*n))
            }
            Value::Object(all) => {
                all.into_iter().map(|(name, it)| (name.clone(), self.value(it, &name))).collect()
            }
            Value::Array(all) => all.into_iter().map(|it| self.value(it, name)).collect(),
            Value::Number(_) if PROCESS.contains(&name) => json!(1),
            Value::String(_) if HOST.contains(&name) => json!("host.example"),
            Value::String(it) => json!(self.text(&it)),
            other => other,
        }
    }
}

/// What has to be replaced.
#[derive(Debug, Default)]
struct Found {
    ids: BTreeSet<String>,
    times: BTreeSet<String>,
}

impl Found {
    fn look(&mut self, value: &Value, name: &str) {
        match value {
            Value::Object(all) => all.iter().for_each(|(name, it)| self.look(it, name)),
            Value::Array(all) => all.iter().for_each(|it| self.look(it, name)),
            Value::String(it) if name == "utc" => drop(self.times.insert(it.clone())),
            // A host's number is made at random; those of guests and of the report are always the same.
            Value::String(it) if name == "host" && it.len() == 36 => drop(self.ids.insert(it.clone())),
            _ => {}
        }
    }
}

fn moment(n: usize) -> Value {
    let utc = format!("2026-01-01T00:{:02}:{:02}Z", n / 60 % 60, n % 60);
    json!({ "utc": utc, "mono_ms": (n + 1) * 1000 })
}

fn stamp(utc: &str) -> Option<Stamp> {
    serde_json::from_value(json!({ "utc": utc, "mono_ms": 0 })).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_of_the_same_read_the_same_and_keep_their_order() {
        let run = |host: &str, times: [&str; 2], millis: [u64; 2]| {
            let at = |n: usize| json!({ "utc": times[n], "mono_ms": millis[n] });
            let body = json!({ "host": host, "host_name": "here", "at": [at(1), at(0)], "pid": millis[0],
                               "text": format!("/tmp/{host}/x") });
            let place = format!("/tmp/{host}");
            let stable = Stable::new(std::iter::once(body.clone()), &[Path::new(&place)]);
            assert!(!stable.text(&format!("/api/v1/hosts/{host}/guests")).contains(host));
            String::from_utf8(stable.pretty(body).unwrap()).unwrap()
        };
        let one = run(
            "0b9e7a8e-5f0d-4c8a-9d3c-3a4f0c0e8f11",
            ["2026-03-01T10:00:00.9Z", "2026-03-01T10:00:01Z"],
            [7, 90],
        );
        let two = run(
            "5d3f1c66-1111-4222-8333-444455556666",
            ["2027-03-01T10:00:00Z", "2027-03-01T10:00:00.123Z"],
            [100, 100],
        );
        assert_eq!(one, two);
        let value: Value = serde_json::from_str(&one).unwrap();
        assert_eq!(value["at"][0]["utc"], "2026-01-01T00:00:01Z");
        assert_eq!(value["at"][1], json!({ "utc": "2026-01-01T00:00:00Z", "mono_ms": 1000 }));
        assert_eq!((&value["text"], &value["pid"]), (&json!("/run/example/x"), &json!(1)));
    }
}
