//! From the catalog to the routing snapshot.

use crate::edit::is_lacking;
use perseat_domain::definition::Definition;
use perseat_domain::model::{Customer, Instance, Membership, Organization, User, UserConfig};
use perseat_domain::route::{HashSecret, InstanceRoute, RoutingSnapshot, SnapshotBuilder, UserConfigRoute, UserConfigState};
use perseat_domain::time::Timestamp;
use perseat_store::catalog::{Catalog, Lookup};
use perseat_store::error::StoreError;
use std::collections::{HashMap, HashSet};

/// Whether every required user-level variable has a value of its kind.
fn is_complete(config: &UserConfig, definition: &Definition) -> bool {
    let mut required = definition
        .config_vars
        .iter()
        .filter(|variable| variable.user_level && variable.required);
    !required.any(|variable| is_lacking(variable, &config.values))
}

fn state(config: &UserConfig, is_organization_user: bool, definition: &Definition) -> UserConfigState {
    match config.removed_at {
        Some(at) => UserConfigState::Removed(at),
        None if is_organization_user => UserConfigState::OwnedByOrganizationUser,
        None if is_complete(config, definition) => UserConfigState::Complete,
        None => UserConfigState::Incomplete,
    }
}

/// A user's configuration as routing sees it; `definition` is that of the deployed version.
#[must_use]
pub fn user_config_route(config: &UserConfig, user: &User, definition: &Definition) -> UserConfigRoute {
    let is_organization_user = user.membership == Membership::Organization;
    UserConfigRoute {
        id: config.id,
        instance: config.instance,
        user: config.user,
        state: state(config, is_organization_user, definition),
    }
}

/// A user's configuration that was removed at `at`, or before.
#[must_use]
pub fn removed_config_route(config: &UserConfig, at: Timestamp) -> UserConfigRoute {
    let removed_at = config.removed_at.unwrap_or(at);
    UserConfigRoute {
        id: config.id,
        instance: config.instance,
        user: config.user,
        state: UserConfigState::Removed(removed_at),
    }
}

/// Reads everything that routing needs, of one moment.
///
/// # Errors
/// If the catalog cannot be read.
pub fn snapshot(catalog: &Catalog, secret: HashSecret) -> Result<RoutingSnapshot, StoreError> {
    let view = catalog.view()?;
    let mut ulc_enabled = false;
    view.for_each(|organization: Organization| {
        ulc_enabled = organization.ulc_enabled;
        Ok::<(), StoreError>(())
    })?;
    let mut builder = SnapshotBuilder::new(secret, ulc_enabled);
    view.for_each(|customer: Customer| {
        if let Some(external_id) = &customer.external_id {
            builder.customer(customer.id, external_id);
        }
        Ok::<(), StoreError>(())
    })?;
    let mut organization_users = HashSet::new();
    view.for_each(|user: User| {
        if user.membership == Membership::Organization {
            organization_users.insert(user.id);
        }
        if let Some(external_id) = &user.external_id {
            builder.user(user.id, user.membership, external_id);
        }
        Ok::<(), StoreError>(())
    })?;
    let mut versions = HashMap::new();
    view.for_each(|instance: Instance| {
        let config = instance.deployed.as_ref().unwrap_or(&instance.config);
        if let Some(version) = view.integration_version(instance.integration, config.version)? {
            builder.instance(InstanceRoute::new(&instance, &version));
            versions.insert(instance.id, version);
        }
        Ok::<(), StoreError>(())
    })?;
    view.for_each(|config: UserConfig| {
        if let Some(version) = versions.get(&config.instance) {
            let state = state(&config, organization_users.contains(&config.user), &version.definition);
            builder.user_config(&UserConfigRoute {
                id: config.id,
                instance: config.instance,
                user: config.user,
                state,
            });
        }
        Ok::<(), StoreError>(())
    })?;
    Ok(builder.build(view.revision()?))
}
