//! App registrations of an instance's connections; their secrets are given and never shown.

use super::answer::{change, payloads, required};
use super::instances::Instance;
use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use perseat_admin::command::SaveRegistration;
use perseat_domain::registration::AppRegistration as Stored;

/// A customer's own registration with the provider of a connection.
#[derive(Clone, Debug, SimpleObject)]
pub(super) struct AppRegistration {
    id: ID,
    /// The connection's stable key.
    connection: String,
    name: String,
    client_id: String,
    /// What is asked for in place of what the integration asks for.
    scopes: Option<String>,
    /// Users with an e-mail address of one of these domains have it where they choose none.
    email_domains: Vec<String>,
    /// Users with one of these labels have it where they choose none; counts before `emailDomains`.
    labels: Vec<String>,
}

impl From<&Stored> for AppRegistration {
    fn from(stored: &Stored) -> Self {
        Self {
            id: stored.id.global().into(),
            connection: stored.connection.clone(),
            name: stored.name.clone(),
            client_id: stored.client_id.clone(),
            scopes: stored.scopes.clone(),
            email_domains: stored.email_domains.clone(),
            labels: stored.labels.clone(),
        }
    }
}

#[derive(InputObject)]
struct CreateAppRegistrationInput {
    instance: Option<ID>,
    /// The connection's display name.
    connection: String,
    name: String,
    client_id: String,
    client_secret: Option<String>,
    scopes: Option<String>,
    email_domains: Option<Vec<String>>,
    labels: Option<Vec<String>>,
}

#[derive(InputObject)]
struct UpdateAppRegistrationInput {
    instance: Option<ID>,
    id: Option<ID>,
    name: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    scopes: Option<String>,
    email_domains: Option<Vec<String>>,
    labels: Option<Vec<String>>,
}

#[derive(InputObject)]
struct DeleteAppRegistrationInput {
    instance: Option<ID>,
    id: Option<ID>,
}

payloads! {
    CreateAppRegistrationPayload { app_registration: AppRegistration }
    UpdateAppRegistrationPayload { app_registration: AppRegistration }
    DeleteAppRegistrationPayload { instance: Instance }
}

/// Changing app registrations.
#[derive(Debug, Default)]
pub(super) struct RegistrationMutation;

#[Object]
impl RegistrationMutation {
    /// Creates an app registration for a connection by OAuth 2.0 of an instance.
    async fn create_app_registration(&self, ctx: &Context<'_>, input: CreateAppRegistrationInput) -> Result<CreateAppRegistrationPayload> {
        let made = change(ctx, "createAppRegistration", |edit| {
            let save = SaveRegistration {
                connection: Some(input.connection.clone()),
                name: Some(input.name.clone()),
                client_id: Some(input.client_id.clone()),
                client_secret: input.client_secret.clone(),
                scopes: input.scopes.clone(),
                email_domains: input.email_domains.clone(),
                labels: input.labels.clone(),
            };
            edit.create_registration(required(input.instance.as_ref(), "instance")?, &save)
        })?;
        CreateAppRegistrationPayload::of(made.map(|(_, made)| AppRegistration::from(&made)))
    }

    /// Changes an app registration. Whoever consented to another client id has to consent again.
    async fn update_app_registration(&self, ctx: &Context<'_>, input: UpdateAppRegistrationInput) -> Result<UpdateAppRegistrationPayload> {
        let made = change(ctx, "updateAppRegistration", |edit| {
            let save = SaveRegistration {
                connection: None,
                name: input.name.clone(),
                client_id: input.client_id.clone(),
                client_secret: input.client_secret.clone(),
                scopes: input.scopes.clone(),
                email_domains: input.email_domains.clone(),
                labels: input.labels.clone(),
            };
            let instance = required(input.instance.as_ref(), "instance")?;
            edit.update_registration(instance, input.id.as_ref().and_then(|id| id.parse().ok()), &save)
        })?;
        UpdateAppRegistrationPayload::of(made.map(|(_, made)| AppRegistration::from(&made)))
    }

    /// Removes an app registration. Whoever chose it has to choose another one.
    async fn delete_app_registration(&self, ctx: &Context<'_>, input: DeleteAppRegistrationInput) -> Result<DeleteAppRegistrationPayload> {
        let made = change(ctx, "deleteAppRegistration", |edit| {
            let instance = required(input.instance.as_ref(), "instance")?;
            edit.delete_registration(instance, input.id.as_ref().and_then(|id| id.parse().ok()))
        })?;
        DeleteAppRegistrationPayload::of(made.map(|(instance, _)| Instance::real_one(instance)))
    }
}
