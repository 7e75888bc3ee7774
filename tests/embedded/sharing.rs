//! Shared connections without a consent: whoever shares one gives it on any page that uses it, once for all of them.

use crate::harness::api::Api;
use crate::harness::daemon::Setup;
use crate::harness::provider::{Manner, Provider, Record};
use crate::harness::within;
use crate::story::CLOUD;
use crate::world::{Person, World};
use http::Method;
use serde_json::json;
use std::time::Duration;

const NAMES: [&str; 2] = ["Cloud", "Sky"];

/// What the organization gives of a key that is sent in a header.
const BY_KEY: &str = "connection: apiKey\nfields:\n  headerName: x-crm-key\n";

/// Two integrations of one customer that use the shared connection, on pages of this level; the instances' ids.
async fn ready(provider: &Provider, sharing: &str, declared: &str, is_user_level: bool) -> (World, Vec<String>) {
    let world = World::start_as(Setup::new().allow(&[provider.address()])).await;
    let head = "kind: SharedConnection\nname: CRM\nstableKey: crm\ncomponent: http\n";
    world.daemon.apply(&format!("{head}sharing: {sharing}\n{declared}")).await;
    let (inline, pages) = (
        CLOUD.find("    connection: {key: oauth2").unwrap(),
        CLOUD.find("configPages:").unwrap(),
    );
    let cloud = format!("{}    useScopedConfigVar: crm\n{}", &CLOUD[..inline], &CLOUD[pages..]).replace("PROVIDER", &provider.url(""));
    let cloud = cloud.replace("userLevelConfigured: true", &format!("userLevelConfigured: {is_user_level}"));
    let admin = world.person("globex", "ada", "admin");
    let mut instances = Vec::new();
    for name in NAMES {
        let id = world.offer(&cloud.replace("name: Cloud", &format!("name: {name}"))).await;
        assert_eq!(admin.activate(&id, &[("name", name)]).await.status, 200);
        instances.push(world.instance(name).await);
    }
    (world, instances)
}

/// Posts to the one flow of somebody's configuration of an instance, or of the instance.
async fn post(world: &World, instance: &str, user: Option<&str>) -> String {
    let query = "query ($i: ID!) { instance(id: $i) { flowConfigs { nodes { webhookUrl } } userLevelConfigs { nodes { user { name } flowConfigs { nodes { webhookUrl } } } } } }";
    let found = world.api().get(query, json!({ "i": instance })).await;
    let configs = found["userLevelConfigs"]["nodes"].as_array().unwrap();
    let holder = match user {
        Some(user) => configs.iter().find(|config| config["user"]["name"] == user).unwrap(),
        None => &found,
    };
    let url = holder["flowConfigs"]["nodes"][0]["webhookUrl"].as_str().unwrap();
    let answer = world.daemon.post(url, &[], "{}").await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    answer.json()["executionId"].as_str().unwrap().to_owned()
}

/// Waits until an execution has this status.
async fn until(world: &World, execution: &str, status: &str) {
    let mut look = tokio::time::interval(Duration::from_millis(10));
    let target = format!("/executions/{execution}");
    within(&format!("{execution} is {status}"), async {
        while world.daemon.local(Method::GET, &target, None).await.unwrap()["status"] != status {
            look.tick().await;
        }
    })
    .await;
}

/// The keys that the provider saw, in order.
async fn keys(provider: &Provider, count: usize) -> Vec<String> {
    let records = provider.until(count).await;
    let key = |record: &Record| record.headers["x-crm-key"].to_str().unwrap().to_owned();
    records.iter().map(key).collect()
}

async fn standing(person: &Person<'_>, path: &str) -> &'static str {
    let page = person.get(path).await;
    assert_eq!(page.status, 200, "{}", page.html);
    let has = |status: &str| page.html.contains(&format!("data-status=\"{status}\""));
    match (has("ACTIVE"), has("PENDING")) {
        (true, false) => "ACTIVE",
        (false, true) => "PENDING",
        _ => panic!("{}", page.html),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_gives_a_shared_connection_on_one_page_and_has_it_on_all() {
    let provider = Provider::start().await;
    provider.set(Manner::Answer);
    let (world, instances) = ready(&provider, "user", BY_KEY, true).await;
    let (bob, cleo) = (world.person("globex", "bob", "user"), world.person("globex", "cleo", "user"));
    let mine = instances
        .iter()
        .map(|instance| format!("/embedded/view/instance/{instance}/mine"))
        .collect::<Vec<_>>();
    let page = bob.get(&mine[0]).await;
    assert!(
        page.html.contains("input:account:apiKey") && !page.html.contains("headerName"),
        "what the organization gives is not asked for: {}",
        page.html
    );
    for (person, key) in [(&bob, "key-of-bob"), (&cleo, "key-of-cleo")] {
        let saved = person.send(&mine[0], &[("input:account:apiKey", key)]).await;
        assert!(saved.html.contains("perseat.savedMine"), "{}", saved.html);
        let saved = person.send(&mine[1], &[]).await;
        assert!(saved.html.contains("perseat.savedMine"), "{}", saved.html);
        for path in &mine {
            let page = person.get(path).await;
            assert!(page.html.contains("perseat.stored") && !page.html.contains(key), "{}", page.html);
            assert_eq!(standing(person, path).await, "ACTIVE");
        }
    }
    post(&world, &instances[0], Some("bob")).await;
    assert_eq!(keys(&provider, 1).await, ["key-of-bob"]);
    post(&world, &instances[1], Some("bob")).await;
    assert_eq!(keys(&provider, 2).await[1], "key-of-bob");
    post(&world, &instances[1], Some("cleo")).await;
    assert_eq!(keys(&provider, 3).await[2], "key-of-cleo");

    // What is not asked for is not taken by the API either, nor anything from somebody else.
    let configs = "query ($i: ID!) { instance(id: $i) { userLevelConfigs { nodes { id user { name } } } } }";
    let found = world.api().get(configs, json!({ "i": instances[0] })).await;
    let configs = found["userLevelConfigs"]["nodes"].as_array().unwrap();
    let config = &configs.iter().find(|config| config["user"]["name"] == "bob").unwrap()["id"];
    let update = "mutation ($i: ID!, $v: String) { updateUserLevelConfig(input: {id: $i, configVariables: [{key: \"Account\", values: $v}]}) { userLevelConfig { id } errors { messages } } }";
    for (who, input, refusal) in [
        (&bob, "headerName", "is for the organization to give"),
        (&bob, "headers", "is for the organization to give"),
        (&cleo, "apiKey", "There is no such user configuration"),
    ] {
        let values = json!([{ "name": input, "type": "value", "value": "x-other" }]).to_string();
        let answer = Api::holder_of(&world.daemon, &who.token)
            .ask(update, json!({ "i": config, "v": values }))
            .await;
        assert!(answer.to_string().contains(refusal), "{input}: {answer}");
    }
    post(&world, &instances[0], Some("bob")).await;
    assert_eq!(keys(&provider, 4).await[3], "key-of-bob");

    // Another one counts at once, wherever it is used.
    bob.send(&mine[1], &[("input:account:apiKey", "another-of-bob")]).await;
    post(&world, &instances[0], Some("bob")).await;
    assert_eq!(keys(&provider, 5).await[4], "another-of-bob");

    // Taken back on one page, it is gone from all; the next one lets go on what waited.
    let question = bob
        .get(&bob.get(&mine[0]).await.target("href", "mine/disconnect?connection=account"))
        .await;
    let done = bob
        .send(&question.target("action", "/mine/disconnect?connection=account"), &[])
        .await;
    assert!(done.html.contains("Disconnected here."), "{}", done.html);
    assert_eq!(standing(&bob, &mine[1]).await, "PENDING");
    assert_eq!(standing(&cleo, &mine[1]).await, "ACTIVE");
    let waits = post(&world, &instances[1], Some("bob")).await;
    until(&world, &waits, "parked").await;
    bob.send(&mine[0], &[("input:account:apiKey", "last-of-bob")]).await;
    assert_eq!(keys(&provider, 6).await[5], "last-of-bob");
    until(&world, &waits, "succeeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customers_shared_connection_is_its_admins_to_give_unless_the_organization_does() {
    for (sharing, is_theirs) in [("customer", true), ("customerByOrganization", false)] {
        let provider = Provider::start().await;
        provider.set(Manner::Answer);
        let (world, instances) = ready(&provider, sharing, BY_KEY, false).await;
        let admin = world.person("globex", "ada", "admin");
        let paths = instances
            .iter()
            .map(|instance| format!("/embedded/view/instance/{instance}/configure"))
            .collect::<Vec<_>>();
        let page = admin.get(&paths[0]).await;
        assert_eq!(page.html.contains("input:account:apiKey"), is_theirs, "{}", page.html);
        assert_eq!(page.html.contains("perseat.shared"), !is_theirs, "{}", page.html);
        let saved = admin.send(&paths[0], &[("input:account:apiKey", "key-of-globex")]).await;
        assert_eq!(saved.status, 200, "{}", saved.html);
        if is_theirs {
            assert_eq!(standing(&admin, &paths[1]).await, "ACTIVE");
            post(&world, &instances[1], None).await;
            assert_eq!(keys(&provider, 1).await, ["key-of-globex"]);
        } else {
            assert_eq!(standing(&admin, &paths[1]).await, "PENDING");
        }
        // By the API neither: whoever may not give it on a page may not give it at all.
        let update = "mutation ($i: ID!, $v: String) { updateInstance(input: {id: $i, configVariables: [{key: \"Account\", values: $v}]}) { instance { id } errors { field messages } } }";
        let values = json!([{ "name": "apiKey", "type": "value", "value": "by-the-api" }]).to_string();
        let api = Api::holder_of(&world.daemon, &admin.token);
        let answer = api.ask(update, json!({ "i": instances[0], "v": values })).await;
        let errors = answer["data"]["updateInstance"]["errors"].as_array().unwrap();
        assert_eq!(errors.is_empty(), is_theirs, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_acts_for_itself_is_given_and_taken_back_where_the_organization_has_none() {
    let provider = Provider::start().await;
    let token_url = provider.url("/token");
    for (declared, is_asked) in [
        (
            format!("connection: oauth2ClientCredentials\nfields:\n  tokenUrl: {token_url}\n"),
            true,
        ),
        (
            format!(
                "connection: oauth2ClientCredentials\nfields:\n  tokenUrl: {token_url}\n  clientId: ours\n  clientSecret: ours-alone\n"
            ),
            false,
        ),
    ] {
        let (world, instances) = ready(&provider, "user", &declared, true).await;
        let bob = world.person("globex", "bob", "user");
        let mine = format!("/embedded/view/instance/{}/mine", instances[0]);
        let page = bob.get(&mine).await;
        assert_eq!(page.html.contains("input:account:clientSecret"), is_asked, "{}", page.html);
        if !is_asked {
            continue;
        }
        let client = [("input:account:clientId", "bobs"), ("input:account:clientSecret", "secret-of-bob")];
        assert_eq!(bob.send(&mine, &client).await.status, 200);
        let page = bob.get(&mine).await;
        assert!(
            page.html.contains("perseat.stored") && !page.html.contains("secret-of-bob"),
            "{}",
            page.html
        );
        let question = bob.get(&page.target("href", "mine/disconnect?connection=account")).await;
        let done = bob
            .send(&question.target("action", "/mine/disconnect?connection=account"), &[])
            .await;
        assert!(
            done.html.contains("Disconnected here.") && !done.html.contains("perseat.stored"),
            "{}",
            done.html
        );
    }
}
