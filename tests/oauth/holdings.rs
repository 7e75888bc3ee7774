//! What a customer and its users hold besides the values of an instance: app registrations, client certificates, what they give
//! to shared connections, and a key that is rotated. And what was used by them.

use std::process::Command;

use http::Method;
use perseat_domain::id::CustomerId;
use serde_json::{Value, json};

use crate::harness::api::Api;
use crate::harness::daemon::Daemon;
use crate::harness::oauth::{Oauth, first_tokens};
use crate::harness::within;
use crate::planting::Seen;

/// The provider knows the secret of a client by its name.
const CLIENT: &str = "europe-of-globex";
const DIMENSIONS: &str = "day,customer,instance,user,connection,registration,account";

/// The registration that ann chooses.
pub(crate) fn registration(seen: &mut Seen) -> String {
    let secret = seen.known("client secret of a registration", &format!("secret-of-{CLIENT}"));
    format!(
        "kind: AppRegistration\ncustomer: globex\ninstance: Vault\nconnection: Account\nname: Europe\nclientId: {CLIENT}\nclientSecret: {secret}\n---\n"
    )
}

/// A client certificate with its key, as the fields of a connection. The body of the key is in lines, and any of them is a secret.
pub(crate) fn certificate(seen: &mut Seen, of: &str) -> Value {
    let made = rcgen::generate_simple_self_signed(vec!["globex.example".to_owned()]).unwrap();
    let key = made.signing_key.serialize_pem();
    let body: Vec<&str> = key.lines().filter(|line| !line.starts_with('-')).collect();
    assert!(body.len() >= 2, "{} lines", body.len());
    for (number, line) in body.iter().enumerate() {
        seen.known(&format!("line {number} of the private key of {of}"), line);
    }
    json!({ "certificate": made.cert.pem(), "privateKey": key })
}

/// The variables that are shared connections, and who shares each.
pub(crate) const SHARED: [(&str, &str); 4] = [
    ("Everyones", "organization"),
    ("Firms", "customer"),
    ("Persons", "user"),
    ("Common", "customer"),
];

/// The shared connections and what is given to them. Applied again with another `round`, all secrets are other ones.
pub(crate) fn shared(seen: &mut Seen, provider: &Oauth, round: &str) -> String {
    let connection = |name: &str, kind: &str, fields: &Value| {
        let (_, sharing) = SHARED.iter().find(|(key, _)| *key == name).unwrap();
        let key = name.to_lowercase();
        format!(
            "kind: SharedConnection\nname: {name}\nstableKey: {key}\nsharing: {sharing}\ncomponent: http\nconnection: {kind}\nfields: {fields}\n---\n"
        )
    };
    let value = |name: &str, more: &str| {
        let key = name.to_lowercase();
        format!("kind: SharedConnectionValue\nconnection: {key}\ncustomer: globex\n{more}\n---\n")
    };
    let mut secret = |name: &str| seen.secret(&format!("{name}, {round}"));
    let password = json!({ "password": secret("password of a customer's shared connection") });
    let key = json!({ "apiKey": secret("key of a user's shared connection") });
    let oauth = json!({
        "tokenUrl": provider.url("/token"), "authorizeUrl": provider.url("/authorize"), "revokeUrl": provider.url("/revoke"),
        "clientId": "shared-client", "clientSecret": secret("client secret of a shared connection"), "scopes": "work",
        "clientAuthentication": "basic", "headers": json!({ "x-proof": secret("token header of a shared connection") }).to_string(),
    });
    provider.allow("globex");
    [
        connection("Everyones", "bearer", &json!({ "token": secret("token of a shared connection") })),
        connection("Firms", "basic", &json!({ "username": "us" })),
        value("Firms", &format!("fields: {password}")),
        connection("Persons", "apiKey", &json!({ "headerName": "x-key" })),
        value("Persons", &format!("user: ann\nfields: {key}")),
        connection("Common", "oauth2", &oauth),
        value("Common", &format!("token: {}", first_tokens("globex"))),
    ]
    .concat()
}

/// An admin makes registrations and changes their secrets, and is refused.
pub(crate) async fn register(seen: &mut Seen, owner: &Api<'_>, instance: &Value) {
    let create = "mutation ($i: ID!, $c: String!, $s: String) { createAppRegistration(input: {instance: $i, connection: $c, name: \"Asia\", clientId: \"asia\", clientSecret: $s}) { appRegistration { id name clientId scopes } errors { field messages } } }";
    let secret = seen.secret("client secret by the API");
    let made = seen.ask(owner, create, json!({ "i": instance, "c": "Company", "s": secret })).await;
    let id = &made["data"]["createAppRegistration"]["appRegistration"]["id"];
    assert!(id.is_string(), "{made}");
    let update = "mutation ($i: ID!, $r: ID!, $s: String) { updateAppRegistration(input: {instance: $i, id: $r, clientSecret: $s}) { appRegistration { id } errors { messages } } }";
    let secret = seen.secret("second client secret by the API");
    let changed = seen.ask(owner, update, json!({ "i": instance, "r": id, "s": secret })).await;
    assert!(changed["data"]["updateAppRegistration"]["appRegistration"].is_object(), "{changed}");
    let secret = seen.secret("client secret that is refused");
    let refused = seen.ask(owner, create, json!({ "i": instance, "c": "Basic", "s": secret })).await;
    assert!(refused["data"]["createAppRegistration"]["appRegistration"].is_null(), "{refused}");
}

/// The customer's key is replaced while everything goes on.
pub(crate) async fn rotate(seen: &Seen, daemon: &Daemon, owner: &Api<'_>) {
    let begun = daemon
        .local(Method::POST, "/keys/customers", Some(json!({ "customer": "globex" })))
        .await
        .unwrap();
    seen.answer("/keys/customers", begun.to_string());
    let found = owner.get("{ customers { nodes { id } } }", json!({})).await;
    let id: CustomerId = found["nodes"][0]["id"].as_str().unwrap().parse().unwrap();
    let target = format!("/keys/customers/{id}");
    let done = async {
        let mut look = tokio::time::interval(std::time::Duration::from_millis(20));
        loop {
            look.tick().await;
            let shown = daemon.local(Method::GET, &target, None).await.unwrap();
            seen.answer(&target, shown.to_string());
            if shown["stage"] == "done" {
                return shown;
            }
        }
    };
    let shown = within("the rotation of the customer's key", done).await;
    assert!(shown["done"]["values"].as_u64().unwrap() > 0, "{shown}");
}

/// What was used, by everything that it can be added up by.
pub(crate) async fn used(seen: &Seen, daemon: &Daemon, owner: &Api<'_>) {
    let by: Vec<String> = DIMENSIONS.split(',').map(str::to_uppercase).collect();
    let question = format!(
        "{{ usage(by: [{}]) {{ rows {{ customerName instanceName userName connection registrationId registrationName account calls }} }} }}",
        by.join(" ")
    );
    let answer = seen.ask(owner, &question, json!({})).await;
    assert!(answer["errors"].is_null() && answer["data"]["usage"]["rows"].is_array(), "{answer}");
    let target = format!("/usage?by={DIMENSIONS}");
    seen.answer(&target, daemon.local(Method::GET, &target, None).await.unwrap().to_string());
    for form in [&["--csv"][..], &["--json"], &[]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_perseat"));
        command.args(["usage", "--by", DIMENSIONS, "--data"]).arg(daemon.data()).args(form);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{output:?}");
        seen.answer(&format!("usage {form:?}"), [output.stdout, output.stderr].concat());
    }
}
