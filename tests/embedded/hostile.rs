//! Tokens that name their own key, another customer's ids, frames within frames, and what a provider says of a connection.

use crate::harness::api::Api;
use crate::harness::browser::Browser;
use crate::harness::daemon::Setup;
use crate::harness::oauth::{Manner, Oauth};
use crate::harness::within;
use crate::refusals::evil;
use crate::story::CLOUD;
use crate::world::{HOST, World, files};
use http::Method;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use perseat_admin::identity::keys::SigningPair;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

const LIST: &str = "/embedded/view/marketplace";

#[tokio::test]
async fn no_header_of_a_token_chooses_its_key_or_its_algorithm() {
    let world = World::start(HOST).await;
    let claims = world.claims("globex", "ada", "admin");
    let mallory = SigningPair::generate().unwrap();
    let own = EncodingKey::from_rsa_pem(mallory.private_key.as_bytes()).unwrap();
    let named = |algorithm: Algorithm, kid: &str| {
        let mut header = Header::new(algorithm);
        header.kid = Some(kid.to_owned());
        header
    };
    let mut refused = Vec::new();
    for algorithm in [
        Algorithm::HS256,
        Algorithm::HS384,
        Algorithm::HS512,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
    ] {
        refused.push((format!("{algorithm:?}"), world.signed_as(&Header::new(algorithm), &claims)));
    }
    for kid in [
        "../../../../../../dev/null",
        "/dev/null",
        "' UNION SELECT 'x",
        "https://evil.example/key.pem",
        "",
    ] {
        refused.push((
            format!("another's key as {kid}"),
            encode(&named(Algorithm::RS256, kid), &claims, &own).unwrap(),
        ));
        let empty = EncodingKey::from_secret(b"");
        refused.push((
            format!("no key as {kid}"),
            encode(&named(Algorithm::HS256, kid), &claims, &empty).unwrap(),
        ));
    }
    let mut header = Header::new(Algorithm::RS256);
    (header.jku, header.x5u) = (Some("https://evil.example/keys".into()), Some("https://evil.example/chain".into()));
    refused.push(("keys from an address".into(), encode(&header, &claims, &own).unwrap()));
    let mut header = Header::new(Algorithm::HS256);
    header.jwk = Some(serde_json::from_value(json!({ "kty": "oct", "k": "bWluZQ" })).unwrap());
    refused.push((
        "a key that it brings".into(),
        encode(&header, &claims, &EncodingKey::from_secret(b"mine")).unwrap(),
    ));
    let good = world.signed(&claims);
    let parts: Vec<&str> = good.split('.').collect();
    for none in [
        "eyJhbGciOiJub25lIn0",
        "eyJhbGciOiJOb25lIn0",
        "eyJhbGciOiJOT05FIn0",
        "eyJhbGciOiIifQ",
        "e30",
    ] {
        for signature in ["", parts[2]] {
            refused.push((format!("{none} {signature}"), format!("{none}.{}.{signature}", parts[1])));
        }
    }
    for (what, token) in refused {
        let asked = Api::holder_of(&world.daemon, &token)
            .ask("{ authenticatedUser { id } }", json!({}))
            .await;
        assert!(
            asked["data"].is_null() && asked["errors"][0]["message"].is_string(),
            "{what}: {asked}"
        );
        assert_eq!(world.holder(token).get(LIST).await.status, 401, "{what}");
    }
    let strange = world.signed_as(&named(Algorithm::RS256, "/dev/null"), &claims);
    assert_eq!(
        world.holder(strange).get(LIST).await.status,
        200,
        "what a header names is not looked at"
    );
}

/// `instance` and `userLevelConfig` of globex by the ids that a token of another customer may have got hold of.
const BY_ID: [(&str, &str); 6] = [
    ("instance", "query ($i: ID!) { found: instance(id: $i) { id name } }"),
    (
        "instance",
        "mutation ($i: ID!) { found: deleteInstance(input: {id: $i}) { instance { id } errors { messages } } }",
    ),
    ("config", "query ($i: ID!) { found: userLevelConfig(id: $i) { id } }"),
    (
        "config",
        "mutation ($i: ID!) { found: deleteUserLevelConfig(input: {id: $i}) { userLevelConfig { id } errors { messages } } }",
    ),
    (
        "config",
        "mutation ($i: ID!) { found: updateUserLevelConfig(input: {id: $i, configVariables: [{key: \"Folder\", value: \"taken\"}]}) { userLevelConfig { id } errors { messages } } }",
    ),
    (
        "connection",
        "mutation ($i: ID!) { found: disconnectUserLevelConnection(input: {id: $i}) { userLevelConfigVariable { id } errors { messages } } }",
    ),
];

#[tokio::test]
async fn a_token_of_another_customer_is_of_no_use_for_this_ones_ids() {
    let world = World::start(HOST).await;
    let cloud = world.offer(&CLOUD.replace("PROVIDER", "https://provider.example")).await;
    let (ada, bob) = (world.person("globex", "ada", "admin"), world.person("globex", "bob", "user"));
    assert_eq!(ada.activate(&cloud, &[("name", "Cloud")]).await.status, 200);
    let instance = world.instance("Cloud").await;
    let mine = format!("/embedded/view/instance/{instance}/mine");
    assert_eq!(bob.send(&mine, &[]).await.status, 200);
    let query = "{ instances { nodes { name userLevelConfigs { nodes { id configVariables { nodes { id status } } } } } } }";
    let all = world.api().get(query, json!({})).await;
    let config = &all["nodes"][0]["userLevelConfigs"]["nodes"][0];
    let ids = json!({ "instance": instance, "config": config["id"], "connection": config["configVariables"]["nodes"][0]["id"] });
    // The same subjects and names as globex's, of another customer.
    for (user, role) in [("ada", "admin"), ("bob", "user"), ("mallory", "admin")] {
        let other = world.person("initech", user, role);
        let api = Api::holder_of(&world.daemon, &other.token);
        for (of, query) in BY_ID {
            let answer = api.ask(query, json!({ "i": ids[of] })).await;
            let found = &answer["data"]["found"];
            let is_refused = answer["errors"][0]["message"].is_string() || found["errors"][0]["messages"].is_array();
            let inner = found.as_object().into_iter().flatten().filter(|(name, _)| *name != "errors");
            let is_empty = found.is_null() || found["errors"].is_array() && inner.into_iter().all(|(_, value)| value.is_null());
            assert!(is_empty && (is_refused || found.is_null()), "{user}: {query}: {answer}");
            assert!(!answer.to_string().contains("Unknown "), "the query is one: {answer}");
        }
        assert_eq!(other.get(&mine).await.status, 404);
        assert_eq!(other.send(&mine, &[]).await.status, 404);
    }
    assert_eq!(world.api().get(query, json!({})).await, all, "nothing was changed");
    // By the same words bob reaches what is his.
    let api = Api::holder_of(&world.daemon, &bob.token);
    let answer = api.ask(BY_ID[2].1, json!({ "i": ids["config"] })).await;
    assert_eq!(answer["data"]["found"]["id"], ids["config"], "{answer}");
}

#[tokio::test]
async fn no_fragment_stands_in_a_frame_or_runs_anything() {
    let world = World::start(HOST).await;
    let integration = world.offer(&files()).await;
    let admin = world.person("globex", "ada", "admin");
    let made = admin.activate(&integration, &[("name", "Files"), ("value:address", "x")]).await;
    assert_eq!(made.status, 200, "{}", made.html);
    let instance = world.instance("Files").await;
    let (detail, of) = (format!("/embedded/view/integration/{integration}"), |end: &str| {
        format!("/embedded/view/instance/{instance}/{end}")
    });
    let bearer = format!("Bearer {}", admin.token);
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    for (method, path, status) in [
        (Method::GET, LIST.to_owned(), 200),
        (Method::GET, "/embedded/view/logs".to_owned(), 200),
        (Method::GET, "/embedded/view/dashboard".to_owned(), 200),
        (Method::GET, "/embedded/view/connections".to_owned(), 200),
        (Method::GET, detail.clone(), 200),
        (Method::GET, format!("{detail}/activate"), 200),
        (Method::GET, of("configure"), 200),
        (Method::GET, of("mine"), 200),
        (Method::GET, of("remove"), 200),
        (Method::GET, of("disconnect?connection=none"), 404),
        (Method::GET, of("mine/disconnect?connection=account"), 404),
        (Method::POST, of("mine"), 422),
        (Method::POST, of("configure"), 422),
        (Method::GET, "/embedded/view/find".to_owned(), 404),
        (Method::POST, of("remove"), 200),
    ] {
        let answer = world
            .daemon
            .send(method, &world.url(&path), &headers, "value%3Aaddress=&value%3Afolder=")
            .await;
        assert_eq!(answer.status, status, "{path}: {:?}", answer.body);
        let header = |name: &str| answer.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        let policy = header("content-security-policy");
        assert_eq!(
            policy.as_deref(),
            Some("default-src 'none'; frame-ancestors 'none'; sandbox"),
            "{path}"
        );
        assert_eq!(header("x-content-type-options").as_deref(), Some("nosniff"), "{path}");
        assert_eq!(header("cache-control").as_deref(), Some("no-store"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_names_nor_a_providers_words_become_markup_where_a_connection_is_shown() {
    let quoted = |name: &str| serde_json::to_string(&evil(name)).unwrap();
    let provider = Oauth::start(Manner::default()).await;
    let world = World::start_as(Setup::new().allow(&[provider.address()]).set("oauth.fresh", "1ms")).await;
    let definition = CLOUD
        .replace("PROVIDER", &provider.url(""))
        .replace("name: Cloud", &format!("name: {}", quoted("cloud")))
        .replace("key: Account\n", &format!("key: {}\n", quoted("account")))
        .replace("value: Account}", &format!("value: {}}}", quoted("account")));
    let cloud = world.offer(&definition).await;
    let admin = world.person("globex", "ada", "admin");
    let mut claims = world.claims("globex", "bob", "user");
    claims.name = Some(evil("bob"));
    let bob = world.holder(world.signed(&claims));
    assert_eq!(admin.activate(&cloud, &[("name", "Cloud")]).await.status, 200);
    let path = format!("/embedded/view/instance/{}/mine", world.instance("Cloud").await);
    let saved = bob.send(&path, &[]).await;
    let link = saved.html.split("href=\"").find(|rest| rest.contains("oauth2")).unwrap();
    let link = link.split('"').next().unwrap().replace("&#x2f;", "/").replace("&amp;", "&");

    let mut browser = Browser::new(&[]);
    let question = browser.open(&link).await;
    let sent = browser.submit(&question, "/oauth2/authorize", &[]).await;
    let asked: BTreeMap<String, String> = sent.location().query_pairs().into_owned().collect();
    let code = provider.consent("bob", asked.clone());
    let mut back: url::Url = asked["redirect_uri"].parse().unwrap();
    back.query_pairs_mut()
        .append_pair("state", &asked["state"])
        .append_pair("code", &code);
    let done = browser.open(back.as_str()).await;
    assert_eq!(done.status, 200, "{}", done.html);
    for (name, html) in ["cloud", "bob"]
        .iter()
        .flat_map(|name| [(name, &question.html), (name, &done.html)])
    {
        assert!(html.contains(&format!("{name}&#x27;&quot;&gt;&lt;img")), "{name}: {html}");
    }

    let urls = "{ instances { nodes { userLevelConfigs { nodes { flowConfigs { nodes { webhookUrl } } } } } } }";
    let found = world.api().get(urls, json!({})).await;
    let hook = found["nodes"][0]["userLevelConfigs"]["nodes"][0]["flowConfigs"]["nodes"][0]["webhookUrl"].clone();
    let send = async || world.daemon.post(hook.as_str().unwrap(), &[], "{}").await.status;
    provider.end_access("bob");
    provider.change(|manner| manner.complaint = Some("oops'\"><img src=x onerror=alert(1)><script>alert(1)</script>"));
    assert_eq!(send().await, 200);
    let shown = seen(&bob, &path, "oops&#x27;&quot;&gt;&lt;img src=x onerror=alert(1)&gt;&lt;script&gt;").await;
    for html in [&saved.html, &question.html, &done.html, &shown] {
        for raw in ["<script", "<img", "onerror=alert(1)>"] {
            assert!(!html.contains(raw), "{raw} in {html}");
        }
    }
}

#[tokio::test]
async fn a_form_with_fields_without_end_is_refused_and_others_are_answered() {
    let world = World::start(HOST).await;
    let files = world.offer(&files()).await;
    let admin = world.person("globex", "ada", "admin");
    let named = [("name", "Files"), ("value:address", "https://files.example")];
    let with = |more: usize| [named.to_vec(), vec![("", ""); more]].concat();
    let refused = admin.activate(&files, &with(9_999)).await;
    assert_eq!((refused.status, refused.html.as_str()), (413, "The form has too many fields."));
    assert_eq!(world.person("globex", "eve", "user").get(LIST).await.status, 200);
    assert_eq!(admin.activate(&files, &with(9_998)).await.status, 200);
}

/// The page of a connection, once it says this.
async fn seen(person: &crate::world::Person<'_>, path: &str, says: &str) -> String {
    let mut look = tokio::time::interval(Duration::from_millis(20));
    within("the page says what the provider said", async {
        loop {
            look.tick().await;
            let page = person.get(path).await.html;
            if page.contains(says) {
                return page;
            }
        }
    })
    .await
}
