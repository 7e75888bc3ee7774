//! Changing integrations.

use super::answer::{actor, change, desk, id, payloads, read, required};
use super::instance_changes::{InputInstanceConfigVariable, variables};
use super::integrations::Integration;
use super::people::texts;
use super::scalars::BigInt;
use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use perseat_admin::access::Operation;
use perseat_admin::command::{ImportIntegration, UpdateIntegration};
use perseat_admin::fault::Fault;
use perseat_domain::id::{IntegrationId, VersionId};
use perseat_domain::model::{self, Marketplace};

#[derive(Debug, InputObject)]
struct ImportIntegrationInput {
    customer: Option<ID>,
    definition: String,
    integration_id: Option<ID>,
    replace: Option<bool>,
}

#[derive(Debug, InputObject)]
struct CreateIntegrationInput {
    customer: Option<ID>,
    definition: Option<String>,
    description: Option<String>,
    name: String,
}

#[derive(Debug, InputObject)]
struct UpdateIntegrationInput {
    id: Option<ID>,
    name: Option<String>,
    description: Option<String>,
    category: Option<String>,
    customer: Option<ID>,
    definition: Option<String>,
    labels: Option<Vec<Option<String>>>,
    allow_multiple_marketplace_instances: Option<bool>,
    /// An `objectUrl` of `uploadMedia`; empty takes the avatar away.
    avatar_url: Option<String>,
    /// What the integration is tried out with: values of its system instance, in place of all there were.
    test_config_variables: Option<Vec<Option<InputInstanceConfigVariable>>>,
    /// The revision that the change is based on.
    revision: Option<BigInt>,
}

#[derive(Debug, InputObject)]
struct PublishIntegrationInput {
    id: Option<ID>,
    comment: Option<String>,
    attributes: Option<String>,
}

#[derive(Debug, InputObject)]
struct ForkIntegrationInput {
    parent: ID,
    name: String,
    description: Option<String>,
}

#[derive(Debug, InputObject)]
struct DeleteIntegrationInput {
    id: Option<ID>,
}

#[derive(Debug, InputObject)]
struct UpdateIntegrationVersionAvailabilityInput {
    id: Option<ID>,
    available: bool,
}

#[derive(Debug, InputObject)]
struct UpdateIntegrationMarketplaceConfigurationInput {
    id: Option<ID>,
    marketplace_configuration: Option<String>,
    overview: Option<String>,
    allow_multiple_marketplace_instances: Option<bool>,
    /// The `revision` that was read: the change is refused if there is a newer one.
    revision: Option<BigInt>,
}

#[derive(Debug, InputObject)]
struct ValidateIntegrationSchemaInput {
    definition: String,
}

/// What reading a definition came to.
#[derive(Clone, Debug, SimpleObject)]
pub(super) struct ValidationResult {
    is_valid: bool,
}

payloads! {
    ImportIntegrationPayload { integration: Integration }
    CreateIntegrationPayload { integration: Integration }
    UpdateIntegrationPayload { integration: Integration }
    PublishIntegrationPayload { integration: Integration }
    ForkIntegrationPayload { integration: Integration }
    DeleteIntegrationPayload { integration: Integration }
    UpdateIntegrationVersionAvailabilityPayload { integration: Integration }
    UpdateIntegrationMarketplaceConfigurationPayload { integration: Integration }
    ValidateIntegrationSchemaPayload { result: ValidationResult }
}

/// The newest version of an integration that was just changed.
fn read_newest(ctx: &Context<'_>, integration: IntegrationId) -> Result<Integration> {
    let id = VersionId {
        integration,
        version: None,
    };
    read(ctx, |reader| reader.integration(id)).map(Integration)
}

/// Finishes a mutation: what was changed is read again as the newest version.
fn newest(ctx: &Context<'_>, made: Result<model::Integration, Fault>) -> Result<Result<Integration, Fault>> {
    match made {
        Ok(integration) => read_newest(ctx, integration.id).map(Ok),
        Err(fault) => Ok(Err(fault)),
    }
}

fn integration_of(text: Option<&ID>) -> Result<IntegrationId, Fault> {
    Ok(required::<VersionId>(text, "integration")?.integration)
}

/// Changing integrations.
#[derive(Debug, Default)]
pub(super) struct IntegrationMutation;

#[Object]
impl IntegrationMutation {
    /// Imports a definition as the version that is worked on.
    async fn import_integration(&self, ctx: &Context<'_>, input: ImportIntegrationInput) -> Result<ImportIntegrationPayload> {
        let _ = input.replace;
        let made = change(ctx, "importIntegration", |edit| {
            let input = ImportIntegration {
                definition: input.definition.clone(),
                integration: match &input.integration_id {
                    Some(_) => Some(integration_of(input.integration_id.as_ref())?),
                    None => None,
                },
                customer: input.customer.as_ref().map(|customer| id(customer, "customer")).transpose()?,
            };
            Ok(edit.import_integration(&input)?.integration)
        })?;
        ImportIntegrationPayload::of(newest(ctx, made)?)
    }

    async fn create_integration(&self, ctx: &Context<'_>, input: CreateIntegrationInput) -> Result<CreateIntegrationPayload> {
        let made = change(ctx, "createIntegration", |edit| {
            let customer = input.customer.as_ref().map(|customer| id(customer, "customer")).transpose()?;
            match &input.definition {
                None => edit.create_integration(&input.name, input.description.as_deref().unwrap_or_default(), customer),
                Some(definition) => {
                    let import = ImportIntegration {
                        definition: definition.clone(),
                        integration: None,
                        customer,
                    };
                    Ok(edit.import_integration(&import)?.integration)
                }
            }
        })?;
        CreateIntegrationPayload::of(newest(ctx, made)?)
    }

    async fn update_integration(&self, ctx: &Context<'_>, input: UpdateIntegrationInput) -> Result<UpdateIntegrationPayload> {
        let made = change(ctx, "updateIntegration", |edit| {
            let change = UpdateIntegration {
                name: input.name.clone(),
                description: input.description.clone(),
                category: input.category.clone(),
                definition: input.definition.clone(),
                labels: texts(input.labels.clone()),
                customer: input.customer.as_ref().map(|customer| id(customer, "customer")).transpose()?,
                allow_multiple_instances: input.allow_multiple_marketplace_instances,
                avatar_url: input.avatar_url.clone(),
                test_values: variables(input.test_config_variables.as_ref()),
                revision: input.revision.map(|revision| revision.0),
                ..UpdateIntegration::default()
            };
            edit.update_integration(integration_of(input.id.as_ref())?, &change)
        })?;
        UpdateIntegrationPayload::of(newest(ctx, made)?)
    }

    /// Releases the version that is worked on.
    async fn publish_integration(&self, ctx: &Context<'_>, input: PublishIntegrationInput) -> Result<PublishIntegrationPayload> {
        let made = change(ctx, "publishIntegration", |edit| {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            edit.publish_integration(integration_of(input.id.as_ref())?, &text(&input.comment), &text(&input.attributes))
        })?;
        PublishIntegrationPayload::of(newest(ctx, made)?)
    }

    async fn fork_integration(&self, ctx: &Context<'_>, input: ForkIntegrationInput) -> Result<ForkIntegrationPayload> {
        let made = change(ctx, "forkIntegration", |edit| {
            let description = input.description.clone().unwrap_or_default();
            edit.fork_integration(id(&input.parent, "integration")?, &input.name, &description)
        })?;
        ForkIntegrationPayload::of(newest(ctx, made)?)
    }

    async fn delete_integration(&self, ctx: &Context<'_>, input: DeleteIntegrationInput) -> Result<DeleteIntegrationPayload> {
        let before = integration_of(input.id.as_ref()).ok().and_then(|id| read_newest(ctx, id).ok());
        let made = change(ctx, "deleteIntegration", |edit| {
            edit.remove_integration(integration_of(input.id.as_ref())?)
        })?;
        let gone = made.and_then(|_| before.ok_or(Fault::Absent("integration")));
        DeleteIntegrationPayload::of(gone)
    }

    /// Offers a released version for new instances, or takes it back.
    async fn update_integration_version_availability(
        &self,
        ctx: &Context<'_>,
        input: UpdateIntegrationVersionAvailabilityInput,
    ) -> Result<UpdateIntegrationVersionAvailabilityPayload> {
        let made = change(ctx, "updateIntegrationVersionAvailability", |edit| {
            edit.set_version_available(required(input.id.as_ref(), "integration")?, input.available)
        })?;
        UpdateIntegrationVersionAvailabilityPayload::of(newest(ctx, made)?)
    }

    async fn update_integration_marketplace_configuration(
        &self,
        ctx: &Context<'_>,
        input: UpdateIntegrationMarketplaceConfigurationInput,
    ) -> Result<UpdateIntegrationMarketplaceConfigurationPayload> {
        let made = change(ctx, "updateIntegrationMarketplaceConfiguration", |edit| {
            let marketplace = match input.marketplace_configuration.as_deref() {
                None => None,
                Some("AVAILABLE_AND_DEPLOYABLE") => Some(Marketplace::Deployable),
                Some("AVAILABLE_NOT_DEPLOYABLE") => Some(Marketplace::Visible),
                Some("NOT_AVAILABLE_IN_MARKETPLACE") => Some(Marketplace::Hidden),
                Some(_) => {
                    let message = "One of AVAILABLE_AND_DEPLOYABLE, AVAILABLE_NOT_DEPLOYABLE, NOT_AVAILABLE_IN_MARKETPLACE.";
                    return Err(Fault::field("marketplaceConfiguration", message));
                }
            };
            let change = UpdateIntegration {
                marketplace,
                overview: input.overview.clone(),
                allow_multiple_instances: input.allow_multiple_marketplace_instances,
                revision: input.revision.map(|revision| revision.0),
                ..UpdateIntegration::default()
            };
            edit.update_integration(integration_of(input.id.as_ref())?, &change)
        })?;
        UpdateIntegrationMarketplaceConfigurationPayload::of(newest(ctx, made)?)
    }

    /// Reads a definition and says what is wrong with it; nothing is kept.
    async fn validate_integration_schema(
        &self,
        ctx: &Context<'_>,
        input: ValidateIntegrationSchemaInput,
    ) -> Result<ValidateIntegrationSchemaPayload> {
        let outcome = match actor(ctx)?.check(Operation::ManageIntegrations) {
            Ok(()) => perseat_admin::command::validate_definition(&input.definition, desk(ctx)?.definitions()),
            Err(denied) => Err(denied),
        };
        ValidateIntegrationSchemaPayload::of(outcome.map(|()| ValidationResult { is_valid: true }))
    }
}
