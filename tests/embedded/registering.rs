//! Users choose among a customer's app registrations in the wizard, and what they leave as it is stays.

use crate::harness::browser::Browser;
use crate::harness::daemon::Setup;
use crate::harness::oauth::{Manner, Oauth};
use crate::harness::within;
use crate::story::{CLOUD, connect_link, consent};
use crate::world::{Person, World};
use http::Method;
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;

const REGISTRATION: &str = "input:account:registration";
const SCOPES: &str = "input:account:scopes";
/// A name that would run in a page, and in a spreadsheet.
const EVIL: &str = "=1+1<img src=x onerror=\"go('x')\">";

struct Ready {
    world: World,
    provider: Oauth,
    instance: String,
}

impl Ready {
    /// An integration whose connection leaves its scopes open.
    async fn start() -> Self {
        let provider = Oauth::start(Manner::default()).await;
        let world = World::start_as(Setup::new().allow(&[provider.address()])).await;
        let secret = "      clientSecret:";
        let open = format!("      scopes: {{type: value, value: ''}}\n{secret}");
        let cloud = CLOUD.replace(secret, &open).replace("PROVIDER", &provider.url(""));
        let cloud = world.offer(&cloud).await;
        let admin = world.person("globex", "ada", "admin");
        assert_eq!(admin.activate(&cloud, &[("name", "Cloud")]).await.status, 200);
        let instance = world.instance("Cloud").await;
        Self { world, provider, instance }
    }

    /// An app registration of the customer; its id.
    async fn register(&self, name: &str, client: &str) -> String {
        let create = "mutation ($i: ID!, $n: String!, $c: String!, $s: String) { createAppRegistration(input: {instance: $i, connection: \"Account\", name: $n, clientId: $c, clientSecret: $s}) { appRegistration { id } errors { messages } } }";
        let secret = format!("secret-of-{client}");
        let input = json!({ "i": self.instance, "n": name, "c": client, "s": secret });
        let made = self.world.api().get(create, input).await;
        made["appRegistration"]["id"].as_str().unwrap().to_owned()
    }

    fn path(&self) -> String {
        format!("/embedded/view/instance/{}/mine", self.instance)
    }

    /// Saves these fields; every other one of the form is sent as the page has it, as browsers do.
    async fn save(&self, person: &Person<'_>, fields: &[(&str, &str)]) {
        let shown = selected(&person.get(&self.path()).await.html).map(|(value, _)| value);
        let kept = shown.iter().map(|value| (REGISTRATION, value.as_str()));
        let mut all: Vec<(&str, &str)> = kept.filter(|(name, _)| fields.iter().all(|(given, _)| given != name)).collect();
        all.extend(fields);
        let saved = person.send(&self.path(), &all).await;
        assert_eq!(saved.status, 200, "{fields:?}: {}", saved.html);
        assert!(!saved.html.contains("secret-of-"), "{}", saved.html);
    }

    /// What is chosen on the page, where the connection stands, and what its consent is asked for: client id and scopes.
    async fn stands(&self, person: &Person<'_>) -> (String, String, String, String) {
        let page = person.get(&self.path()).await.html;
        assert!(!page.contains("secret"), "{page}");
        let status = page.split("data-status=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        let asked = Browser::new(&[]).agree(&connect_link(&page)).await.location();
        let of = |name: &str| asked.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned();
        let (_, chosen) = selected(&page).unwrap();
        (chosen, status, of("client_id"), of("scope"))
    }
}

/// The value and the words of the choice that a page comes with; none without a choice.
fn selected(html: &str) -> Option<(String, String)> {
    let select = html.split("<select").nth(1)?.split("</select>").next().unwrap();
    let options: Vec<&str> = select.split("<option").skip(1).collect();
    let marked: Vec<&&str> = options.iter().filter(|option| option.contains(" selected")).collect();
    assert!(marked.len() <= 1, "{select}");
    let option = marked.first().map_or(options[0], |option| **option);
    let value = option.split("value=\"").nth(1).unwrap().split('"').next().unwrap();
    let words = option.split('>').nth(1).unwrap().split('<').next().unwrap();
    Some((value.to_owned(), words.to_owned()))
}

fn standing(chosen: &str, status: &str, client: &str, scopes: &str) -> (String, String, String, String) {
    (chosen.to_owned(), status.to_owned(), client.to_owned(), scopes.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_as_it_is_keeps_the_registration_and_a_choice_keeps_the_rest() {
    let ready = Ready::start().await;
    let bob = ready.world.person("globex", "bob", "user");
    let (europe, rest) = (ready.register("Europe", "europe").await, ready.register("Rest", "rest").await);
    assert_eq!(selected(&bob.get(&ready.path()).await.html).unwrap().1, "The default");
    ready.save(&bob, &[(SCOPES, "one"), (REGISTRATION, &europe)]).await;
    assert_eq!(ready.stands(&bob).await, standing("Europe", "PENDING", "europe", "one"));
    consent(&ready.provider, &connect_link(&bob.get(&ready.path()).await.html), "bob").await;
    assert_eq!(ready.stands(&bob).await, standing("Europe", "ACTIVE", "europe", "one"));

    // Another input moves nobody, whether the choice is sent as it was shown or not at all.
    ready.save(&bob, &[(SCOPES, "two")]).await;
    assert_eq!(ready.stands(&bob).await, standing("Europe", "ACTIVE", "europe", "two"));
    ready.save(&bob, &[(SCOPES, "three"), (REGISTRATION, "")]).await;
    assert_eq!(ready.stands(&bob).await, standing("Europe", "ACTIVE", "europe", "three"));
    ready.save(&bob, &[(SCOPES, "")]).await;
    assert_eq!(ready.stands(&bob).await, standing("Europe", "ACTIVE", "europe", "three"));

    // A choice alone leaves what else was given, and so does the way back.
    ready.save(&bob, &[(SCOPES, ""), (REGISTRATION, &rest)]).await;
    assert_eq!(ready.stands(&bob).await, standing("Rest", "PENDING", "rest", "three"));
    ready.save(&bob, &[(SCOPES, ""), (REGISTRATION, "default")]).await;
    assert_eq!(ready.stands(&bob).await, standing("The default", "PENDING", "the-client", "three"));
    ready.save(&bob, &[(SCOPES, "four")]).await;
    assert_eq!(ready.stands(&bob).await, standing("The default", "PENDING", "the-client", "four"));

    // One that is gone is nobody's: it has to be chosen anew, and is replaced by nothing.
    ready.save(&bob, &[(REGISTRATION, &rest)]).await;
    let delete = "mutation ($i: ID!, $r: ID!) { deleteAppRegistration(input: {instance: $i, id: $r}) { errors { messages } } }";
    let api = ready.world.api();
    api.get(delete, json!({ "i": ready.instance, "r": rest })).await;
    let page = bob.get(&ready.path()).await.html;
    assert_eq!(selected(&page), Some((String::new(), "Choose".to_owned())), "{page}");
    let refused = bob.send(&ready.path(), &[(SCOPES, "five"), (REGISTRATION, "")]).await;
    assert_eq!(refused.status, 422, "{}", refused.html);
    assert!(refused.html.contains("There is no app registration"), "{}", refused.html);
    ready.save(&bob, &[(REGISTRATION, &europe)]).await;
    assert_eq!(ready.stands(&bob).await, standing("Europe", "PENDING", "europe", "four"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registrations_name_is_text_on_every_page_and_in_tables() {
    let ready = Ready::start().await;
    let bob = ready.world.person("globex", "bob", "user");
    let evil = ready.register(EVIL, "evil").await;
    ready.save(&bob, &[(SCOPES, "one"), (REGISTRATION, &evil)]).await;
    consent(&ready.provider, &connect_link(&bob.get(&ready.path()).await.html), "bob").await;
    let page = bob.get(&ready.path()).await.html;
    assert!(page.contains("&lt;img src=x onerror=&quot;go("), "{page}");
    let refused = bob.send(&ready.path(), &[(REGISTRATION, &format!("{EVIL}?"))]).await;
    assert!(
        refused.status == 422 && refused.html.contains("There is no app registration"),
        "{}",
        refused.html
    );
    let listed = bob.get("/embedded/view/connections").await.html;
    assert!(listed.contains("Cloud: Account"), "{listed}");
    for html in [&page, &refused.html, &listed] {
        assert!(!html.contains("<img") && !html.contains("onerror=\""), "{html}");
    }

    let urls = "{ instances { nodes { userLevelConfigs { nodes { flowConfigs { nodes { webhookUrl } } } } } } }";
    let found = ready.world.api().get(urls, json!({})).await;
    let hook = &found["nodes"][0]["userLevelConfigs"]["nodes"][0]["flowConfigs"]["nodes"][0]["webhookUrl"];
    assert_eq!(ready.world.daemon.post(hook.as_str().unwrap(), &[], "{}").await.status, 200);
    let named = |report: &Value| {
        let rows = report["rows"].as_array().unwrap().clone();
        rows.iter().any(|row| row["registration"]["name"] == EVIL)
    };
    let mut look = tokio::time::interval(Duration::from_millis(20));
    within("its call is counted", async {
        loop {
            look.tick().await;
            let report = ready.world.daemon.local(Method::GET, "/usage?by=registration", None).await.unwrap();
            if named(&report) {
                return;
            }
        }
    })
    .await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_perseat"));
    command
        .args(["usage", "--by", "registration", "--csv", "--data"])
        .arg(ready.world.daemon.data());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains(",\"'=1+1<img src=x onerror=\"\"go('x')\"\">\","), "{table}");
}
