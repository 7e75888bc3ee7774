//! Organization, customers and users.

use super::Edit;
use crate::fault::Fault;
use crate::routing::removed_config_route;
use perseat_domain::grant::Holder;
use perseat_domain::id::{InstanceId, IntegrationId, UserConfigId};
use perseat_domain::model::{Customer, Membership, Organization, User, UserConfig};
use perseat_domain::registration::Traits;
use perseat_domain::route::RouteChange;
use perseat_store::catalog::{Lookup, Page};
use perseat_store::error::StoreError;

const PAGE: usize = 1_000;

impl Edit<'_, '_> {
    pub(crate) fn put_organization(&mut self, record: &Organization) -> Result<bool, Fault> {
        let before = self.mutation.organization()?;
        let changed = self.mutation.put(record)?;
        if before.is_none_or(|before| before.ulc_enabled != record.ulc_enabled) {
            self.effects.routes.push(RouteChange::UlcEnabled(record.ulc_enabled));
        }
        Ok(changed)
    }

    pub(crate) fn put_customer(&mut self, record: &Customer) -> Result<bool, Fault> {
        let before = self.mutation.get::<Customer>(record.id)?;
        let changed = self.mutation.put(record)?;
        let old = before.as_ref().and_then(|before| before.external_id.clone());
        if old != record.external_id {
            self.effects.routes.push(RouteChange::CustomerExternalId {
                customer: record.id,
                before: old,
                after: record.external_id.clone(),
            });
        }
        if changed && before.is_some() {
            // A customer's name and external id are part of what its executions see.
            for instance in every(|after| self.mutation.instances_of_customer(record.id, after, PAGE))? {
                self.effects.instances.insert(instance.id);
            }
        }
        Ok(changed)
    }

    pub(crate) fn put_user(&mut self, record: &User) -> Result<bool, Fault> {
        let before = self.mutation.get::<User>(record.id)?;
        let changed = self.mutation.put(record)?;
        self.keep_account(record)?;
        let old = before.as_ref().and_then(|before| before.external_id.clone());
        if old != record.external_id {
            self.effects.routes.push(RouteChange::UserExternalId {
                user: record.id,
                membership: record.membership,
                before: old,
                after: record.external_id.clone(),
            });
        }
        if let Some(before) = before.filter(|_| changed) {
            let is_moved = Traits::of(&before) != Traits::of(record);
            // A user's name and address are part of what their executions see.
            for config in every(|after| self.mutation.user_configs_of_user(record.id, after, PAGE))? {
                self.effects.users.insert((config.instance, config.id));
                if is_moved {
                    self.end_moved_grants_of(Holder::UserConfig(config.id))?;
                }
            }
        }
        Ok(changed)
    }

    /// Deletes a customer with everything of theirs.
    pub(crate) fn delete_customer(&mut self, customer: &Customer) -> Result<(), Fault> {
        for instance in every(|after| self.mutation.instances_of_customer(customer.id, after, PAGE))? {
            self.delete_instance(instance.id)?;
        }
        let membership = Membership::Customer(customer.id);
        for user in every(|after| self.mutation.users_of(membership, after, PAGE))? {
            self.owe_all_of(Holder::User(user.id))?;
            self.forget_user(&user);
        }
        self.owe_all_of(Holder::Customer(customer.id))?;
        self.effects.holders.insert(Holder::Customer(customer.id));
        self.mutation.delete_customer(customer.id)?;
        self.effects.routes.push(RouteChange::CustomerExternalId {
            customer: customer.id,
            before: customer.external_id.clone(),
            after: None,
        });
        Ok(())
    }

    /// Deletes a user; their configurations answer as removed from now on.
    pub(crate) fn delete_user(&mut self, user: &User) -> Result<(), Fault> {
        for config in every(|after| self.mutation.user_configs_of_user(user.id, after, PAGE))? {
            self.owe_all_of(Holder::UserConfig(config.id))?;
            self.note_removed(&config);
        }
        self.owe_all_of(Holder::User(user.id))?;
        self.mutation.delete_user(user.id, self.at)?;
        self.forget_user(user);
        Ok(())
    }

    fn forget_user(&mut self, user: &User) {
        self.effects.holders.insert(Holder::User(user.id));
        self.effects.routes.push(RouteChange::UserExternalId {
            user: user.id,
            membership: user.membership,
            before: user.external_id.clone(),
            after: None,
        });
    }

    pub(crate) fn delete_instance(&mut self, id: InstanceId) -> Result<(), Fault> {
        for config in every(|after| self.mutation.user_configs_of_instance(id, after, PAGE))? {
            self.owe_all_of(Holder::UserConfig(config.id))?;
            self.effects.routes.push(RouteChange::UserConfigForgotten(config.id));
        }
        self.owe_all_of(Holder::Instance(id))?;
        if self.mutation.delete_instance(id)? {
            self.effects.routes.push(RouteChange::InstanceDeleted(id));
            self.effects.instances.insert(id);
        }
        Ok(())
    }

    pub(crate) fn remove_user_config(&mut self, id: UserConfigId) -> Result<(), Fault> {
        self.owe_all_of(Holder::UserConfig(id))?;
        if let Some(config) = self.mutation.get::<UserConfig>(id)?
            && self.mutation.remove_user_config(id, self.at)?
        {
            self.note_removed(&config);
        }
        Ok(())
    }

    fn note_removed(&mut self, config: &UserConfig) {
        let route = removed_config_route(config, self.at);
        self.effects.routes.push(RouteChange::UserConfig(route));
        self.effects.users.insert((config.instance, config.id));
    }

    pub(crate) fn delete_integration(&mut self, id: IntegrationId) -> Result<(), Fault> {
        self.mutation.delete_integration(id)?;
        Ok(())
    }
}

/// All pages of a list.
pub(crate) fn every<R, I>(mut read: impl FnMut(Option<I>) -> Result<Page<R, I>, StoreError>) -> Result<Vec<R>, StoreError> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = read(after)?;
        all.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(all),
        }
    }
}
