//! Instances, their flows and their values.

use super::answer::{actor, desk, error, id as answer_id, page, read};
use super::configs::{UserLevelConfig, UserLevelConfigVariable};
use super::connection::{Connection, InstanceOrder, UserLevelConfigOrder, terms};
use super::cost;
use super::grants::{Grant, connection_id};
use super::integrations::{Expression, Integration, IntegrationFlow, RequiredConfigVariable};
use super::people::{Customer, texts};
use super::registrations::AppRegistration;
use super::scalars::{BigInt, DateTime, JsonString, times};
use super::standing::Standing;
use async_graphql::{Context, Enum, ID, Object, Result};
use perseat_admin::access::Operation;
use perseat_admin::fault::Fault;
use perseat_admin::query::{ConfigState, InstanceFilter, VersionView, VisibleVariable, needs_deploy};
use perseat_domain::definition::{ConfigVar, EndpointType, Flow};
use perseat_domain::grant::Holder;
use perseat_domain::id::{CustomerId, EndpointId, InstanceId, IntegrationId, VersionId, integration_of_system_instance, system_instance};
use perseat_domain::model::{self, ConfigValue, InstanceState};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// How far an instance is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
enum InstanceConfigState {
    FullyConfigured,
    NeedsInstanceConfiguration,
    NeedsUserLevelConfiguration,
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(super) enum InstanceConfigVariableStatus {
    Active,
    Error,
    Failed,
    Pending,
}

/// An integration switched on for a customer, or the unlisted one by which an integration is tried out.
#[derive(Clone, Debug)]
pub(super) enum Instance {
    Real(Arc<model::Instance>),
    System(VersionView),
}

impl Instance {
    /// A page of instances; system instances are in no list.
    pub(super) fn list(
        ctx: &Context<'_>,
        filter: &InstanceFilter,
        is_system: Option<bool>,
        after: Option<String>,
        first: Option<i32>,
    ) -> Result<Connection<Self>> {
        if is_system == Some(true) {
            return Ok(Connection::whole(Vec::new()));
        }
        let request = page(after, first);
        let listed = read(ctx, |reader| reader.instances(filter, &request))?;
        Ok(Connection::of(listed.map(Self::real_one), request.after.as_deref()))
    }

    pub(super) fn real_one(instance: model::Instance) -> Self {
        Self::Real(Arc::new(instance))
    }

    fn instance_id(&self) -> InstanceId {
        match self {
            Self::Real(instance) => instance.id,
            Self::System(version) => system_instance(version.integration.id),
        }
    }

    fn real(&self) -> Option<&model::Instance> {
        match self {
            Self::Real(instance) => Some(instance.as_ref()),
            Self::System(_) => None,
        }
    }

    /// The version that was saved: what its values belong to.
    fn version(&self, ctx: &Context<'_>) -> Result<VersionView> {
        match self {
            Self::Real(instance) => read(ctx, |reader| reader.version_of(instance.integration, instance.config.version)),
            Self::System(version) => Ok(version.clone()),
        }
    }

    fn values(&self) -> BTreeMap<String, ConfigValue> {
        match self {
            Self::Real(instance) => instance.config.values.clone(),
            Self::System(version) => version.integration.test_values.clone(),
        }
    }

    fn stamp(&self, ctx: &Context<'_>) -> Result<perseat_store::catalog::Stamp> {
        match self {
            Self::Real(instance) => read(ctx, |reader| reader.stamp::<model::Instance>(instance.id)),
            Self::System(version) => read(ctx, |reader| reader.stamp::<model::Integration>(version.integration.id)),
        }
    }
}

#[Object]
impl Instance {
    async fn id(&self) -> ID {
        self.instance_id().global().into()
    }
    async fn name(&self) -> &str {
        match self {
            Self::Real(instance) => &instance.name,
            Self::System(version) => &version.integration.name,
        }
    }
    async fn description(&self) -> &str {
        self.real().map(|instance| instance.description.as_str()).unwrap_or_default()
    }
    async fn labels(&self) -> Vec<String> {
        self.real().map(|instance| instance.labels.clone()).unwrap_or_default()
    }
    async fn enabled(&self) -> bool {
        self.real().is_none_or(|instance| instance.state == InstanceState::Enabled)
    }
    async fn is_system(&self) -> bool {
        self.real().is_none()
    }
    async fn customer(&self, ctx: &Context<'_>) -> Result<Option<Customer>> {
        match self.real() {
            Some(instance) => read(ctx, |reader| reader.customer(instance.customer)).map(|customer| Some(Customer(customer))),
            None => Ok(None),
        }
    }
    /// The version that was saved.
    async fn integration(&self, ctx: &Context<'_>) -> Result<Integration> {
        self.version(ctx).map(Integration)
    }
    /// The number of the version that runs; nothing before the first deploy.
    async fn deployed_version(&self) -> Option<u32> {
        self.real()?.deployed.as_ref().map(|config| config.version)
    }
    async fn last_deployed_at(&self) -> Option<DateTime> {
        self.real()?.deployed_at.map(DateTime)
    }
    /// Whether what was saved is not what runs.
    async fn needs_deploy(&self) -> bool {
        self.real().is_some_and(needs_deploy)
    }
    async fn config_state(&self, ctx: &Context<'_>) -> Result<Option<InstanceConfigState>> {
        let version = self.version(ctx)?;
        let state = read(ctx, |reader| match self {
            Self::Real(instance) => reader.config_state(instance, &version.version.definition),
            Self::System(version) => Ok(reader.test_state(version)),
        })?;
        Ok(Some(match state {
            ConfigState::Complete => InstanceConfigState::FullyConfigured,
            ConfigState::NeedsInstance => InstanceConfigState::NeedsInstanceConfiguration,
            ConfigState::NeedsUser => InstanceConfigState::NeedsUserLevelConfiguration,
        }))
    }
    async fn global_debug(&self) -> bool {
        match self {
            Self::Real(_) => false,
            Self::System(version) => version.integration.settings.debug,
        }
    }
    /// Customer-wide values, whether they are set or not.
    #[graphql(complexity = "cost::part(child_complexity)")]
    async fn config_variables(
        &self,
        ctx: &Context<'_>,
        status: Option<String>,
        #[graphql(name = "status_In")] status_in: Option<Vec<Option<String>>>,
    ) -> Result<Connection<InstanceConfigVariable>> {
        self.variables_of(ctx, status, status_in)
    }
    /// The customer's app registrations with providers of its connections.
    #[graphql(complexity = "cost::part(child_complexity)")]
    async fn app_registrations(&self, ctx: &Context<'_>) -> Result<Vec<AppRegistration>> {
        let Some(instance) = self.real() else { return Ok(Vec::new()) };
        let registrations = read(ctx, |reader| reader.registrations(instance))?;
        Ok(registrations.into_iter().map(AppRegistration::from).collect())
    }
    #[graphql(complexity = "cost::page(first, child_complexity)")]
    async fn flow_configs(&self, ctx: &Context<'_>, after: Option<String>, first: Option<i32>) -> Result<Connection<InstanceFlowConfig>> {
        let version = self.version(ctx)?;
        let definition = &version.version.definition;
        let all = definition.flows.iter().map(|flow| InstanceFlowConfig {
            instance: Some(self.clone()),
            instance_id: self.instance_id(),
            integration: version.integration.id,
            endpoint: definition.endpoint_type,
            flow: flow.clone(),
        });
        Connection::cut(ctx, all.collect(), after, first)
    }
    /// Users' own configurations: all for the organization's people, else one's own alone.
    #[graphql(complexity = "cost::page(first, child_complexity)")]
    async fn user_level_configs(
        &self,
        ctx: &Context<'_>,
        sort_by: Option<Vec<Option<UserLevelConfigOrder>>>,
        order_by: Option<UserLevelConfigOrder>,
        after: Option<String>,
        first: Option<i32>,
    ) -> Result<Connection<UserLevelConfig>> {
        let (request, order) = (page(after, first), terms(sort_by, order_by));
        let listed = read(ctx, |reader| reader.user_configs(self.instance_id(), &order, &request))?;
        Ok(Connection::of(listed.map(UserLevelConfig), request.after.as_deref()))
    }
    /// The values of whoever asks.
    #[graphql(complexity = "cost::part(child_complexity)")]
    async fn user_level_config_variables(&self, ctx: &Context<'_>) -> Result<Connection<UserLevelConfigVariable>> {
        let own = read(ctx, |reader| reader.own_config(self.instance_id()))?;
        match own {
            Some(own) => UserLevelConfig(own).variables(ctx),
            None => Ok(Connection::whole(Vec::new())),
        }
    }
    async fn created_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        Ok(DateTime(self.stamp(ctx)?.created_at))
    }
    async fn updated_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        Ok(DateTime(self.stamp(ctx)?.changed_at))
    }
    /// What to send with a change, so that it is refused if somebody else was faster.
    async fn revision(&self, ctx: &Context<'_>) -> Result<BigInt> {
        Ok(BigInt(self.stamp(ctx)?.revision))
    }
    async fn allow_update(&self, ctx: &Context<'_>) -> Result<bool> {
        Ok(actor(ctx)?.may(Operation::ConfigureInstances))
    }
    async fn allow_remove(&self, ctx: &Context<'_>) -> Result<bool> {
        Ok(actor(ctx)?.may(Operation::ConfigureInstances))
    }
}

impl Instance {
    /// Those whose connection stands as it is asked for.
    pub(super) fn variables_of(
        &self,
        ctx: &Context<'_>,
        status: Option<String>,
        status_in: Option<Vec<Option<String>>>,
    ) -> Result<Connection<InstanceConfigVariable>> {
        let wanted: Option<Vec<String>> = status
            .map(|status| vec![status])
            .or(texts(status_in))
            .map(|words| words.iter().map(|word| word.to_uppercase()).collect());
        let fits = |one: &InstanceConfigVariable| {
            let word = one.connection_status().map(|status| format!("{status:?}").to_uppercase());
            wanted.as_ref().is_none_or(|wanted| word.is_some_and(|word| wanted.contains(&word)))
        };
        Connection::part(ctx, self.variables(ctx)?.into_iter().filter(fits).collect())
    }

    /// Customer-wide values, whether they are set or not.
    pub(super) fn variables(&self, ctx: &Context<'_>) -> Result<Vec<InstanceConfigVariable>> {
        let (version, values) = (self.version(ctx)?, self.values());
        let mut grants = match self.real() {
            Some(instance) => read(ctx, |reader| reader.grants(Holder::Instance(instance.id)))?,
            None => BTreeMap::new(),
        };
        let definition = &version.version.definition;
        let visible = read(ctx, |reader| Ok(reader.visible_variables_of(definition, false)))?;
        let holder = self.real().map(|instance| Holder::Instance(instance.id));
        let one = |variable: VisibleVariable| {
            let value = values.get(&variable.stable_key).cloned();
            let own = grants.remove(&variable.stable_key);
            Ok(InstanceConfigVariable {
                owner: self.instance_id().0,
                integration: version.integration.id,
                standing: Standing::of(ctx, holder, &variable, value.as_ref(), own)?,
                value,
                variable,
            })
        };
        visible.into_iter().map(one).collect()
    }
}

/// One flow of an instance.
#[derive(Clone, Debug)]
pub(super) struct InstanceFlowConfig {
    /// None for those who may know no more of it than its name.
    instance: Option<Instance>,
    instance_id: InstanceId,
    integration: IntegrationId,
    endpoint: EndpointType,
    flow: Flow,
}

impl InstanceFlowConfig {
    /// A flow of this instance, as whoever asks may see it.
    pub(super) fn read(ctx: &Context<'_>, id: InstanceId, version: &VersionView, flow: &Flow) -> Result<Self> {
        let instance = read(ctx, |reader| match reader.instance(id) {
            Ok(instance) => Ok(Some(Instance::real_one(instance))),
            Err(Fault::Absent(_)) => Ok(None),
            Err(fault) => Err(fault),
        })?;
        Ok(Self {
            instance,
            instance_id: id,
            integration: version.integration.id,
            endpoint: version.version.definition.endpoint_type,
            flow: flow.clone(),
        })
    }
}

#[Object]
impl InstanceFlowConfig {
    async fn id(&self) -> ID {
        EndpointId::InstanceFlow(self.instance_id, self.flow.number).global().into()
    }
    /// Nothing for those who may not see the instance.
    async fn instance(&self) -> Option<&Instance> {
        self.instance.as_ref()
    }
    async fn flow(&self) -> IntegrationFlow {
        IntegrationFlow {
            integration: self.integration,
            flow: self.flow.clone(),
        }
    }
    /// The URL that reaches the flow, for those who may see the instance; whom it reaches besides, the request may have to say.
    async fn webhook_url(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        if self.instance.is_none() {
            return Ok(None);
        }
        let endpoint = match self.endpoint {
            EndpointType::FlowSpecific => EndpointId::InstanceFlow(self.instance_id, self.flow.number),
            EndpointType::InstanceSpecific => EndpointId::Instance(self.instance_id),
            EndpointType::SharedInstance => EndpointId::Integration(self.integration),
        };
        Ok(Some(desk(ctx)?.hook_url(endpoint)))
    }
    /// Keys are kept as digests and cannot be shown: one dot for each.
    async fn api_keys(&self) -> Vec<String> {
        let instance = self.instance.as_ref().and_then(Instance::real);
        let keys = instance.and_then(|instance| instance.config.api_keys.get(&self.flow.number));
        keys.map(|keys| keys.iter().map(|_| "•".to_owned()).collect()).unwrap_or_default()
    }
}

/// A customer-wide value.
#[derive(Clone, Debug)]
pub(super) struct InstanceConfigVariable {
    owner: Uuid,
    integration: IntegrationId,
    variable: VisibleVariable,
    value: Option<ConfigValue>,
    standing: Standing,
}

/// Plain text, or the default; what is sealed is never shown.
pub(super) fn shown(variable: &ConfigVar, value: Option<&ConfigValue>) -> Option<String> {
    match value {
        Some(ConfigValue::Plain(text)) => Some(text.clone()),
        Some(ConfigValue::Connection { .. }) => None,
        None => variable.default_value.clone(),
    }
}

/// The inputs of a connection by name; their values are secret.
pub(super) fn inputs(ctx: &Context<'_>, variable: &ConfigVar) -> Result<Connection<Expression>> {
    let names = variable.inputs.keys().map(|name| Expression {
        name: name.clone(),
        value: None,
        kind: "VALUE".to_owned(),
        meta: None,
    });
    Connection::part(ctx, names.collect())
}

impl InstanceConfigVariable {
    fn connection_status(&self) -> Option<InstanceConfigVariableStatus> {
        self.standing.status_of(&self.variable)
    }

    pub(super) fn is(&self, stable_key: &str) -> bool {
        self.variable.stable_key == stable_key
    }
}

#[Object]
impl InstanceConfigVariable {
    async fn id(&self) -> ID {
        connection_id("InstanceConfigVariable", self.owner, &self.variable.stable_key)
    }
    async fn value(&self) -> Option<String> {
        shown(&self.variable, self.value.as_ref())
    }
    async fn status(&self) -> Option<InstanceConfigVariableStatus> {
        self.connection_status()
    }
    #[graphql(complexity = "cost::part(child_complexity)")]
    async fn inputs(&self, ctx: &Context<'_>) -> Result<Connection<Expression>> {
        inputs(ctx, &self.variable)
    }
    async fn meta(&self) -> Option<JsonString> {
        None
    }
    /// Where a person consents; for a connection by OAuth 2.0, and whoever may.
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
    async fn required_config_variable(&self) -> RequiredConfigVariable {
        RequiredConfigVariable {
            integration: self.integration,
            variable: self.variable.clone(),
        }
    }
}

/// Reading instances.
#[derive(Debug, Default)]
pub(super) struct InstanceQuery;

#[Object]
impl InstanceQuery {
    async fn instance(&self, ctx: &Context<'_>, id: ID) -> Result<Instance> {
        let wanted: InstanceId = answer_id(&id, "instance").map_err(error)?;
        read(ctx, |reader| match reader.instance(wanted) {
            Ok(instance) => Ok(Instance::real_one(instance)),
            Err(absent @ Fault::Absent(_)) if reader.actor().customer().is_none() => {
                let id = VersionId {
                    integration: integration_of_system_instance(wanted),
                    version: None,
                };
                reader.integration(id).map(Instance::System).map_err(|_| absent)
            }
            Err(fault) => Err(fault),
        })
    }

    #[expect(clippy::too_many_arguments, reason = "filters are arguments")]
    #[graphql(complexity = "cost::page(first, child_complexity)")]
    async fn instances(
        &self,
        ctx: &Context<'_>,
        name: Option<String>,
        #[graphql(name = "name_Icontains")] name_contains: Option<String>,
        #[graphql(name = "name_Istartswith")] name_starts: Option<String>,
        #[graphql(name = "description_Icontains")] description_contains: Option<String>,
        #[graphql(name = "labels_Icontains")] label_contains: Option<String>,
        customer: Option<ID>,
        #[graphql(name = "customer_ExternalId")] customer_external_id: Option<String>,
        integration: Option<ID>,
        enabled: Option<bool>,
        needs_deploy: Option<bool>,
        is_system: Option<bool>,
        #[graphql(name = "createdAt_Gte")] created_from: Option<DateTime>,
        #[graphql(name = "createdAt_Lte")] created_to: Option<DateTime>,
        #[graphql(name = "updatedAt_Gte")] changed_from: Option<DateTime>,
        #[graphql(name = "updatedAt_Lte")] changed_to: Option<DateTime>,
        sort_by: Option<Vec<Option<InstanceOrder>>>,
        order_by: Option<InstanceOrder>,
        after: Option<String>,
        first: Option<i32>,
    ) -> Result<Connection<Instance>> {
        let customer = customer.map(|id| id.parse::<CustomerId>()).transpose();
        let integration = integration.map(|id| id.parse::<VersionId>()).transpose();
        let (Ok(customer), Ok(integration)) = (customer, integration) else {
            return Ok(Connection::whole(Vec::new()));
        };
        let filter = InstanceFilter {
            customer,
            customer_external_id,
            integration: integration.map(|id| id.integration),
            name,
            name_contains,
            description_contains,
            label_contains,
            enabled,
            needs_deploy,
            name_starts,
            times: times(created_from, created_to, changed_from, changed_to),
            order: terms(sort_by, order_by),
        };
        Instance::list(ctx, &filter, is_system, after, first)
    }
}
