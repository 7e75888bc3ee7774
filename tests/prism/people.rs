//! Who asks, customers, customers' users and roles.

use crate::cli::{Prism, perseat};
use crate::harness::daemon::Setup;

#[test]
fn a_token_says_who_asks_and_a_wrong_one_is_refused() {
    let prism = Prism::start(Setup::new());
    let me = prism.run(&["me"]);
    assert!(me.ok().contains("Organization: Acme Software"), "{}", me.out);
    assert!(prism.run_as("pst_wrong", &["me"]).refused().contains("Not authenticated"));
    let guest = perseat(&prism.daemon, &["token", "create", "--role", "guest", "--json"]);
    let guest: serde_json::Value = serde_json::from_str(&guest).unwrap();
    let token = guest["token"].as_str().unwrap();
    prism.run_as(token, &["customers:list"]).ok();
    let refused = prism.run_as(token, &["customers:create", "--name", "No"]).refused();
    assert!(refused.contains("does not allow to manage customers"), "{refused}");
    perseat(&prism.daemon, &["token", "revoke", guest["id"].as_str().unwrap()]);
    assert!(prism.run_as(token, &["customers:list"]).refused().contains("Not authenticated"));
    let listed = perseat(&prism.daemon, &["token", "list"]);
    assert!(listed.contains("revoked") && !listed.contains(token), "{listed}");
}

/// The "CLI" blocks of the document about customers.
#[test]
fn customers_and_their_users_are_managed_as_the_document_says() {
    let prism = Prism::start(Setup::new());
    let created = prism.run(&[
        "customers:create",
        "--name",
        "FTL Rockets",
        "--description",
        "Faster-Than-Light Rocket Inc",
        "--externalId",
        "abc-123",
        "--label",
        "Gold",
        "--label",
        "EU",
    ]);
    let customer = created.ok().to_owned();
    assert_eq!(prism.find(&["customers:list"], "Name=^FTL Rockets$"), customer);
    let listed = prism.run(&["customers:list", "--extended"]);
    assert!(
        listed.ok().contains("Faster-Than-Light Rocket Inc") && listed.out.contains("abc-123"),
        "{}",
        listed.out
    );
    let taken = prism.run(&["customers:create", "--name", "FTL Rockets"]).refused();
    assert!(taken.contains("name:"), "{taken}");

    let role = prism.find(&["customers:users:roles"], "name=^Admin$");
    let user = prism.run(&[
        "customers:users:create",
        "--email",
        "lisa.nguyen@ftl-rockets.example",
        "--name",
        "Lisa Nguyen",
        "--customer",
        &customer,
        "--role",
        &role,
    ]);
    let user = user.ok().to_owned();
    let found = prism.find(&["customers:users:list", &customer], "Email=lisa.nguyen@ftl-rockets.example");
    assert_eq!(found, user);
    prism
        .run(&[
            "customers:users:update",
            &user,
            "--name",
            "Lisa N.",
            "--phone",
            "555",
            "-d",
            "true",
            "-o",
            "true",
        ])
        .ok();
    let query = format!(r#"query {{ user(id: "{user}") {{ phone darkMode darkModeSyncWithOs }} }}"#);
    let profile = prism.run(&["graphql:query", &query, "--raw"]);
    assert_eq!(profile.ok().matches("true").count(), 2, "{}", profile.out);
    let listed = prism.run(&["customers:users:list", &customer]);
    assert!(listed.ok().contains("Lisa N.") && listed.out.contains("Admin"), "{}", listed.out);
    prism.run(&["customers:users:delete", &user]).ok();
    assert!(!prism.run(&["customers:users:list", &customer]).ok().contains("Lisa"));

    let changed = [
        "customers:update",
        &customer,
        "--name",
        "New Customer Name",
        "--description",
        "New Customer Description",
        "--externalId",
        "abc-456",
        "--label",
        "Silver",
    ];
    prism.run(&changed).ok();
    let query = format!(r#"query {{ customer(id: "{customer}") {{ externalId labels }} }}"#);
    let found = prism.run(&["graphql:query", &query]);
    assert!(
        found.ok().contains("abc-456") && found.out.contains("silver") && !found.out.contains("gold"),
        "{}",
        found.out
    );
    assert_eq!(prism.find(&["customers:list"], "Name=^New Customer Name$"), customer);
    prism.run(&["customers:delete", &customer]).ok();
    assert!(!prism.run(&["customers:list"]).ok().contains("New Customer Name"));
    assert!(prism.run(&["customers:delete", &customer]).refused().contains("no such customer"));
}

/// The "API" blocks of the same document, through `graphql:query`.
#[test]
fn the_api_takes_what_the_document_sends() {
    let prism = Prism::start(Setup::new());
    let query = |text: &str| prism.run(&["graphql:query", text]);
    let made = query(
        r#"mutation { createCustomer(input: { name: "FTL Rockets", description: "Faster", labels: ["Gold"], newerField: 1 }) { customer { id labels } errors { field messages } } }"#,
    );
    let made: serde_json::Value = serde_json::from_str(made.ok()).unwrap();
    let made = made.get("data").unwrap_or(&made);
    let id = made["createCustomer"]["customer"]["id"].as_str().unwrap().to_owned();
    assert_eq!(
        made["createCustomer"]["customer"]["labels"],
        serde_json::json!(["gold"]),
        "labels are in lower case"
    );
    let listed = query("query { customers { nodes { name users { nodes { name email } } } } }");
    assert!(listed.ok().contains("FTL Rockets"), "{}", listed.out);
    let found = query(r#"query { customers(labels_Icontains: "OL", name_Icontains: "rock") { nodes { id } } }"#);
    assert!(found.ok().contains(&id), "{}", found.out);
    let update = format!(
        r#"mutation {{ updateCustomer(input: {{ id: "{id}" name: "New", description: "New description" }}) {{ customer {{ id }} }} }}"#
    );
    query(&update).ok();
    let missing = query(r#"query { customer(id: "Q3VzdG9tZXI6ZDIyOGUwNjItYzc0NC00NDFkLWE0MDMtNjQ1NTU4MDQ1OTZk") { name } }"#);
    assert!(missing.refused().contains("no such customer"));
    let delete = format!(
        r#"mutation {{ deleteCustomer(input: {{ id: "{id}", confirmName: "Old" }}) {{ customer {{ id }} errors {{ field messages }} }} }}"#
    );
    assert!(query(&delete).out.contains("not the customer's name") || query(&delete).error.contains("not the customer's name"));
    query(&delete.replace("Old", "New")).ok();
}

#[test]
fn the_script_that_syncs_customers_can_run_again_and_again() {
    let prism = Prism::start(Setup::new());
    let sync = |list: serde_json::Value| {
        let list = prism.file("customers.json", list.to_string());
        let output = std::process::Command::new("bash")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/how-to/sync-customers.sh"))
            .arg(list)
            .env("PERSEAT_URL", format!("http://{}", prism.daemon.address("api")))
            .env("PERSEAT_TOKEN", prism.token())
            .env("NO_PROXY", "127.0.0.1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let one = serde_json::json!({ "externalId": "a-1", "name": "Smith Rocket Company", "labels": ["Gold", "EU"] });
    let two = serde_json::json!({ "externalId": "b-2", "name": "Globex", "description": "Since 2019" });
    assert_eq!(sync(serde_json::json!([one, two])), "created a-1\ncreated b-2\n");
    assert_eq!(sync(serde_json::json!([one, two])), "unchanged a-1\nunchanged b-2\n");
    let renamed = serde_json::json!({ "externalId": "b-2", "name": "Globex Inc", "description": "Since 2019" });
    assert_eq!(sync(serde_json::json!([one, renamed])), "unchanged a-1\nchanged b-2\n");
    assert!(prism.run(&["customers:list"]).ok().contains("Globex Inc"));
}
