//! The JSON Schema of the integration YAML, generated from the types that read it.
//!
//! Editors use it for completion and first checks. It says what [`crate::definition`] reads; what makes sense
//! together only the parser knows.

use schemars::generate::SchemaSettings;

/// The schema as published in `docs/schemas/integration.schema.json`.
#[must_use]
pub fn integration() -> serde_json::Value {
    let settings = SchemaSettings::draft2020_12();
    let mut schema = crate::definition::schema(settings.into_generator());
    schema.insert("title".to_owned(), "Perseat integration, definitionVersion 7".into());
    schema.to_value()
}

#[cfg(test)]
mod tests {
    /// `UPDATE_SCHEMA=1 cargo test -p perseat-flow schema` writes the file.
    #[test]
    fn the_published_schema_is_what_the_parser_reads() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/schemas/integration.schema.json");
        let generated = serde_json::to_string_pretty(&super::integration()).unwrap() + "\n";
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            std::fs::write(path, &generated).unwrap();
        }
        let published = std::fs::read_to_string(path).unwrap();
        assert!(
            published == generated,
            "docs/schemas/integration.schema.json is out of date: UPDATE_SCHEMA=1 cargo test -p perseat-flow schema"
        );
    }
}
