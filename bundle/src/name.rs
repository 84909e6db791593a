//! Names inside and beside a bundle: the only place that spells them.

use vmward_model::{Digest, IncidentId};

/// The manifest's file.
pub const MANIFEST: &str = "manifest.json";
/// The folder of the artifacts.
pub const ARTIFACTS: &str = "artifacts";
/// What a bundle that is being written begins with; nothing that begins so is ever a bundle.
pub const UNFINISHED: &str = ".unfinished-";
/// How a packed bundle ends.
pub const PACKED: &str = ".tar.zst";

/// Path of an artifact inside its bundle.
pub fn artifact(digest: &Digest) -> String {
    format!("{ARTIFACTS}/{digest}")
}

/// Name of the `n`th report of an incident, counted from 1: an incident that goes on may be
/// examined again.
pub fn bundle(incident: IncidentId, n: u32) -> String {
    if n <= 1 { incident.to_string() } else { format!("{incident}.{n}") }
}

/// What orders bundles by age, from the name of one, as folder or packed; none for any other name.
pub fn age(name: &str) -> Option<(uuid::Uuid, u32)> {
    let name = name.strip_suffix(PACKED).unwrap_or(name);
    let (id, n) = match name.split_once('.') {
        Some((id, n)) => (id, n.parse().ok()?),
        None => (name, 1),
    };
    Some((uuid::Uuid::try_parse(id).ok()?, n))
}
