//! Users' own configurations of instances.

use super::answer::{change, desk, id, payloads, read, required};
use super::connection::Connection;
use super::cost;
use super::grants::{Grant, connection_id};
use super::instance_changes::{InputInstanceConfigVariable, variables};
use super::instances::{InstanceConfigVariableStatus, InstanceFlowConfig, inputs, shown};
use super::integrations::{Expression, RequiredConfigVariable};
use super::people::User;
use super::scalars::{BigInt, DateTime, JsonString};
use super::standing::Standing;
use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use perseat_admin::fault::Fault;
use perseat_admin::query::{UserConfigView, VersionView, VisibleVariable};
use perseat_domain::definition::Flow;
use perseat_domain::grant::Holder;
use perseat_domain::id::{EndpointId, IntegrationId};
use perseat_domain::model::{self, ConfigValue};
use uuid::Uuid;

/// One user's configuration of one instance.
#[derive(Clone, Debug)]
pub(super) struct UserLevelConfig(pub(super) UserConfigView);

/// The instance of a configuration, as everybody who has one may know it.
#[derive(Clone, Debug, SimpleObject)]
struct ConfiguredInstance {
    id: ID,
    name: String,
    enabled: bool,
}

impl UserLevelConfig {
    /// The version that runs, or was saved if none does yet.
    fn version(&self, ctx: &Context<'_>) -> Result<VersionView> {
        let instance = &self.0.instance;
        read(ctx, |reader| reader.version_of(instance.integration, instance.version))
    }

    /// The user's values, whether they are set or not.
    pub(super) fn variables(&self, ctx: &Context<'_>) -> Result<Connection<UserLevelConfigVariable>> {
        Connection::part(ctx, self.whole(ctx)?)
    }

    /// The same as a list.
    pub(super) fn whole(&self, ctx: &Context<'_>) -> Result<Vec<UserLevelConfigVariable>> {
        let mut grants = read(ctx, |reader| reader.grants(Holder::UserConfig(self.0.config.id)))?;
        let version = self.version(ctx)?;
        let definition = &version.version.definition;
        let visible = read(ctx, |reader| Ok(reader.visible_variables_of(definition, true)))?;
        let config = &self.0.config;
        let one = |variable: VisibleVariable| {
            let value = config.values.get(&variable.stable_key).cloned();
            let own = grants.remove(&variable.stable_key);
            let holder = Some(Holder::UserConfig(config.id));
            Ok(UserLevelConfigVariable {
                owner: config.id.0,
                integration: version.integration.id,
                standing: Standing::of(ctx, holder, &variable, value.as_ref(), own)?,
                value,
                variable,
            })
        };
        visible.into_iter().map(one).collect()
    }
}

#[Object]
impl UserLevelConfig {
    async fn id(&self) -> ID {
        self.0.config.id.global().into()
    }
    async fn instance(&self) -> ConfiguredInstance {
        let instance = &self.0.instance;
        ConfiguredInstance {
            id: instance.id.global().into(),
            name: instance.name.clone(),
            enabled: instance.is_enabled,
        }
    }
    async fn user(&self) -> User {
        User::Person(self.0.user.clone())
    }
    /// One for each flow, with the user's own URL.
    #[graphql(complexity = "cost::part(child_complexity)")]
    async fn flow_configs(&self, ctx: &Context<'_>) -> Result<Connection<UserLevelFlowConfig>> {
        let version = self.version(ctx)?;
        let all = version.version.definition.flows.iter().map(|flow| UserLevelFlowConfig {
            config: self.clone(),
            version: version.clone(),
            flow: flow.clone(),
        });
        Connection::part(ctx, all.collect())
    }
    #[graphql(complexity = "cost::part(child_complexity)")]
    async fn config_variables(&self, ctx: &Context<'_>) -> Result<Connection<UserLevelConfigVariable>> {
        self.variables(ctx)
    }
    async fn created_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        Ok(DateTime(
            read(ctx, |reader| reader.stamp::<model::UserConfig>(self.0.config.id))?.created_at,
        ))
    }
    async fn updated_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        Ok(DateTime(
            read(ctx, |reader| reader.stamp::<model::UserConfig>(self.0.config.id))?.changed_at,
        ))
    }
    /// What to send with a change, so that it is refused if somebody else was faster.
    async fn revision(&self, ctx: &Context<'_>) -> Result<BigInt> {
        Ok(BigInt(
            read(ctx, |reader| reader.stamp::<model::UserConfig>(self.0.config.id))?.revision,
        ))
    }
}

/// One flow with one user's configuration.
#[derive(Clone, Debug)]
pub(super) struct UserLevelFlowConfig {
    config: UserLevelConfig,
    version: VersionView,
    flow: Flow,
}

impl UserLevelFlowConfig {
    fn endpoint(&self) -> EndpointId {
        EndpointId::UserFlow(self.config.0.config.id, self.flow.number)
    }
}

#[Object]
impl UserLevelFlowConfig {
    async fn id(&self) -> ID {
        self.endpoint().global().into()
    }
    async fn user_level_config(&self) -> &UserLevelConfig {
        &self.config
    }
    /// The flow, with the instance for those who may see it.
    async fn instance_flow_config(&self, ctx: &Context<'_>) -> Result<InstanceFlowConfig> {
        InstanceFlowConfig::read(ctx, self.config.0.instance.id, &self.version, &self.flow)
    }
    /// The URL that runs the flow as this user.
    async fn webhook_url(&self, ctx: &Context<'_>) -> Result<String> {
        Ok(desk(ctx)?.hook_url(self.endpoint()))
    }
}

/// A user's own value.
#[derive(Clone, Debug)]
pub(super) struct UserLevelConfigVariable {
    owner: Uuid,
    integration: IntegrationId,
    variable: VisibleVariable,
    value: Option<ConfigValue>,
    standing: Standing,
}

impl UserLevelConfigVariable {
    pub(super) fn is(&self, stable_key: &str) -> bool {
        self.variable.stable_key == stable_key
    }
}

#[Object]
impl UserLevelConfigVariable {
    async fn id(&self) -> ID {
        connection_id("UserLevelConfigVariable", self.owner, &self.variable.stable_key)
    }
    async fn value(&self) -> Option<String> {
        shown(&self.variable, self.value.as_ref())
    }
    async fn status(&self) -> Option<InstanceConfigVariableStatus> {
        self.standing.status_of(&self.variable)
    }
    /// Where the user consents; for a connection by OAuth 2.0, and whoever may.
    async fn authorize_url(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        self.standing.authorize_url(ctx)
    }
    async fn refresh_at(&self, ctx: &Context<'_>) -> Result<Option<DateTime>> {
        self.standing.refresh_at(ctx)
    }
    /// What is known of the grant, once there is one.
    async fn grant(&self, ctx: &Context<'_>) -> Result<Option<Grant>> {
        self.standing.grant(ctx)
    }
    #[graphql(complexity = "cost::part(child_complexity)")]
    async fn inputs(&self, ctx: &Context<'_>) -> Result<Connection<Expression>> {
        inputs(ctx, &self.variable)
    }
    async fn meta(&self) -> Option<JsonString> {
        None
    }
    async fn required_config_variable(&self) -> RequiredConfigVariable {
        RequiredConfigVariable {
            integration: self.integration,
            variable: self.variable.clone(),
        }
    }
}

/// Reading users' configurations.
#[derive(Debug, Default)]
pub(super) struct ConfigQuery;

#[Object]
impl ConfigQuery {
    async fn user_level_config(&self, ctx: &Context<'_>, id: ID) -> Result<UserLevelConfig> {
        read(ctx, |reader| reader.user_config(self::id(&id, "user configuration")?)).map(UserLevelConfig)
    }
}

#[derive(Debug, InputObject)]
struct CreateUserLevelConfigInput {
    instance: ID,
    /// Whose; whoever asks if it is absent.
    user: Option<ID>,
    config_variables: Option<Vec<Option<InputInstanceConfigVariable>>>,
}

#[derive(Debug, InputObject)]
struct UpdateUserLevelConfigInput {
    id: Option<ID>,
    config_variables: Option<Vec<Option<InputInstanceConfigVariable>>>,
    /// Whether values that are not given stay.
    partial: Option<bool>,
    /// The revision that the change is based on.
    revision: Option<BigInt>,
}

#[derive(Debug, InputObject)]
struct DeleteUserLevelConfigInput {
    id: Option<ID>,
}

payloads! {
    CreateUserLevelConfigPayload { user_level_config: UserLevelConfig }
    UpdateUserLevelConfigPayload { user_level_config: UserLevelConfig }
    DeleteUserLevelConfigPayload { user_level_config: UserLevelConfig }
}

/// What was saved, read again with what it belongs to.
fn saved(ctx: &Context<'_>, made: Result<model::UserConfig, Fault>) -> Result<Result<UserLevelConfig, Fault>> {
    match made {
        Ok(config) => read(ctx, |reader| reader.user_config(config.id)).map(|view| Ok(UserLevelConfig(view))),
        Err(fault) => Ok(Err(fault)),
    }
}

/// Changing users' configurations.
#[derive(Debug, Default)]
pub(super) struct ConfigMutation;

#[Object]
impl ConfigMutation {
    /// Makes a configuration of an instance, or gives the one there is.
    async fn create_user_level_config(&self, ctx: &Context<'_>, input: CreateUserLevelConfigInput) -> Result<CreateUserLevelConfigPayload> {
        let made = change(ctx, "createUserLevelConfig", |edit| {
            let user = input.user.as_ref().map(|user| id(user, "user")).transpose()?;
            let variables = variables(input.config_variables.as_ref());
            edit.create_user_config(id(&input.instance, "instance")?, user, variables.as_deref())
        })?;
        CreateUserLevelConfigPayload::of(saved(ctx, made)?)
    }

    /// Changes the values of a configuration; those that are not given go, unless it is partial.
    async fn update_user_level_config(&self, ctx: &Context<'_>, input: UpdateUserLevelConfigInput) -> Result<UpdateUserLevelConfigPayload> {
        let made = change(ctx, "updateUserLevelConfig", |edit| {
            let variables = variables(input.config_variables.as_ref()).unwrap_or_default();
            let revision = input.revision.map(|revision| revision.0);
            let id = required(input.id.as_ref(), "user configuration")?;
            edit.update_user_config(id, &variables, input.partial.unwrap_or(false), revision)
        })?;
        UpdateUserLevelConfigPayload::of(saved(ctx, made)?)
    }

    /// Removes a configuration with its credentials. Whoever may remove it without seeing it is told of no errors, and no more.
    async fn delete_user_level_config(&self, ctx: &Context<'_>, input: DeleteUserLevelConfigInput) -> Result<DeleteUserLevelConfigPayload> {
        let before = match required(input.id.as_ref(), "user configuration") {
            Ok(id) => read(ctx, |reader| reader.user_config(id)).ok(),
            Err(_) => None,
        };
        let made = change(ctx, "deleteUserLevelConfig", |edit| {
            edit.delete_user_config(required(input.id.as_ref(), "user configuration")?)
        })?;
        Ok(match made {
            Ok(_) => DeleteUserLevelConfigPayload {
                user_level_config: before.map(UserLevelConfig),
                errors: Vec::new(),
            },
            Err(fault) => DeleteUserLevelConfigPayload::of(Err(fault))?,
        })
    }
}
