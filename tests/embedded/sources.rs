//! Data sources: what people choose from on their pages is asked with their own accounts, and nothing else is taken.

use crate::harness::daemon::Setup;
use crate::harness::provider::{Manner, Provider};
use crate::world::{HOST, Person, Shown, World};
use http::StatusCode;
use serde_json::{Value, json};

/// Asks the provider with the account, as whoever's it is.
const ASK: &str = "const ask = async (connection, url) => {
            const answer = await fetch(url, { headers: { authorization: `Bearer ${connection.fields.token}` } });
            if (!answer.ok) throw new Error(`the provider said ${answer.status} to ${connection.fields.token}`);
            const { token } = await answer.json();
            if (!token.startsWith('token-of-')) throw new Error('there is no such account');
            return token.slice('token-of-'.length);
          };";

/// A variable that the data source `kind` fills with what `script` gives; `inputs` are further YAML.
fn sourced(key: &str, data_type: &str, kind: &str, inputs: &str, script: &str) -> String {
    format!(
        "  - key: {key}
    stableKey: {lower}
    dataType: {data_type}
    dataSource: {{key: {kind}, component: {{key: code, isPublic: true, version: LATEST}}}}
    inputs:
{inputs}      code:
        type: value
        value: |
          {ASK}
          module.exports = async (context, {{ connection, contextValue }}) => {{
            {script}
          }};
",
        lower = key.to_lowercase(),
    )
}

/// An integration whose users choose among what is theirs at `provider`.
pub(crate) fn chat(provider: &str) -> String {
    let account = "      connection: {type: configVar, value: Account}\n";
    let with = |context: &str| format!("{account}      contextValue: {{type: configVar, value: {context}}}\n");
    let variables = [
        sourced(
            "Region",
            "picklist",
            "runCodePicklist",
            "      contextValue: {type: configVar, value: Provider}\n",
            "await fetch(`${contextValue}/regions`); return { result: [{ key: 'eu', label: `Europe for ${context.customer.name}` }, 'us'] };",
        ),
        sourced(
            "Workspace",
            "picklist",
            "runCodePicklist",
            &with("Provider"),
            "const who = await ask(connection, `${contextValue}/workspaces`);
            return { result: [{ key: `${who}-one`, label: `One of ${who}<img src=x onerror=alert(1)>` }, `${who}-two`] };",
        ),
        sourced(
            "Channel",
            "picklist",
            "runCodePicklist",
            &with("Workspace"),
            "const who = await ask(connection, `${context.configVars.Provider}/channels?of=${contextValue}`);
            return { result: [`general of ${contextValue}`, `random of ${contextValue}`] };",
        ),
        sourced(
            "Objects",
            "objectSelection",
            "runCodeObjectSelection",
            &with("Provider"),
            "const who = await ask(connection, `${contextValue}/objects`);
            return { result: [{ object: { key: 'contact', label: `Contact of ${who}` }, fields: [{ key: 'mail', label: 'E-mail' }, 'phone'] }, { object: { key: 'deal' } }] };",
        ),
        sourced(
            "Mapping",
            "objectFieldMap",
            "runCodeObjectFieldMap",
            &with("Provider"),
            "const who = await ask(connection, `${contextValue}/fields`);
            return { result: { fields: [{ field: { key: 'name', label: `Name for ${who}` } }, { field: { key: 'age' } }], options: [{ object: { key: 'person', label: 'Person' }, fields: ['full', 'years'] }] } };",
        ),
        sourced(
            "Settings",
            "jsonForm",
            "runCodeJsonForm",
            &with("Provider"),
            "const who = await ask(connection, `${contextValue}/schema`);
            return {
              schema: { type: 'object', required: ['title', 'kind'], properties: {
                title: { type: 'string', title: 'Title', maxLength: 20, pattern: '^[a-z ]+$' },
                kind: { type: 'string', title: 'Kind', oneOf: [{ const: `${who}-a`, title: `A of ${who}` }, { const: 'b' }] },
                count: { type: 'integer', title: 'Count', minimum: 1 },
                urgent: { type: 'boolean', title: 'Urgent' },
                tags: { type: 'array', title: 'Tags', items: { type: 'string' } },
                place: { type: 'object', title: 'Place', properties: { city: { type: 'string', title: 'City' } } },
              } },
              uiSchema: { type: 'VerticalLayout', elements: ['kind', 'title', 'count', 'urgent', 'tags', 'place'].map((name) => ({ type: 'Control', scope: `#/properties/${name}` })) },
              data: { title: 'to begin with' },
            };",
        ),
        sourced(
            "Greeting",
            "string",
            "runCodeString",
            &with("Provider"),
            "return { result: `Hello ${await ask(connection, `${contextValue}/greeting`)}` };",
        ),
    ]
    .concat();
    let elements = ["Account", "Workspace", "Channel", "Objects", "Mapping", "Settings", "Greeting"];
    let elements: Vec<String> = elements.iter().map(|key| format!("{{type: configVar, value: {key}}}")).collect();
    format!(
        "definitionVersion: 7
name: Chat
description: What is whose
endpointType: flow_specific
requiredConfigVars:
  - {{key: Provider, stableKey: provider, dataType: string, orgOnly: true, defaultValue: '{provider}'}}
  - {{key: Account, stableKey: account, dataType: connection, connection: {{key: bearer, component: {{key: http, isPublic: true, version: LATEST}}}}, inputs: {{}}}}
{variables}configPages:
  - {{name: Company, elements: [{{type: configVar, value: Provider}}, {{type: configVar, value: Region}}]}}
  - {{name: You, userLevelConfigured: true, elements: [{}]}}
flows:
  - name: Main
    stableKey: main
    description: ''
    endpointSecurityType: unsecured
    steps:
      - name: Trigger
        stableKey: main-trigger
        isTrigger: true
        action: {{key: webhook, component: {{key: webhook-triggers, isPublic: true, version: LATEST}}}}
        inputs: {{}}
      - name: Tell
        stableKey: main-tell
        action: {{key: runCode, component: {{key: code, isPublic: true, version: LATEST}}}}
        inputs:
          code:
            type: value
            value: |
              module.exports = async ({{ configVars: {{ Account, ...all }} }}) => {{
                await fetch(`${{all.Provider}}/told`, {{ method: 'POST', body: JSON.stringify(all) }});
                return {{ data: null }};
              }};
",
        elements.join(", ")
    )
}

/// A customer whose users have accounts at a provider.
pub(crate) struct Shop {
    pub(crate) world: World,
    pub(crate) provider: Provider,
    path: String,
}

impl Shop {
    async fn open(setup: Setup) -> Self {
        Self::shown_by(HOST, setup).await
    }

    /// One whose pages may be shown by `host`.
    pub(crate) async fn shown_by(host: &str, setup: Setup) -> Self {
        let provider = Provider::start().await;
        let setup = setup.allow(&[provider.address()]).set("embedded.origins", vec![host]);
        let world = World::start_as(setup).await;
        let chat = world.offer(&chat(&provider.url(""))).await;
        let ada = world.person("globex", "ada", "admin");
        let made = ada.activate(&chat, &[("name", "Chat")]).await;
        assert_eq!(made.status, 200, "{}", made.html);
        assert!(
            made.html.contains("perseat.nowChoose") && made.html.contains("Europe for globex"),
            "what is to be chosen is there once it is saved: {}",
            made.html
        );
        let instance = world.instance("Chat").await;
        let company = format!("/embedded/view/instance/{instance}/configure");
        let saved = ada.send(&company, &[("value:region", "mars")]).await;
        assert!(
            saved.status == 422 && saved.html.contains("Choose one of the list."),
            "{}",
            saved.html
        );
        let saved = ada.send(&company, &[("value:region", "eu")]).await;
        assert!(saved.status == 200 && saved.html.contains("perseat.deployed"), "{}", saved.html);
        Self {
            path: format!("/embedded/view/instance/{instance}/mine"),
            world,
            provider,
        }
    }

    fn user(&self, name: &str) -> Person<'_> {
        self.world.person("globex", name, "user")
    }

    /// Connects somebody's account: what they see then.
    async fn connect(&self, name: &str) -> Shown {
        let token = format!("token-of-{name}");
        let saved = self.user(name).send(&self.path, &[("input:account:token", &token)]).await;
        assert_eq!(saved.status, 200, "{}", saved.html);
        saved
    }

    async fn targets(&self, name: &str) -> Vec<String> {
        let records = self.provider.records_of(&format!("token-of-{name}"));
        records.into_iter().map(|record| record.target).collect()
    }
}

/// Everything that bob chooses.
const CHOSEN: [(&str, &str); 18] = [
    ("value:workspace", "bob-two"),
    ("value:channel", "random of bob-two"),
    ("value:objects", ""),
    ("value:objects", "contact"),
    ("field:objects:contact", "mail"),
    ("value:mapping", ""),
    ("map:mapping:name", "[\"person\",\"full\"]"),
    ("map:mapping:age", ""),
    ("value:settings", ""),
    ("form:settings:/title", "my title"),
    ("form:settings:/kind", "\"bob-a\""),
    ("form:settings:/count", "3"),
    ("form:settings:/urgent", "false"),
    ("form:settings:/urgent", "true"),
    ("form:settings:/tags", "x"),
    ("form:settings:/tags", "y"),
    ("form:settings:/place/city", "Ulm"),
    ("value:greeting", "Hi"),
];

/// The same with one field otherwise.
fn but(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    let mut fields = CHOSEN.to_vec();
    fields.retain(|(known, _)| *known != name);
    fields.push((name, value));
    fields
}

#[tokio::test]
async fn each_person_chooses_among_what_their_own_account_shows() {
    let shop = Shop::open(Setup::new()).await;
    let (bob, cleo) = (shop.user("bob"), shop.user("cleo"));
    let before = bob.get(&shop.path).await;
    assert!(
        before.html.contains("perseat.sourceUnsaved") && !before.html.contains("data-load"),
        "{}",
        before.html
    );
    let early = bob
        .send(
            &shop.path,
            &[("value:workspace", "bob-one"), ("input:account:token", "token-of-bob")],
        )
        .await;
    assert!(
        early.status == 422 && early.html.contains("This cannot be chosen now."),
        "{}",
        early.html
    );
    assert!(shop.targets("bob").await.is_empty(), "nothing was asked before anything is saved");

    let shown = shop.connect("bob").await;
    for part in [
        "perseat.nowChoose",
        "value=\"bob-one\"",
        "One of bob&lt;img src=x onerror=alert(1)&gt;",
        "Contact of bob",
        "E-mail",
        "Name for bob",
        "A of bob",
        "value=\"to begin with\"",
        "value=\"Hello bob\"",
    ] {
        assert!(shown.html.contains(part), "{part}: {}", shown.html);
    }
    assert!(
        !shown.html.contains("<img") && !shown.html.contains("token-of-bob"),
        "{}",
        shown.html
    );
    assert!(
        shown.html.contains("perseat.sourceWaits") && !shown.html.contains("general of"),
        "the channels wait for the workspace: {}",
        shown.html
    );

    // What is typed counts before it is saved, once it is something that may be chosen.
    let loaded = bob
        .send(
            &shop.path,
            &[("value:workspace", "bob-two"), ("value:greeting", "Hey"), ("load", "channel")],
        )
        .await;
    assert!(
        loaded.status == 200 && loaded.html.contains("random of bob-two") && loaded.html.contains("value=\"Hey\""),
        "{}",
        loaded.html
    );
    let hostile = bob.send(&shop.path, &[("value:workspace", "../admin"), ("load", "channel")]).await;
    assert!(!hostile.html.contains("general of"), "{}", hostile.html);
    let targets = shop.targets("bob").await;
    assert!(targets.contains(&"GET /channels?of=bob-two".to_owned()), "{targets:?}");
    assert!(!targets.iter().any(|target| target.contains("admin")), "{targets:?}");

    let saved = bob.send(&shop.path, &CHOSEN).await;
    assert!(saved.status == 200 && saved.html.contains("perseat.savedMine"), "{}", saved.html);

    let other = shop.connect("cleo").await;
    assert!(
        other.html.contains("Contact of cleo") && !other.html.contains("bob"),
        "{}",
        other.html
    );
    let asked = shop.targets("cleo").await;
    assert!(asked.len() >= 4, "{asked:?}");
    let mixed = cleo.send(&shop.path, &[("value:workspace", "bob-two")]).await;
    assert!(
        mixed.status == 422 && mixed.html.contains("Choose one of the list."),
        "{}",
        mixed.html
    );
    assert!(!shop.world.daemon.log().contains("token-of-"), "a token is in the log");
}

#[tokio::test]
async fn nothing_is_taken_that_a_data_source_does_not_offer_and_flows_get_what_was_chosen() {
    let shop = Shop::open(Setup::new()).await;
    let bob = shop.user("bob");
    shop.connect("bob").await;
    for (name, value, said) in [
        ("value:workspace", "cleo-one", "Choose one of the list."),
        ("value:channel", "general of bob-one", "Choose one of the list."),
        ("value:objects", "secret", "Choose from the list."),
        ("field:objects:contact", "password", "Choose from the list."),
        ("map:mapping:name", "[\"person\",\"password\"]", "Choose from the list."),
        ("map:mapping:name", "person", "Choose from the list."),
        ("form:settings:/kind", "\"c\"", "Kind: Choose one of the list."),
        ("form:settings:/title", "<b>", "Title: This does not match ^[a-z ]+$."),
        ("form:settings:/title", "", "Title: Fill in this field."),
        ("form:settings:/count", "0", "Count: Enter 1 or more."),
        ("value:objects", "", "Fill in this field."),
    ] {
        let refused = bob.send(&shop.path, &but(name, value)).await;
        assert!(
            refused.status == 422 && refused.html.contains(said),
            "{name} {value}: {}",
            refused.html
        );
    }
    let typed = bob.send(&shop.path, &but("form:settings:/count", "0")).await;
    assert!(
        typed.html.contains("value=\"my title\"") && typed.html.contains("value=\"Ulm\"") && typed.html.contains("value=\"x\""),
        "nobody types twice: {}",
        typed.html
    );
    let saved = bob.send(&shop.path, &CHOSEN).await;
    assert!(saved.html.contains("perseat.savedMine"), "{}", saved.html);
    let page = bob.get(&shop.path).await;
    for part in [
        "value=\"bob-two\" selected",
        "value=\"contact\" checked",
        "value=\"mail\" checked",
        "value=\"my title\"",
    ] {
        assert!(page.html.contains(part), "{part}: {}", page.html);
    }

    let query = "{ instances { nodes { userLevelConfigs { nodes { flowConfigs { nodes { webhookUrl } } } } } } }";
    let found = shop.world.api().get(query, json!({})).await;
    let config = &found["nodes"][0]["userLevelConfigs"]["nodes"][0];
    let url = config["flowConfigs"]["nodes"][0]["webhookUrl"].as_str().unwrap();
    assert_eq!(shop.world.daemon.post(url, &[], "{}").await.status, 200);
    let told: Value = shop.provider.until_at("/told", 1).await[0].json();
    assert_eq!(told["Region"], "eu");
    assert_eq!(
        (&told["Workspace"], &told["Channel"]),
        (&json!("bob-two"), &json!("random of bob-two"))
    );
    let contact = json!({ "object": { "key": "contact", "label": "Contact of bob" }, "fields": [{ "key": "mail", "label": "E-mail" }] });
    assert_eq!(told["Objects"], json!([contact]));
    let name = json!({
        "field": { "key": "name", "label": "Name for bob" },
        "mappedObject": { "key": "person", "label": "Person" },
        "mappedField": { "key": "full", "label": "full" },
    });
    assert_eq!(
        told["Mapping"],
        json!({ "fields": [name, { "field": { "key": "age", "label": "age" } }] })
    );
    let data = json!({ "title": "my title", "kind": "bob-a", "count": 3, "urgent": true, "tags": ["x", "y"], "place": { "city": "Ulm" } });
    assert_eq!(told["Settings"], data);
    assert_eq!(told["Greeting"], "Hi");
}

#[tokio::test]
async fn a_provider_that_is_down_is_said_with_a_reference_and_keeps_nobody_from_the_rest() {
    let shop = Shop::open(Setup::new()).await;
    let bob = shop.user("bob");
    shop.connect("bob").await;
    assert!(bob.send(&shop.path, &CHOSEN).await.html.contains("perseat.savedMine"));
    shop.provider
        .set_at("/workspaces", Manner::Refuse(StatusCode::INTERNAL_SERVER_ERROR));
    let page = bob.get(&shop.path).await;
    assert!(page.status == 200 && page.html.contains("perseat.sourceFailed"), "{}", page.html);
    assert!(page.html.contains("Contact of bob"), "the others are there: {}", page.html);
    let codes: Vec<&str> = page
        .html
        .split("<code>")
        .skip(1)
        .map(|rest| rest.split('<').next().unwrap())
        .collect();
    assert_eq!((codes.len(), codes[0]), (2, "script_failed"), "{}", page.html);
    let line = shop.world.daemon.log_line(&[codes[1], "a data source failed"]);
    assert!(line.contains("the provider said 500 to ***"), "{line}");

    // Whoever's page was loaded before cannot be believed now; what was saved stays, and the rest can be saved.
    let refused = bob.send(&shop.path, &but("value:workspace", "bob-one")).await;
    assert!(
        refused.status == 422 && refused.html.contains("perseat.sourceFailed"),
        "{}",
        refused.html
    );
    let rest: Vec<(&str, &str)> = but("value:greeting", "Later")
        .into_iter()
        .filter(|(name, _)| *name != "value:workspace")
        .collect();
    let saved = bob.send(&shop.path, &rest).await;
    assert!(saved.html.contains("perseat.savedMine"), "{}", saved.html);
    shop.provider.set_at("/workspaces", Manner::Answer);
    let page = bob.get(&shop.path).await;
    assert!(
        page.html.contains("value=\"bob-two\" selected") && page.html.contains("value=\"Later\""),
        "{}",
        page.html
    );
}

#[tokio::test]
async fn a_data_source_that_takes_too_long_or_gives_too_much_fails_alone() {
    let limits = Setup::new().set("data-sources.time", "5s").set("data-sources.choices", 3);
    let shop = Shop::open(limits).await;
    shop.provider.set_at("/workspaces", Manner::Hang);
    let shown = shop.connect("bob").await;
    for code in ["<code>step_timeout</code>", "<code>data_source_invalid</code>"] {
        assert!(shown.html.contains(code), "{code}: {}", shown.html);
    }
    assert!(shown.html.contains("value=\"Hello bob\""), "{}", shown.html);
    let tight = Shop::open(Setup::new().set("data-sources.max-result", "200B")).await;
    let shown = tight.connect("bob").await;
    assert!(shown.html.contains("<code>result_too_large</code>"), "{}", shown.html);
}

#[tokio::test]
async fn pages_that_wait_for_a_provider_hold_up_nobody_else_and_are_few() {
    let setup = Setup::new().set("api.concurrency", 2).set("data-sources.per-user", 1);
    let shop = Shop::open(setup).await;
    for name in ["bob", "cleo"] {
        shop.connect(name).await;
    }
    let before = shop.provider.records_at("/workspaces").len();
    shop.provider.set_at("/workspaces", Manner::Hang);
    let (bob, cleo, dina) = (shop.user("bob"), shop.user("cleo"), shop.user("dina"));
    let others = async {
        shop.provider.until_at("/workspaces", before + 2).await;
        let list = dina.get("/embedded/view/marketplace").await;
        assert!(list.status == 200 && list.html.contains("Chat"), "{}", list.html);
        let again = bob.get(&shop.path).await;
        assert!(again.html.contains("<code>rate_limited</code>"), "{}", again.html);
        shop.provider.set_at("/workspaces", Manner::Answer);
    };
    let (of_bob, of_cleo, ()) = tokio::join!(bob.get(&shop.path), cleo.get(&shop.path), others);
    assert!(of_bob.html.contains("value=\"bob-one\""), "{}", of_bob.html);
    assert!(of_cleo.html.contains("value=\"cleo-one\""), "{}", of_cleo.html);
}
