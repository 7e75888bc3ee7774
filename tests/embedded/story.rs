//! What happened to a connection, on the page of whoever has it.

use crate::harness::api::Api;
use crate::harness::browser::Browser;
use crate::harness::daemon::Setup;
use crate::harness::oauth::{Manner, Oauth};
use crate::harness::within;
use crate::world::World;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) const CLOUD: &str = "definitionVersion: 7
name: Cloud
description: By consent
endpointType: flow_specific
requiredConfigVars:
  - key: Account
    stableKey: account
    dataType: connection
    connection: {key: oauth2, component: {key: http, isPublic: true, version: LATEST}}
    inputs:
      authorizeUrl: {type: value, value: 'PROVIDER/authorize'}
      tokenUrl: {type: value, value: 'PROVIDER/token'}
      clientId: {type: value, value: the-client}
      clientSecret: {type: value, value: the-client-secret}
configPages:
  - {name: You, userLevelConfigured: true, elements: [{type: configVar, value: Account}]}
flows:
  - name: Main
    stableKey: main
    description: ''
    endpointSecurityType: unsecured
    steps:
      - name: Trigger
        stableKey: main-trigger
        isTrigger: true
        action: {key: webhook, component: {key: webhook-triggers, isPublic: true, version: LATEST}}
        inputs: {}
      - name: Read
        stableKey: main-read
        action: {key: httpGet, component: {key: http, isPublic: true, version: LATEST}}
        inputs:
          url: {type: value, value: 'PROVIDER/work'}
          connection: {type: configVar, value: Account}
";

#[tokio::test(flavor = "multi_thread")]
async fn a_user_sees_what_happened_to_their_connection_and_no_execution() {
    let provider = Oauth::start(Manner::default()).await;
    let world = World::start_as(Setup::new().allow(&[provider.address()])).await;
    let cloud = world.offer(&CLOUD.replace("PROVIDER", &provider.url(""))).await;
    let (admin, bob) = (world.person("globex", "ada", "admin"), world.person("globex", "bob", "user"));
    assert_eq!(admin.activate(&cloud, &[("name", "Cloud")]).await.status, 200);
    let path = format!("/embedded/view/instance/{}/mine", world.instance("Cloud").await);
    let saved = bob.send(&path, &[]).await;
    assert!(!saved.html.contains("class=\"story\""), "nothing has happened yet: {}", saved.html);
    consent(&provider, &connect_link(&saved.html), "bob").await;
    let page = bob.get(&path).await.html;
    for part in ["class=\"story\"", "It is renewed by itself", "data-what=\"ISSUED\"", "Issued"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("Last used"), "{page}");

    let urls = "{ instances { nodes { userLevelConfigs { nodes { id flowConfigs { nodes { webhookUrl } } } } } } }";
    let found = world.api().get(urls, json!({})).await;
    let config = &found["nodes"][0]["userLevelConfigs"]["nodes"][0];
    let hook = config["flowConfigs"]["nodes"][0]["webhookUrl"].as_str().unwrap();
    let execution = world.daemon.post(hook, &[], "{}").await.json()["executionId"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut look = tokio::time::interval(Duration::from_millis(20));
    let used = within("the page says that it was used", async {
        loop {
            look.tick().await;
            let page = bob.get(&path).await.html;
            if page.contains("Last used") {
                return page;
            }
        }
    });
    assert!(!used.await.contains(&execution), "a user sees no executions");
    let listed = bob.get("/embedded/view/connections").await.html;
    for part in [
        "Cloud: Account",
        "Last used",
        "It is renewed by itself",
        "data-status=\"ACTIVE\"",
        "Reconnect",
        "data-what=\"ISSUED\"",
    ] {
        assert!(listed.contains(part), "{part}: {listed}");
    }
    assert!(!listed.contains(&execution), "{listed}");
    let query = "query ($i: ID!) { userLevelConfig(id: $i) { configVariables { nodes { grant { uses { lastUsedAt lastExecution } } } } } }";
    let seen_by = |token: String| {
        let (daemon, id) = (&world.daemon, config["id"].clone());
        async move {
            let answer = Api::holder_of(daemon, &token).get(query, json!({ "i": id })).await;
            answer["configVariables"]["nodes"][0]["grant"]["uses"].clone()
        }
    };
    let seen = seen_by(bob.token.clone()).await;
    assert!(seen["lastUsedAt"].is_string() && seen["lastExecution"].is_null(), "{seen}");
    assert_eq!(
        world.api().get(query, json!({ "i": config["id"] })).await["configVariables"]["nodes"][0]["grant"]["uses"]["lastExecution"],
        execution
    );
}

/// The address behind the connect button of a page.
pub(crate) fn connect_link(html: &str) -> String {
    let link = html.split("href=\"").find(|rest| rest.contains("oauth2")).unwrap();
    link.split('"').next().unwrap().replace("&#x2f;", "/").replace("&amp;", "&")
}

/// Consents as somebody where this link leads.
pub(crate) async fn consent(provider: &Oauth, link: &str, account: &str) {
    let mut browser = Browser::new(&[]);
    let asked: BTreeMap<String, String> = browser.agree(link).await.location().query_pairs().into_owned().collect();
    let code = provider.consent(account, asked.clone());
    let mut back: url::Url = asked["redirect_uri"].parse().unwrap();
    back.query_pairs_mut()
        .append_pair("state", &asked["state"])
        .append_pair("code", &code);
    assert_eq!(browser.open(back.as_str()).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_shared_connection_is_connected_once_for_all_their_integrations() {
    let provider = Oauth::start(Manner::default()).await;
    let world = World::start_as(Setup::new().allow(&[provider.address()])).await;
    let url = provider.url("");
    let declared = format!(
        "kind: SharedConnection\nname: CRM\nstableKey: crm\nsharing: user\ncomponent: http\nconnection: oauth2\nfields:\n  \
         authorizeUrl: {url}/authorize\n  tokenUrl: {url}/token\n  clientId: the-client\n  clientSecret: the-client-secret\n"
    );
    world.daemon.apply(&declared).await;
    let inline = CLOUD.find("    connection: {key: oauth2").unwrap();
    let pages = CLOUD.find("configPages:").unwrap();
    let cloud = format!("{}    useScopedConfigVar: crm\n{}", &CLOUD[..inline], &CLOUD[pages..]).replace("PROVIDER", &url);
    let admin = world.person("globex", "ada", "admin");
    let (bob, cleo) = (world.person("globex", "bob", "user"), world.person("globex", "cleo", "user"));
    let mut paths = Vec::new();
    for name in ["Cloud", "Sky"] {
        let id = world.offer(&cloud.replace("name: Cloud", &format!("name: {name}"))).await;
        assert_eq!(admin.activate(&id, &[("name", name)]).await.status, 200);
        paths.push(format!("/embedded/view/instance/{}/mine", world.instance(name).await));
    }
    let before = bob.get(&paths[0]).await.html;
    assert!(before.contains("data-status=\"PENDING\""), "{before}");
    let saved = bob.send(&paths[0], &[]).await;
    assert_eq!(saved.status, 200, "{}", saved.html);
    consent(&provider, &connect_link(&saved.html), "bob").await;
    for path in &paths {
        let page = bob.get(path).await.html;
        assert!(
            page.contains("data-status=\"ACTIVE\"") && !page.contains("data-status=\"PENDING\""),
            "{page}"
        );
        let other = cleo.get(path).await.html;
        assert!(
            other.contains("data-status=\"PENDING\"") && !other.contains("data-status=\"ACTIVE\""),
            "{other}"
        );
    }
    // The other integration asks for no second consent.
    let saved = bob.send(&paths[1], &[]).await;
    assert!(saved.html.contains("perseat.savedMine"), "{}", saved.html);
    let listed = bob.get("/embedded/view/connections").await.html;
    for part in ["Cloud: Account", "Sky: Account", "data-status=\"ACTIVE\"", "Reconnect"] {
        assert!(listed.contains(part), "{part}: {listed}");
    }
    assert!(!listed.contains("data-status=\"PENDING\""), "{listed}");
}
