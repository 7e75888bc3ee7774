//! What routing knows of an instance: its state, the flows of its deployed version and who may call them.

use super::gate::Gate;
use crate::definition::{ComplexItem, EndpointType, Flow, Input, RoutingFields, Step};
use crate::id::{CustomerId, FlowNumber, InstanceId, IntegrationId};
use crate::model::{Instance, InstanceConfig, InstanceState, IntegrationVersion};

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
    /// The flows that are switched on, by number.
    pub flows: Vec<FlowRoute>,
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

/// The literal parts of a trigger's answer.
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
            flows,
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
            reply: TriggerReply::new(&flow.trigger),
        }
    }
}

impl TriggerReply {
    /// The answer that a trigger's literal inputs name, if they name any part of one.
    #[must_use]
    pub fn new(trigger: &Step) -> Option<Self> {
        let literal = |name: &str| match trigger.inputs.get(name) {
            Some(Input::Value(Some(text))) if !text.is_empty() => Some(text.clone()),
            _ => None,
        };
        let reply = Self {
            status: literal("statusCode")
                .and_then(|text| text.trim().parse().ok())
                .filter(|status| (200..600).contains(status)),
            content_type: literal("contentType"),
            headers: trigger.inputs.get("headers").map(literal_pairs).unwrap_or_default(),
            body: literal("body"),
        };
        (reply != Self::default()).then_some(reply)
    }
}

fn literal_pairs(input: &Input) -> Vec<(String, String)> {
    let Input::Complex(items) = input else {
        return Vec::new();
    };
    let pair = |item: &ComplexItem| match item {
        ComplexItem::Input {
            name: Some(name),
            input: Input::Value(Some(value)),
        } => match name.as_ref() {
            Input::Value(Some(name)) => Some((name.clone(), value.clone())),
            _ => None,
        },
        _ => None,
    };
    items.iter().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::{ActionRef, ConfigPage, Definition, EndpointSecurity, StepErrorPolicy};
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
    fn a_trigger_names_its_answer_by_literals_only() {
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
        assert_eq!(TriggerReply::new(&full), Some(expected));
        for inputs in [
            &[][..],
            &[("body", Input::ConfigVar("b".into()))],
            &[("statusCode", literal("99")), ("body", literal(""))],
            &[("statusCode", literal("soon"))],
        ] {
            assert_eq!(TriggerReply::new(&trigger(inputs)), None);
        }
    }
}
