use super::*;
use perseat_domain::definition::{EndpointSecurity, EndpointType, RoutingFields, RoutingPath};

const USERS: &str = "configPages: [{name: You, userLevelConfigured: true, elements: []}]\n";

#[test]
fn a_routed_integration_may_leave_its_fields_to_the_headers() {
    for (word, endpoint) in [
        ("instance_specific", EndpointType::InstanceSpecific),
        ("shared_instance", EndpointType::SharedInstance),
        ("flow_specific", EndpointType::FlowSpecific),
    ] {
        let definition = valid(&(with_top(&format!("endpointType: {word}\n")) + USERS)).definition;
        assert_eq!(definition.endpoint_type, endpoint);
        assert_eq!(definition.routing, RoutingFields::default());
    }
    assert_eq!(valid(&one_flow("")).definition.endpoint_type, EndpointType::FlowSpecific);
}

#[test]
fn routing_fields_are_paths_into_the_request() {
    let body = |path: &[&str]| RoutingPath::Body(path.iter().map(|&segment| segment.to_owned()).collect());
    for (path, expected) in [
        ("payload.results.headers.X-Acme-Flow", RoutingPath::Header("x-acme-flow".to_owned())),
        ("payload.results.queryParameters.flow", RoutingPath::Query("flow".to_owned())),
        ("payload.results.body.data.a.0.b c", body(&["a", "0", "b c"])),
        ("payload.results.body.data", body(&[])),
        ("headers.x-flow", RoutingPath::Header("x-flow".to_owned())),
    ] {
        for form in [format!("{{type: reference, value: {path}}}"), path.to_owned()] {
            let yaml = with_top(&format!("endpointType: instance_specific\nflowNameField: {form}\n"));
            assert_eq!(valid(&yaml).definition.routing.flow_name.as_ref(), Some(&expected), "{form}");
        }
    }
    for path in [
        "payload.results.rawBody.data",
        "hook.results.headers.x",
        "payload.results.headers.",
        "payload",
        "''x",
    ] {
        let yaml = with_top(&format!(
            "endpointType: instance_specific\nflowNameField: {{type: reference, value: \"{path}\"}}\n"
        ));
        check(&yaml, &["10:41 routing_invalid flowNameField.value"]);
    }
}

#[test]
fn fields_that_have_no_effect_are_named() {
    let field = |name: &str| format!("{name}: {{type: reference, value: payload.results.headers.x}}\n");
    let warned = |yaml: &str| valid(yaml).warnings.iter().map(|warning| warning.code).collect::<Vec<_>>();
    assert_eq!(warned(&with_top(&field("flowNameField"))), [Code::Contradiction]);
    let instance = with_top("endpointType: instance_specific\n");
    assert_eq!(
        warned(&(instance.clone() + &field("externalCustomerIdField"))),
        [Code::Contradiction]
    );
    assert_eq!(
        warned(&(instance.clone() + &field("externalCustomerUserIdField"))),
        [Code::Contradiction]
    );
    assert_eq!(warned(&(instance + USERS + &field("externalCustomerUserIdField"))), []);
}

/// A shared, user-level integration with the preprocess flow `Sort`, whose last step is `Find Names`.
fn preprocessed(fields: &str) -> String {
    let sort = "  - name: Sort
    steps:
      - {name: In, isTrigger: true, action: {key: webhook, component: {key: webhook-triggers}}}
      - {name: Find Names, action: {key: runCode, component: {key: code}}}
";
    with_top(&format!("{sort}endpointType: shared_instance\npreprocessFlowName: Sort\n{fields}")) + USERS
}

#[test]
fn a_preprocess_flow_finds_every_routing_value_and_makes_a_draft() {
    let fields = "externalCustomerIdField: {type: reference, value: findNames.results.customer}
externalCustomerUserIdField: {type: reference, value: findNames.results.user}
";
    let parsed = valid(&preprocessed(fields));
    assert!(
        parsed
            .definition
            .flows
            .iter()
            .all(|flow| flow.missing == ["preprocess flows are not supported yet"])
    );
    assert_eq!(parsed.warnings.len(), 1);

    check_codes(&preprocessed(""), &[Code::RoutingInvalid, Code::RoutingInvalid]);
    check_codes(
        &preprocessed(&fields.replace("findNames", "in")),
        &[Code::RoutingInvalid, Code::RoutingInvalid],
    );
    let both = preprocessed(&fields.replace("findNames.results.user", "payload.results.headers.user"));
    let problems = parsed_problems(&both);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].message.contains("exclude each other"));
    check_codes(
        &preprocessed(fields).replace("preprocessFlowName: Sort", "preprocessFlowName: Srot"),
        &[Code::RoutingInvalid],
    );
    check_codes(&with_top("preprocessFlowName: Main\n"), &[Code::RoutingInvalid]);
}

fn parsed_problems(yaml: &str) -> Vec<Diagnostic> {
    parsed(yaml).unwrap_err()
}

#[test]
fn with_several_flows_a_preprocess_flow_names_the_flow() {
    let third = "  - {name: Third, steps: [{name: In, isTrigger: true, action: {key: webhook, component: {key: webhook-triggers}}}]}\n";
    let fields = "externalCustomerIdField: {type: reference, value: findNames.results.customer}
externalCustomerUserIdField: {type: reference, value: findNames.results.user}
";
    let yaml = preprocessed(fields).replace("endpointType", &format!("{third}endpointType"));
    check_codes(&yaml, &[Code::RoutingInvalid]);
    check_codes(&(yaml + "flowNameField: {type: reference, value: findNames.results.flow}\n"), &[]);
}

#[test]
fn security_types_and_keys_go_together() {
    let flow = |settings: &str| with_flow(settings, "");
    let parsed = valid(&flow(
        "    endpointSecurityType: organization\n    organizationApiKeys: [abc, 123]\n",
    ));
    assert_eq!(parsed.definition.flows[0].security, EndpointSecurity::Organization);
    assert_eq!(parsed.definition.flows[0].organization_api_keys, ["abc", "123"]);
    assert_eq!(valid(&flow("")).definition.flows[0].security, EndpointSecurity::CustomerOptional);
    let keyless = valid(&flow("    endpointSecurityType: organization\n"));
    assert_eq!(
        shown(&keyless.keyless(|_| false)),
        ["5:27 key_missing flows[0].endpointSecurityType"]
    );
    assert!(keyless.keyless(|flow| flow == "Main").is_empty(), "given apart");
    check_codes(&flow("    organizationApiKeys: [abc]\n"), &[Code::Contradiction]);
    check_codes(
        &flow("    endpointSecurityType: organization\n    organizationApiKeys: ['']\n"),
        &[Code::ValueInvalid],
    );
    check(
        &flow("    endpointSecurityType: organisation\n"),
        &["5:27 value_invalid flows[0].endpointSecurityType ~organization"],
    );
}
