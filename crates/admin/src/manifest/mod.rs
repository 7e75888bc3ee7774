//! Declarative set-up: manifests in YAML files, read and resolved to what `apply` takes.
//!
//! A file holds one or more documents separated by `---`; each has a `kind`. References between manifests are by
//! name or external id, never by generated ids, so a folder of manifests can be applied to a fresh directory.

mod kinds;
mod read;
mod secret;
mod shape;

pub use kinds::{
    AppRegistration, ConfigVarValue, ConnectionFields, Customer, CustomerUser, Instance, InstanceStateWord, Integration, Manifest,
    Organization, OrganizationUser, SharedConnection, SharedConnectionValue, SharingWord, UserLevelConfig,
};
pub(crate) use read::parse_one;
pub use read::{Located, ManifestProblem, read_files, read_text};
pub use secret::{SecretText, ValueFrom};

/// The JSON Schema of one manifest document.
#[must_use]
pub fn json_schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(Manifest).to_value();
    if let Some(object) = schema.as_object_mut() {
        object.insert("title".to_owned(), "Perseat manifest".into());
    }
    schema
}
