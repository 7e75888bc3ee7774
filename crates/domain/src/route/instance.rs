//! What routing knows of an instance: its state, the flows of its deployed version and who may call them.

use super::gate::Gate;
use crate::definition::{ComplexItem, DataType, EndpointType, Flow, Input, RoutingFields, Step, TemplatePart};
use crate::id::{CustomerId, FlowNumber, InstanceId, IntegrationId};
use crate::model::{ConfigValue, Instance, InstanceConfig, InstanceState, IntegrationVersion};
use std::sync::Arc;

/// One instance, as routing sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceRoute {
    /// Its id.
    pub id: InstanceId,
    /// Whose.
    pub customer: CustomerId,
    /// Of what.
    pub integration: IntegrationId,
    /// Where it stands.
    pub state: InstanceState,
    /// The version that runs.
    pub version: u32,
    /// Raised on every deploy.
    pub config_revision: u64,
    /// Which URLs it has.
    pub endpoint_type: EndpointType,
    /// Whether users have configurations of their own.
    pub user_level: bool,
    /// Where routing values stand.
    pub routing: RoutingFields,
    /// The flows that are switched on, by number. Instances of one version that have the same share them.
    pub flows: Arc<[FlowRoute]>,
    /// Whether the version has one flow, so that requests need not name it.
    pub single_flow: bool,
}

/// One flow that is switched on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowRoute {
    /// Stable within the integration.
    pub number: FlowNumber,
    /// The name that routing uses.
    pub name: String,
    /// Who may call it.
    pub gate: Gate,
    /// Whether callers wait for the result unless they say otherwise.
    pub is_synchronous: bool,
    /// The answer to asynchronous callers where the trigger names one.
    pub reply: Option<TriggerReply>,
}

/// The parts of a trigger's answer that are known before the flow runs: what is written in it, and the instance's variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TriggerReply {
    /// The HTTP status.
    pub status: Option<u16>,
    /// The content type.
    pub content_type: Option<String>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// The body; without one the execution id is answered.
    pub body: Option<String>,
}

impl InstanceRoute {
    /// What routing needs of an instance and the version that is deployed, or last saved if none is.
    #[must_use]
    pub fn new(instance: &Instance, version: &IntegrationVersion) -> Self {
        let definition = &version.definition;
        let mut flows: Vec<FlowRoute> = match &instance.deployed {
            Some(config) => definition
                .flows
                .iter()
                .filter(|flow| flow.missing.is_empty() && (config.flows.is_empty() || config.flows.contains(&flow.number)))
                .map(|flow| FlowRoute::new(flow, config, version))
                .collect(),
            None => Vec::new(),
        };
        flows.sort_by_key(|flow| flow.number);
        Self {
            id: instance.id,
            customer: instance.customer,
            integration: instance.integration,
            state: instance.state,
            version: version.version,
            config_revision: instance.config_revision,
            endpoint_type: definition.endpoint_type,
            user_level: definition.is_user_level(),
            routing: definition.routing.clone(),
            flows: flows.into(),
            single_flow: definition.flows.len() == 1,
        }
    }

    /// The place of a flow in [`flows`](Self::flows), by number.
    #[must_use]
    pub fn flow_numbered(&self, number: FlowNumber) -> Option<usize> {
        self.flows.binary_search_by_key(&number, |flow| flow.number).ok()
    }

    /// The place of a flow in [`flows`](Self::flows), by name.
    #[must_use]
    pub fn flow_named(&self, name: &str) -> Option<usize> {
        self.flows.iter().position(|flow| flow.name == name)
    }

    /// Whether something is deployed, so that there are flows and keys to check.
    #[must_use]
    pub fn is_deployed(&self) -> bool {
        self.state != InstanceState::NotDeployed
    }
}

impl FlowRoute {
    fn new(flow: &Flow, config: &InstanceConfig, version: &IntegrationVersion) -> Self {
        let customer_keys = config.api_keys.get(&flow.number).map_or(&[][..], Vec::as_slice);
        let organization_keys = version.organization_keys.get(&flow.number).map_or(&[][..], Vec::as_slice);
        Self {
            number: flow.number,
            name: flow.name.clone(),
            gate: Gate::new(flow.security, customer_keys, organization_keys),
            is_synchronous: flow.is_synchronous,
            reply: TriggerReply::new(&flow.trigger, &|key| instance_text(version, config, key)),
        }
    }
}

impl TriggerReply {
    /// The answer that a trigger's inputs name, if they name any part of one. `variable` gives the text of a variable that is
    /// the same for the whole instance; what needs another is left out.
    #[must_use]
    pub fn new(trigger: &Step, variable: &dyn Fn(&str) -> Option<String>) -> Option<Self> {
        let known = |name: &str| {
            let text = trigger.inputs.get(name).and_then(|input| known_text(input, variable));
            text.filter(|text| !text.is_empty())
        };
        let headers = trigger.inputs.get("headers").map(|input| known_pairs(input, variable));
        let reply = Self {
            status: known("statusCode")
                .and_then(|text| text.trim().parse().ok())
                .filter(|status| (200..600).contains(status)),
            content_type: known("contentType"),
            headers: headers.unwrap_or_default(),
            body: known("body"),
        };
        (reply != Self::default()).then_some(reply)
    }
}

/// The text of an instance-level variable that is no connection.
fn instance_text(version: &IntegrationVersion, config: &InstanceConfig, key: &str) -> Option<String> {
    let mut variables = version.definition.config_vars.iter();
    let variable = variables.find(|variable| variable.key == key && !variable.user_level && variable.data_type != DataType::Connection)?;
    match config.values.get(&variable.stable_key) {
        Some(ConfigValue::Plain(text)) => Some(text.clone()),
        Some(ConfigValue::Connection { .. }) => None,
        None => variable.default_value.clone(),
    }
}

fn known_text(input: &Input, variable: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    match input {
        Input::Value(text) => text.clone(),
        Input::ConfigVar(key) => variable(key),
        Input::Template(parts) => {
            let text = |part: &TemplatePart| match part {
                TemplatePart::Text(text) => Some(text.clone()),
                TemplatePart::ConfigVar(key) => variable(key),
                TemplatePart::Reference(_) => None,
            };
            parts.iter().map(text).collect()
        }
        _ => None,
    }
}

fn known_pairs(input: &Input, variable: &dyn Fn(&str) -> Option<String>) -> Vec<(String, String)> {
    let Input::Complex(items) = input else {
        return Vec::new();
    };
    let pair = |item: &ComplexItem| match item {
        ComplexItem::Input { name: Some(name), input } => Some((known_text(name, variable)?, known_text(input, variable)?)),
        _ => None,
    };
    items.iter().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::{ActionRef, ConfigPage, ConfigVar, Definition, EndpointSecurity, StepErrorPolicy};
    use crate::model::{ApiKey, KeyDigest, Sealed};
    use std::collections::BTreeMap;
    use uuid::Uuid;

    fn trigger(inputs: &[(&str, Input)]) -> Step {
        Step {
            name: "Trigger".into(),
            reference: "trigger".into(),
            action: ActionRef {
                component: "webhook-triggers".into(),
                action: "webhook".into(),
            },
            inputs: inputs.iter().map(|(name, input)| ((*name).to_owned(), input.clone())).collect(),
            on_error: StepErrorPolicy::Fail,
            branches: Vec::new(),
            body: Vec::new(),
        }
    }

    fn literal(text: &str) -> Input {
        Input::Value(Some(text.into()))
    }

    fn defined(number: u16, security: EndpointSecurity, missing: &[&str]) -> Flow {
        Flow {
            number: FlowNumber(number),
            name: format!("flow {number}"),
            stable_key: format!("flow-{number}"),
            description: String::new(),
            is_synchronous: number == 2,
            security,
            organization_api_keys: Vec::new(),
            trigger: trigger(&[]),
            steps: Vec::new(),
            missing: missing.iter().map(|text| (*text).to_owned()).collect(),
        }
    }

    fn stored(n: u8) -> ApiKey {
        ApiKey {
            digest: KeyDigest([n; 32]),
            sealed: Sealed(Vec::new()),
        }
    }

    fn catalog() -> (Instance, IntegrationVersion) {
        let integration = IntegrationId(Uuid::from_u128(1));
        let config = InstanceConfig {
            version: 4,
            api_keys: BTreeMap::from([(FlowNumber(2), vec![stored(2)])]),
            ..InstanceConfig::default()
        };
        let instance = Instance {
            id: InstanceId(Uuid::from_u128(2)),
            name: "one".into(),
            description: String::new(),
            labels: Vec::new(),
            customer: CustomerId(Uuid::from_u128(3)),
            integration,
            state: InstanceState::Enabled,
            config: config.clone(),
            deployed: Some(config),
            config_revision: 9,
            deployed_at: None,
            registrations: Vec::new(),
        };
        let definition = Definition {
            name: "sync".into(),
            description: String::new(),
            endpoint_type: EndpointType::InstanceSpecific,
            routing: RoutingFields::default(),
            config_vars: Vec::new(),
            pages: vec![ConfigPage {
                name: "yours".into(),
                tagline: String::new(),
                user_level: true,
                elements: Vec::new(),
            }],
            flows: vec![
                defined(3, EndpointSecurity::Organization, &[]),
                defined(1, EndpointSecurity::CustomerOptional, &[]),
                defined(2, EndpointSecurity::CustomerRequired, &[]),
                defined(4, EndpointSecurity::Unsecured, &["component slack"]),
            ],
            warnings: Vec::new(),
        };
        let version = IntegrationVersion {
            integration,
            version: 4,
            yaml: String::new(),
            definition,
            organization_keys: BTreeMap::from([(FlowNumber(3), vec![stored(3)])]),
            connection_secrets: BTreeMap::new(),
            is_draft: true,
            release: None,
        };
        (instance, version)
    }

    #[test]
    fn it_knows_the_complete_flows_of_the_deployed_version_in_order_with_their_keys() {
        let (instance, version) = catalog();
        let route = InstanceRoute::new(&instance, &version);
        assert_eq!(
            (route.version, route.config_revision, route.user_level, route.single_flow),
            (4, 9, true, false)
        );
        let flows: Vec<_> = route
            .flows
            .iter()
            .map(|flow| (flow.number.0, flow.gate.clone(), flow.is_synchronous))
            .collect();
        let keys = |n: u8| Gate::Keys([KeyDigest([n; 32])].into());
        assert_eq!(flows, [(1, Gate::Open, false), (2, keys(2), true), (3, keys(3), false)]);
        assert_eq!(route.flow_numbered(FlowNumber(3)), Some(2));
        assert_eq!(
            route.flow_numbered(FlowNumber(4)),
            None,
            "a flow that lacks a component does not run"
        );
        assert_eq!(route.flow_named("flow 2"), Some(1));
    }

    #[test]
    fn flows_that_are_switched_off_or_not_deployed_are_not_there() {
        let (mut instance, version) = catalog();
        instance.deployed.as_mut().unwrap().flows = vec![FlowNumber(1), FlowNumber(4)];
        let numbers = |instance: &Instance| -> Vec<u16> {
            InstanceRoute::new(instance, &version)
                .flows
                .iter()
                .map(|flow| flow.number.0)
                .collect()
        };
        assert_eq!(numbers(&instance), [1]);
        instance.deployed = None;
        assert!(numbers(&instance).is_empty());
    }

    #[test]
    fn a_trigger_names_its_answer_by_what_is_known_before_the_flow_runs() {
        let pair = |name: &str, value: Input| ComplexItem::Input {
            name: Some(Box::new(literal(name))),
            input: value,
        };
        let full = trigger(&[
            ("statusCode", literal("202")),
            ("contentType", literal("text/plain")),
            (
                "headers",
                Input::Complex(vec![pair("x-a", literal("1")), pair("x-b", Input::ConfigVar("b".into()))]),
            ),
            ("body", literal("ok")),
        ]);
        let expected = TriggerReply {
            status: Some(202),
            content_type: Some("text/plain".into()),
            headers: vec![("x-a".into(), "1".into())],
            body: Some("ok".into()),
        };
        assert_eq!(TriggerReply::new(&full, &|_| None), Some(expected));
        for inputs in [
            &[][..],
            &[("body", Input::ConfigVar("b".into()))],
            &[("statusCode", literal("99")), ("body", literal(""))],
            &[("statusCode", literal("soon"))],
        ] {
            assert_eq!(TriggerReply::new(&trigger(inputs), &|_| None), None);
        }
    }

    #[test]
    fn the_answer_of_a_trigger_has_the_values_of_the_instance_and_no_others() {
        let (mut instance, mut version) = catalog();
        let variable = |key: &str, user_level: bool, default: Option<&str>| ConfigVar {
            key: key.into(),
            stable_key: key.to_lowercase(),
            description: String::new(),
            data_type: DataType::String,
            collection: None,
            pick_list: Vec::new(),
            default_value: default.map(str::to_owned),
            org_only: false,
            required: true,
            user_level,
            connection: None,
            shared: None,
            inputs: BTreeMap::new(),
        };
        version.definition.config_vars = vec![
            variable("Thanks", false, None),
            variable("Status", false, Some("202")),
            variable("Theirs", true, Some("no")),
        ];
        let values = [("thanks".to_owned(), ConfigValue::Plain("Thank you".into()))];
        instance.deployed.as_mut().unwrap().values = values.into();
        let flow = version.definition.flows.iter_mut().find(|flow| flow.number.0 == 1).unwrap();
        let pair = |name: &str, value: Input| ComplexItem::Input {
            name: Some(Box::new(literal(name))),
            input: value,
        };
        let greeting = vec![TemplatePart::Text("> ".into()), TemplatePart::ConfigVar("Thanks".into())];
        let headers = vec![
            pair("x-a", Input::Template(greeting)),
            pair("x-b", Input::ConfigVar("Theirs".into())),
        ];
        flow.trigger = trigger(&[
            ("statusCode", Input::ConfigVar("Status".into())),
            ("body", Input::ConfigVar("Thanks".into())),
            ("contentType", Input::ConfigVar("Theirs".into())),
            ("headers", Input::Complex(headers)),
        ]);
        let expected = TriggerReply {
            status: Some(202),
            content_type: None,
            headers: vec![("x-a".into(), "> Thank you".into())],
            body: Some("Thank you".into()),
        };
        assert_eq!(InstanceRoute::new(&instance, &version).flows[0].reply, Some(expected));
    }
}
