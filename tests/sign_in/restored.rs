//! What a restored backup lets nobody in by.

use crate::harness::api::Api;
use crate::harness::browser::Browser;
use crate::harness::daemon::Daemon;
use crate::world::{APP, PASSWORD, World, refused, setup};
use http::Method;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// A command line that must succeed; what it said.
fn perseat(data: &Path, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_perseat"))
        .args(arguments)
        .arg("--data")
        .arg(data)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    said
}

/// Invites a guest of the organization by mail.
async fn guest(owner: &Api<'_>) {
    let roles = owner.get("{ organizationRoles { id name } }", json!({})).await;
    let role = roles.as_array().unwrap().iter().find(|role| role["name"] == "Guest").unwrap();
    let query = "mutation ($r: ID!) { createOrganizationUser(input: {email: \"gast@acme.example\", role: $r}) { user { id } errors { messages } } }";
    owner.get(query, json!({ "r": role["id"] })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_links_and_bearers_that_ended_after_a_backup_do_not_come_back_with_it() {
    // Nobody takes letters there.
    let mail = setup()
        .set("mail.host", "127.0.0.1")
        .set("mail.port", 1)
        .set("mail.from", "perseat@acme.example");
    let mut world = World::start(mail).await;
    let tokens = world.tokens(APP).await;
    let link = world.owner("bob@acme.example").await;
    let mut bearers = Vec::new();
    for name in ["withdrawn", "needed"] {
        let body = json!({ "name": name, "role": "owner", "organization": "" });
        bearers.push(world.daemon.local(Method::POST, "/tokens", Some(body)).await.unwrap());
    }
    let text = |bearer: &Value, field: &str| bearer[field].as_str().unwrap().to_owned();
    guest(&Api::holder_of(&world.daemon, &text(&bearers[1], "token"))).await;
    world.daemon.log_line(&["a letter was not sent", "put-off"]);
    let folder = tempfile::tempdir().unwrap();
    let [backup, keyring] = ["backup", "keyring"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
    let data = world.daemon.data();
    perseat(&data, &["backup", &backup]);
    perseat(&data, &["keyring", "export", &keyring]);

    // Everything ends after the backup, but for one token.
    world.revoke(&tokens.refresh).await;
    world.set_password(&link, PASSWORD).await;
    perseat(&data, &["token", "revoke", &text(&bearers[0], "id")]);
    assert_eq!(world.who(&tokens.access).await, Value::Null);
    let address = world.daemon.address("api");
    world.daemon.terminate();

    let restored = |further: &[&str]| {
        let mut said = String::new();
        let daemon = Daemon::launch_on(setup(), |to| {
            std::fs::create_dir(to).unwrap();
            std::fs::copy(data.join("master-key"), to.join("master-key")).unwrap();
            said = perseat(to, &[&["restore", &backup, "--keyring", &keyring], further].concat());
            let verified = perseat(to, &["verify", to.to_str().unwrap()]);
            assert!(verified.contains("everything fits"), "{verified}");
        });
        daemon.until_ready();
        (World { daemon }, said)
    };
    let (again, said) = restored(&[]);
    assert!(
        said.contains("1 sessions, 2 invitation and reset links, 1 letters that waited"),
        "{said}"
    );
    let revoked = said.split("revoked, because").nth(1).unwrap();
    for bearer in &bearers {
        assert!(
            revoked.contains(&text(bearer, "id")) && revoked.contains(&text(bearer, "name")),
            "{said}"
        );
        let who = again.who(&text(bearer, "token")).await;
        assert_eq!(who, Value::Null, "{}", bearer["name"]);
    }
    assert_eq!(again.who(&tokens.access).await, Value::Null);
    assert_eq!(refused(&again.refresh(APP, &tokens.refresh).await), "invalid_grant");
    let link = link.replace(&address.to_string(), &again.daemon.address("api").to_string());
    let page = Browser::new(&[]).open(&link).await;
    assert_ne!(page.status, 200, "{}", page.html);
    // People come in by their passwords, as of the backup.
    let fresh = again.tokens(APP).await;
    assert_eq!(again.who(&fresh.access).await["email"], "ann@acme.example");
    assert!(again.acts().await.contains(&"restore".to_owned()));
    drop(again);

    let (again, said) = restored(&["--keep-token", &text(&bearers[1], "id")]);
    let kept = said.split("go on working").nth(1).unwrap();
    assert!(kept.contains("needed") && !kept.contains("withdrawn"), "{said}");
    let asked = "{ organization { name } }";
    let ask = async |bearer: &Value| {
        let api = Api::holder_of(&again.daemon, bearer["token"].as_str().unwrap());
        api.ask(asked, json!({})).await["data"]["organization"]["name"].clone()
    };
    assert_eq!(ask(&bearers[1]).await, "Acme");
    assert_eq!(ask(&bearers[0]).await, Value::Null);
}
