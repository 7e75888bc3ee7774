//! Integrations, their versions and flows.

use super::answer::{actor, desk, error, read};
use super::components::Action;
use super::connection::{Connection as Page, InstanceOrder, OrderDirection, VersionOrder, terms};
use super::cost;
use super::instances::{Instance, InstanceConfigVariable};
use super::people::{Customer, User};
use super::scalars::{BigInt, DateTime, JsonString};
use async_graphql::{Context, Enum, ID, Object, Result, SimpleObject};
use perseat_admin::access::Operation;
use perseat_admin::command::with_latest_components;
use perseat_admin::fault::Fault;
use perseat_admin::query::{InstanceFilter, VersionView, VisibleVariable};
use perseat_domain::definition::{ActionRef, DataType, EndpointSecurity, EndpointType, Flow, Input};
use perseat_domain::id::{EndpointId, IntegrationId, UserId, join_global};
use perseat_domain::model::{self, Marketplace, MediaOwner};
use serde_json::json;
use uuid::Uuid;

/// Which URLs an integration has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
enum IntegrationEndpointType {
    FlowSpecific,
    InstanceSpecific,
    SharedInstance,
}

/// Whether customers see an integration in the marketplace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
enum MarketplaceConfiguration {
    AvailableAndDeployable,
    AvailableNotDeployable,
    NotAvailableInMarketplace,
}

/// Who must show an API key to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
enum IntegrationFlowEndpointSecurityType {
    CustomerOptional,
    CustomerRequired,
    Organization,
    Unsecured,
}

/// The kind of a configuration variable's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
enum RequiredConfigVariableDataType {
    Boolean,
    Code,
    Connection,
    Credential,
    Date,
    #[graphql(name = "JSONFORM")]
    JsonForm,
    Number,
    #[graphql(name = "OBJECTFIELDMAP")]
    ObjectFieldMap,
    #[graphql(name = "OBJECTSELECTION")]
    ObjectSelection,
    Picklist,
    Schedule,
    String,
    Timestamp,
}

/// One version of an integration; the newest has the integration's own id.
#[derive(Clone, Debug)]
pub(super) struct Integration(pub(super) VersionView);

impl Integration {
    fn version(&self) -> &model::IntegrationVersion {
        &self.0.version
    }

    fn settings(&self) -> &model::IntegrationSettings {
        &self.0.integration.settings
    }

    fn number(&self) -> u32 {
        self.version().version
    }
}

#[Object]
impl Integration {
    async fn id(&self) -> ID {
        self.0.id().global().into()
    }
    async fn name(&self) -> &str {
        &self.version().definition.name
    }
    async fn description(&self) -> &str {
        &self.version().definition.description
    }
    async fn version_sequence_id(&self) -> Uuid {
        self.0.integration.id.0
    }
    async fn version_number(&self) -> u32 {
        self.number()
    }
    async fn version_is_latest(&self) -> bool {
        self.number() == self.0.integration.latest_version
    }
    async fn version_is_available(&self) -> bool {
        self.0.is_available()
    }
    async fn version_comment(&self) -> Option<&str> {
        self.version().release.as_ref().map(|release| release.comment.as_str())
    }
    async fn version_created_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        let id = (self.0.integration.id, self.number());
        let at = match &self.version().release {
            Some(release) => release.at,
            None => read(ctx, |reader| reader.stamp::<model::IntegrationVersion>(id))?.changed_at,
        };
        Ok(DateTime(at))
    }
    /// The person who released the version, where it was one who still exists.
    async fn version_created_by(&self, ctx: &Context<'_>) -> Result<Option<User>> {
        let by = self.version().release.as_ref().map(|release| release.by.as_str());
        let Some(user) = by.and_then(|by| by.strip_prefix("user:")).and_then(|id| id.parse::<UserId>().ok()) else {
            return Ok(None);
        };
        read(ctx, |reader| match reader.user(user) {
            Ok(user) => Ok(Some(User::Person(user))),
            Err(Fault::Absent(_)) => Ok(None),
            Err(fault) => Err(fault),
        })
    }
    async fn has_unpublished_changes(&self) -> bool {
        self.version().release.is_none()
    }
    async fn labels(&self) -> &[String] {
        &self.settings().labels
    }
    /// A path of the API. `GET` with a bearer answers `{"url": …}`, where the picture can be read for a short time.
    async fn avatar_url(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        super::media::avatar_url(ctx, MediaOwner::Integration(self.0.integration.id))
    }
    async fn category(&self) -> String {
        self.0.category()
    }
    /// The one customer that it is for.
    async fn customer(&self, ctx: &Context<'_>) -> Result<Option<Customer>> {
        match self.settings().customer {
            Some(id) => read(ctx, |reader| reader.customer(id)).map(|customer| Some(Customer(customer))),
            None => Ok(None),
        }
    }
    async fn endpoint_type(&self) -> IntegrationEndpointType {
        match self.version().definition.endpoint_type {
            EndpointType::FlowSpecific => IntegrationEndpointType::FlowSpecific,
            EndpointType::InstanceSpecific => IntegrationEndpointType::InstanceSpecific,
            EndpointType::SharedInstance => IntegrationEndpointType::SharedInstance,
        }
    }
    /// The one URL of an integration whose instances share it.
    async fn endpoint_url(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        let is_shared = self.version().definition.endpoint_type == EndpointType::SharedInstance;
        let endpoint = EndpointId::Integration(self.0.integration.id);
        Ok(is_shared.then_some(desk(ctx)?.hook_url(endpoint)))
    }
    async fn user_level_configured(&self) -> bool {
        self.version().definition.is_user_level()
    }
    async fn is_code_native(&self) -> bool {
        false
    }
    async fn marketplace_configuration(&self) -> MarketplaceConfiguration {
        match self.settings().marketplace {
            Marketplace::Hidden => MarketplaceConfiguration::NotAvailableInMarketplace,
            Marketplace::Visible => MarketplaceConfiguration::AvailableNotDeployable,
            Marketplace::Deployable => MarketplaceConfiguration::AvailableAndDeployable,
        }
    }
    async fn is_customer_deployable(&self) -> bool {
        self.settings().marketplace == Marketplace::Deployable
    }
    async fn allow_multiple_marketplace_instances(&self) -> bool {
        self.settings().allow_multiple_instances
    }
    async fn overview(&self) -> &str {
        &self.settings().overview
    }
    /// What does not work yet, a sentence each.
    async fn warnings(&self) -> &[String] {
        &self.version().definition.warnings
    }
    /// What `publishIntegration` said of the release in `attributes`, for the organization's people.
    async fn attributes(&self, ctx: &Context<'_>) -> Result<Option<JsonString>> {
        let is_ours = actor(ctx)?.customer().is_none();
        let release = self.version().release.as_ref().filter(|_| is_ours);
        let text = release.map(|release| release.attributes.clone());
        Ok(text.filter(|text| !text.is_empty()).map(JsonString))
    }
    /// The definition as YAML, for the organization's people; where it is asked for, every component in its latest version.
    async fn definition(
        &self,
        ctx: &Context<'_>,
        version: Option<i32>,
        use_latest_component_versions: Option<bool>,
    ) -> Result<Option<String>> {
        if version.is_some_and(|version| version != 7) {
            return Err(async_graphql::Error::new("Definitions are written in version 7 alone."));
        }
        if actor(ctx)?.customer().is_some() {
            return Ok(None);
        }
        let yaml = &self.version().yaml;
        let latest = use_latest_component_versions.unwrap_or(false);
        if !latest {
            return Ok(Some(yaml.clone()));
        }
        let limits = desk(ctx)?.definitions().limits;
        with_latest_components(yaml, &limits).map(Some).map_err(error)
    }
    async fn config_pages(&self, ctx: &Context<'_>) -> Result<JsonString> {
        let definition = &self.version().definition;
        let visible = read(ctx, |reader| Ok(reader.visible_variables(definition)))?;
        // A variable that is not visible is not named either.
        let is_hidden =
            |key: &str| definition.config_vars.iter().any(|known| known.key == key) && !visible.iter().any(|seen| seen.key == key);
        let pages = definition.pages.iter().map(|page| {
            let shown = page
                .elements
                .iter()
                .filter(|(kind, value)| kind != "configVar" || !is_hidden(value));
            let elements = shown.map(|(kind, value)| json!({ "type": kind, "value": value }));
            json!({
                "name": page.name,
                "tagline": page.tagline,
                "userLevelConfigured": page.user_level,
                "elements": elements.collect::<Vec<_>>(),
            })
        });
        Ok(JsonString(serde_json::to_string(&pages.collect::<Vec<_>>())?))
    }
    /// What the organization alone sets is shown to its own people alone.
    #[graphql(complexity = "cost::part(child_complexity)")]
    async fn required_config_variables(&self, ctx: &Context<'_>) -> Result<Page<RequiredConfigVariable>> {
        let visible = read(ctx, |reader| Ok(reader.visible_variables(&self.version().definition)))?;
        let all = visible.into_iter().map(|variable| RequiredConfigVariable {
            integration: self.0.integration.id,
            variable,
        });
        Page::part(ctx, all.collect())
    }
    #[graphql(complexity = "cost::page(first, child_complexity)")]
    async fn flows(&self, ctx: &Context<'_>, after: Option<String>, first: Option<i32>) -> Result<Page<IntegrationFlow>> {
        let flows = self.version().definition.flows.iter().map(|flow| IntegrationFlow {
            integration: self.0.integration.id,
            flow: flow.clone(),
        });
        Page::cut(ctx, flows.collect(), after, first)
    }
    /// Every version, each an integration of its own.
    #[graphql(complexity = "cost::page(first, child_complexity)")]
    async fn version_sequence(
        &self,
        ctx: &Context<'_>,
        version_is_available: Option<bool>,
        sort_by: Option<Vec<Option<VersionOrder>>>,
        after: Option<String>,
        first: Option<i32>,
    ) -> Result<Page<Integration>> {
        let mut versions = read(ctx, |reader| reader.versions(&self.0, version_is_available))?;
        let orders = sort_by.unwrap_or_default();
        if orders.into_iter().flatten().any(|order| order.direction == OrderDirection::Asc) {
            versions.reverse();
        }
        Page::cut(ctx, versions.into_iter().map(Integration).collect(), after, first)
    }
    /// The unlisted instance by which the integration is tried out.
    async fn system_instance(&self) -> Instance {
        Instance::System(self.0.clone())
    }
    /// What the integration is tried out with, whether it is set or not; what is set is shown to the organization's people alone.
    #[graphql(complexity = "cost::part(child_complexity)")]
    async fn test_config_variables(
        &self,
        ctx: &Context<'_>,
        status: Option<String>,
        #[graphql(name = "status_In")] status_in: Option<Vec<Option<String>>>,
    ) -> Result<Page<InstanceConfigVariable>> {
        Instance::System(self.0.clone()).variables_of(ctx, status, status_in)
    }
    #[graphql(complexity = "cost::page(first, child_complexity)")]
    async fn instances(
        &self,
        ctx: &Context<'_>,
        is_system: Option<bool>,
        sort_by: Option<Vec<Option<InstanceOrder>>>,
        order_by: Option<InstanceOrder>,
        after: Option<String>,
        first: Option<i32>,
    ) -> Result<Page<Instance>> {
        let filter = InstanceFilter {
            integration: Some(self.0.integration.id),
            order: terms(sort_by, order_by),
            ..InstanceFilter::default()
        };
        Instance::list(ctx, &filter, is_system, after, first)
    }
    async fn created_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        Ok(DateTime(
            read(ctx, |reader| reader.stamp::<model::Integration>(self.0.integration.id))?.created_at,
        ))
    }
    async fn updated_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        Ok(DateTime(
            read(ctx, |reader| reader.stamp::<model::Integration>(self.0.integration.id))?.changed_at,
        ))
    }
    /// What to send with a change, so that it is refused if somebody else was faster.
    async fn revision(&self, ctx: &Context<'_>) -> Result<BigInt> {
        Ok(BigInt(
            read(ctx, |reader| reader.stamp::<model::Integration>(self.0.integration.id))?.revision,
        ))
    }
    async fn allow_update(&self, ctx: &Context<'_>) -> Result<bool> {
        Ok(actor(ctx)?.may(Operation::ManageIntegrations))
    }
    async fn allow_publish(&self, ctx: &Context<'_>) -> Result<bool> {
        Ok(actor(ctx)?.may(Operation::ManageIntegrations) && self.version().release.is_none())
    }
}

/// One flow of an integration.
#[derive(Clone, Debug)]
pub(super) struct IntegrationFlow {
    pub(super) integration: IntegrationId,
    pub(super) flow: Flow,
}

impl IntegrationFlow {
    /// Stable over versions, as its number is.
    fn uuid(&self) -> Uuid {
        Uuid::from_u128(self.integration.0.as_u128() | u128::from(self.flow.number.0))
    }
}

#[Object]
impl IntegrationFlow {
    async fn id(&self) -> ID {
        join_global("IntegrationFlow", self.uuid()).into()
    }
    async fn stable_id(&self) -> Uuid {
        self.uuid()
    }
    async fn stable_key(&self) -> &str {
        &self.flow.stable_key
    }
    async fn name(&self) -> &str {
        &self.flow.name
    }
    async fn description(&self) -> &str {
        &self.flow.description
    }
    async fn sort_order(&self) -> u16 {
        self.flow.number.0
    }
    async fn is_synchronous(&self) -> bool {
        self.flow.is_synchronous
    }
    async fn endpoint_security_type(&self) -> IntegrationFlowEndpointSecurityType {
        match self.flow.security {
            EndpointSecurity::Unsecured => IntegrationFlowEndpointSecurityType::Unsecured,
            EndpointSecurity::CustomerOptional => IntegrationFlowEndpointSecurityType::CustomerOptional,
            EndpointSecurity::CustomerRequired => IntegrationFlowEndpointSecurityType::CustomerRequired,
            EndpointSecurity::Organization => IntegrationFlowEndpointSecurityType::Organization,
        }
    }
    async fn trigger(&self) -> IntegrationAction {
        IntegrationAction {
            id: join_global("IntegrationAction", self.uuid()).into(),
            name: self.flow.trigger.name.clone(),
            description: String::new(),
            action: Action::of_trigger(&self.flow.trigger.action),
        }
    }
    /// Where a test of the flow posts to; the answer says that tests come with the flow engine.
    async fn test_url(&self, ctx: &Context<'_>) -> Result<String> {
        Ok(desk(ctx)?.api_url(crate::control::unsupported::FLOW_TEST))
    }
    /// What it lacks to run, a sentence each.
    async fn missing(&self) -> &[String] {
        &self.flow.missing
    }
}

/// A step of a flow.
#[derive(Clone, Debug, SimpleObject)]
pub(super) struct IntegrationAction {
    id: ID,
    name: String,
    description: String,
    action: Action,
}

/// The name and value of an input.
#[derive(Clone, Debug, SimpleObject)]
pub(super) struct Expression {
    pub(super) name: String,
    /// Nothing where it is secret, or no plain text.
    pub(super) value: Option<String>,
    #[graphql(name = "type")]
    pub(super) kind: String,
    pub(super) meta: Option<JsonString>,
}

/// A connection that a component offers.
#[derive(Clone, Debug, SimpleObject)]
pub(super) struct Connection {
    key: String,
    component: ConnectionComponent,
}

impl Connection {
    pub(super) fn of(connection: &ActionRef) -> Self {
        Self {
            key: connection.action.clone(),
            component: ConnectionComponent {
                key: connection.component.clone(),
            },
        }
    }
}

/// The component of a connection.
#[derive(Clone, Debug, SimpleObject)]
struct ConnectionComponent {
    key: String,
}

/// A configuration variable as the integration defines it.
#[derive(Clone, Debug)]
pub(super) struct RequiredConfigVariable {
    pub(super) integration: IntegrationId,
    pub(super) variable: VisibleVariable,
}

/// An id that follows from an owner and a variable; nothing is looked up by it.
pub(super) fn variable_id(kind: &str, owner: Uuid, stable_key: &str) -> ID {
    let digest = perseat_store::seal::key_digest(&format!("{owner}/{stable_key}"));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.0[..16]);
    join_global(kind, uuid::Builder::from_custom_bytes(bytes).into_uuid()).into()
}

#[Object]
impl RequiredConfigVariable {
    async fn id(&self) -> ID {
        variable_id("RequiredConfigVariable", self.integration.0, &self.variable.stable_key)
    }
    async fn key(&self) -> &str {
        &self.variable.key
    }
    async fn stable_key(&self) -> &str {
        &self.variable.stable_key
    }
    async fn description(&self) -> &str {
        &self.variable.description
    }
    async fn data_type(&self) -> RequiredConfigVariableDataType {
        use RequiredConfigVariableDataType as Word;
        match self.variable.data_type {
            DataType::String => Word::String,
            DataType::Date => Word::Date,
            DataType::Timestamp => Word::Timestamp,
            DataType::Picklist => Word::Picklist,
            DataType::Schedule => Word::Schedule,
            DataType::Code => Word::Code,
            DataType::Boolean => Word::Boolean,
            DataType::Number => Word::Number,
            DataType::ObjectSelection => Word::ObjectSelection,
            DataType::ObjectFieldMap => Word::ObjectFieldMap,
            DataType::JsonForm => Word::JsonForm,
            DataType::Connection => Word::Connection,
            DataType::Credential => Word::Credential,
        }
    }
    async fn default_value(&self) -> &str {
        self.variable.default_value.as_deref().unwrap_or_default()
    }
    async fn pick_list(&self) -> &[String] {
        &self.variable.pick_list
    }
    async fn org_only(&self) -> bool {
        self.variable.org_only
    }
    async fn required(&self) -> bool {
        self.variable.required
    }
    async fn user_level_configured(&self) -> bool {
        self.variable.user_level
    }
    async fn connection(&self) -> Option<Connection> {
        self.variable.connection.as_ref().map(Connection::of)
    }
    #[graphql(complexity = "cost::part(child_complexity)")]
    async fn inputs(&self, ctx: &Context<'_>) -> Result<Page<Expression>> {
        let inputs = self.variable.inputs.iter().map(|(name, input)| Expression {
            name: name.clone(),
            value: match input {
                // What stands in a definition for a connection may be a secret.
                Input::Value(value) if self.variable.data_type != DataType::Connection => value.clone(),
                _ => None,
            },
            kind: "VALUE".to_owned(),
            meta: None,
        });
        Page::part(ctx, inputs.collect())
    }
}
