//! Connections that several instances, customers or users share: one writer for each grant wherever it is used, and nobody's but theirs.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use http::Method;
use perseat::boot::administration::ApplyBody;
use perseat_admin::apply::ApplyOptions;
use perseat_admin::manifest::read_text;
use serde_json::{Value, json};

use crate::harness::api::Api;
use crate::harness::oauth::Manner;
use crate::harness::post_office::PostOffice;
use crate::sharers::{CONFIGS, Plan, account_of, all_succeed, consent, manifests, one_each, own_accounts, send, spent, start, taken};
use crate::world::World;

/// One for the organization and one for a customer.
const ADMINS: &str = "kind: OrganizationUser\nname: olga\nemail: olga@acme.example\nrole: owner\n---\nkind: CustomerUser\ncustomer: globex\nname: gus\nemail: gus@globex.example\nexternalId: gus\nrole: admin\n---\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_users_connection_in_instances_of_two_arbiters_is_renewed_once() {
    let world = start(&Plan::of("user")).await;
    let (anns, bobs) = tokio::join!(send(&world, "ann", 200), send(&world, "bob", 6));
    let work = world.provider.until("/work", anns.len() + bobs.len()).await;
    assert!(work.iter().all(|call| call.status == 200));
    assert_eq!(spent(&world), ["refresh-ann-1", "refresh-bob-1"], "each user's own, once");
    assert_eq!(taken(&world), ["access-ann-2", "access-bob-2"].map(str::to_owned).into());
    all_succeed(&world, &[anns, bobs].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organizations_connection_in_instances_of_all_customers_is_renewed_once() {
    let world = start(&Plan::of("organization")).await;
    let users = ["ann", "bob", "carl", "dora"];
    let sent = futures_util::future::join_all(users.map(|user| send(&world, user, 50)))
        .await
        .concat();
    world.provider.until("/work", sent.len()).await;
    assert_eq!(spent(&world), ["refresh-company-1"]);
    assert_eq!(taken(&world), BTreeSet::from(["access-company-2".to_owned()]));
    all_succeed(&world, &sent).await;

    // A token that is refused is renewed once, too, whoever was refused.
    world.provider.end_access("company");
    let executions = futures_util::future::join_all(users.map(|user| send(&world, user, 10)))
        .await
        .concat();
    for execution in &executions {
        let ended = world.ended(execution).await;
        // It is fresh: a third party that refuses it is not asked again, and nothing is renewed for it.
        assert_eq!(ended["code"], "step_failed", "{ended}");
    }
    assert_eq!(spent(&world).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_whose_manifest_is_pruned_is_given_up_and_given_back() {
    let plan = Plan {
        keys: &[("owed.look", "20ms")],
        ..Plan::of("customer")
    };
    let world = start(&plan).await;
    all_succeed(&world, &send(&world, "ann", 1).await).await;
    let without = Plan {
        with_tokens: &["initech"],
        ..plan
    };
    let without = manifests(&without, &world.provider);
    let body = ApplyBody {
        manifests: read_text(&without, Path::new("manifests.yml"), &|_| None).unwrap(),
        options: ApplyOptions {
            prune: true,
            ..ApplyOptions::default()
        },
    };
    world.daemon.local(Method::POST, "/apply", Some(json!(body))).await.unwrap();
    let parked = send(&world, "ann", 1).await;
    world.stands(&parked[0], "parked").await;
    let calls = world.provider.until("/revoke", 1).await;
    assert_eq!(calls[0].form["token"], "refresh-globex-2");
    all_succeed(&world, &send(&world, "carl", 1).await).await;
    assert_eq!(spent(&world), ["refresh-globex-1", "refresh-initech-1"], "nobody else's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_token_that_is_refused_is_renewed_once_whoever_was_refused() {
    let plan = Plan {
        manner: Manner {
            lifetime: None,
            ..Manner::default()
        },
        keys: &[("oauth.fresh", "1ms")],
        ..Plan::of("organization")
    };
    let world = start(&plan).await;
    let users = ["ann", "bob", "carl", "dora"];
    all_succeed(&world, &send(&world, "ann", 1).await).await;
    let before = spent(&world).len();
    world.provider.end_access("company");
    let executions = futures_util::future::join_all(users.map(|user| send(&world, user, 50)))
        .await
        .concat();
    all_succeed(&world, &executions).await;
    assert_eq!(spent(&world).len(), before + 1, "{:?}", spent(&world));
    assert!(!world.provider.chain("company").was_reused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_point_of_a_shared_renewal_spends_no_token_twice_and_loses_none_silently() {
    for sharing in ["user", "organization"] {
        let account = if sharing == "user" { "ann" } else { "company" };
        let first = format!("refresh-{account}-1");
        let strict = Plan::of(sharing);
        let forgiving = Plan {
            manner: Manner {
                grace: Some(Duration::from_mins(10)),
                ..Manner::default()
            },
            inputs: &[("refreshReuse", "600")],
            ..strict.clone()
        };
        // (plan, point, how often the token was spent in the end, whether it goes on)
        for (plan, point, times, goes_on) in [
            (&strict, "grant-intended", 0, false),
            (&strict, "grant-answered", 1, false),
            (&strict, "grant-stored", 1, true),
            (&forgiving, "grant-intended", 1, true),
            (&forgiving, "grant-answered", 2, true),
            (&forgiving, "grant-stored", 1, true),
        ] {
            let story = format!("{sharing}, {point}, {:?}", plan.inputs);
            let mut world = start(plan).await;
            world.daemon.arm(point, 1).await;
            world.send_last("ann").await;
            world.daemon.until_killed(point).await;
            world.daemon.restart();
            if goes_on {
                let work = world.provider.until_like("/work", 1, |call| call.status == 200).await;
                let newest = world.provider.chain(account).newest;
                assert_eq!(work[0].token, format!("access-{account}-{newest}"), "{story}");
            } else {
                let line = ["whether a grant still holds is not known", "renewal_interrupted"];
                world.daemon.log_line(&line);
                assert!(world.provider.calls("/work").is_empty(), "{story}");
            }
            assert_eq!(spent(&world), vec![first.clone(); times], "{story}");
            let chain = world.provider.chain(account);
            assert!(!chain.was_reused && !chain.is_revoked, "{story}: {chain:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_user_connection_parks_what_uses_it_in_all_instances_until_one_consent() {
    let mut world = start(&Plan::of("user")).await;
    world.provider.revoke("ann");
    let anns = one_each(&world, "ann").await;
    for execution in &anns {
        let shown = world.stands(execution, "parked").await;
        assert_eq!(shown["waitsFor"], "account");
    }
    for user in ["bob", "carl"] {
        all_succeed(&world, &one_each(&world, user).await).await;
    }
    assert_eq!(
        spent(&world).iter().filter(|token| token.contains("-ann-")).count(),
        1,
        "asked once"
    );
    {
        let api = Api::program(&world.daemon, "owner").await;
        let accounts = own_accounts(&api, "ann").await;
        assert_eq!(accounts.len(), anns.len());
        for account in &accounts {
            let shown = (account["status"].as_str(), account["grant"]["reason"].as_str());
            assert_eq!(shown, (Some("FAILED"), Some("invalid_grant")));
            assert_eq!(account["grant"]["uses"]["parked"], 1, "those of this instance");
        }
        assert!(own_accounts(&api, "bob").await.iter().all(|account| account["status"] == "ACTIVE"));
    }
    // What waits survives a kill.
    world.daemon.kill();
    world.daemon.restart();
    let late = one_each(&world, "ann").await;
    let waiting = [anns, late].concat();
    for execution in &waiting {
        world.stands(execution, "parked").await;
    }
    let api = Api::program(&world.daemon, "owner").await;
    let link = own_accounts(&api, "ann").await[0]["authorizeUrl"].as_str().unwrap().to_owned();
    let html = consent(&world, &link, "ann").await;
    assert!(html.contains("CRM is connected for ann"), "{html}");
    all_succeed(&world, &waiting).await;
    assert!(own_accounts(&api, "ann").await.iter().all(|account| account["status"] == "ACTIVE"));
    assert_eq!(world.daemon.metric("perseat_executions_parked").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_connects_for_all_customers_and_gives_up_for_all() {
    let plan = Plan {
        with_tokens: &[],
        ..Plan::of("organization")
    };
    let world = start(&plan).await;
    let (anns, carls) = (one_each(&world, "ann").await, one_each(&world, "carl").await);
    for execution in anns.iter().chain(&carls) {
        world.stands(execution, "parked").await;
    }
    let query = "{ scopedConfigVariables(managedBy: \"org\") { nodes { id key stableKey description managedBy variableScope status customer { name } \
                 connection { key component { key } } authorizeUrl grant { status } } } }";
    let api = Api::program(&world.daemon, "owner").await;
    let shown = api.get(query, json!({})).await["nodes"].clone();
    let link = shown[0]["authorizeUrl"].as_str().unwrap().to_owned();
    let mut expected = shown[0].clone();
    expected["id"] = Value::Null;
    expected["authorizeUrl"] = Value::Null;
    assert_eq!(
        json!([expected]),
        json!([{
            "id": null, "key": "CRM", "stableKey": "crm", "description": "Where customers are kept", "managedBy": "ORG", "variableScope": "ORG",
            "status": "PENDING", "customer": null, "connection": { "key": "oauth2", "component": { "key": "http" } },
            "authorizeUrl": null, "grant": null
        }])
    );
    // Whoever may not manage integrations may not connect one for all, and a customer's people learn nothing of it.
    let guest = Api::program(&world.daemon, "guest").await;
    assert_eq!(guest.get(query, json!({})).await["nodes"][0]["authorizeUrl"], Value::Null);
    let body = json!({ "name": "c", "role": "admin", "organization": "Acme", "customer": "globex" });
    let customer = Api::with(&world.daemon, body).await;
    assert_eq!(customer.get(query, json!({})).await["nodes"], json!([]));
    consent(&world, &link, "company").await;
    all_succeed(&world, &[anns, carls].concat()).await;
    assert_eq!(taken(&world), BTreeSet::from(["access-company-1".to_owned()]));

    let instances = customer.get(CONFIGS, json!({})).await["nodes"].clone();
    let account = account_of(&instances[0]["configVariables"]).unwrap();
    assert_eq!(
        (&account["status"], &account["authorizeUrl"], &account["grant"]),
        (&json!("ACTIVE"), &Value::Null, &Value::Null),
        "that it works, and nothing of what others do with it"
    );
    let give_up = "mutation($id: ID) { disconnectConnection(input: {id: $id}) { instanceConfigVariable { status } errors { messages } } }";
    let refused = customer.ask(give_up, json!({ "id": account["id"] })).await;
    assert!(
        refused["data"]["disconnectConnection"]["errors"][0]["messages"].is_array(),
        "{refused}"
    );
    let gone = api.get(give_up, json!({ "id": account["id"] })).await;
    assert_eq!(gone["instanceConfigVariable"]["status"], "PENDING");
    world.provider.until("/revoke", 1).await;
    assert!(world.provider.chain("company").is_revoked, "the provider was told");
    for execution in &one_each(&world, "dora").await {
        world.stands(execution, "parked").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_execution_has_the_connection_of_another_customer_or_user() {
    // By customer: each one's own token, and whoever has none waits instead of getting another's.
    let plan = Plan {
        with_tokens: &["globex"],
        ..Plan::of("customer")
    };
    let world = start(&plan).await;
    let (anns, bobs, carls) = (
        one_each(&world, "ann").await,
        one_each(&world, "bob").await,
        one_each(&world, "carl").await,
    );
    all_succeed(&world, &[anns, bobs].concat()).await;
    for execution in &carls {
        world.stands(execution, "parked").await;
    }
    assert_eq!(spent(&world), ["refresh-globex-1"]);
    assert_eq!(taken(&world), BTreeSet::from(["access-globex-2".to_owned()]));

    // A customer's admin sees and connects its own alone.
    let query = "query($customer: ID!) { customerConfigVariables(customer: $customer) { nodes { id isTest status authorizeUrl customer { externalId } \
                 scopedConfigVariable { stableKey managedBy } grant { status } } } }";
    let api = Api::program(&world.daemon, "owner").await;
    let customers = api.get("{ customers { nodes { id externalId } } }", json!({})).await;
    let id_of = |name: &str| {
        let all = customers["nodes"].as_array().unwrap();
        all.iter().find(|one| one["externalId"] == name).unwrap()["id"].clone()
    };
    let admin = Api::with(
        &world.daemon,
        json!({ "name": "i", "role": "admin", "organization": "Acme", "customer": "initech" }),
    )
    .await;
    let own = admin.get(query, json!({ "customer": id_of("initech") })).await["nodes"].clone();
    assert_eq!(
        (&own[0]["status"], &own[0]["scopedConfigVariable"]["managedBy"], &own[0]["isTest"]),
        (&json!("PENDING"), &json!("CUSTOMER"), &json!(false))
    );
    let other = admin.ask(query, json!({ "customer": id_of("globex") })).await;
    assert!(other["data"].is_null() && other["errors"].is_array(), "{other}");
    consent(&world, own[0]["authorizeUrl"].as_str().unwrap(), "initech").await;
    all_succeed(&world, &carls).await;
    assert_eq!(taken(&world), ["access-globex-2", "access-initech-1"].map(str::to_owned).into());

    // By user: bob has none, though ann of the same customer has.
    let plan = Plan {
        with_tokens: &["ann", "carl"],
        ..Plan::of("user")
    };
    let world = start(&plan).await;
    let sent = [one_each(&world, "ann").await, one_each(&world, "carl").await].concat();
    let bobs = one_each(&world, "bob").await;
    all_succeed(&world, &sent).await;
    for execution in &bobs {
        world.stands(execution, "parked").await;
    }
    assert_eq!(taken(&world), ["access-ann-2", "access-carl-2"].map(str::to_owned).into());
    let api = Api::program(&world.daemon, "owner").await;
    assert!(own_accounts(&api, "bob").await.iter().all(|account| account["status"] == "PENDING"));
}

/// The test above has teeth: with a mutant that lends what somebody else has, an execution that should wait runs, as somebody else.
#[tokio::test(flavor = "multi_thread")]
async fn a_mutant_that_lends_another_users_connection_is_caught() {
    let plan = Plan {
        with_tokens: &["ann"],
        ..Plan::of("user")
    };
    let world = start(&plan).await;
    all_succeed(&world, &one_each(&world, "ann").await).await;
    for execution in &one_each(&world, "bob").await {
        world.stands(execution, "parked").await;
    }
    let before = world.provider.calls("/work").len();
    world.daemon.switch("lend-anybodys", true).await;
    let dora = one_each(&world, "dora").await;
    all_succeed(&world, &dora).await;
    let calls = world.provider.calls("/work");
    assert_eq!(calls.len(), before + dora.len());
    assert!(calls[before..].iter().all(|call| call.token.starts_with("access-ann-")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_the_organization_makes_for_each_customer_is_not_the_customers_to_make() {
    let plan = Plan {
        with_tokens: &["initech"],
        ..Plan::of("customerByOrganization")
    };
    let world = start(&plan).await;
    let query = "query($customer: ID!) { customerConfigVariables(customer: $customer) { nodes { status authorizeUrl } } }";
    let api = Api::program(&world.daemon, "owner").await;
    let customers = api.get("{ customers { nodes { id externalId } } }", json!({})).await;
    let globex = customers["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["externalId"] == "globex")
        .unwrap()["id"]
        .clone();
    let admin = Api::with(
        &world.daemon,
        json!({ "name": "g", "role": "admin", "organization": "Acme", "customer": "globex" }),
    )
    .await;
    let shown = admin.get(query, json!({ "customer": globex })).await;
    assert_eq!(shown["nodes"], json!([{ "status": "PENDING", "authorizeUrl": null }]));
    let link = api.get(query, json!({ "customer": globex })).await["nodes"][0]["authorizeUrl"].clone();
    let anns = one_each(&world, "ann").await;
    consent(&world, link.as_str().unwrap(), "globex").await;
    all_succeed(&world, &anns).await;
    assert_eq!(taken(&world), BTreeSet::from(["access-globex-1".to_owned()]));
}

/// A link by mail is the right to connect, so that it goes to nobody who has it not otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_connect_a_shared_connection_is_told_that_it_is_over() {
    for (sharing, told) in [("customerByOrganization", "olga@acme.example"), ("customer", "gus@globex.example")] {
        let office = PostOffice::open("starttls", &[]);
        let plan = Plan {
            keys: &[("notices.look", "20ms"), ("oauth.fresh", "1ms")],
            more_keys: office.keys().into(),
            more: ADMINS,
            ..Plan::of(sharing)
        };
        let world = start(&plan).await;
        world.provider.revoke("globex");
        one_each(&world, "ann").await;
        assert_eq!(office.next()["to"], json!([told]), "{sharing}");
    }
}

/// Why manifests are refused.
async fn refused(world: &World, yaml: &str) -> String {
    let manifests = read_text(yaml, Path::new("manifests.yml"), &|_| None).unwrap();
    let body = ApplyBody {
        manifests,
        options: ApplyOptions::default(),
    };
    let applied = world.daemon.local(Method::POST, "/apply", Some(json!(body))).await;
    applied.unwrap_err().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_shared_so_is_refused_where_it_is_declared() {
    let world = start(&Plan::of("user")).await;
    let same = manifests(&Plan::of("user"), &world.provider);
    // A manifest that is applied again changes nothing.
    let plan = world.daemon.apply(&same).await;
    let lines = plan["lines"].as_array().unwrap();
    assert!(lines.iter().all(|line| line["action"] == "unchanged"), "{plan}");
    for (from, to, told) in [
        ("sharing: user", "sharing: organization", "sharing"),
        ("user: ann\ntoken", "token", "takes values of a user alone"),
        ("connection: oauth2\n", "connection: oauth9\n", "has no connection `oauth9`"),
        ("  clientId: ", "  clientIdd: ", "does not know the input `clientIdd`"),
        (
            "configVars: {Folder: /ann}",
            "configVars: {Folder: /ann, Account: {fields: {}}}",
            "is the shared connection `crm`",
        ),
    ] {
        let yaml = same.replacen(from, to, 1);
        assert_ne!(yaml, same, "{from}");
        let message = refused(&world, &yaml).await;
        assert!(message.contains(told), "{to}: {message}");
    }
    let elsewhere = same.replacen(
        "user: ann\ntoken",
        "user: ann\nfields: {tokenUrl: \"http://127.0.0.1:1/\"}\ntoken",
        1,
    );
    assert!(refused(&world, &elsewhere).await.contains("is for the organization to give"));
    let unknown = same.replace("useScopedConfigVar: crm", "useScopedConfigVar: crn");
    assert!(refused(&world, &unknown).await.contains("which is not declared"));
}
