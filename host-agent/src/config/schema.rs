//! JSON Schemas of the files that people write, for editors and for `cargo xtask gen`.

use schemars::{Schema, schema_for};

/// Name and schema of each kind of file.
#[must_use]
pub fn schemas() -> Vec<(&'static str, Schema)> {
    vec![
        ("config", schema_for!(super::Config)),
        ("scenario", schema_for!(super::Scenario)),
        ("diagnosis", schema_for!(super::Diagnosis)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schemas_refuse_unknown_keys_and_know_the_probes() {
        let all = schemas();
        for (name, schema) in &all {
            assert_eq!(schema.get("additionalProperties"), Some(&false.into()), "{name}");
        }
        let scenario = serde_json::to_string(&all[1].1).unwrap();
        for kind in ["console-command", "console-label", "kernel-trouble", "qmp-status"] {
            assert!(scenario.contains(kind), "{kind}");
        }
    }
}
