//! Organization, customers and users.

use super::{Fault, Session, action, problem};
use crate::manifest::{Customer, CustomerUser, Organization, OrganizationUser};
use perseat_domain::id::{CustomerId, OrganizationId, UserId};
use perseat_domain::model::{self, Membership, Role};
use perseat_domain::route::RouteChange;
use perseat_store::catalog::Lookup;

impl Session<'_, '_, '_> {
    pub(super) fn organization(&mut self, manifest: &Organization) -> Result<(), Fault> {
        let before = self.mutation.organization()?;
        let id = before.as_ref().map_or_else(|| OrganizationId(self.random_id()), |before| before.id);
        let record = model::Organization {
            id,
            name: manifest.name.clone(),
            ulc_enabled: manifest.ulc_enabled,
            signing_keys: manifest.signing_keys.clone(),
        };
        let changed = self.mutation.put(&record)?;
        if before.as_ref().is_none_or(|before| before.ulc_enabled != manifest.ulc_enabled) {
            self.applied.routes.push(RouteChange::UlcEnabled(manifest.ulc_enabled));
        }
        self.note(action(before.is_none(), changed), "Organization", &manifest.name);
        Ok(())
    }

    pub(super) fn customer(&mut self, manifest: &Customer) -> Result<(), Fault> {
        let mut before = match &manifest.external_id {
            Some(external_id) => self.mutation.customer_by_external_id(external_id)?,
            None => None,
        };
        if before.is_none() {
            before = self.mutation.customer_by_name(&manifest.name)?;
        }
        let id = before.as_ref().map_or_else(|| CustomerId(self.random_id()), |before| before.id);
        let mut labels: Vec<String> = manifest.labels.iter().map(|label| label.to_lowercase()).collect();
        labels.sort();
        labels.dedup();
        let record = model::Customer {
            id,
            name: manifest.name.clone(),
            external_id: manifest.external_id.clone(),
            description: manifest.description.clone(),
            labels,
        };
        let changed = self.mutation.put(&record)?;
        let old = before.as_ref().and_then(|before| before.external_id.clone());
        if old != record.external_id {
            self.applied.routes.push(RouteChange::CustomerExternalId {
                customer: id,
                before: old,
                after: record.external_id,
            });
        }
        self.named.customers.insert(id);
        self.note(action(before.is_none(), changed), "Customer", &manifest.name);
        Ok(())
    }

    pub(super) fn organization_user(&mut self, manifest: &OrganizationUser) -> Result<(), Fault> {
        if !matches!(
            manifest.role,
            Role::Owner | Role::Admin | Role::Integrator | Role::Guest | Role::ThirdParty
        ) {
            return Err(problem(
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
            shown: manifest.name.clone(),
        };
        self.user(&wanted)
    }

    pub(super) fn customer_user(&mut self, manifest: &CustomerUser) -> Result<(), Fault> {
        if !matches!(
            manifest.role,
            Role::Admin | Role::Member | Role::MarketplaceAdmin | Role::MarketplaceUser
        ) {
            return Err(problem(
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
            shown: format!("{} / {}", customer.name, manifest.name),
        };
        self.user(&wanted)
    }

    fn user(&mut self, wanted: &Wanted<'_>) -> Result<(), Fault> {
        let Wanted { membership, .. } = *wanted;
        let mut before = match wanted.external_id {
            Some(external_id) => self.mutation.user_by_external_id(membership, external_id)?,
            None => None,
        };
        if let (None, Some(email)) = (&before, wanted.email) {
            before = self.mutation.user_by_email(membership, email)?;
        }
        if wanted.external_id.is_none() && wanted.email.is_none() {
            return Err(problem("a user needs an `externalId` or an `email`"));
        }
        let id = before.as_ref().map_or_else(|| UserId(self.random_id()), |before| before.id);
        let record = model::User {
            id,
            membership,
            email: wanted.email.clone(),
            name: wanted.name.to_owned(),
            external_id: wanted.external_id.clone(),
            subject: before.as_ref().and_then(|before| before.subject.clone()),
            role: wanted.role,
        };
        let changed = self.mutation.put(&record)?;
        let old = before.as_ref().and_then(|before| before.external_id.clone());
        if old != record.external_id {
            self.applied.routes.push(RouteChange::UserExternalId {
                user: id,
                membership,
                before: old,
                after: record.external_id,
            });
        }
        if changed && before.is_some() {
            self.forget_configs_of(id)?;
        }
        self.named.users.insert(id);
        self.note(action(before.is_none(), changed), wanted.kind, wanted.shown.clone());
        Ok(())
    }

    /// A user's name and address are part of what their executions see.
    fn forget_configs_of(&mut self, user: UserId) -> Result<(), Fault> {
        let mut after = None;
        loop {
            let page = self.mutation.user_configs_of_user(user, after, 1_000)?;
            self.applied.instances.extend(page.items.iter().map(|config| config.instance));
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// A customer by external id or name.
    pub(super) fn customer_named(&self, name: &str) -> Result<model::Customer, Fault> {
        match self.mutation.customer_by_external_id(name)? {
            Some(customer) => Ok(customer),
            None => self
                .mutation
                .customer_by_name(name)?
                .ok_or_else(|| problem(format!("there is no customer `{name}`"))),
        }
    }
}

struct Wanted<'w> {
    kind: &'static str,
    membership: Membership,
    name: &'w str,
    email: &'w Option<String>,
    external_id: &'w Option<String>,
    role: Role,
    shown: String,
}
