//! Deletes what no manifest names, from the leaves up.

use super::{Action, ApplyError, Session};
use perseat_domain::id::{CustomerId, IntegrationId, UserId};
use perseat_domain::model::{Customer, Integration, Membership};
use perseat_domain::route::RouteChange;
use perseat_store::catalog::Lookup;
use perseat_store::error::StoreError;

const PAGE: usize = 1_000;

impl Session<'_, '_, '_> {
    pub(super) fn prune(&mut self) -> Result<(), ApplyError> {
        if !self.problems.is_empty() {
            return Ok(());
        }
        let customers: Vec<Customer> =
            self.every(|session, after| session.mutation.page::<Customer>(after, PAGE).map(|page| (page.items, page.next)))?;
        for customer in customers {
            self.prune_customer(&customer)?;
        }
        self.prune_users(Membership::Organization, "OrganizationUser")?;
        let integrations: Vec<Integration> = self.every(|session, after: Option<IntegrationId>| {
            session
                .mutation
                .page::<Integration>(after, PAGE)
                .map(|page| (page.items, page.next))
        })?;
        for integration in integrations {
            if !self.named.integrations.contains(&integration.id) {
                self.mutation.delete_integration(integration.id)?;
                self.note(Action::Pruned, "Integration", integration.name);
            }
        }
        Ok(())
    }

    fn prune_customer(&mut self, customer: &Customer) -> Result<(), ApplyError> {
        let instances = self.every(|session, after| {
            session
                .mutation
                .instances_of_customer(customer.id, after, PAGE)
                .map(|page| (page.items, page.next))
        })?;
        for instance in instances {
            if !self.named.instances.contains(&instance.id) {
                self.mutation.delete_instance(instance.id)?;
                self.applied.routes.push(RouteChange::InstanceDeleted(instance.id));
                self.applied.instances.insert(instance.id);
                self.note(Action::Pruned, "Instance", format!("{} / {}", customer.name, instance.name));
                continue;
            }
            let configs = self.every(|session, after| {
                session
                    .mutation
                    .user_configs_of_instance(instance.id, after, PAGE)
                    .map(|page| (page.items, page.next))
            })?;
            for config in configs.into_iter().filter(|config| config.removed_at.is_none()) {
                if !self.named.configs.contains(&config.id) {
                    self.mutation.remove_user_config(config.id, self.applier.at)?;
                    self.applied
                        .routes
                        .push(RouteChange::UserConfig(crate::routing::removed_config_route(
                            &config,
                            self.applier.at,
                        )));
                    self.applied.instances.insert(instance.id);
                    self.note(
                        Action::Pruned,
                        "UserLevelConfig",
                        format!("{} / {} / {}", customer.name, instance.name, config.user),
                    );
                }
            }
        }
        if self.named.customers.contains(&customer.id) {
            return self.prune_users(Membership::Customer(customer.id), "CustomerUser");
        }
        self.forget_users(customer.id)?;
        self.mutation.delete_customer(customer.id)?;
        let before = customer.external_id.clone();
        self.applied.routes.push(RouteChange::CustomerExternalId {
            customer: customer.id,
            before,
            after: None,
        });
        self.note(Action::Pruned, "Customer", &customer.name);
        Ok(())
    }

    fn prune_users(&mut self, membership: Membership, kind: &str) -> Result<(), ApplyError> {
        let users = self.every(|session, after: Option<UserId>| {
            session
                .mutation
                .users_of(membership, after, PAGE)
                .map(|page| (page.items, page.next))
        })?;
        for user in users {
            if !self.named.users.contains(&user.id) {
                let configs = self.every(|session, after| {
                    session
                        .mutation
                        .user_configs_of_user(user.id, after, PAGE)
                        .map(|page| (page.items, page.next))
                })?;
                for config in configs {
                    self.applied
                        .routes
                        .push(RouteChange::UserConfig(crate::routing::removed_config_route(
                            &config,
                            self.applier.at,
                        )));
                    self.applied.instances.insert(config.instance);
                }
                self.mutation.delete_user(user.id, self.applier.at)?;
                let before = user.external_id.clone();
                self.applied.routes.push(RouteChange::UserExternalId {
                    user: user.id,
                    membership,
                    before,
                    after: None,
                });
                self.note(Action::Pruned, kind, user.name);
            }
        }
        Ok(())
    }

    fn forget_users(&mut self, customer: CustomerId) -> Result<(), ApplyError> {
        let membership = Membership::Customer(customer);
        let users = self.every(|session, after: Option<UserId>| {
            session
                .mutation
                .users_of(membership, after, PAGE)
                .map(|page| (page.items, page.next))
        })?;
        for user in users {
            self.applied.routes.push(RouteChange::UserExternalId {
                user: user.id,
                membership,
                before: user.external_id,
                after: None,
            });
        }
        Ok(())
    }

    fn every<R, I>(&self, read: impl Fn(&Self, Option<I>) -> Result<(Vec<R>, Option<I>), StoreError>) -> Result<Vec<R>, StoreError> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let (items, next) = read(self, after)?;
            all.extend(items);
            match next {
                Some(next) => after = Some(next),
                None => return Ok(all),
            }
        }
    }
}
