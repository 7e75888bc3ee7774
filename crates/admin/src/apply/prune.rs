//! Deletes what no manifest names, from the leaves up.

use super::{Action, Session};
use crate::edit::every;
use crate::fault::Fault;
use crate::manifest::UserLevelConfig;
use perseat_domain::model::{Customer, Instance, Integration, Membership, User};
use perseat_store::catalog::Lookup;

const PAGE: usize = 1_000;

impl Session<'_, '_, '_> {
    pub(super) fn prune(&mut self) -> Result<(), Fault> {
        if !self.problems.is_empty() {
            return Ok(());
        }
        for customer in every(|after| self.edit.mutation.page::<Customer>(after, PAGE))? {
            self.prune_customer(&customer)?;
        }
        self.prune_users(Membership::Organization, "OrganizationUser")?;
        self.prune_shared_values()?;
        for integration in every(|after| self.edit.mutation.page::<Integration>(after, PAGE))? {
            if !self.named.integrations.contains_key(&integration.id) {
                self.edit.delete_integration(integration.id)?;
                self.note(Action::Pruned, "Integration", integration.name);
            }
        }
        self.prune_shared()?;
        Ok(())
    }

    fn prune_customer(&mut self, customer: &Customer) -> Result<(), Fault> {
        for instance in every(|after| self.edit.mutation.instances_of_customer(customer.id, after, PAGE))? {
            let shown = format!("{} / {}", customer.name, instance.name);
            if !self.named.instances.contains_key(&instance.id) {
                self.edit.delete_instance(instance.id)?;
                self.note(Action::Pruned, "Instance", shown);
                continue;
            }
            for registration in &instance.registrations {
                if !self.named.registrations.contains_key(&registration.id) {
                    // Each removal writes the instance anew.
                    let today = self.edit.existing::<Instance>(instance.id)?;
                    self.edit.remove_registration(&today, registration.id)?;
                    self.note(Action::Pruned, "AppRegistration", format!("{shown} / {}", registration.name));
                }
            }
            for config in every(|after| self.edit.mutation.user_configs_of_instance(instance.id, after, PAGE))? {
                if config.removed_at.is_none() && !self.named.configs.contains_key(&config.id) {
                    let user = self.edit.mutation.get::<User>(config.user)?;
                    let user = user.map_or_else(|| config.user.to_string(), |user| named(&user));
                    self.edit.remove_user_config(config.id)?;
                    self.note(Action::Pruned, "UserLevelConfig", format!("{shown} / {user}"));
                }
            }
        }
        if self.named.customers.contains_key(&customer.id) {
            return self.prune_users(Membership::Customer(customer.id), "CustomerUser");
        }
        self.edit.delete_customer(customer)?;
        self.note(Action::Pruned, "Customer", &customer.name);
        Ok(())
    }

    fn prune_users(&mut self, membership: Membership, kind: &str) -> Result<(), Fault> {
        for user in every(|after| self.edit.mutation.users_of(membership, after, PAGE))? {
            if !self.named.users.contains_key(&user.id) {
                self.edit.delete_user(&user)?;
                self.note(Action::Pruned, kind, user.name);
            }
        }
        Ok(())
    }
}

/// A user as the manifest of a user-level configuration names them.
fn named(user: &User) -> String {
    let name = user.external_id.as_ref().or(user.email.as_ref()).unwrap_or(&user.name);
    match user.membership {
        Membership::Organization => format!("{}{name}", UserLevelConfig::OF_ORGANIZATION),
        Membership::Customer(_) => name.clone(),
    }
}
