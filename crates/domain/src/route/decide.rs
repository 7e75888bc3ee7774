//! The decision itself: from an endpoint and the routing values to an identity, or to the reason why there is none.
//!
//! The order of checks is part of the contract. The flow's API key is checked before anything is said about a customer,
//! an instance's state or a user, so that a wrong key learns nothing about who exists.

use super::config_row::{ConfigRow, REMOVED_ANSWER, UserConfigState};
use super::gate::Gate;
use super::instance::{FlowRoute, InstanceRoute};
use super::request::{CUSTOMER_HEADER, FLOW_HEADER, RouteRequest, USER_HEADER};
use super::snapshot::{IntegrationRoute, RoutingSnapshot};
use crate::code::ErrorCode;
use crate::definition::{EndpointType, RoutingFields};
use crate::id::{EndpointId, FlowNumber, InstanceId, IntegrationId, UserConfigId};
use crate::identity::{BoundUser, Identity};
use crate::model::{InstanceState, KeyDigest};
use std::sync::Arc;

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routed {
    /// On whose behalf it will run.
    pub identity: Identity,
    /// The instance.
    pub instance: Arc<InstanceRoute>,
    /// The flow's place in the instance's list.
    pub flow: usize,
    /// Set where the execution is recorded only to fail; the identity then names no user.
    pub refusal: Option<ErrorCode>,
}

impl Routed {
    /// The flow.
    #[must_use]
    pub fn flow(&self) -> &FlowRoute {
        &self.instance.flows[self.flow]
    }
}

/// Why a request goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}")]
pub struct RouteError {
    /// The stable code.
    pub code: ErrorCode,
}

impl From<ErrorCode> for RouteError {
    fn from(code: ErrorCode) -> Self {
        Self { code }
    }
}

fn refuse<T>(code: ErrorCode) -> Result<T, RouteError> {
    Err(code.into())
}

/// Decides where a request goes.
///
/// # Errors
/// If it goes nowhere; the code says why.
pub fn decide(snapshot: &RoutingSnapshot, request: &RouteRequest<'_>) -> Result<Routed, RouteError> {
    match request.endpoint {
        EndpointId::UserFlow(config, flow) => users_flow(snapshot, request, config, flow),
        EndpointId::InstanceFlow(instance, flow) => instances_flow(snapshot, request, instance, flow),
        EndpointId::Instance(instance) => of_instance(snapshot, request, instance),
        EndpointId::Integration(integration) => of_integration(snapshot, request, integration),
    }
}

/// The URL fixes flow and user. It works whatever the endpoint type: users without an external id have no other.
fn users_flow(
    snapshot: &RoutingSnapshot,
    request: &RouteRequest<'_>,
    config: UserConfigId,
    flow: FlowNumber,
) -> Result<Routed, RouteError> {
    let row = snapshot.config(config).ok_or(ErrorCode::EndpointNotFound)?;
    let instance = snapshot.in_slot(row.slot).ok_or(ErrorCode::EndpointNotFound)?;
    must_be_deployed(instance)?;
    let flow = instance.flow_numbered(flow).ok_or(ErrorCode::EndpointNotFound)?;
    check_key(&instance.flows[flow].gate, request)?;
    if let UserConfigState::Removed(at) = row.state() {
        let answers = request.now.since(at) < REMOVED_ANSWER;
        return refuse(if answers {
            ErrorCode::UserConfigRemoved
        } else {
            ErrorCode::EndpointNotFound
        });
    }
    must_be_enabled(instance)?;
    if !snapshot.is_ulc_enabled() {
        return refuse(ErrorCode::UlcNotEnabled);
    }
    bind_row(instance, flow, row)
}

/// The URL fixes the flow; there is no user, so that there must not be user-level configuration.
fn instances_flow(snapshot: &RoutingSnapshot, request: &RouteRequest<'_>, id: InstanceId, flow: FlowNumber) -> Result<Routed, RouteError> {
    let instance = snapshot.instance(id).ok_or(ErrorCode::EndpointNotFound)?;
    must_be_deployed(instance)?;
    must_have_urls_of(instance, EndpointType::FlowSpecific)?;
    let flow = instance.flow_numbered(flow).ok_or(ErrorCode::EndpointNotFound)?;
    check_key(&instance.flows[flow].gate, request)?;
    must_be_enabled(instance)?;
    if instance.user_level {
        return refuse(ErrorCode::UserNotIdentified);
    }
    Ok(bind(instance, flow, None))
}

/// The URL fixes the instance; flow and user come from the request.
fn of_instance(snapshot: &RoutingSnapshot, request: &RouteRequest<'_>, id: InstanceId) -> Result<Routed, RouteError> {
    let (slot, instance) = snapshot.placed(id).ok_or(ErrorCode::EndpointNotFound)?;
    must_be_deployed(instance)?;
    must_have_urls_of(instance, EndpointType::InstanceSpecific)?;
    let fields = &instance.routing;
    let name = request.value(fields.flow_name.as_ref(), FLOW_HEADER)?;
    let flow = NamedFlow::find(name.as_deref(), instance, |name| instance.flow_named(name));
    check_flow(&flow, instance, request)?;
    let flow = flow.known()?;
    must_be_enabled(instance)?;
    with_user(snapshot, request, fields, (slot, instance), flow)
}

/// The URL fixes the integration; customer, flow and user come from the request, from where the newest version says.
fn of_integration(snapshot: &RoutingSnapshot, request: &RouteRequest<'_>, id: IntegrationId) -> Result<Routed, RouteError> {
    let integration = snapshot.integration(id).ok_or(ErrorCode::EndpointNotFound)?;
    let newest = &integration.newest;
    let fields = &newest.routing;
    let name = request.value(fields.flow_name.as_ref(), FLOW_HEADER)?;
    let external_id = request.value(fields.customer.as_ref(), CUSTOMER_HEADER)?;
    let customer = external_id.as_deref().and_then(|external_id| snapshot.customer(external_id));
    let instance = customer.and_then(|customer| snapshot.instance_of(id, customer));

    // Nothing is answered before the check, whether or not the customer was found.
    let Some((slot, instance)) = instance.filter(|(_, instance)| instance.is_deployed()) else {
        let flow = NamedFlow::find(name.as_deref(), newest, |name| newest.flow_named(name));
        check_shared_flow(&flow, integration, request)?;
        flow.known()?;
        return refuse(match (external_id, customer, instance) {
            (None, ..) => ErrorCode::RoutingValueMissing,
            (_, None, _) => ErrorCode::CustomerNotFound,
            (_, _, None) => ErrorCode::InstanceNotFound,
            _ => ErrorCode::InstanceNotDeployed,
        });
    };
    // A customer's older version may know the flow by an older name.
    let renamed = |name: &str| {
        newest
            .flow_named(name)
            .and_then(|flow| instance.flow_numbered(newest.flows[flow].number))
    };
    let flow = NamedFlow::find(name.as_deref(), newest, |name| instance.flow_named(name).or_else(|| renamed(name)));
    check_flow(&flow, instance, request)?;
    let flow = flow.known()?;
    must_be_enabled(instance)?;
    with_user(snapshot, request, fields, (slot, instance), flow)
}

/// Binds the user that the request names, if the integration has user-level configuration.
fn with_user(
    snapshot: &RoutingSnapshot,
    request: &RouteRequest<'_>,
    fields: &RoutingFields,
    (slot, instance): (u32, &Arc<InstanceRoute>),
    flow: usize,
) -> Result<Routed, RouteError> {
    if !instance.user_level {
        return Ok(bind(instance, flow, None));
    }
    if !snapshot.is_ulc_enabled() {
        return refuse(ErrorCode::UlcNotEnabled);
    }
    let external_id = request
        .value(fields.user.as_ref(), USER_HEADER)?
        .ok_or(ErrorCode::RoutingValueMissing)?;
    match snapshot.customer_user(instance.customer, &external_id) {
        Some(user) => {
            let row = snapshot.config_of(slot, user).ok_or(ErrorCode::UserNotConfigured)?;
            bind_row(instance, flow, row)
        }
        None if snapshot.is_organization_user(&external_id) => Ok(refused(instance, flow)),
        None => refuse(ErrorCode::UserNotFound),
    }
}

fn bind_row(instance: &Arc<InstanceRoute>, flow: usize, row: &ConfigRow) -> Result<Routed, RouteError> {
    match row.state() {
        UserConfigState::Complete => {
            let user = BoundUser {
                user: crate::id::UserId(row.user.into()),
                config: UserConfigId(row.config.into()),
            };
            Ok(bind(instance, flow, Some(user)))
        }
        UserConfigState::Incomplete => refuse(ErrorCode::UserConfigIncomplete),
        UserConfigState::OwnedByOrganizationUser => Ok(refused(instance, flow)),
        UserConfigState::Removed(_) => refuse(ErrorCode::UserNotConfigured),
    }
}

/// An organization user is recorded without being bound: their credentials stay out of reach.
fn refused(instance: &Arc<InstanceRoute>, flow: usize) -> Routed {
    Routed {
        refusal: Some(ErrorCode::OrganizationUserNotAllowed),
        ..bind(instance, flow, None)
    }
}

fn bind(instance: &Arc<InstanceRoute>, flow: usize, user: Option<BoundUser>) -> Routed {
    Routed {
        identity: Identity {
            customer: instance.customer,
            instance: instance.id,
            flow: instance.flows[flow].number,
            user,
        },
        instance: Arc::clone(instance),
        flow,
        refusal: None,
    }
}

fn must_be_deployed(instance: &InstanceRoute) -> Result<(), RouteError> {
    if instance.is_deployed() {
        Ok(())
    } else {
        refuse(ErrorCode::InstanceNotDeployed)
    }
}

fn must_be_enabled(instance: &InstanceRoute) -> Result<(), RouteError> {
    match instance.state {
        InstanceState::Enabled => Ok(()),
        InstanceState::Disabled => refuse(ErrorCode::InstanceDisabled),
        InstanceState::NotDeployed => refuse(ErrorCode::InstanceNotDeployed),
    }
}

fn must_have_urls_of(instance: &InstanceRoute, kind: EndpointType) -> Result<(), RouteError> {
    if instance.endpoint_type == kind {
        Ok(())
    } else {
        refuse(ErrorCode::EndpointNotFound)
    }
}

/// The flow that a request names, as far as it does.
enum NamedFlow {
    Known(usize),
    Unknown,
    Missing,
}

impl NamedFlow {
    /// Only where `version` has a single flow may its name be left out.
    fn find(name: Option<&str>, version: &InstanceRoute, find: impl Fn(&str) -> Option<usize>) -> Self {
        let found = match name {
            Some(name) => find(name),
            None if version.single_flow => version.flows.first().and_then(|flow| find(&flow.name)),
            None => return Self::Missing,
        };
        found.map_or(Self::Unknown, Self::Known)
    }

    fn known(self) -> Result<usize, RouteError> {
        match self {
            Self::Known(flow) => Ok(flow),
            Self::Unknown => refuse(ErrorCode::FlowNotFound),
            Self::Missing => refuse(ErrorCode::RoutingValueMissing),
        }
    }
}

fn check_key(gate: &Gate, request: &RouteRequest<'_>) -> Result<(), RouteError> {
    passed(gate.lets_pass(request.api_key.as_ref()))
}

fn check_flow(flow: &NamedFlow, instance: &InstanceRoute, request: &RouteRequest<'_>) -> Result<(), RouteError> {
    match flow {
        NamedFlow::Known(flow) => check_key(&instance.flows[*flow].gate, request),
        _ => passed(any(instance.flows.iter().map(|flow| &flow.gate), request.api_key.as_ref())),
    }
}

/// The check where no customer's instance is known: what passes must pass at every customer's.
fn check_shared_flow(flow: &NamedFlow, integration: &IntegrationRoute, request: &RouteRequest<'_>) -> Result<(), RouteError> {
    match flow {
        NamedFlow::Known(flow) => {
            let number = integration.newest.flows[*flow].number;
            passed(
                integration
                    .gate(number)
                    .is_some_and(|gate| gate.lets_pass(request.api_key.as_ref())),
            )
        }
        _ => passed(any(integration.gates.iter().map(|(_, gate)| gate), request.api_key.as_ref())),
    }
}

fn any<'a>(gates: impl Iterator<Item = &'a Gate> + Clone, key: Option<&KeyDigest>) -> bool {
    Gate::any_lets_pass(gates, key)
}

fn passed(passes: bool) -> Result<(), RouteError> {
    if passes { Ok(()) } else { refuse(ErrorCode::ApiKeyInvalid) }
}
