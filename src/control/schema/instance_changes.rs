//! Changing instances, and running their flows to try them.

use super::answer::{actor, change, desk, id, payloads, read, required};
use super::executions::InstanceExecutionResult;
use super::instances::{Instance, InstanceFlowConfig};
use super::people::texts;
use super::scalars::{BigInt, JsonString};
use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use perseat_actors::front::Trial;
use perseat_admin::command::{ApiKeys, ConfigVariable, CreateInstance, UpdateInstance, UpdateIntegration, flow_of};
use perseat_admin::fault::Fault;
use perseat_domain::id::{EndpointId, FlowNumber, InstanceId, VersionId, integration_of_system_instance, split_global};

/// A value of a configuration variable: text in `value`, or a connection's inputs in `values` as JSON text.
#[derive(Clone, InputObject)]
pub(super) struct InputInstanceConfigVariable {
    key: String,
    value: Option<String>,
    values: Option<JsonString>,
}

impl std::fmt::Debug for InputInstanceConfigVariable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InputInstanceConfigVariable")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

pub(super) fn variables(given: Option<&Vec<Option<InputInstanceConfigVariable>>>) -> Option<Vec<ConfigVariable>> {
    let of = |one: &InputInstanceConfigVariable| ConfigVariable {
        key: one.key.clone(),
        value: one.value.clone(),
        values: one.values.as_ref().map(|values| values.0.clone()),
        keeps_choice: false,
    };
    given.map(|given| given.iter().flatten().map(of).collect())
}

/// API keys of one flow.
#[derive(Clone, InputObject)]
struct InputInstanceFlowConfig {
    /// The flow, or the instance's configuration of it.
    flow_id: ID,
    api_keys: Option<Vec<Option<String>>>,
}

impl std::fmt::Debug for InputInstanceFlowConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InputInstanceFlowConfig")
            .field("flow_id", &self.flow_id)
            .finish_non_exhaustive()
    }
}

fn api_keys(given: Option<&Vec<Option<InputInstanceFlowConfig>>>) -> Result<Option<Vec<ApiKeys>>, Fault> {
    let of = |one: &InputInstanceFlowConfig| {
        let by_flow = split_global(&one.flow_id).filter(|(kind, _)| kind == "IntegrationFlow");
        let by_flow = by_flow.map(|(_, uuid)| FlowNumber((uuid.as_u128() & 0xffff) as u16));
        let flow = by_flow
            .or_else(|| flow_of(&one.flow_id))
            .ok_or_else(|| Fault::field("flowConfigs", "There is no such flow."))?;
        let keys = texts(one.api_keys.clone()).unwrap_or_default();
        Ok(ApiKeys { flow, keys })
    };
    given.map(|given| given.iter().flatten().map(of).collect()).transpose()
}

#[derive(Debug, InputObject)]
struct CreateInstanceInput {
    name: String,
    description: Option<String>,
    integration: ID,
    customer: ID,
    labels: Option<Vec<Option<String>>>,
    config_variables: Option<Vec<Option<InputInstanceConfigVariable>>>,
    flow_configs: Option<Vec<Option<InputInstanceFlowConfig>>>,
}

#[derive(Debug, InputObject)]
struct UpdateInstanceInput {
    id: Option<ID>,
    name: Option<String>,
    description: Option<String>,
    enabled: Option<bool>,
    integration: Option<ID>,
    labels: Option<Vec<Option<String>>>,
    /// How much is logged. For system instances; of any other, `true` is refused.
    global_debug: Option<bool>,
    config_variables: Option<Vec<Option<InputInstanceConfigVariable>>>,
    flow_configs: Option<Vec<Option<InputInstanceFlowConfig>>>,
    /// The revision that the change is based on.
    revision: Option<BigInt>,
}

#[derive(Debug, InputObject)]
struct UpdateInstanceConfigVariablesInput {
    id: Option<ID>,
    config_variables: Option<Vec<Option<InputInstanceConfigVariable>>>,
    /// The `revision` that was read: the change is refused if there is a newer one.
    revision: Option<BigInt>,
}

#[derive(Debug, InputObject)]
struct DeployInstanceInput {
    id: Option<ID>,
    /// Whether it is deployed though required values are lacking; steps that use one of these fail. What cannot run here, and a
    /// flow without the API keys that it requires, is refused all the same.
    force: Option<bool>,
}

#[derive(Debug, InputObject)]
struct DeleteInstanceInput {
    id: Option<ID>,
}

#[derive(Debug, InputObject)]
struct TestInstanceFlowConfigInput {
    id: Option<ID>,
    payload: Option<String>,
    content_type: Option<String>,
}

/// A flow that was run to try it.
#[derive(Clone, Debug, SimpleObject)]
pub(super) struct TestInstanceFlowConfigResult {
    flow_config: InstanceFlowConfig,
    execution: InstanceExecutionResult,
}

payloads! {
    TestInstanceFlowConfigPayload { test_instance_flow_config_result: TestInstanceFlowConfigResult }
    CreateInstancePayload { instance: Instance }
    UpdateInstancePayload { instance: Instance }
    UpdateInstanceConfigVariablesPayload { instance: Instance }
    DeployInstancePayload { instance: Instance }
    DeleteInstancePayload { instance: Instance }
}

/// Changing instances.
#[derive(Debug, Default)]
pub(super) struct InstanceMutation;

#[Object]
impl InstanceMutation {
    /// Creates an instance. It takes events once it is deployed.
    async fn create_instance(&self, ctx: &Context<'_>, input: CreateInstanceInput) -> Result<CreateInstancePayload> {
        let made = change(ctx, "createInstance", |edit| {
            let create = CreateInstance {
                name: input.name.clone(),
                description: input.description.clone(),
                labels: texts(input.labels.clone()),
                integration: id(&input.integration, "integration")?,
                customer: id(&input.customer, "customer")?,
                config_variables: variables(input.config_variables.as_ref()).unwrap_or_default(),
                api_keys: api_keys(input.flow_configs.as_ref())?.unwrap_or_default(),
            };
            edit.create_instance(&create)
        })?;
        CreateInstancePayload::of(made.map(Instance::real_one))
    }

    /// Changes an instance. What it runs with changes on the next deploy; whether it is enabled changes at once. Values that
    /// are given replace all there were.
    async fn update_instance(&self, ctx: &Context<'_>, input: UpdateInstanceInput) -> Result<UpdateInstancePayload> {
        if let Some(system) = self.system(ctx, &input)? {
            return UpdateInstancePayload::of(system);
        }
        if input.global_debug == Some(true) {
            let message = "Only an integration's system instance has this switch; for others: not supported by this server.";
            return UpdateInstancePayload::of(Err(Fault::field("globalDebug", message)));
        }
        let made = change(ctx, "updateInstance", |edit| {
            let update = UpdateInstance {
                name: input.name.clone(),
                description: input.description.clone(),
                labels: texts(input.labels.clone()),
                version: input.integration.as_ref().map(|version| id(version, "integration")).transpose()?,
                enabled: input.enabled,
                config_variables: variables(input.config_variables.as_ref()),
                partial: false,
                api_keys: api_keys(input.flow_configs.as_ref())?,
                revision: input.revision.map(|revision| revision.0),
            };
            edit.update_instance(required(input.id.as_ref(), "instance")?, &update)
        })?;
        UpdateInstancePayload::of(made.map(Instance::real_one))
    }

    /// Changes the values that are given and keeps the others.
    async fn update_instance_config_variables(
        &self,
        ctx: &Context<'_>,
        input: UpdateInstanceConfigVariablesInput,
    ) -> Result<UpdateInstanceConfigVariablesPayload> {
        let made = change(ctx, "updateInstanceConfigVariables", |edit| {
            let update = UpdateInstance {
                config_variables: variables(input.config_variables.as_ref()),
                partial: true,
                revision: input.revision.map(|revision| revision.0),
                ..UpdateInstance::default()
            };
            edit.update_instance(required(input.id.as_ref(), "instance")?, &update)
        })?;
        UpdateInstanceConfigVariablesPayload::of(made.map(Instance::real_one))
    }

    /// Makes what was saved what runs.
    async fn deploy_instance(&self, ctx: &Context<'_>, input: DeployInstanceInput) -> Result<DeployInstancePayload> {
        let made = change(ctx, "deployInstance", |edit| {
            edit.deploy_instance(required(input.id.as_ref(), "instance")?, input.force.unwrap_or(false))
        })?;
        DeployInstancePayload::of(made.map(Instance::real_one))
    }

    /// Runs a flow to try it: with the configuration of whoever asks, where users have one each.
    async fn test_instance_flow_config(
        &self,
        ctx: &Context<'_>,
        input: TestInstanceFlowConfigInput,
    ) -> Result<TestInstanceFlowConfigPayload> {
        let endpoint = input.id.as_ref().and_then(|id| EndpointId::parse(id));
        let Some(EndpointId::InstanceFlow(instance, number)) = endpoint else {
            return TestInstanceFlowConfigPayload::of(Err(Fault::Absent("flow")));
        };
        let desk = desk(ctx)?;
        let identity = match desk.read(actor(ctx)?, |reader| reader.trial(instance, number)) {
            Ok(identity) => identity,
            Err(fault) => return TestInstanceFlowConfigPayload::of(Err(fault)),
        };
        let trial = Trial {
            identity,
            url: desk.hook_url(EndpointId::InstanceFlow(instance, number)),
            content_type: input.content_type.unwrap_or_else(|| "application/json".to_owned()),
            body: input.payload.unwrap_or_default().into(),
        };
        match desk.try_out(&trial).await {
            Ok(execution) => {
                let (version, flow) = read(ctx, |reader| {
                    let instance = reader.instance(instance)?;
                    let version = reader.version_of(instance.integration, instance.config.version)?;
                    let flow = version.version.definition.flow(number).cloned();
                    Ok((version, flow.ok_or(Fault::Absent("flow"))?))
                })?;
                TestInstanceFlowConfigPayload::of(Ok(TestInstanceFlowConfigResult {
                    flow_config: InstanceFlowConfig::read(ctx, instance, &version, &flow)?,
                    execution: InstanceExecutionResult::of(ctx, execution)?,
                }))
            }
            Err(code) => TestInstanceFlowConfigPayload::of(Err(Fault::wrong(format!("The flow could not be run ({code}).")))),
        }
    }

    /// Deletes an instance with its users' configurations.
    async fn delete_instance(&self, ctx: &Context<'_>, input: DeleteInstanceInput) -> Result<DeleteInstancePayload> {
        let made = change(ctx, "deleteInstance", |edit| {
            edit.remove_instance(required(input.id.as_ref(), "instance")?)
        })?;
        DeleteInstancePayload::of(made.map(Instance::real_one))
    }
}

impl InstanceMutation {
    /// A change of a system instance, where the input names one: all it can change is how much is logged.
    fn system(&self, ctx: &Context<'_>, input: &UpdateInstanceInput) -> Result<Option<Result<Instance, Fault>>> {
        let Some(debug) = input.global_debug else { return Ok(None) };
        let Some(wanted) = input.id.as_ref().and_then(|id| id.parse::<InstanceId>().ok()) else {
            return Ok(None);
        };
        let id = VersionId {
            integration: integration_of_system_instance(wanted),
            version: None,
        };
        let Ok(version) = read(ctx, |reader| reader.integration(id)) else {
            return Ok(None);
        };
        let made = change(ctx, "updateInstance", |edit| {
            let change = UpdateIntegration {
                debug: Some(debug),
                ..UpdateIntegration::default()
            };
            edit.update_integration(version.integration.id, &change)
        })?;
        match made {
            Ok(_) => read(ctx, |reader| reader.integration(id)).map(|version| Some(Ok(Instance::System(version)))),
            Err(fault) => Ok(Some(Err(fault))),
        }
    }
}
