//! Users and admins fill in their pages, change them, and take them away.

use crate::harness::browser::Browser;
use crate::story::CLOUD;
use crate::world::{HOST, Person, World, files};
use serde_json::{Value, json};

const VALUES: &str = "query ($i: ID!) { instance(id: $i) { userLevelConfigs { nodes { id user { name } configVariables { nodes { value requiredConfigVariable { key } } } flowConfigs { nodes { webhookUrl } } } } } }";

const FILLED: [(&str, &str); 16] = [
    ("value:folder", "/bob"),
    ("value:limit", "25"),
    ("value:notify", "false"),
    ("value:region", "eu"),
    ("value:every", "*/5 * * * *"),
    ("value:since", ""),
    ("value:rules", "{\"a\": [1]}"),
    ("value:tags", "red"),
    ("value:tags", "blue"),
    ("value:sizes", "1"),
    ("value:sizes", "2.5"),
    ("value:most", "7"),
    ("key:headers", "x-one"),
    ("value:headers", "1"),
    ("input:account:username", "bob"),
    ("input:account:password", "canary-password-of-bob"),
];

struct Ready {
    world: World,
    instance: String,
}

impl Ready {
    async fn start() -> Self {
        let world = World::start(HOST).await;
        let files = world.offer(&files()).await;
        let admin = world.person("globex", "ada", "admin");
        let made = admin
            .activate(&files, &[("name", "Files"), ("value:address", "https://files.example")])
            .await;
        assert_eq!(made.status, 200, "{}", made.html);
        let instance = world.instance("Files").await;
        Self { world, instance }
    }

    fn user(&self, name: &str) -> Person<'_> {
        self.world.person("globex", name, "user")
    }

    fn path(&self, end: &str) -> String {
        format!("/embedded/view/instance/{}/{end}", self.instance)
    }

    /// Users' values by name of the user and of the variable, and their URLs, as the organization sees them.
    async fn configs(&self) -> Vec<Value> {
        let found = self.world.api().get(VALUES, json!({ "i": self.instance })).await;
        found["userLevelConfigs"]["nodes"].as_array().unwrap().clone()
    }

    async fn value(&self, user: &str, key: &str) -> Value {
        let configs = self.configs().await;
        let config = configs.iter().find(|config| config["user"]["name"] == user).unwrap();
        let variables = config["configVariables"]["nodes"].as_array().unwrap();
        variables
            .iter()
            .find(|variable| variable["requiredConfigVariable"]["key"] == key)
            .unwrap()["value"]
            .clone()
    }

    async fn url(&self, user: &str) -> String {
        let configs = self.configs().await;
        let config = configs.iter().find(|config| config["user"]["name"] == user).unwrap();
        config["flowConfigs"]["nodes"][0]["webhookUrl"].as_str().unwrap().to_owned()
    }
}

fn changed<'f>(changes: &[(&'f str, &'f str)]) -> Vec<(&'f str, &'f str)> {
    let mut fields = FILLED.to_vec();
    for (name, value) in changes {
        fields.retain(|(known, _)| known != name);
        fields.push((name, value));
    }
    fields
}

#[tokio::test]
async fn a_user_configures_changes_and_removes_and_others_go_on() {
    let ready = Ready::start().await;
    let (bob, carl) = (ready.user("bob"), ready.user("carl"));
    let page = bob.get(&ready.path("mine")).await;
    assert!(
        page.html.contains("What is yours alone") && page.html.contains("<b>this</b>"),
        "{}",
        page.html
    );
    assert!(!page.html.contains("<script") && !page.html.contains("Address"), "{}", page.html);

    let saved = bob.send(&ready.path("mine"), &FILLED).await;
    assert_eq!(saved.status, 200, "{}", saved.html);
    let told = &saved.events()[0];
    assert_eq!(told["event"], "USER_CONFIGURATION_DEPLOYED");
    assert_eq!(told["data"]["userName"], "bob");
    assert_eq!(told["data"]["userLevelConfigVariables"]["Tags"]["value"], json!(["red", "blue"]));
    assert_eq!(told["data"]["userLevelConfigVariables"]["Account"]["status"], "ACTIVE");
    for (key, value) in [
        ("Folder", "/bob"),
        ("Limit", "25"),
        ("Notify", "false"),
        ("Region", "eu"),
        ("Every", "*/5 * * * *"),
        ("Rules", "{\"a\": [1]}"),
        ("Tags", "[\"red\",\"blue\"]"),
        ("Sizes", "[\"1\",\"2.5\"]"),
        ("Most", "7"),
        ("Headers", "[{\"key\":\"x-one\",\"value\":\"1\"}]"),
    ] {
        assert_eq!(ready.value("bob", key).await, value, "{key}");
    }
    assert_eq!(carl.send(&ready.path("mine"), &FILLED).await.status, 200);
    let (of_bob, of_carl) = (ready.url("bob").await, ready.url("carl").await);
    assert_eq!(ready.world.daemon.post(&of_bob, &[], "{}").await.status, 200);

    let page = bob.get(&ready.path("mine")).await;
    assert!(
        page.html.contains("value=\"&#x2f;bob\"") && !page.html.contains("canary-password"),
        "{}",
        page.html
    );
    let update = changed(&[
        ("value:folder", "/new"),
        ("value:notify", "true"),
        ("value:most", ""),
        ("input:account:username", ""),
        ("input:account:password", ""),
    ]);
    let saved = bob.send(&ready.path("mine"), &update).await;
    assert_eq!(saved.status, 200, "credentials that are left empty stay: {}", saved.html);
    assert_eq!(ready.value("bob", "Folder").await, "/new");
    assert_eq!(ready.value("bob", "Most").await, "", "what may be left out can be emptied");
    assert_eq!(saved.events()[0]["data"]["userLevelConfigVariables"]["Account"]["status"], "ACTIVE");

    let question = bob.get(&ready.path("mine/remove")).await;
    assert!(
        question.status == 200 && question.html.contains("Are you sure?"),
        "{}",
        question.html
    );
    assert_eq!(
        ready.world.daemon.post(&of_bob, &[], "{}").await.status,
        200,
        "a question removes nothing"
    );
    let removed = bob.send(&question.target("action", "/mine/remove"), &[]).await;
    assert_eq!(
        (removed.status, &removed.events()[0]["event"]),
        (200, &json!("USER_CONFIGURATION_DELETED"))
    );
    assert_eq!(ready.world.daemon.post(&of_bob, &[], "{}").await.status, 410);
    assert_eq!(ready.world.daemon.post(&of_carl, &[], "{}").await.status, 200);
    assert_eq!(
        bob.send(&ready.path("mine/remove"), &[]).await.status,
        404,
        "there is nothing left to remove"
    );
}

#[tokio::test]
async fn what_nobody_changed_stays_as_it_was_given() {
    let ready = Ready::start().await;
    let bob = ready.user("bob");
    assert_eq!(bob.send(&ready.path("mine"), &FILLED).await.status, 200);
    // Spellings that programs may give, and that a page shows otherwise.
    let given = [
        ("Folder", "/bob\nand more"),
        ("Limit", "+5"),
        ("When", "2026-01-31T09:30:45+02:00"),
        ("Tags", "[1,2,true]"),
        ("Headers", "{\"x-one\":\"1\",\"x-two\":2}"),
    ];
    let values: Vec<Value> = given.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
    let update = "mutation ($i: ID, $v: [InputInstanceConfigVariable]) { updateUserLevelConfig(input: {id: $i, partial: true, configVariables: $v}) { errors { messages } } }";
    let id = &ready.configs().await[0]["id"];
    ready.world.api().get(update, json!({ "i": id, "v": values })).await;

    let page = bob.get(&ready.path("mine")).await;
    let mut form = page.form();
    form.iter_mut()
        .filter(|(name, _)| name == "value:most")
        .for_each(|(_, value)| *value = "8".to_owned());
    let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let saved = bob.send(&ready.path("mine"), &form).await;
    assert_eq!(saved.status, 200, "{}", saved.html);
    assert_eq!(ready.value("bob", "Most").await, "8");
    for (key, value) in given {
        assert_eq!(ready.value("bob", key).await, value, "{key}");
    }
}

#[tokio::test]
async fn what_is_wrong_stands_beside_its_field_and_nothing_is_saved() {
    let ready = Ready::start().await;
    let bob = ready.user("bob");
    for (field, value, says) in [
        ("value:folder", "", "Fill in this field."),
        ("value:limit", "many", "Enter a number."),
        ("value:region", "asia", "Choose one of the list."),
        ("value:every", "daily", "Enter five parts"),
        ("value:rules", "{", "This is no JSON"),
        ("key:headers", "", "Every pair needs a key."),
        ("input:account:password", "", "Fill in: Password."),
    ] {
        let refused = bob.send(&ready.path("mine"), &changed(&[(field, value)])).await;
        assert_eq!(refused.status, 422, "{field}: {}", refused.html);
        assert_eq!(refused.html.matches(says).count(), 1, "{field}: {}", refused.html);
        assert!(
            !refused.html.contains("canary-password"),
            "what was typed as a secret is not shown again: {}",
            refused.html
        );
    }
    let refused = bob.send(&ready.path("mine"), &changed(&[("value:limit", "many")])).await;
    assert!(
        refused.html.contains("value=\"&#x2f;bob\""),
        "what was typed stays: {}",
        refused.html
    );
    assert!(ready.configs().await.is_empty());
}

#[tokio::test]
async fn whoever_was_slower_is_told_and_overwrites_nothing() {
    let ready = Ready::start().await;
    let bob = ready.user("bob");
    assert_eq!(bob.send(&ready.path("mine"), &FILLED).await.status, 200);
    let page = bob.get(&ready.path("mine")).await;
    let revision = page
        .html
        .split("name=\"revision\" value=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .to_owned();
    let first = changed(&[("value:folder", "/first"), ("revision", &revision)]);
    assert_eq!(bob.send(&ready.path("mine"), &first).await.status, 200);
    let second = changed(&[("value:folder", "/second"), ("revision", &revision)]);
    assert_eq!(bob.send(&ready.path("mine"), &second).await.status, 409);
    assert_eq!(ready.value("bob", "Folder").await, "/first");
}

#[tokio::test]
async fn an_admin_changes_and_removes_the_instance_for_all() {
    let ready = Ready::start().await;
    let (admin, bob) = (ready.world.person("globex", "ada", "admin"), ready.user("bob"));
    assert_eq!(bob.send(&ready.path("mine"), &FILLED).await.status, 200);
    let url = ready.url("bob").await;
    let page = admin.get(&ready.path("configure")).await;
    assert!(
        page.html.contains("https:&#x2f;&#x2f;files.example") && !page.html.contains("Folder"),
        "{}",
        page.html
    );
    let refused = admin.send(&ready.path("configure"), &[("value:address", "")]).await;
    assert_eq!(refused.status, 422, "{}", refused.html);
    let fields = [
        ("value:address", "https://new.example"),
        ("value:tenant", "t-1"),
        ("value:ours", "taken over"),
    ];
    let saved = admin.send(&ready.path("configure"), &fields).await;
    assert_eq!((saved.status, &saved.events()[0]["event"]), (200, &json!("INSTANCE_DEPLOYED")));
    let told = &saved.events()[0]["data"]["configVars"];
    assert_eq!(
        (&told["Address"]["value"], &told["Tenant"]["value"]),
        (&json!("https://new.example"), &json!("t-1"))
    );
    assert!(told.get("Ours").is_none(), "{told}");

    let question = admin.get(&ready.path("remove")).await;
    assert!(question.html.contains("Are you sure?"), "{}", question.html);
    let removed = admin.send(&ready.path("remove"), &[]).await;
    assert_eq!((removed.status, &removed.events()[0]["event"]), (200, &json!("INSTANCE_DELETED")));
    assert_eq!(ready.world.daemon.post(&url, &[], "{}").await.status, 404);
    assert_eq!(bob.get(&ready.path("mine")).await.status, 404);
}

#[tokio::test]
async fn what_is_connected_by_consent_is_saved_first_and_leads_to_the_provider() {
    let world = World::start(HOST).await;
    let by_consent = CLOUD.replace("PROVIDER", "https://provider.example");
    let by_consent = by_consent.replace("the-client-secret", "canary-of-the-client");
    let cloud = world.offer(&by_consent).await;
    let (admin, bob) = (world.person("globex", "ada", "admin"), world.person("globex", "bob", "user"));
    assert_eq!(admin.activate(&cloud, &[("name", "Cloud")]).await.status, 200);
    let path = format!("/embedded/view/instance/{}/mine", world.instance("Cloud").await);
    let page = bob.get(&path).await;
    assert!(
        !page.html.contains("data-connect") && !page.html.contains("the-client"),
        "{}",
        page.html
    );
    let saved = bob.send(&path, &[]).await;
    assert!(
        saved.status == 200 && saved.html.contains("data-status=\"PENDING\""),
        "{}",
        saved.html
    );
    assert_eq!(saved.events()[0]["event"], "USER_CONFIGURATION_DEPLOYED");
    let link = saved
        .html
        .split("href=\"")
        .find(|rest| rest.contains("oauth2"))
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let link = link.replace("&#x2f;", "/").replace("&amp;", "&");
    let mut browser = Browser::new(&[]);
    let location = browser.agree(&link).await.location();
    assert_eq!(location.host_str(), Some("provider.example"), "{location}");
    let client = location.query_pairs().find(|(name, _)| name == "client_id").unwrap().1.into_owned();
    assert_eq!(client, "the-client");
    assert!(!saved.html.contains("canary-of-the-client"), "{}", saved.html);
    // To save again asks for no other consent.
    assert_eq!(bob.send(&path, &[]).await.status, 200);
}
