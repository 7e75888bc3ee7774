//! Strangers, other origins, forged tokens, and text that would like to be a script.

use crate::harness::api::Api;
use crate::harness::within;
use crate::world::{HOST, World, files, now, plain};
use http::Method;
use perseat_admin::identity::embedded::Claims;
use perseat_admin::identity::keys::SigningPair;
use serde_json::json;

const LIST: &str = "/embedded/view/marketplace";

#[tokio::test]
async fn only_a_token_of_this_organization_and_of_now_shows_anything() {
    let world = World::start(HOST).await;
    world.offer(&files()).await;
    let claims = world.claims("globex", "ada", "admin");
    let good = world.signed(&claims);
    assert_eq!(world.holder(good.clone()).get(LIST).await.status, 200);
    let with = |change: fn(&mut Claims)| {
        let mut claims = claims.clone();
        change(&mut claims);
        world.signed(&claims)
    };
    let forged = claims.sign(SigningPair::generate().unwrap().private_key.as_bytes()).unwrap();
    let (head, signature) = good.rsplit_once('.').unwrap();
    let payload = head.split('.').nth(1).unwrap();
    let refused = [
        ("expired", with(|claims| (claims.iat, claims.exp) = (now() - 700, now() - 100))),
        ("too long", with(|claims| claims.exp = now() + 48 * 3_600)),
        (
            "another organization",
            with(|claims| claims.organization = "T3JnYW5pemF0aW9uOjAwMDAwMDAwLTAwMDAtMDAwMC0wMDAwLTAwMDAwMDAwMDAwMQ==".into()),
        ),
        ("another role", with(|claims| claims.role = Some("owner".into()))),
        ("forged", forged),
        ("unsigned", format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{payload}.")),
        ("changed", format!("{head}.{}", signature.chars().rev().collect::<String>())),
        ("empty", String::new()),
    ];
    for (what, token) in refused {
        let asked = Api::holder_of(&world.daemon, &token)
            .ask("{ authenticatedUser { id } }", json!({}))
            .await;
        assert!(
            asked["data"].is_null() && asked["errors"][0]["message"].is_string(),
            "{what}: {asked}"
        );
        let nobody = world.holder(token);
        for path in [LIST, "/embedded/view/find?integrationName=Files", "/embedded/authenticate"] {
            let shown = match path {
                "/embedded/authenticate" => nobody.send(path, &[]).await,
                path => nobody.get(path).await,
            };
            assert_eq!(shown.status, 401, "{what} {path}: {}", shown.html);
            assert!(!shown.html.contains("Keeps files"), "{what}: {}", shown.html);
        }
    }
    assert_eq!(world.open(LIST).await.status, 401);
    let ours = world.holder(world.api().bearer().trim_start_matches("Bearer ").to_owned());
    let shown = ours.get(LIST).await;
    assert_eq!(shown.status, 403, "the organization's own programs have no frames: {}", shown.html);
}

#[tokio::test]
async fn a_frame_says_who_may_show_it_and_holds_nothing_of_anybodys() {
    let world = World::start(HOST).await;
    world.offer(&files()).await;
    for path in [
        "/embedded",
        "/integration-marketplace/?embed=true&theme=DARK",
        "/logs/?embed=true",
        "/dashboard/?embed=true",
        "/customer-connections/?embed=true",
        "/find-integration-marketplace/?integrationName=Files",
        "/logs/?embed=true",
        "/dashboard/?embed=true&theme=DARK",
        "/customer-connections/?embed=true",
    ] {
        let shell = world.open(path).await;
        let html = String::from_utf8(shell.body.to_vec()).unwrap();
        assert_eq!(shell.status, 200, "{html}");
        let policy = shell.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains(&format!("frame-ancestors {HOST};")), "{policy}");
        assert!(
            policy.contains("script-src 'self'") && policy.contains("default-src 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert!(!shell.headers.contains_key("set-cookie"), "{:?}", shell.headers);
        assert!(!html.contains("Keeps files"), "{html}");
        assert_eq!(html.contains("data-theme=\"dark\""), path.contains("DARK"));
    }
    assert_eq!(world.open("/configure-instance/nonsense/").await.status, 404);
    assert_eq!(world.open("/embedded/assets/embedded.js").await.status, 200);
    assert_eq!(world.open("/embedded/assets/../../Cargo.toml").await.status, 404);
}

#[tokio::test]
async fn other_origins_may_not_call_and_no_page_of_theirs_reads_a_fragment() {
    let world = World::start(HOST).await;
    let bearer = format!("Bearer {}", world.person("globex", "ada", "admin").token);
    let send = async |method: Method, path: &str, origin: &str| {
        let headers = [("origin", origin), ("authorization", bearer.as_str())];
        let answer = world.daemon.send(method, &world.url(path), &headers, "").await;
        let allowed = answer
            .headers
            .get("access-control-allow-origin")
            .map(|origin| origin.to_str().unwrap().to_owned());
        (answer.status, allowed)
    };
    let ours = || Some(HOST.to_owned());
    assert_eq!(send(Method::OPTIONS, "/embedded/authenticate", HOST).await, (204, ours()));
    assert_eq!(send(Method::POST, "/embedded/authenticate", HOST).await, (200, ours()));
    assert_eq!(send(Method::OPTIONS, "/api", HOST).await, (204, ours()));
    for evil in [
        "https://evil.example",
        "null",
        "https://app.example.evil.example",
        "http://app.example",
    ] {
        assert_eq!(send(Method::OPTIONS, "/embedded/authenticate", evil).await.1, None, "{evil}");
        assert_eq!(send(Method::POST, "/embedded/authenticate", evil).await.1, None, "{evil}");
        assert_eq!(send(Method::OPTIONS, "/api", evil).await.1, None, "{evil}");
    }
    for origin in [HOST, "https://evil.example"] {
        assert_eq!(
            send(Method::GET, LIST, origin).await,
            (200, None),
            "fragments are for these pages alone"
        );
    }
}

/// Text that ends attributes, elements and scripts.
pub(crate) fn evil(name: &str) -> String {
    format!("{name}'\"><img src=x onerror=alert(1)><script>alert(1)</script>{{{{7*7}}}}")
}

#[tokio::test]
async fn no_name_label_or_value_becomes_markup() {
    let world = World::start(HOST).await;
    let quoted = |name: &str| serde_json::to_string(&evil(name)).unwrap();
    let definition = format!(
        "definitionVersion: 7
name: {}
description: {}
category: {}
endpointType: flow_specific
requiredConfigVars:
  - {{key: {}, stableKey: {}, dataType: string, orgOnly: false, description: {}}}
  - {{key: {}, stableKey: pick, dataType: picklist, orgOnly: false, pickList: [{}], defaultValue: {}}}
  - {{key: Rows, stableKey: rows, dataType: string, collectionType: keyvaluelist, orgOnly: false, defaultValue: '[]'}}
  - {{key: Account, stableKey: account, dataType: connection, connection: {{key: bearer, component: {{key: http, isPublic: true, version: LATEST}}}}, inputs: {{}}}}
  - {{key: Wide, stableKey: wide, dataType: string, orgOnly: false, description: {}}}
configPages:
  - {{name: {}, tagline: {}, elements: [{{type: configVar, value: Wide}}, {{type: htmlElement, value: {}}}]}}
  - name: {}
    tagline: {}
    userLevelConfigured: true
    elements: [{{type: configVar, value: {}}}, {{type: configVar, value: {}}}, {{type: configVar, value: Rows}}, {{type: configVar, value: Account}}]
flows:
  - name: Main
    stableKey: main
    description: ''
    endpointSecurityType: customer_required
    steps:
      - name: Trigger
        stableKey: main-trigger
        isTrigger: true
        action: {{key: webhook, component: {{key: webhook-triggers, isPublic: true, version: LATEST}}}}
        inputs: {{}}
",
        quoted("integration"),
        quoted("description"),
        quoted("category"),
        quoted("key"),
        quoted("stable"),
        quoted("about"),
        quoted("pick"),
        serde_json::to_string("<i>a</i>").unwrap(),
        serde_json::to_string("<i>a</i>").unwrap(),
        quoted("wide"),
        quoted("company"),
        quoted("line"),
        quoted("html"),
        quoted("page"),
        quoted("tagline"),
        quoted("key"),
        quoted("pick"),
    );
    let integration = world.offer(&definition).await;
    let overview = "mutation ($i: ID!, $o: String) { updateIntegrationMarketplaceConfiguration(input: {id: $i, marketplaceConfiguration: \"AVAILABLE_AND_DEPLOYABLE\", overview: $o}) { errors { messages } } }";
    world
        .api()
        .get(overview, serde_json::json!({ "i": integration, "o": evil("overview") }))
        .await;
    let mut claims = world.claims("globex", "ada", "admin");
    (claims.name, claims.customer_name) = (Some(evil("user")), Some(evil("customer")));
    let admin = world.holder(world.signed(&claims));

    let mut pages = vec![
        admin.get(LIST).await,
        admin
            .get(&format!("{LIST}?search={}", "%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E"))
            .await,
    ];
    let detail = format!("/embedded/view/integration/{integration}");
    pages.push(admin.get(&detail).await);
    let activate = admin.get(&format!("{detail}/activate")).await;
    let action = activate.target("action", "/activate");
    let key = activate.html.split("name=\"key-of:").nth(1).unwrap().split('"').next().unwrap();
    let key = format!("key-of:{key}");
    pages.push(activate);
    let (name, wide) = (evil("instance"), evil("value"));
    pages.push(admin.send(&action, &[("name", &name), ("value:wide", &wide)]).await);
    let made = admin
        .send(&action, &[("name", &name), ("value:wide", &wide), (&key, "an-api-key-of-theirs")])
        .await;
    assert_eq!(made.status, 200, "{}", made.html);
    pages.push(made);
    let instance = world.instance(&name).await;
    let path = |end: &str| format!("/embedded/view/instance/{instance}/{end}");
    pages.push(admin.get(&detail).await);
    pages.push(admin.get(&path("configure")).await);
    pages.push(admin.get(&path("mine")).await);
    let own = format!("value:{}", evil("stable"));
    let fields = [
        (own.as_str(), wide.as_str()),
        ("value:pick", "<i>a</i>"),
        ("key:rows", &wide),
        ("value:rows", &wide),
        ("input:account:token", "canary-of-a-token"),
    ];
    let refused = admin.send(&path("mine"), &fields[..4]).await;
    assert_eq!(refused.status, 422, "{}", refused.html);
    pages.push(refused);
    let saved = admin.send(&path("mine"), &fields).await;
    assert_eq!(saved.status, 200, "{}", saved.html);
    pages.push(saved);
    pages.push(admin.get(&path("mine")).await);
    pages.push(admin.get(&path("mine/remove")).await);
    pages.push(admin.get(&path("remove")).await);
    for screen in ["logs", "executions", "dashboard", "connections"] {
        let shown = admin.get(&format!("/embedded/view/{screen}")).await;
        assert_eq!(shown.status, 200, "{}", shown.html);
        pages.push(shown);
    }
    let mut shown = String::new();
    for page in &pages {
        for raw in [
            "<script",
            "<img src=x",
            "onerror=alert(1)>",
            "<i>",
            "canary-of-a-token",
            "an-api-key-of-theirs",
        ] {
            assert!(!page.html.contains(raw), "{raw} in {}", page.html);
        }
        shown.push_str(&page.html);
    }
    for name in [
        "integration",
        "description",
        "category",
        "key",
        "about",
        "wide",
        "company",
        "line",
        "page",
        "tagline",
        "overview",
        "instance",
        "value",
        "user",
        "customer",
    ] {
        let escaped = format!("{name}&#x27;&quot;&gt;&lt;img");
        assert!(
            shown.contains(&escaped) || shown.contains(&escaped.replace("&quot;", "\\&quot;")),
            "{name} is shown as text"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_flow_is_called_or_says_becomes_markup() {
    let world = World::start(HOST).await;
    let quoted = |text: &str| serde_json::to_string(text).unwrap();
    let (line, error) = (quoted(&evil("line")), quoted(&evil("error")));
    let script = format!("module.exports = async ({{ logger }}) => {{ logger.warn({line}); throw new Error({error}); }};");
    let named = plain().replace("- name: Main", &format!("- name: {}", quoted(&evil("flow"))));
    let definition = format!(
        "{named}      - name: {}
        stableKey: main-throws
        action: {{key: runCode, component: {{key: code, isPublic: true, version: LATEST}}}}
        inputs:
          code: {{type: value, value: {}}}
",
        quoted(&evil("step")),
        quoted(&script),
    );
    let integration = world.offer(&definition).await;
    let admin = world.person("globex", "ada", "admin");
    let made = admin.activate(&integration, &[("name", "Reports"), ("value:title", "t")]).await;
    assert_eq!(made.status, 200, "{}", made.html);
    let query = "query ($i: ID!) { instance(id: $i) { flowConfigs { nodes { webhookUrl } } } }";
    let found = world.api().get(query, json!({ "i": world.instance("Reports").await })).await;
    let url = found["flowConfigs"]["nodes"][0]["webhookUrl"].as_str().unwrap();
    let accepted = world.daemon.post(url, &[], "{}").await.json();
    let id = accepted["executionId"].as_str().unwrap();
    let query = "query ($e: ID!) { executionResult(id: $e) { endedAt } }";
    within("the execution's end", async {
        while world.api().get(query, json!({ "e": id })).await["endedAt"].is_null() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut shown = String::new();
    for screen in [
        "logs".to_owned(),
        "executions".to_owned(),
        format!("execution/{id}"),
        "dashboard".to_owned(),
    ] {
        let page = admin.get(&format!("/embedded/view/{screen}")).await;
        assert_eq!(page.status, 200, "{screen}: {}", page.html);
        for raw in ["<script", "<img src=x", "onerror=alert(1)>"] {
            assert!(!page.html.contains(raw), "{raw} in {screen}: {}", page.html);
        }
        shown.push_str(&page.html);
    }
    for name in ["flow", "step", "line", "error"] {
        let escaped = format!("{name}&#x27;&quot;&gt;&lt;img");
        assert!(shown.contains(&escaped), "{name} is shown as text: {shown}");
    }
    assert!(shown.contains("{{7*7}}"), "{shown}");
}
