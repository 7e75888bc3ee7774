//! Connections that grants were given to, of which a version of an integration may be the last that says so.

use super::{Connection, Site};
use perseat_domain::id::IntegrationId;
use perseat_domain::model::{Integration, KeyDigest};
use perseat_store::catalog::{GrantId, Lookup, StoredGrant};
use perseat_store::error::StoreError;
use perseat_store::keyring::Keyring;
use std::collections::HashMap;

/// The version in which a connection of an integration had a registration, as far as one change has found out.
pub(crate) type Givers = HashMap<(IntegrationId, String, Option<KeyDigest>), u32>;

impl Connection {
    /// The connection that this grant was given to: that of the version that runs, or of the newest that has the same registration.
    /// A version that cannot be read is not the one.
    pub(crate) fn given_to(
        at: &impl Lookup,
        keyring: &Keyring,
        id: &GrantId,
        stored: &StoredGrant,
        known: &mut Givers,
    ) -> Result<Option<Self>, StoreError> {
        if id.holder.is_shared() {
            let is_it = |found: &Self| stored.registration.is_none_or(|given_to| given_to == found.registration());
            return Ok(Self::shared(at, keyring, id)?.filter(is_it));
        }
        let Some(site) = Site::find(at, id.holder)? else { return Ok(None) };
        let (integration, running) = (site.instance.integration, site.running().version);
        let newest = at.require::<Integration>(integration)?.latest_version;
        let of = (integration, id.variable.clone(), stored.registration);
        let first = std::iter::once(running).chain(known.get(&of).copied());
        for number in first.chain((1..=newest).rev().filter(|number| *number != running)) {
            let version = at.integration_version(integration, number);
            let in_version = |version| Self::in_version(at, keyring, (id, stored.registration), &site, version);
            match version.and_then(|version| version.map_or(Ok(None), in_version)) {
                Ok(Some(found)) => {
                    known.insert(of, number);
                    return Ok(Some(found));
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, %integration, number, "a version does not say whose token one is"),
            }
        }
        Ok(None)
    }
}
