//! Where a routed endpoint finds the names of flow, customer and user, and what excludes what.

use super::Code;
use super::raw::{self, FieldRef};
use super::report::{Report, quoted};
use super::words::EndpointWord;
use perseat_domain::definition::{EndpointType, RoutingFields, RoutingPath, reference_name};

pub(super) fn endpoint_type(raw: &raw::Integration) -> EndpointType {
    match raw.endpoint_type.as_ref().map(|word| word.value).unwrap_or_default() {
        EndpointWord::FlowSpecific => EndpointType::FlowSpecific,
        EndpointWord::InstanceSpecific => EndpointType::InstanceSpecific,
        EndpointWord::SharedInstance => EndpointType::SharedInstance,
    }
}

/// Checks the routing of the whole integration. With a preprocess flow the fields stay empty: it finds the values.
pub(super) fn check(raw: &raw::Integration, has_users: bool, report: &mut Report) -> RoutingFields {
    let endpoint = endpoint_type(raw);
    let named = [
        (
            "flowNameField",
            raw.flow_name_field.as_ref(),
            endpoint != EndpointType::FlowSpecific,
        ),
        (
            "externalCustomerIdField",
            raw.customer_field.as_ref(),
            endpoint == EndpointType::SharedInstance,
        ),
        (
            "externalCustomerUserIdField",
            raw.user_field.as_ref(),
            endpoint != EndpointType::FlowSpecific && has_users,
        ),
    ];
    for (name, field, wanted) in &named {
        if let (Some(field), false) = (field, wanted) {
            let message = format!("`{name}` has no effect: the URL or the lack of user-level pages decides");
            report.warn(&field.0.spot, Code::Contradiction, message);
        }
    }
    if let Some(name) = &raw.preprocess_flow {
        preprocess(raw, name.as_str(), &named, report);
        return RoutingFields::default();
    }
    let mut path = |field: Option<&FieldRef>| field.and_then(|field| routing_path(field, report));
    RoutingFields {
        flow_name: path(raw.flow_name_field.as_ref()),
        customer: path(raw.customer_field.as_ref()),
        user: path(raw.user_field.as_ref()),
    }
}

fn preprocess(raw: &raw::Integration, name: &str, named: &[(&str, Option<&FieldRef>, bool)], report: &mut Report) {
    let Some(spot) = raw.preprocess_flow.as_ref().map(|name| &name.spot) else {
        return;
    };
    if endpoint_type(raw) == EndpointType::FlowSpecific {
        let message = "a flow-specific endpoint has no preprocess flow: its URLs name the flow";
        report.problem(spot, Code::RoutingInvalid, message);
    }
    let Some(flow) = raw.flows.iter().find(|flow| flow.name.as_str() == name) else {
        let flows = raw.flows.iter().map(|flow| flow.name.as_str());
        report.suggest(
            spot,
            Code::RoutingInvalid,
            format!("there is no flow {}", quoted(name)),
            name,
            flows,
        );
        return;
    };
    let head = flow.steps.last().map(|step| reference_name(step.name.as_str())).unwrap_or_default();
    let single_flow = raw.flows.len() <= 2;
    for (field_name, field, wanted) in named {
        let Some(field) = field else {
            if *wanted && !(single_flow && *field_name == "flowNameField") {
                let message = format!("with a preprocess flow, `{field_name}` must name a value of its last step");
                report.problem(spot, Code::RoutingInvalid, message);
            }
            continue;
        };
        let text = field.0.as_str().trim();
        if text.starts_with("payload.") {
            let message = "a value of the request and a preprocess flow exclude each other";
            report.problem(&field.0.spot, Code::RoutingInvalid, message);
        } else if !text.strip_prefix(&*head).is_some_and(|rest| rest.starts_with(".results.")) {
            let message = format!(
                "{} does not start with the preprocess flow's last step, `{head}.results.`",
                quoted(text)
            );
            report.problem(&field.0.spot, Code::RoutingInvalid, message);
        }
    }
}

/// `payload.results.headers.x`, `payload.results.queryParameters.x` or `payload.results.body.data.x`.
fn routing_path(field: &FieldRef, report: &mut Report) -> Option<RoutingPath> {
    let text = field.0.as_str().trim();
    let rest = text.strip_prefix("payload.").unwrap_or(text);
    let rest = rest.strip_prefix("results.").unwrap_or(rest);
    let path = match rest.split_once('.') {
        Some(("headers", name)) if !name.is_empty() => Some(RoutingPath::Header(name.to_ascii_lowercase())),
        Some(("queryParameters", name)) if !name.is_empty() => Some(RoutingPath::Query(name.to_owned())),
        Some(("body", "data")) => Some(RoutingPath::Body(Vec::new())),
        Some(("body", below)) => below
            .strip_prefix("data.")
            .map(|path| RoutingPath::Body(path.split('.').map(str::to_owned).collect())),
        _ => None,
    };
    if path.is_none() {
        let message = format!(
            "{} is not of the form `payload.results.headers.NAME`, `payload.results.queryParameters.NAME` or `payload.results.body.data.PATH`",
            quoted(text)
        );
        report.problem(&field.0.spot, Code::RoutingInvalid, message);
    }
    path
}
