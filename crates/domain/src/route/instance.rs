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
