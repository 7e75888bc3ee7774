//! API keys of flows: the digest is what senders are checked against, the sealed text is for the flows.

use super::Edit;
use super::values::wrapping;
use crate::fault::Fault;
use crate::manifest::SecretText;
use perseat_domain::id::FlowNumber;
use perseat_domain::model::{ApiKey, Sealed, api_key_record_id};
use perseat_store::keyring::NewKey;
use perseat_store::seal::{RecordKind, key_digest};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Whose keys they are: which record, sealed by which key.
#[derive(Clone, Copy)]
pub(crate) struct KeyScope {
    pub(crate) record: Uuid,
    pub(crate) key: NewKey,
}

impl Edit<'_, '_> {
    /// The given keys as they are stored. A key that is stored already keeps its sealed form.
    pub(crate) fn api_keys(
        &self,
        given: &BTreeMap<FlowNumber, Vec<SecretText>>,
        stored: &BTreeMap<FlowNumber, Vec<ApiKey>>,
        scope: KeyScope,
    ) -> Result<BTreeMap<FlowNumber, Vec<ApiKey>>, Fault> {
        let mut keys = BTreeMap::new();
        for (flow, texts) in given {
            let stored = stored.get(flow).map(Vec::as_slice).unwrap_or_default();
            let texts = texts.iter().map(|text| text.text().unwrap_or_default());
            let flow_keys: Vec<ApiKey> = texts.map(|text| self.api_key(text, stored, scope)).collect::<Result<_, _>>()?;
            keys.insert(*flow, flow_keys);
        }
        Ok(keys)
    }

    pub(super) fn api_key(&self, text: &str, stored: &[ApiKey], scope: KeyScope) -> Result<ApiKey, Fault> {
        let digest = key_digest(text);
        if let Some(stored) = stored.iter().find(|stored| stored.digest == digest) {
            return Ok(stored.clone());
        }
        let sealed = if self.is_rehearsal {
            Sealed(Vec::new())
        } else {
            // Made now, as for a connection; a key whose record never comes is nobody's.
            self.keyring.create_many(wrapping(scope.key).into_iter().chain([scope.key]))?;
            let id = api_key_record_id(scope.record, &digest);
            self.keyring
                .data_key(scope.key.owner())?
                .seal(RecordKind::ApiKey, &id, text.as_bytes())
        };
        Ok(ApiKey { digest, sealed })
    }
}
