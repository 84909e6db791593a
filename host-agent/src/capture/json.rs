//! Reading QEMU's answers without trusting their form: what is missing or of another kind is absent.

use serde_json::Value;

use crate::transport::qmp::short;

/// Cut short where it is longer than any text of QEMU: it may be kept hundreds of times (the path of a
/// device, once for each of its queues), while the raw answer is kept as it came.
pub(super) fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().map(short)
}

pub(super) fn number(value: &Value, key: &str) -> Option<u64> {
    value.get(key)?.as_u64()
}

pub(super) fn small(value: &Value, key: &str) -> Option<u32> {
    u32::try_from(number(value, key)?).ok()
}

/// The elements of an array, at most `cap`; none when it is none.
pub(super) fn list(value: &Value, cap: usize) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten().take(cap)
}
