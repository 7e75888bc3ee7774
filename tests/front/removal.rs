//! What URLs answer once something behind them was removed, switched off or asks more than it did.

use crate::daemon::Daemon;
use crate::set_up::{BEARER, code, customer, instance, organization, user, user_config, user_config_with};
use crate::world::{CUSTOMER, FLOW, OPEN, USER, World, assert_refused, assert_runs, post, start, two_flows};
use serde_json::Value;

#[test]
fn the_url_of_what_was_removed_says_so() {
    let (daemon, urls) = start(&World::default());
    let bobs = urls.path("Files", "globex", "bob", "Echo");
    let initechs = urls.path("Files", "initech", "jane", "Echo");
    let (audit, board) = (urls.path("Audit", "globex", "", "Echo"), urls.path("Board", "globex", "", ""));
    let chat = urls.path("Chat", "", "", "");
    let bob_on_chat = post(&chat).headers(&[(FLOW, "Echo"), (CUSTOMER, "globex"), (USER, "bob")]);
    let at_initech = post(&chat).headers(&[(FLOW, "Echo"), (CUSTOMER, "initech"), (USER, "jane")]);
    for (row, request) in [
        ("bob", post(&bobs)),
        ("initech", post(&initechs)),
        ("audit", post(&audit)),
        ("chat", bob_on_chat.clone()),
    ] {
        assert_eq!(daemon.call(&request).status, 200, "{row} before");
    }
    daemon.set_up(&World::without(&["bob's", "initech", "Audit", "Board"]).manifests());
    let check = |when: &str, daemon: &Daemon| {
        let row = |name: &str| format!("{name}, {when}");
        assert_refused(&row("user configuration"), &daemon.call(&post(&bobs)), 410, "user_config_removed");
        assert_refused(
            &row("its user on a shared URL"),
            &daemon.call(&bob_on_chat),
            409,
            "user_not_configured",
        );
        assert_refused(&row("customer"), &daemon.call(&post(&initechs)), 404, "endpoint_not_found");
        assert_refused(
            &row("customer on a shared URL"),
            &daemon.call(&at_initech),
            404,
            "customer_not_found",
        );
        assert_refused(&row("instance"), &daemon.call(&post(&audit)), 404, "endpoint_not_found");
        assert_refused(
            &row("instance"),
            &daemon.call(&post(&board).header(FLOW, "Echo")),
            404,
            "endpoint_not_found",
        );
    };
    check("at once", &daemon);
    check("after a restart", &daemon.kill_and_restart());
}

#[test]
fn a_user_who_was_deleted_leaves_a_url_that_says_so_and_an_instance_that_can_still_change() {
    let (daemon, urls) = start(&World::default());
    let bobs = urls.path("Files", "globex", "bob", "Echo");
    let set_up = World::without(&["bob's"]).manifests();
    let without_bob = set_up.replace(&user("globex", "bob"), "");
    daemon.set_up(&without_bob);
    assert_refused("deleted user", &daemon.call(&post(&bobs)), 410, "user_config_removed");
    let moved = without_bob.replace("apiKeys: {Keyed: [key-of-globex]}", "apiKeys: {Keyed: [another-key]}");
    daemon.set_up(&moved);
    assert_refused("after the instance changed", &daemon.call(&post(&bobs)), 410, "user_config_removed");
    let janes = urls.path("Files", "globex", "jane", "Keyed");
    assert_runs(
        "Jane",
        &daemon,
        &post(&janes).header("api-key", "another-key"),
        "globex",
        Some("jane"),
        "Keyed",
    );
}

#[test]
fn an_instance_that_is_switched_off_and_on_keeps_its_urls() {
    let (daemon, urls) = start(&World::default());
    let mias = urls.path("Chat", "globex", "mia@globex.example", "Echo");
    let janes = post(&urls.path("Chat", "", "", "")).headers(&[(FLOW, "Echo"), (CUSTOMER, "globex"), (USER, "jane")]);
    let off = World {
        globex_chat: "state: disabled",
        ..World::default()
    };
    daemon.set_up(&off.manifests());
    for (row, request) in [("a user's own URL", post(&mias)), ("the shared URL", janes.clone())] {
        let answer = daemon.call(&request);
        assert_refused(row, &answer, 503, "instance_disabled");
        assert_eq!(answer.header("retry-after"), Some("60"), "{row}");
    }
    daemon.set_up(&World::default().manifests());
    assert_runs("on again", &daemon, &janes, "globex", Some("jane"), "Echo");
    let mia = daemon.call(&post(&mias));
    assert_eq!(mia.status, 200, "{}", mia.text());
    assert_eq!(
        mia.json()["user"]["externalId"],
        Value::Null,
        "a user without external id has a URL of their own"
    );
}

#[test]
fn switching_ulc_off_stops_users_and_deletes_nothing() {
    let (daemon, urls) = start(&World::default());
    let janes = post(&urls.path("Files", "globex", "jane", "Echo"));
    let shared = post(&urls.path("Chat", "", "", "")).headers(&[(FLOW, "Echo"), (CUSTOMER, "globex"), (USER, "jane")]);
    let organization_only = World {
        ulc: false,
        ..World::default()
    };
    let refused = daemon.apply(&organization_only.manifests());
    assert_eq!(
        refused.status,
        422,
        "user-level pages cannot be applied without ULC: {}",
        refused.text()
    );
    assert!(refused.text().contains("ulc_not_enabled"), "{}", refused.text());
    assert_runs(
        "nothing of a refused set-up is applied",
        &daemon,
        &janes,
        "globex",
        Some("jane"),
        "Echo",
    );

    daemon.add(&organization(false));
    assert_refused("a user's own URL", &daemon.call(&janes), 403, "ulc_not_enabled");
    assert_refused("a shared URL", &daemon.call(&shared), 403, "ulc_not_enabled");
    assert_runs(
        "no users",
        &daemon,
        &post(&urls.path("Audit", "globex", "", "Echo")),
        "globex",
        None,
        "Echo",
    );
    daemon.add(&organization(true));
    assert_runs("a user's own URL again", &daemon, &janes, "globex", Some("jane"), "Echo");
    assert_runs("a shared URL again", &daemon, &shared, "globex", Some("jane"), "Echo");
}

#[test]
fn a_version_that_asks_more_of_users_stops_only_those_who_lack_it() {
    let say = code(
        "Say",
        "module.exports = async ({ configVars }) => ({ data: typeof configVars.Region });",
    );
    let files = two_flows("Files", "flow_specific").flow("Say", true, OPEN, &[say]);
    let people = organization(true) + &customer("globex") + &user("globex", "jane") + &user("globex", "bob");
    let set_up = |files: &crate::set_up::Integration, jane: &str| {
        let configs = user_config_with("globex", "Files", "jane", "token-of-jane-4711", jane) + &user_config("globex", "Files", "bob");
        people.clone() + &files.manifest() + &instance("globex", "Files", "") + &configs
    };
    let daemon = Daemon::start("");
    daemon.set_up(&set_up(&files, ""));
    let urls = daemon.endpoints();
    let (janes, bobs) = (
        post(&urls.path("Files", "globex", "jane", "Echo")),
        post(&urls.path("Files", "globex", "bob", "Echo")),
    );
    assert_runs("before", &daemon, &bobs, "globex", Some("bob"), "Echo");
    daemon.set_up(&set_up(&files.clone().variable("Region"), ", Region: eu"));
    assert_runs("who has it", &daemon, &janes, "globex", Some("jane"), "Echo");
    assert_refused("who lacks it", &daemon.call(&bobs), 409, "user_config_incomplete");
    let daemon = daemon.kill_and_restart();
    assert_runs("who has it, after a restart", &daemon, &janes, "globex", Some("jane"), "Echo");
    assert_refused("who lacks it, after a restart", &daemon.call(&bobs), 409, "user_config_incomplete");
    let of_kind = |kind: &str| files.clone().variable_of("Region", kind).manifest() + &instance("globex", "Files", "");
    for (kind, is_taken) in [
        (BEARER, false),
        ("dataType: number", false),
        ("dataType: picklist, pickList: [us]", false),
        ("dataType: picklist, pickList: [us, eu]", true),
    ] {
        daemon.add(&of_kind(kind));
        if is_taken {
            assert_runs(kind, &daemon, &janes, "globex", Some("jane"), "Echo");
        } else {
            assert_refused(kind, &daemon.call(&janes), 409, "user_config_incomplete");
        }
    }
    let daemon = daemon.kill_and_restart();
    assert_runs("what she gave first fits again", &daemon, &janes, "globex", Some("jane"), "Echo");
    let says = || daemon.call(&post(&urls.path("Files", "globex", "jane", "Say"))).json();
    assert_eq!(says(), "string");
    daemon.add(&of_kind(&format!("{BEARER}, x-perseat: {{required: false}}")));
    assert_eq!(says(), "undefined", "text is no connection");
}
