//! Every decision about where a request goes, one row each.

use super::*;
use crate::definition::RoutingPath;
use serde_json::json;

fn users_flow(kind: InstanceOf, who: u128, flow: u16) -> EndpointId {
    EndpointId::UserFlow(config_id(kind.config(who)), FlowNumber(flow))
}

fn check(call: &Call, expected: Result<Identity, ErrorCode>) {
    assert_eq!(call.outcome(&snapshot()), expected, "{call:?}");
}

#[test]
fn every_kind_of_endpoint_finds_its_flow_and_user() {
    check(&call(PLAIN.endpoint()), Ok(identity(PLAIN, 1, 1, None)));
    check(&call(users_flow(FLOW_ULC, 1, 2)), Ok(identity(FLOW_ULC, 1, 2, Some(1))));
    check(&call(INSTANCE.endpoint()).flow("export"), Ok(identity(INSTANCE, 1, 2, None)));
    let routed = call(INSTANCE_ULC.endpoint()).flow("import").user("bob");
    check(&routed, Ok(identity(INSTANCE_ULC, 1, 1, Some(2))));
    check(
        &call(SHARED.endpoint()).flow("import").customer("bolt"),
        Ok(identity(SHARED, 2, 1, None)),
    );
    let shared = call(SHARED_ULC.endpoint()).flow("import").customer("acme").user("jane");
    check(&shared, Ok(identity(SHARED_ULC, 1, 1, Some(1))));
    let other = call(SHARED_ULC.endpoint()).flow("import").customer("bolt").user("jane");
    check(&other, Ok(identity(SHARED_ULC, 2, 1, Some(11))));
}

#[test]
fn what_the_url_fixes_nothing_in_the_request_changes() {
    let insist = |call: Call| {
        call.flow("export")
            .customer("bolt")
            .user("bob")
            .query("flow=export&user=bob")
            .body(json!({"user": "bob"}))
    };
    check(&insist(call(users_flow(FLOW_ULC, 1, 1))), Ok(identity(FLOW_ULC, 1, 1, Some(1))));
    check(&insist(call(PLAIN.endpoint())), Ok(identity(PLAIN, 1, 1, None)));
    check(&insist(call(INSTANCE_ULC.endpoint())), Ok(identity(INSTANCE_ULC, 1, 2, Some(2))));
}

#[test]
fn a_users_own_url_works_whatever_the_endpoint_type_and_without_an_external_id() {
    for kind in [FLOW_ULC, INSTANCE_ULC, SHARED_ULC] {
        check(&call(users_flow(kind, 5, 2)), Ok(identity(kind, 1, 2, Some(5))));
    }
}

#[test]
fn ids_that_name_nothing_are_unknown_endpoints() {
    for endpoint in [
        EndpointId::UserFlow(config_id(999), FlowNumber(1)),
        users_flow(FLOW_ULC, 1, 3),
        EndpointId::InstanceFlow(instance_id(999), FlowNumber(1)),
        EndpointId::InstanceFlow(PLAIN.at(1), FlowNumber(3)),
        EndpointId::Instance(instance_id(999)),
        EndpointId::Integration(integration(999)),
    ] {
        check(&call(endpoint), Err(ErrorCode::EndpointNotFound));
    }
}

#[test]
fn an_instance_has_only_the_urls_of_its_endpoint_type() {
    for endpoint in [
        EndpointId::Instance(PLAIN.at(1)),
        EndpointId::Instance(SHARED.at(1)),
        EndpointId::InstanceFlow(INSTANCE.at(1), FlowNumber(1)),
        EndpointId::InstanceFlow(SHARED.at(1), FlowNumber(1)),
        EndpointId::Integration(PLAIN.integration()),
        EndpointId::Integration(INSTANCE.integration()),
    ] {
        check(&call(endpoint).flow("import").customer("acme"), Err(ErrorCode::EndpointNotFound));
    }
}

#[test]
fn a_flow_specific_url_of_a_user_level_flow_needs_a_user() {
    check(&call(FLOW_ULC.endpoint()).user("jane"), Err(ErrorCode::UserNotIdentified));
}

#[test]
fn a_removed_configuration_says_so_for_ninety_days_while_its_instance_exists() {
    let removed = |days: u64| {
        let at = Timestamp(NOW.0 - days * DAY);
        let change = RouteChange::UserConfig(config(FLOW_ULC.config(1), FLOW_ULC.at(1), user(1), UserConfigState::Removed(at)));
        snapshot().with_changes([change], 2)
    };
    let url = call(users_flow(FLOW_ULC, 1, 1));
    assert_eq!(url.outcome(&removed(0)), Err(ErrorCode::UserConfigRemoved));
    assert_eq!(url.outcome(&removed(89)), Err(ErrorCode::UserConfigRemoved));
    assert_eq!(url.outcome(&removed(90)), Err(ErrorCode::EndpointNotFound));
    let gone = removed(1).with_changes([RouteChange::InstanceDeleted(FLOW_ULC.at(1))], 3);
    assert_eq!(url.outcome(&gone), Err(ErrorCode::EndpointNotFound));
}

#[test]
fn a_removed_configuration_is_not_found_by_its_user() {
    let removed = UserConfigState::Removed(NOW);
    let change = RouteChange::UserConfig(config(INSTANCE_ULC.config(1), INSTANCE_ULC.at(1), user(1), removed));
    let routed = call(INSTANCE_ULC.endpoint()).flow("import").user("jane");
    assert_eq!(
        routed.outcome(&snapshot().with_changes([change], 2)),
        Err(ErrorCode::UserNotConfigured)
    );
}

#[test]
fn instances_that_are_off_or_were_never_deployed_say_so() {
    for (state, code) in [
        (InstanceState::Disabled, ErrorCode::InstanceDisabled),
        (InstanceState::NotDeployed, ErrorCode::InstanceNotDeployed),
    ] {
        let change = |kind: InstanceOf| {
            let flows = if state == InstanceState::NotDeployed {
                [].into()
            } else {
                kind.route(1).flows
            };
            RouteChange::Instance(Box::new(InstanceRoute {
                state,
                flows,
                ..kind.route(1)
            }))
        };
        let snapshot = snapshot().with_changes(InstanceOf::ALL.map(change), 2);
        for kind in InstanceOf::ALL {
            let routed = call(kind.endpoint()).flow("import").customer("acme").user("jane");
            assert_eq!(routed.outcome(&snapshot), Err(code), "{kind:?} {state:?}");
            assert_eq!(call(users_flow(kind, 1, 1)).outcome(&snapshot), Err(code), "{kind:?} {state:?}");
        }
        let other = call(SHARED.endpoint()).flow("import").customer("bolt");
        assert_eq!(other.outcome(&snapshot), Ok(identity(SHARED, 2, 1, None)));
    }
}

#[test]
fn what_a_routed_request_names_must_exist() {
    let shared = || call(SHARED_ULC.endpoint());
    check(
        &shared().flow("nothing").customer("acme").user("jane"),
        Err(ErrorCode::FlowNotFound),
    );
    check(
        &shared().flow("import").customer("nobody").user("jane"),
        Err(ErrorCode::CustomerNotFound),
    );
    check(
        &shared().flow("import").customer("new").user("jane"),
        Err(ErrorCode::InstanceNotFound),
    );
    check(
        &shared().flow("import").customer("acme").user("nobody"),
        Err(ErrorCode::UserNotFound),
    );
    check(&shared().flow("import").customer("bolt").user("bob"), Err(ErrorCode::UserNotFound));
    check(
        &shared().flow("import").customer("acme").user("dora"),
        Err(ErrorCode::UserNotConfigured),
    );
    check(
        &shared().flow("import").customer("acme").user("carl"),
        Err(ErrorCode::UserConfigIncomplete),
    );
    check(&call(users_flow(FLOW_ULC, 3, 1)), Err(ErrorCode::UserConfigIncomplete));
    check(
        &call(INSTANCE_ULC.endpoint()).flow("import").user("dora"),
        Err(ErrorCode::UserNotConfigured),
    );
    check(&call(INSTANCE.endpoint()).flow("Import"), Err(ErrorCode::FlowNotFound));
}

#[test]
fn what_a_routed_request_must_name_is_missed() {
    let shared = || call(SHARED_ULC.endpoint());
    check(&shared().customer("acme").user("jane"), Err(ErrorCode::RoutingValueMissing));
    check(&shared().flow("import").user("jane"), Err(ErrorCode::RoutingValueMissing));
    check(&shared().flow("import").customer("acme"), Err(ErrorCode::RoutingValueMissing));
    check(
        &shared().flow("import").customer("acme").user(""),
        Err(ErrorCode::RoutingValueMissing),
    );
}

#[test]
fn an_organization_users_external_id_is_recorded_and_refused_unless_a_customer_user_has_it() {
    for kind in [INSTANCE_ULC, SHARED_ULC] {
        let named = |who: &str| call(kind.endpoint()).flow("import").customer("acme").user(who);
        let routed = named("olga").decide(&snapshot()).unwrap();
        assert_eq!(routed.refusal, Some(ErrorCode::OrganizationUserNotAllowed));
        assert_eq!(routed.identity, identity(kind, 1, 1, None));
        check(&named("jane"), Ok(identity(kind, 1, 1, Some(1))));
        let dora_too = RouteChange::UserExternalId {
            user: user(23),
            membership: Membership::Organization,
            before: None,
            after: Some("dora".into()),
        };
        let snapshot = snapshot().with_changes([dora_too], 2);
        assert_eq!(named("dora").outcome(&snapshot), Err(ErrorCode::UserNotConfigured));
    }
    check(&call(users_flow(FLOW_ULC, 22, 1)), Err(ErrorCode::OrganizationUserNotAllowed));
}

#[test]
fn routing_values_come_from_where_the_integration_says_each_on_its_own() {
    let path = |segments: &[&str]| Some(RoutingPath::Body(segments.iter().map(|segment| (*segment).to_owned()).collect()));
    let fields = RoutingFields {
        flow_name: Some(RoutingPath::Header("X-Flow".into())),
        customer: path(&["account", "id"]),
        user: None,
    };
    let mut all = organization();
    for of in [1, 2] {
        let routing = fields.clone();
        all.instance(InstanceRoute {
            routing,
            ..SHARED_ULC.route(of)
        });
    }
    all.customer(customer(1), "42");
    let snapshot = all.build(1);
    let jane = Ok(identity(SHARED_ULC, 1, 1, Some(1)));
    let base = || call(SHARED_ULC.endpoint()).header("x-flow", "import").user("jane");
    assert_eq!(base().body(json!({"account": {"id": "acme"}})).outcome(&snapshot), jane);
    assert_eq!(
        base().body(json!({"account": {"id": 42}})).outcome(&snapshot),
        jane,
        "a number is as good as text"
    );
    for body in [
        json!({"account": {"id": true}}),
        json!({"account": ["acme"]}),
        json!({}),
        json!(null),
    ] {
        let named_by_fallback = base().body(body).customer("acme");
        assert_eq!(
            named_by_fallback.outcome(&snapshot),
            Err(ErrorCode::RoutingValueMissing),
            "{named_by_fallback:?}"
        );
    }
    let by_fallback = call(SHARED_ULC.endpoint())
        .flow("import")
        .user("jane")
        .body(json!({"account": {"id": "acme"}}));
    assert_eq!(
        by_fallback.outcome(&snapshot),
        Err(ErrorCode::RoutingValueMissing),
        "a named field has no fallback"
    );
}

#[test]
fn query_parameters_route_decoded() {
    let routing = RoutingFields {
        flow_name: Some(RoutingPath::Query("flow name".into())),
        ..RoutingFields::default()
    };
    let change = RouteChange::Instance(Box::new(InstanceRoute {
        routing,
        ..INSTANCE.route(1)
    }));
    let snapshot = snapshot().with_changes([change], 2);
    for (query, expected) in [
        ("flow+name=import", Ok(identity(INSTANCE, 1, 1, None))),
        ("a=1&flow%20name=%65xport", Ok(identity(INSTANCE, 1, 2, None))),
        ("flow+name=import&flow+name=import", Err(ErrorCode::RoutingHeaderDuplicate)),
        ("FLOW+NAME=import", Err(ErrorCode::RoutingValueMissing)),
    ] {
        assert_eq!(call(INSTANCE.endpoint()).query(query).outcome(&snapshot), expected, "{query}");
    }
}

#[test]
fn a_routing_header_that_comes_twice_is_refused_even_with_equal_values() {
    let shared = || call(SHARED_ULC.endpoint()).flow("import").customer("acme").user("jane");
    check(&shared().flow("import"), Err(ErrorCode::RoutingHeaderDuplicate));
    check(&shared().customer("bolt"), Err(ErrorCode::RoutingHeaderDuplicate));
    check(&shared().user("jane"), Err(ErrorCode::RoutingHeaderDuplicate));
    let url = call(users_flow(FLOW_ULC, 1, 1)).user("bob").user("carl");
    check(&url, Ok(identity(FLOW_ULC, 1, 1, Some(1))));
}

#[test]
fn header_names_match_in_any_case_and_values_are_trimmed() {
    let routed = call(INSTANCE.endpoint()).header("Perseat-Flow-Name", " export ");
    check(&routed, Ok(identity(INSTANCE, 1, 2, None)));
}

#[test]
fn an_integration_with_a_single_flow_may_leave_its_name_out() {
    let single = |kind: InstanceOf, of: u128| InstanceRoute {
        flows: [flow(7, "only", Gate::Open)].into(),
        single_flow: true,
        ..kind.route(of)
    };
    let changes = [INSTANCE, SHARED].map(|kind| RouteChange::Instance(Box::new(single(kind, 1))));
    let snapshot = snapshot()
        .with_changes(changes, 2)
        .with_changes([RouteChange::InstanceDeleted(SHARED.at(2))], 3);
    assert_eq!(call(INSTANCE.endpoint()).outcome(&snapshot), Ok(identity(INSTANCE, 1, 7, None)));
    assert_eq!(
        call(SHARED.endpoint()).customer("acme").outcome(&snapshot),
        Ok(identity(SHARED, 1, 7, None))
    );
    assert_eq!(call(SHARED.endpoint()).outcome(&snapshot), Err(ErrorCode::RoutingValueMissing));
    assert_eq!(
        call(INSTANCE.endpoint()).flow("other").outcome(&snapshot),
        Err(ErrorCode::FlowNotFound)
    );
    // One flow switched on out of two is no single flow.
    let one_of_two = InstanceRoute {
        single_flow: false,
        ..single(INSTANCE, 1)
    };
    let snapshot = snapshot.with_changes([RouteChange::Instance(Box::new(one_of_two))], 4);
    assert_eq!(call(INSTANCE.endpoint()).outcome(&snapshot), Err(ErrorCode::RoutingValueMissing));
}

#[test]
fn with_user_level_configuration_switched_off_users_are_not_routed() {
    let off = snapshot().with_changes([RouteChange::UlcEnabled(false)], 2);
    for routed in [
        call(users_flow(FLOW_ULC, 1, 1)),
        call(INSTANCE_ULC.endpoint()).flow("import").user("jane"),
        call(SHARED_ULC.endpoint()).flow("import").customer("acme").user("nobody"),
    ] {
        assert_eq!(routed.outcome(&off), Err(ErrorCode::UlcNotEnabled), "{routed:?}");
    }
    assert_eq!(call(PLAIN.endpoint()).outcome(&off), Ok(identity(PLAIN, 1, 1, None)));
    let on = off.with_changes([RouteChange::UlcEnabled(true)], 3);
    assert_eq!(call(users_flow(FLOW_ULC, 1, 1)).outcome(&on), Ok(identity(FLOW_ULC, 1, 1, Some(1))));
}

#[test]
fn the_newest_deployed_version_decides_how_a_shared_endpoint_routes() {
    let newer = InstanceRoute {
        version: 2,
        routing: RoutingFields {
            flow_name: Some(RoutingPath::Query("flow".into())),
            ..RoutingFields::default()
        },
        flows: [flow(1, "bring in", Gate::Open), flow(2, "export", Gate::Open)].into(),
        ..SHARED.route(2)
    };
    let newer = |state| RouteChange::Instance(Box::new(InstanceRoute { state, ..newer.clone() }));
    let acme = identity(SHARED, 1, 1, None);
    let deployed = snapshot().with_changes([newer(InstanceState::Enabled)], 2);
    let by_query = call(SHARED.endpoint()).customer("acme").query("flow=import");
    let by_header = call(SHARED.endpoint()).customer("acme").flow("import");
    assert_eq!(by_query.outcome(&deployed), Ok(acme));
    assert_eq!(by_header.outcome(&deployed), Err(ErrorCode::RoutingValueMissing));
    let by_new_name = call(SHARED.endpoint()).customer("acme").query("flow=bring+in");
    assert_eq!(by_new_name.outcome(&deployed), Ok(acme), "a renamed flow is still the same flow");
    for fallen_back in [
        deployed.with_changes([RouteChange::InstanceDeleted(SHARED.at(2))], 3),
        deployed.with_changes([newer(InstanceState::NotDeployed)], 3),
    ] {
        assert_eq!(by_header.outcome(&fallen_back), Ok(acme));
    }
}
