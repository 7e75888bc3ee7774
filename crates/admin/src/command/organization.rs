//! The organization, and the keys that the host product signs with.

use super::Checked;
use crate::access::Operation;
use crate::edit::Edit;
use crate::fault::Fault;
use crate::identity::keys;
use perseat_domain::id::OrganizationId;
use perseat_domain::model::{MediaOwner, Organization, SigningKey};
use perseat_store::catalog::Lookup;
use uuid::Uuid;

/// The most signing keys. No key of the configuration: every token is tried against each, whoever sends it, so that more would
/// only make refusing dearer; and a manifest has to fit every daemon.
pub(crate) const MAX_SIGNING_KEYS: usize = 16;

/// What changes about the organization; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct UpdateOrganization {
    /// Its name.
    pub name: Option<String>,
    /// Whether users may have configurations of their own.
    pub ulc_enabled: Option<bool>,
    /// An upload; empty takes the avatar away.
    pub avatar_url: Option<String>,
    /// The revision that the change is based on.
    pub revision: Option<u64>,
}

impl Edit<'_, '_> {
    /// Makes the organization of a new data directory. Users' own configurations are switched on by whoever wants them.
    ///
    /// # Errors
    /// A refusal; see [`Fault`].
    pub fn found_organization(&mut self, name: &str) -> Result<Organization, Fault> {
        self.actor.check(Operation::ManageOrganization)?;
        let record = Organization {
            id: OrganizationId(self.random_id()),
            name: name.to_owned(),
            ulc_enabled: false,
            signing_keys: Vec::new(),
        };
        self.put_organization(&record)?;
        Ok(record)
    }

    /// Changes the organization.
    ///
    /// # Errors
    /// A refusal; see [`Fault`].
    pub fn update_organization(&mut self, id: Option<&str>, input: &UpdateOrganization) -> Result<Organization, Fault> {
        self.actor.check(Operation::ManageOrganization)?;
        let mut checked = Checked::default();
        checked.name("name", input.name.as_deref());
        checked.done()?;
        let before = self.the_organization()?;
        if id.is_some_and(|id| id.parse() != Ok(before.id)) {
            return Err(Fault::Absent("organization"));
        }
        self.check_revision::<Organization>(before.id, input.revision)?;
        let record = Organization {
            name: input.name.clone().unwrap_or(before.name),
            ulc_enabled: input.ulc_enabled.unwrap_or(before.ulc_enabled),
            ..before
        };
        self.put_organization(&record)?;
        if let Some(url) = &input.avatar_url {
            self.set_avatar(MediaOwner::Organization(record.id), url)?;
        }
        Ok(record)
    }

    /// Registers a public key.
    ///
    /// # Errors
    /// It is no RSA key, or there are too many.
    pub fn import_signing_key(&mut self, public_key: &str) -> Result<SigningKey, Fault> {
        self.actor.check(Operation::ManageSigningKeys)?;
        let public_key = keys::checked_public_key(public_key).map_err(|message| Fault::field("publicKey", message))?;
        self.add_signing_key(public_key, String::new(), true)
    }

    /// Registers the public half of a pair that was made here; the private half is shown once, to whoever asked.
    ///
    /// # Errors
    /// There are too many.
    pub fn create_signing_key(&mut self, pair: &keys::SigningPair) -> Result<SigningKey, Fault> {
        self.actor.check(Operation::ManageSigningKeys)?;
        self.add_signing_key(pair.public_key.clone(), pair.preview(), false)
    }

    fn add_signing_key(&mut self, public_key: String, private_key_preview: String, imported: bool) -> Result<SigningKey, Fault> {
        let mut organization = self.the_organization()?;
        if organization.signing_keys.iter().any(|key| key.public_key == public_key) {
            return Err(Fault::field("publicKey", "This key is registered already."));
        }
        if organization.signing_keys.len() == MAX_SIGNING_KEYS {
            return Err(Fault::wrong(format!("At most {MAX_SIGNING_KEYS} signing keys; remove one first.")));
        }
        let key = SigningKey {
            id: self.random_id(),
            public_key,
            private_key_preview,
            issued_at: self.at,
            imported,
        };
        organization.signing_keys.push(key.clone());
        self.put_organization(&organization)?;
        Ok(key)
    }

    /// Removes a key: tokens that it signed are refused from now on.
    ///
    /// # Errors
    /// There is none of this id.
    pub fn remove_signing_key(&mut self, id: Uuid) -> Result<SigningKey, Fault> {
        self.actor.check(Operation::ManageSigningKeys)?;
        let mut organization = self.the_organization()?;
        let place = organization.signing_keys.iter().position(|key| key.id == id);
        let removed = organization.signing_keys.remove(place.ok_or(Fault::Absent("signing key"))?);
        self.put_organization(&organization)?;
        Ok(removed)
    }

    pub(crate) fn the_organization(&self) -> Result<Organization, Fault> {
        self.mutation.organization()?.ok_or(Fault::Absent("organization"))
    }
}
