//! Organization, customers and users.

use super::{Session, action, name_once};
use crate::command::{Checked, MAX_SIGNING_KEYS};
use crate::fault::Fault;
use crate::identity::keys::checked_public_key;
use crate::manifest::{Customer, CustomerUser, Organization, OrganizationUser};
use perseat_domain::id::{CustomerId, OrganizationId, UserId};
use perseat_domain::model::{self, Membership, Role, SigningKey};
use perseat_store::catalog::Lookup;

impl Session<'_, '_, '_> {
    pub(super) fn organization(&mut self, manifest: &Organization) -> Result<(), Fault> {
        let mut checked = Checked::default();
        checked.name("name", Some(&manifest.name));
        let public_keys = public_keys(&manifest.signing_keys, &mut checked);
        checked.done_by_name()?;
        let before = self.edit.mutation.organization()?;
        let id = before
            .as_ref()
            .map_or_else(|| OrganizationId(self.edit.random_id()), |before| before.id);
        let known = before.as_ref().map(|before| before.signing_keys.clone()).unwrap_or_default();
        let mut signing_keys = Vec::new();
        for public_key in public_keys {
            let known = known.iter().find(|key| key.public_key == public_key).cloned();
            signing_keys.push(match known {
                Some(key) => key,
                None => SigningKey {
                    id: self.edit.random_id(),
                    public_key,
                    private_key_preview: String::new(),
                    issued_at: self.edit.at,
                    imported: true,
                },
            });
        }
        let record = model::Organization {
            id,
            name: manifest.name.clone(),
            ulc_enabled: manifest.ulc_enabled,
            signing_keys,
        };
        let changed = self.edit.put_organization(&record)?;
        name_once(&mut self.named.organization, id, &self.place)?;
        self.note(action(before.is_none(), changed), "Organization", &manifest.name);
        Ok(())
    }

    pub(super) fn customer(&mut self, manifest: &Customer) -> Result<(), Fault> {
        let mut checked = Checked::default();
        checked.name("name", Some(&manifest.name));
        checked.name("externalId", manifest.external_id.as_deref());
        checked.text("description", Some(&manifest.description));
        checked.labels(Some(&manifest.labels));
        checked.done_by_name()?;
        let mut before = match &manifest.external_id {
            Some(external_id) => self.edit.mutation.customer_by_external_id(external_id)?,
            None => None,
        };
        if before.is_none() {
            before = self.edit.mutation.customer_by_name(&manifest.name)?;
        }
        let id = before
            .as_ref()
            .map_or_else(|| CustomerId(self.edit.random_id()), |before| before.id);
        let labels = crate::command::labels(&manifest.labels);
        let record = model::Customer {
            id,
            name: manifest.name.clone(),
            external_id: manifest.external_id.clone(),
            description: manifest.description.clone(),
            labels,
        };
        let changed = self.edit.put_customer(&record)?;
        name_once(&mut self.named.customers, id, &self.place)?;
        self.note(action(before.is_none(), changed), "Customer", &manifest.name);
        Ok(())
    }

    pub(super) fn organization_user(&mut self, manifest: &OrganizationUser) -> Result<(), Fault> {
        if !matches!(
            manifest.role,
            Role::Owner | Role::Admin | Role::Integrator | Role::Guest | Role::ThirdParty
        ) {
            return Err(Fault::wrong(
                "an organization user's role is owner, admin, integrator, guest or third_party",
            ));
        }
        let wanted = Wanted {
            kind: "OrganizationUser",
            membership: Membership::Organization,
            name: &manifest.name,
            email: &manifest.email,
            external_id: &manifest.external_id,
            role: manifest.role,
            labels: None,
            shown: manifest.name.clone(),
        };
        self.user(&wanted)
    }

    pub(super) fn customer_user(&mut self, manifest: &CustomerUser) -> Result<(), Fault> {
        if !matches!(
            manifest.role,
            Role::Admin | Role::Member | Role::MarketplaceAdmin | Role::MarketplaceUser
        ) {
            return Err(Fault::wrong(
                "a customer user's role is admin, member, marketplace_admin or marketplace_user",
            ));
        }
        let customer = self.customer_named(&manifest.customer)?;
        let wanted = Wanted {
            kind: "CustomerUser",
            membership: Membership::Customer(customer.id),
            name: &manifest.name,
            email: &manifest.email,
            external_id: &manifest.external_id,
            role: manifest.role,
            labels: Some(&manifest.labels),
            shown: format!("{} / {}", customer.name, manifest.name),
        };
        self.user(&wanted)
    }

    fn user(&mut self, wanted: &Wanted<'_>) -> Result<(), Fault> {
        let Wanted { membership, .. } = *wanted;
        let mut checked = Checked::default();
        checked.name("name", Some(wanted.name));
        checked.name("externalId", wanted.external_id.as_deref());
        checked.email(wanted.email.as_deref());
        checked.labels(wanted.labels);
        checked.done_by_name()?;
        if wanted.external_id.is_none() && wanted.email.is_none() {
            return Err(Fault::wrong("a user needs an `externalId` or an `email`"));
        }
        let before = self.user_before(wanted)?;
        let id = before.as_ref().map_or_else(|| UserId(self.edit.random_id()), |before| before.id);
        let record = model::User {
            id,
            membership,
            email: wanted.email.clone(),
            name: wanted.name.to_owned(),
            external_id: wanted.external_id.clone(),
            subject: before.as_ref().and_then(|before| before.subject.clone()),
            subject_seen_at: before.as_ref().and_then(|before| before.subject_seen_at),
            role: wanted.role,
            profile: before.as_ref().map(|before| before.profile.clone()).unwrap_or_default(),
            labels: match wanted.labels {
                Some(labels) => crate::command::labels(labels),
                None => before.as_ref().map(|before| before.labels.clone()).unwrap_or_default(),
            },
        };
        let changed = self.edit.put_user(&record)?;
        name_once(&mut self.named.users, id, &self.place)?;
        self.note(action(before.is_none(), changed), wanted.kind, wanted.shown.clone());
        Ok(())
    }

    /// The stored user that a manifest means. An e-mail address names somebody only while they have no external id: whoever
    /// has one is that person, and an address that two people share must not make them one.
    fn user_before(&self, wanted: &Wanted<'_>) -> Result<Option<model::User>, Fault> {
        let Wanted { membership, .. } = *wanted;
        if let Some(external_id) = wanted.external_id
            && let Some(user) = self.edit.mutation.user_by_external_id(membership, external_id)?
        {
            return Ok(Some(user));
        }
        let Some(email) = wanted.email else { return Ok(None) };
        let Some(user) = self.edit.mutation.user_by_email(membership, email)? else {
            return Ok(None);
        };
        match &user.external_id {
            None => Ok(Some(user)),
            Some(other) => Err(Fault::wrong(format!(
                "the e-mail address `{email}` is that of the user with the external id `{other}`: name them by it, or give another address"
            ))),
        }
    }

    /// A user by external id or e-mail address.
    pub(super) fn user_named(&self, membership: Membership, name: &str) -> Result<model::User, Fault> {
        let mutation = &*self.edit.mutation;
        match mutation.user_by_external_id(membership, name)? {
            Some(user) => Ok(user),
            None => mutation
                .user_by_email(membership, name)?
                .ok_or_else(|| Fault::wrong(format!("there is no user `{name}`"))),
        }
    }

    /// A customer by external id or name.
    pub(super) fn customer_named(&self, name: &str) -> Result<model::Customer, Fault> {
        match self.edit.mutation.customer_by_external_id(name)? {
            Some(customer) => Ok(customer),
            None => self
                .edit
                .mutation
                .customer_by_name(name)?
                .ok_or_else(|| Fault::wrong(format!("there is no customer `{name}`"))),
        }
    }
}

/// The keys in the form that they are kept in.
fn public_keys(given: &[String], checked: &mut Checked) -> Vec<String> {
    let mut keys = Vec::new();
    if given.len() > MAX_SIGNING_KEYS {
        checked.add("signingKeys", format!("At most {MAX_SIGNING_KEYS} signing keys."));
    }
    for key in given {
        match checked_public_key(key) {
            Ok(key) if keys.contains(&key) => checked.add("signingKeys", "This key stands here twice."),
            Ok(key) => keys.push(key),
            Err(why) => checked.add("signingKeys", why),
        }
    }
    keys
}

struct Wanted<'w> {
    kind: &'static str,
    membership: Membership,
    name: &'w str,
    email: &'w Option<String>,
    external_id: &'w Option<String>,
    role: Role,
    /// `None`: as they are.
    labels: Option<&'w [String]>,
    shown: String,
}
