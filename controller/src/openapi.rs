//! The OpenAPI document: paths by utoipa from the handlers, schemas by schemars from the types that
//! are really sent.

use schemars::JsonSchema;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Value, json};
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{Ref, RefOr};
use vmward_findings::Conclusion;
use vmward_model::exchange::{
    AgentHello, ControllerHello, EntryBatch, EntryReceipts, EventBatch, EventsStored, Receipt, ReportCommit,
    StatusPush, UploadState,
};
use vmward_model::{Class, IncidentState, Manifest, Severity};

use crate::api;
use crate::problem::Problem;
use crate::store::view::{EventRow, GuestRow, HostRow, IncidentDetail, IncidentRow, Page};

/// The document.
pub fn document() -> Value {
    let (_, paths) = api::routes().split_for_parts();
    let mut document = serde_json::to_value(paths).unwrap_or_default();
    bodies_are_required(&mut document);
    document["info"] = json!({
        "title": "vmward controller",
        "version": env!("CARGO_PKG_VERSION"),
        "description": "Takes what vmward agents send, keeps it, and shows it. Every error is a problem+json \
                        document (RFC 9457). Texts may have been chosen by a guest: escape before showing.",
        "license": { "name": "MIT OR Apache-2.0" },
    });
    // Every schema is ours: handlers name them, utoipa knows none.
    document["components"]["schemas"] = schemas();
    document["components"]["securitySchemes"] = json!({
        "token": { "type": "http", "scheme": "bearer", "description": "Where the controller has tokens." },
        "cookie": { "type": "apiKey", "in": "cookie", "name": crate::auth::COOKIE },
    });
    // Without tokens, on loopback, none is needed.
    document["security"] = json!([{}, { "token": [] }, { "cookie": [] }]);
    document
}

/// Every body that is taken has to be there; utoipa leaves that open.
fn bodies_are_required(document: &mut Value) {
    let paths = document.pointer_mut("/paths").and_then(Value::as_object_mut);
    let methods = paths.into_iter().flat_map(|it| it.values_mut()).filter_map(Value::as_object_mut);
    for operation in methods.flat_map(|it| it.values_mut()) {
        if let Some(body) = operation.get_mut("requestBody").and_then(Value::as_object_mut) {
            body.insert("required".to_owned(), Value::Bool(true));
        }
    }
}

/// Says how large a number may be where only its format says so.
fn bound_numbers(schema: &mut Value) {
    match schema {
        Value::Object(all) => {
            let most = match all.get("format").and_then(Value::as_str) {
                Some("uint32") => Some(json!(u32::MAX)),
                Some("uint64") => Some(json!(u64::MAX)),
                _ => None,
            };
            if let Some(most) = most {
                all.entry("maximum").or_insert(most);
            }
            all.values_mut().for_each(bound_numbers);
        }
        Value::Array(all) => all.iter_mut().for_each(bound_numbers),
        _ => {}
    }
}

fn schemas() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|it| {
        it.definitions_path = "/components/schemas".into();
        it.meta_schema = None;
    });
    let mut all = settings.into_generator();
    fn one<T: JsonSchema>(all: &mut SchemaGenerator) {
        all.subschema_for::<T>();
    }
    one::<Problem>(&mut all);
    one::<AgentHello>(&mut all);
    one::<ControllerHello>(&mut all);
    one::<UploadState>(&mut all);
    one::<EventBatch>(&mut all);
    one::<EventsStored>(&mut all);
    one::<ReportCommit>(&mut all);
    one::<Receipt>(&mut all);
    one::<crate::import::Imported>(&mut all);
    one::<EntryBatch>(&mut all);
    one::<EntryReceipts>(&mut all);
    one::<StatusPush>(&mut all);
    one::<Manifest>(&mut all);
    one::<Conclusion>(&mut all);
    one::<Class>(&mut all);
    one::<Severity>(&mut all);
    one::<IncidentState>(&mut all);
    one::<HostRow>(&mut all);
    one::<GuestRow>(&mut all);
    one::<IncidentDetail>(&mut all);
    one::<Page<IncidentRow>>(&mut all);
    one::<Page<EventRow>>(&mut all);
    one::<api::hosts::Hosts>(&mut all);
    one::<api::guests::Guests>(&mut all);
    one::<api::health::Health>(&mut all);
    let mut schemas = Value::Object(all.take_definitions(true));
    bound_numbers(&mut schemas);
    schemas["Bytes"] = json!({ "type": "string", "format": "binary" });
    schemas["Digest"] = json!({
        "type": "string", "pattern": "^[0-9a-f]{64}$", "description": "A SHA-256 digest.",
    });
    schemas["Login"] = json!({
        "type": "object", "required": ["token"], "properties": { "token": { "type": "string" } },
    });
    schemas
}

/// The schema of a type by its name, for parameters.
fn named(name: &str) -> RefOr<Schema> {
    RefOr::Ref(Ref::from_schema_name(name))
}

/// For a parameter that is a [`Class`].
pub fn class() -> RefOr<Schema> {
    named("Class")
}

/// For a parameter that is a [`Severity`].
pub fn severity() -> RefOr<Schema> {
    named("Severity")
}

/// For a parameter that is an [`IncidentState`].
pub fn state() -> RefOr<Schema> {
    named("IncidentState")
}

/// A digest in a path.
#[derive(Clone, Copy, Debug)]
pub struct DigestParam;

impl utoipa::PartialSchema for DigestParam {
    fn schema() -> RefOr<Schema> {
        named("Digest")
    }
}

impl utoipa::ToSchema for DigestParam {}

#[cfg(test)]
mod tests {
    use super::*;

    fn refs<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(all) => {
                found.extend(all.get("$ref").and_then(Value::as_str));
                all.values().for_each(|it| refs(it, found));
            }
            Value::Array(all) => all.iter().for_each(|it| refs(it, found)),
            _ => {}
        }
    }

    #[test]
    fn everything_that_is_named_is_there() {
        let document = document();
        let mut found = Vec::new();
        refs(&document, &mut found);
        assert!(found.len() > 50, "only {} references", found.len());
        for it in found {
            assert!(document.pointer(it.trim_start_matches('#')).is_some(), "{it}");
        }
    }
}
