//! Who may call, and what a wrong key learns: nothing.

use super::*;

fn gated(kind: InstanceOf, of: u128, import: Gate, export: Gate) -> RouteChange {
    RouteChange::Instance(Box::new(InstanceRoute {
        flows: [flow(1, "import", import), flow(2, "export", export)].into(),
        ..kind.route(of)
    }))
}

fn keys(keys: &[u8]) -> Gate {
    Gate::Keys(keys.iter().map(|n| key(*n)).collect())
}

/// Answers with no key, key 1 and key 9.
fn answers(snapshot: &RoutingSnapshot, call: &Call) -> [Option<ErrorCode>; 3] {
    let with = |key: Option<u8>| key.map_or(call.clone(), |n| call.clone().key(n)).outcome(snapshot).err();
    [with(None), with(Some(1)), with(Some(9))]
}

const REFUSED: Option<ErrorCode> = Some(ErrorCode::ApiKeyInvalid);

#[test]
fn a_known_flow_checks_its_own_key_on_every_kind_of_endpoint() {
    for kind in InstanceOf::ALL {
        let snapshot = snapshot().with_changes(
            [gated(kind, 1, keys(&[1, 2]), Gate::Open), gated(kind, 2, keys(&[1]), Gate::Open)],
            2,
        );
        let url = call(EndpointId::UserFlow(config_id(kind.config(1)), FlowNumber(1)));
        assert_eq!(answers(&snapshot, &url), [REFUSED, None, REFUSED], "{kind:?}");
        if kind == FLOW_ULC {
            continue;
        }
        let routed = call(kind.endpoint()).customer("acme").user("jane");
        assert_eq!(
            answers(&snapshot, &routed.clone().flow("import")),
            [REFUSED, None, REFUSED],
            "{kind:?}"
        );
        if kind != PLAIN {
            assert_eq!(answers(&snapshot, &routed.flow("export")), [None, None, None], "{kind:?}");
        }
    }
}

#[test]
fn a_wrong_key_learns_nothing_about_instances_users_or_removed_configurations() {
    let removed = UserConfigState::Removed(NOW);
    let mut changes = vec![RouteChange::UserConfig(config(
        FLOW_ULC.config(2),
        FLOW_ULC.at(1),
        user(2),
        removed,
    ))];
    for kind in InstanceOf::ALL {
        changes.push(gated(kind, 1, keys(&[1]), keys(&[1])));
        changes.push(RouteChange::Instance(Box::new(InstanceRoute {
            state: InstanceState::Disabled,
            flows: [flow(1, "import", keys(&[1])), flow(2, "export", keys(&[1]))].into(),
            ..kind.route(2)
        })));
    }
    let snapshot = snapshot().with_changes(changes, 2);
    let off = snapshot.with_changes([RouteChange::UlcEnabled(false)], 3);
    let url = |kind: InstanceOf, who: u128| call(EndpointId::UserFlow(config_id(kind.config(who)), FlowNumber(1)));
    let mut probes = vec![
        url(FLOW_ULC, 1),
        url(FLOW_ULC, 2),
        url(FLOW_ULC, 3),
        url(FLOW_ULC, 11),
        url(FLOW_ULC, 22),
    ];
    probes.push(call(FLOW_ULC.endpoint()));
    for who in ["jane", "carl", "dora", "olga", "nobody", ""] {
        probes.push(call(INSTANCE_ULC.endpoint()).flow("import").user(who));
        probes.push(call(EndpointId::Instance(INSTANCE_ULC.at(2))).flow("import").user(who));
        for of in ["acme", "bolt", "new", "nobody", ""] {
            for flow in ["import", "nothing", ""] {
                probes.push(call(SHARED_ULC.endpoint()).flow(flow).customer(of).user(who));
            }
        }
    }
    for snapshot in [&snapshot, &off] {
        for probe in &probes {
            let [none, _, wrong] = answers(snapshot, probe);
            assert_eq!([none, wrong], [REFUSED, REFUSED], "{probe:?}");
        }
    }
    let right = call(SHARED_ULC.endpoint()).flow("import").customer("nobody").key(1);
    assert_eq!(
        right.outcome(&snapshot),
        Err(ErrorCode::CustomerNotFound),
        "whom every customer trusts may know"
    );
}

#[test]
fn an_unknown_flow_passes_with_any_flows_key_or_where_every_flow_is_open() {
    let unknown = Some(ErrorCode::FlowNotFound);
    for (import, export, expected) in [
        (Gate::Open, Gate::Open, [unknown, unknown, unknown]),
        (keys(&[1]), keys(&[2]), [REFUSED, unknown, REFUSED]),
        (keys(&[1]), Gate::Open, [REFUSED, unknown, REFUSED]),
        (keys(&[2]), keys(&[]), [REFUSED, REFUSED, REFUSED]),
    ] {
        let snapshot = snapshot().with_changes([gated(INSTANCE, 1, import.clone(), export.clone())], 2);
        let named = call(INSTANCE.endpoint()).flow("nothing");
        assert_eq!(answers(&snapshot, &named), expected, "{import:?} {export:?}");
        let missing = expected.map(|code| {
            if code == unknown {
                Some(ErrorCode::RoutingValueMissing)
            } else {
                code
            }
        });
        assert_eq!(answers(&snapshot, &call(INSTANCE.endpoint())), missing, "{import:?} {export:?}");
    }
}

#[test]
fn one_customers_key_does_not_tell_whether_another_customer_exists() {
    let snapshot = snapshot().with_changes(
        [gated(SHARED, 1, keys(&[1]), keys(&[1])), gated(SHARED, 2, keys(&[2]), keys(&[2]))],
        2,
    );
    let probe = |customer: &str, flow: &str| call(SHARED.endpoint()).flow(flow).customer(customer).key(1).outcome(&snapshot);
    assert_eq!(probe("acme", "import"), Ok(identity(SHARED, 1, 1, None)));
    for flow in ["import", "nothing"] {
        assert_eq!(probe("bolt", flow), Err(ErrorCode::ApiKeyInvalid));
        assert_eq!(probe("nobody", flow), Err(ErrorCode::ApiKeyInvalid));
    }
}

#[test]
fn an_optional_key_that_some_customer_set_guards_unknown_customers_too() {
    let snapshot = snapshot().with_changes([gated(SHARED, 2, keys(&[1]), Gate::Open)], 2);
    let probe = |customer: &str, flow: &str| answers(&snapshot, &call(SHARED.endpoint()).flow(flow).customer(customer));
    assert_eq!(probe("acme", "import"), [None, None, None], "acme set no key");
    assert_eq!(probe("nobody", "import"), [REFUSED, Some(ErrorCode::CustomerNotFound), REFUSED]);
    assert_eq!(probe("nobody", "export"), [Some(ErrorCode::CustomerNotFound); 3]);
}

#[test]
fn neither_secrets_nor_external_ids_are_printed() {
    let printed = format!("{:?}", snapshot());
    assert!(
        !printed.contains("jane") && !printed.contains("acme") && !printed.contains(&SECRET.to_string()),
        "{printed}"
    );
}
