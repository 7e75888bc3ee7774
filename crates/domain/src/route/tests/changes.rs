//! A snapshot after changes is the one that would have been built from scratch.

use super::*;
use std::sync::Arc;

fn renamed(n: u128, before: Option<&str>, after: Option<&str>) -> RouteChange {
    RouteChange::UserExternalId {
        user: user(n),
        membership: Membership::Customer(customer(1)),
        before: before.map(str::to_owned),
        after: after.map(str::to_owned),
    }
}

fn named(who: &str) -> Call {
    call(INSTANCE_ULC.endpoint()).flow("import").user(who)
}

#[test]
fn an_older_snapshot_stays_as_it_was() {
    let before = snapshot();
    let after = before.with_changes(
        [renamed(1, Some("jane"), Some("janet")), RouteChange::InstanceDeleted(PLAIN.at(1))],
        2,
    );
    assert_eq!(named("jane").outcome(&before), Ok(identity(INSTANCE_ULC, 1, 1, Some(1))));
    assert_eq!(named("janet").outcome(&after), Ok(identity(INSTANCE_ULC, 1, 1, Some(1))));
    assert_eq!(call(PLAIN.endpoint()).outcome(&before), Ok(identity(PLAIN, 1, 1, None)));
    assert_eq!(call(PLAIN.endpoint()).outcome(&after), Err(ErrorCode::EndpointNotFound));
    assert_eq!((before.revision(), after.revision()), (1, 2));
}

#[test]
fn external_ids_move_between_users_in_either_order() {
    let jane_and_bob_swap = [renamed(1, Some("jane"), Some("bob")), renamed(2, Some("bob"), Some("jane"))];
    let swapped = snapshot().with_changes(jane_and_bob_swap, 2);
    assert_eq!(named("bob").outcome(&swapped), Ok(identity(INSTANCE_ULC, 1, 1, Some(1))));
    assert_eq!(named("jane").outcome(&swapped), Ok(identity(INSTANCE_ULC, 1, 1, Some(2))));
    let deleted = swapped.with_changes([renamed(1, Some("bob"), None)], 3);
    assert_eq!(named("bob").outcome(&deleted), Err(ErrorCode::UserNotFound));
}

#[test]
fn a_customers_external_id_moves_and_disappears() {
    let changed = |before: Option<&str>, after: Option<&str>| RouteChange::CustomerExternalId {
        customer: customer(1),
        before: before.map(str::to_owned),
        after: after.map(str::to_owned),
    };
    let shared = |of: &str| call(SHARED.endpoint()).flow("import").customer(of);
    let moved = snapshot().with_changes([changed(Some("acme"), Some("apex"))], 2);
    assert_eq!(shared("apex").outcome(&moved), Ok(identity(SHARED, 1, 1, None)));
    assert_eq!(shared("acme").outcome(&moved), Err(ErrorCode::CustomerNotFound));
    let gone = moved.with_changes([changed(Some("apex"), None)], 3);
    assert_eq!(shared("apex").outcome(&gone), Err(ErrorCode::CustomerNotFound));
}

#[test]
fn a_configuration_that_is_made_anew_replaces_the_removed_one_for_its_user() {
    let removed = UserConfigState::Removed(NOW);
    let at = INSTANCE_ULC.at(1);
    let anew = snapshot().with_changes(
        [
            RouteChange::UserConfig(config(INSTANCE_ULC.config(1), at, user(1), removed)),
            RouteChange::UserConfig(config(777, at, user(1), UserConfigState::Complete)),
        ],
        2,
    );
    let bound = named("jane").outcome(&anew).unwrap().user.unwrap();
    assert_eq!((bound.user, bound.config), (user(1), config_id(777)));
    let old_url = call(EndpointId::UserFlow(config_id(INSTANCE_ULC.config(1)), FlowNumber(1)));
    assert_eq!(old_url.outcome(&anew), Err(ErrorCode::UserConfigRemoved));
    let forgotten = anew.with_changes([RouteChange::UserConfigForgotten(config_id(777))], 3);
    assert_eq!(named("jane").outcome(&forgotten), Err(ErrorCode::UserNotConfigured));
}

#[test]
fn a_deleted_instances_slot_is_never_anothers() {
    let replaced = snapshot()
        .with_changes([RouteChange::InstanceDeleted(FLOW_ULC.at(1))], 2)
        .with_changes([RouteChange::Instance(Box::new(FLOW_ULC.route(9)))], 3);
    let orphan = call(EndpointId::UserFlow(config_id(FLOW_ULC.config(1)), FlowNumber(1)));
    assert_eq!(orphan.outcome(&replaced), Err(ErrorCode::EndpointNotFound));
}

#[test]
fn of_several_instances_of_one_customer_a_shared_endpoint_takes_one_that_is_on() {
    let off = InstanceRoute {
        state: InstanceState::Disabled,
        ..SHARED.route(1)
    };
    let second = InstanceRoute {
        id: instance_id(500),
        ..SHARED.route(1)
    };
    let two = snapshot().with_changes([RouteChange::Instance(Box::new(off)), RouteChange::Instance(Box::new(second))], 2);
    let routed = call(SHARED.endpoint()).flow("import").customer("acme").outcome(&two).unwrap();
    assert_eq!(routed.instance, instance_id(500));
}

#[test]
fn configurations_of_unknown_instances_are_left_out() {
    let stray = config(900, instance_id(900), user(1), UserConfigState::Complete);
    let mut all = organization();
    all.user_config(&stray);
    let built = all.build(1);
    assert_eq!(built.user_configs(), snapshot().user_configs());
    assert_eq!(
        built.with_changes([RouteChange::UserConfig(stray)], 2).user_configs(),
        snapshot().user_configs()
    );
}

#[test]
fn instances_of_one_version_share_flows_that_are_the_same_and_no_others() {
    let flows_of = |snapshot: &RoutingSnapshot, kind: InstanceOf, of| snapshot.instance(kind.at(of)).unwrap().flows.clone();
    let mut all = SnapshotBuilder::new(HashSecret::new(SECRET), true);
    (1..=2).for_each(|of| all.instance(PLAIN.route(of)));
    all.instance(SHARED.route(1));
    let before = all.build(1);
    assert!(Arc::ptr_eq(&flows_of(&before, PLAIN, 1), &flows_of(&before, PLAIN, 2)));
    assert!(!Arc::ptr_eq(&flows_of(&before, PLAIN, 1), &flows_of(&before, SHARED, 1)));

    let mut gated = PLAIN.route(3);
    gated.flows = gated
        .flows
        .iter()
        .cloned()
        .map(|flow| FlowRoute {
            is_synchronous: !flow.is_synchronous,
            ..flow
        })
        .collect();
    let own = gated.flows.clone();
    let after = before.with_changes([gated, PLAIN.route(4)].map(|route| RouteChange::Instance(Box::new(route))), 2);
    assert_eq!(flows_of(&after, PLAIN, 3), own);
    assert_eq!(flows_of(&after, PLAIN, 4), flows_of(&before, PLAIN, 1));
    assert_ne!(flows_of(&after, PLAIN, 4), own);
}
