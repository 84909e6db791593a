//! The words that values have in files: in scenarios, in JSON.

use std::fmt::Debug;

use serde::Serialize;

/// The name of a variant without fields, as serde writes it.
pub(crate) fn word<T: Serialize + Debug>(variant: &T) -> String {
    match serde_json::to_value(variant) {
        Ok(serde_json::Value::String(name)) => name,
        // A unit variant is always a string.
        _ => format!("{variant:?}"),
    }
}
