//! Every document comes back as it was written, from JSON and through a value, and fields that a newer
//! writer added are ignored at every level.

#![expect(clippy::unwrap_used, reason = "helpers of tests, not only test functions")]

mod values;

use std::fmt::Debug;

use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Adds a field to every object that is not a map of free names.
fn with_newer_fields(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(with_newer_fields),
        Value::Object(fields) => {
            for (name, it) in fields.iter_mut() {
                if !matches!(name.as_str(), "details" | "all" | "pressure" | "data") {
                    with_newer_fields(it);
                }
            }
            fields.insert("a_field_of_tomorrow".into(), json!({ "x": [1] }));
        }
        _ => {}
    }
}

fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(it: &T) -> Result<(), TestCaseError> {
    let text = serde_json::to_string(it).unwrap();
    let back: T = serde_json::from_str(&text).map_err(|err| TestCaseError::fail(format!("{err}: {text}")))?;
    prop_assert_eq!(&back, it);
    let mut value = serde_json::to_value(it).unwrap();
    with_newer_fields(&mut value);
    let newer = value.to_string();
    let read: T =
        serde_json::from_str(&newer).map_err(|err| TestCaseError::fail(format!("{err}: {newer}")))?;
    prop_assert_eq!(&read, it);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn an_event_comes_back(it in values::event()) {
        check(&it)?;
    }

    #[test]
    fn a_probe_answer_comes_back(it in values::probe_answer()) {
        check(&it)?;
    }

    #[test]
    fn a_transport_status_comes_back(it in values::transport_status()) {
        check(&it)?;
    }

    #[test]
    fn a_capture_record_comes_back(it in values::capture()) {
        check(&it)?;
    }

    #[test]
    fn what_captures_saw_comes_back(it in values::observed()) {
        check(&it)?;
    }

    #[test]
    fn a_manifest_comes_back(it in values::manifest()) {
        check(&it)?;
    }
}

#[test]
fn names_in_json_are_those_that_other_readers_rely_on() {
    let event: vmward_model::Event = serde_json::from_value(json!({
        "format": 1, "seq": 3, "at": { "utc": "2026-11-21T10:00:00Z", "mono_ms": 5 }, "severity": "CRIT",
        "guest_name": "web", "event": "qemu", "name": "STOP", "data": {}
    }))
    .unwrap();
    assert_eq!(event.name.as_deref(), Some("web"));
    assert!(matches!(event.kind, vmward_model::EventKind::Qemu { name, .. } if name == "STOP"));
}
