//! The JSON Schemas that are committed for readers in other languages are those of the types.

use std::path::Path;

#[test]
fn the_committed_schemas_are_current() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema");
    for (name, schema) in vmward_model::schema::all() {
        let path = folder.join(format!("{name}.json"));
        let committed = std::fs::read_to_string(&path).unwrap();
        let current = serde_json::to_value(&schema).unwrap();
        let committed: serde_json::Value = serde_json::from_str(&committed).unwrap();
        assert_eq!(committed, current, "docs/schema/{name}.json is stale: run `cargo xtask gen`");
    }
}
