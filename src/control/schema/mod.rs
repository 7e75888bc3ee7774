//! The GraphQL schema: types in modules by what they are about, joined here.

pub(super) mod answer;
pub(super) mod blobs;
mod components;
mod configs;
mod connection;
mod cost;
mod executions;
mod grants;
mod instance_changes;
mod instances;
mod integration_changes;
mod integration_lists;
mod integrations;
mod invitations;
mod media;
mod organization;
mod people;
mod registrations;
mod roles;
mod scalars;
mod sharing;
mod size;
mod standing;
mod trigger;
mod usage;

pub(crate) use scalars::iso;

use super::Desk;
use async_graphql::{EmptySubscription, MergedObject};
use std::sync::Arc;

/// Everything that can be read.
#[derive(Debug, Default, MergedObject)]
#[graphql(name = "Query")]
pub(super) struct Query(
    people::PeopleQuery,
    organization::OrganizationQuery,
    sharing::SharedQuery,
    integration_lists::IntegrationQuery,
    instances::InstanceQuery,
    configs::ConfigQuery,
    executions::ExecutionQuery,
    components::ComponentQuery,
    media::MediaQuery,
    usage::UsageQuery,
);

/// Everything that can be done.
#[derive(Debug, Default, MergedObject)]
#[graphql(name = "Mutation")]
pub(super) struct Mutation(
    people::PeopleMutation,
    invitations::InvitationMutation,
    organization::OrganizationMutation,
    integration_changes::IntegrationMutation,
    instance_changes::InstanceMutation,
    configs::ConfigMutation,
    grants::GrantMutation,
    registrations::RegistrationMutation,
);

/// The schema with its data.
pub(super) type Schema = async_graphql::Schema<Query, Mutation, EmptySubscription>;

/// The schema over a desk.
pub(super) fn build(desk: &Arc<Desk>) -> Schema {
    let options = desk.options();
    Schema::build(Query::default(), Mutation::default(), EmptySubscription)
        .limit_depth(options.max_depth)
        .limit_complexity(options.max_complexity)
        .extension(size::Size)
        .data(Arc::clone(desk))
        .finish()
}

/// The published schema: `docs/schema.graphql` is kept equal to it.
#[must_use]
pub fn sdl() -> String {
    Schema::build(Query::default(), Mutation::default(), EmptySubscription)
        .finish()
        .sdl()
}
