//! Secret inputs that a definition gives its connections: sealed beside it, opened where a connection is put together.

use crate::error::StoreError;
use crate::keyring::{Keyring, Owner};
use crate::seal::{DataKey, RecordKind, SealError};
use perseat_domain::id::{InstanceId, IntegrationId};
use perseat_domain::model::{ConnectionValue, IntegrationVersion, Sealed, connection_record_id};
use perseat_domain::registration::{AppRegistration, registration_record_id};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Secret inputs of one connection by name.
pub type SecretInputs = BTreeMap<String, Zeroizing<String>>;

/// What opens the secret inputs of a version.
#[derive(Clone)]
pub struct Presets {
    version: Arc<IntegrationVersion>,
    /// The organization's; none where nothing is sealed.
    key: Option<Arc<DataKey>>,
}

impl fmt::Debug for Presets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presets")
            .field("version", &self.version.version)
            .finish_non_exhaustive()
    }
}

impl Presets {
    /// Those of a version. Reads files.
    ///
    /// # Errors
    /// If something is sealed and the organization's key is not there.
    pub fn of(keyring: &Keyring, version: Arc<IntegrationVersion>) -> Result<Self, StoreError> {
        let key = match version.connection_secrets.is_empty() {
            true => None,
            false => Some(keyring.data_key(Owner::Organization)?),
        };
        Ok(Self { version, key })
    }

    /// The secret inputs of the connection with this stable key; empty where the definition gives none.
    ///
    /// # Errors
    /// If they do not open.
    pub fn open(&self, stable_key: &str) -> Result<SecretInputs, StoreError> {
        let (Some(sealed), Some(key)) = (self.version.connection_secrets.get(stable_key), &self.key) else {
            return Ok(SecretInputs::new());
        };
        let id = connection_record_id(self.version.integration.0, stable_key);
        let plain = key.unseal(RecordKind::Connection, &id, sealed)?;
        let value: ConnectionValue = serde_json::from_slice(&plain).map_err(|_| StoreError::corrupt("secret inputs of a connection"))?;
        Ok(value.fields.into_iter().map(|(name, text)| (name, Zeroizing::new(text))).collect())
    }
}

/// The secret of an app registration of an instance. `key` is the customer's.
///
/// # Errors
/// If it does not open.
pub fn registration_secret(key: &DataKey, instance: InstanceId, registration: &AppRegistration) -> Result<Zeroizing<String>, SealError> {
    let id = registration_record_id(instance, registration.id);
    let plain = key.unseal(RecordKind::Connection, &id, &registration.client_secret)?;
    Ok(Zeroizing::new(String::from_utf8_lossy(&plain).into_owned()))
}

/// The secret inputs of a connection as they are stored. `key` is the organization's.
#[must_use]
pub fn seal(key: &DataKey, integration: IntegrationId, stable_key: &str, inputs: &SecretInputs) -> Sealed {
    let fields: BTreeMap<&str, &str> = inputs.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let plain = Zeroizing::new(serde_json::to_vec(&BTreeMap::from([("fields", fields)])).unwrap_or_default());
    key.seal(RecordKind::Connection, &connection_record_id(integration.0, stable_key), &plain)
}
