//! Integrations from import to deletion.

use crate::cli::Prism;
use crate::harness::daemon::Setup;
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub(crate) const YAML: &str = "definitionVersion: 7
name: Greeter
description: Greets.
category: Examples
endpointType: flow_specific
requiredConfigVars: []
configPages: []
flows:
  - name: Greet
    stableKey: greet
    description: Says hello.
    endpointSecurityType: unsecured
    isSynchronous: false
    steps:
      - name: Trigger
        stableKey: greet-trigger
        isTrigger: true
        action: {key: webhook, component: {key: webhook-triggers, isPublic: true, version: LATEST}}
        inputs: {}
";

/// The side of the avatar that a reference leads to.
async fn side_of(prism: &Prism, reference: &str) -> (u32, u32) {
    let url = format!("http://{}{reference}", prism.daemon.address("api"));
    let bearer = format!("Bearer {}", prism.token());
    let located = prism.daemon.send(Method::GET, &url, &[("authorization", &bearer)], "").await.json();
    let file = prism.daemon.send(Method::GET, located["url"].as_str().unwrap(), &[], "").await;
    let picture = image::load_from_memory_with_format(&file.body, image::ImageFormat::Png).unwrap();
    (picture.width(), picture.height())
}

fn png(width: u32, height: u32) -> Vec<u8> {
    let mut out = std::io::Cursor::new(Vec::new());
    let picture = image::DynamicImage::new_rgba8(width, height);
    picture.write_to(&mut out, image::ImageFormat::Png).unwrap();
    out.into_inner()
}

#[tokio::test]
async fn an_icon_is_uploaded_with_an_import_and_a_picture_for_the_organization() {
    let prism = Prism::start(Setup::new());
    let (file, icon) = (prism.file("greeter.yml", YAML), prism.file("icon.png", png(64, 32)));
    let imported = prism.run(&["integrations:import", "--path", &file, "--icon-path", &icon]);
    let id = imported.ok().lines().last().unwrap().trim().to_owned();
    assert!(!imported.error.contains("Error setting integration icon"), "{}", imported.error);
    let query = "query ($i: ID!) { integration(id: $i) { avatarUrl } organization { id } }";
    let found = prism.ask(prism.token(), query, json!({ "i": id })).await;
    assert_eq!(
        side_of(&prism, found["integration"]["avatarUrl"].as_str().unwrap()).await,
        (500, 500)
    );

    let organization = found["organization"]["id"].as_str().unwrap();
    let asked = prism.run(&[
        "graphql:query",
        &format!(
            r#"query {{ uploadMedia(objectId: "{organization}", fileName: "logo.png", mediaType: AVATAR) {{ uploadUrl objectUrl }} }}"#
        ),
    ]);
    let asked: Value = serde_json::from_str(asked.ok()).unwrap();
    let upload = &asked.get("data").unwrap_or(&asked)["uploadMedia"];
    let put = prism
        .daemon
        .send(Method::PUT, upload["uploadUrl"].as_str().unwrap(), &[], png(900, 700))
        .await;
    assert_eq!(put.status, 200);
    let object = upload["objectUrl"].as_str().unwrap();
    prism
        .run(&[
            "organization:updateAvatarUrl",
            "--organizationId",
            organization,
            "--avatarUrl",
            object,
        ])
        .ok();
    let found = prism.ask(prism.token(), "{ organization { avatarUrl } }", json!({})).await;
    assert_eq!(found["organization"]["avatarUrl"], object);
    assert_eq!(side_of(&prism, object).await, (500, 500));
    let elsewhere = [
        "organization:updateAvatarUrl",
        "--organizationId",
        organization,
        "--avatarUrl",
        "https://elsewhere.example/logo.png",
    ];
    assert!(prism.run(&elsewhere).refused().contains("Upload the file first"));
}

#[test]
fn a_definition_with_a_data_source_is_imported_as_it_is() {
    let prism = Prism::start(Setup::new());
    let variable = "requiredConfigVars:
  - key: Folder
    stableKey: folder
    dataType: picklist
    orgOnly: false
    dataSource: {key: runCodePicklist, component: {key: code, isPublic: true, version: LATEST}}
    inputs: {code: {type: value, value: 'module.exports = async () => ({ result: [] })'}}
";
    let file = prism.file("chooser.yml", YAML.replace("requiredConfigVars: []\n", variable));
    assert!(prism.run(&["integrations:validate-yaml", &file]).is_ok);
    let id = prism
        .run(&["integrations:import", "--path", &file])
        .ok()
        .lines()
        .last()
        .unwrap()
        .trim()
        .to_owned();
    prism.run(&["integrations:publish", &id]).ok();
    let sources = prism.run(&["components:data-sources:list", "code"]);
    assert!(sources.ok().contains("Run Code Picklist"), "{}", sources.out);
}

#[test]
fn an_integration_is_imported_published_and_offered() {
    let prism = Prism::start(Setup::new());
    let file = prism.file("greeter.yml", YAML);
    assert!(prism.run(&["integrations:validate-yaml", &file]).is_ok);
    let broken = prism.file("broken.yml", "definitionVersion: 7\nname: Broken\n");
    let refused = prism.run(&["integrations:validate-yaml", &broken]).refused();
    assert!(refused.contains("flows"), "{refused}");

    let imported = prism.run(&["integrations:import", "--path", &file]);
    let id = imported.ok().lines().last().unwrap().trim().to_owned();
    assert_eq!(prism.find(&["integrations:list"], "name=Greeter"), id);
    let listed = prism.run(&["integrations:list", "--extended"]);
    assert!(listed.ok().contains("Examples"), "{}", listed.out);
    assert!(prism.run(&["integrations:flows:list", &id]).ok().contains("Greet"));
    assert!(
        prism
            .run(&["integrations:versions", &id, "--latest-available", "--columns", "id", "--no-header"])
            .ok()
            .is_empty()
    );

    let published = [
        "integrations:publish",
        &id,
        "--comment",
        "First",
        "--commitHash",
        "c0ffee",
        "--commitUrl",
        "https://git.example/c0ffee",
        "--repoUrl",
        "https://git.example",
        "--pullRequestUrl",
        "https://git.example/pull/1",
    ];
    prism.run(&published).ok();
    let query = format!(r#"query {{ integration(id: "{id}") {{ attributes }} }}"#);
    let kept = prism.run(&["graphql:query", &query]);
    for part in ["c0ffee", "https://git.example/c0ffee", "https://git.example/pull/1"] {
        assert!(kept.ok().contains(part), "{}", kept.out);
    }
    let first = prism.run(&["integrations:versions", &id, "--latest-available", "--columns", "id", "--no-header"]);
    let first = first.ok().to_owned();
    assert_ne!(first, id, "a version has an id of its own");
    let versions = prism.run(&["integrations:versions", &id, "--extended"]);
    assert!(versions.ok().contains("First"), "{}", versions.out);
    let again = prism.run(&["integrations:publish", &id]).refused();
    assert!(again.contains("published already"), "{again}");

    let changed = prism.file("changed.yml", YAML.replace("Greets.", "Greets loudly."));
    prism.run(&["integrations:import", "--path", &changed, "--integrationId", &id]).ok();
    assert_eq!(
        prism
            .run(&["integrations:versions", &id, "--latest-available", "--columns", "id", "--no-header"])
            .ok(),
        first,
        "what is worked on is not offered"
    );
    assert!(prism.run(&["integrations:export", &id]).ok().contains("Greets loudly."));
    assert!(prism.run(&["integrations:export", &first]).ok().contains("Greets."));
    let older = prism.file("older.yml", YAML.replace("version: LATEST", "version: 2"));
    prism.run(&["integrations:import", "--path", &older, "--integrationId", &id]).ok();
    let plain = prism.run(&["integrations:export", &id, "--version", "7"]);
    assert!(plain.ok().contains("version: 2"), "{}", plain.out);
    let latest = prism.run(&["integrations:export", &id, "--latest-components"]);
    assert!(latest.ok().contains("version: LATEST"), "{}", latest.out);
    prism.run(&["integrations:export", &id, "--version", "6"]).refused();
    let replaced = prism.file("replaced.yml", YAML.replace("Greets.", "Replaced."));
    prism
        .run(&[
            "integrations:import",
            "--path",
            &replaced,
            "--integrationId",
            &id,
            "--replace",
            "--no-confirm",
        ])
        .ok();

    prism
        .run(&["integrations:update", &id, "--name", "Greeter 2", "--description", "Renamed"])
        .ok();
    assert_eq!(prism.find(&["integrations:list"], "name=Greeter 2"), id);
    prism.run(&["integrations:available", &first, "--no-available"]).ok();
    assert!(
        prism
            .run(&["integrations:versions", &id, "--latest-available", "--columns", "id", "--no-header"])
            .ok()
            .is_empty()
    );
    prism.run(&["integrations:available", &first, "--available"]).ok();
    prism
        .run(&[
            "integrations:marketplace",
            &id,
            "--available",
            "--deployable",
            "--overview",
            "Says hello",
            "--allow-multiple-instances",
        ])
        .ok();
    let query = format!(
        r#"query {{ integration(id: "{id}") {{ marketplaceConfiguration overview allowMultipleMarketplaceInstances customer {{ id }} }} }}"#
    );
    let offered = prism.run(&["graphql:query", &query, "--raw"]);
    for part in ["AVAILABLE_AND_DEPLOYABLE", "Says hello", "true"] {
        assert!(offered.ok().contains(part), "{}", offered.out);
    }
    prism
        .run(&["integrations:marketplace", &id, "--available", "--no-deployable", "--overview", "x"])
        .ok();
    assert!(prism.run(&["graphql:query", &query]).ok().contains("AVAILABLE_NOT_DEPLOYABLE"));
    prism
        .run(&[
            "integrations:marketplace",
            &id,
            "--no-available",
            "--no-deployable",
            "--overview",
            "x",
        ])
        .ok();
    assert!(prism.run(&["graphql:query", &query]).ok().contains("NOT_AVAILABLE_IN_MARKETPLACE"));
    prism.run(&["integrations:set-debug", "true", "--integration-id", &id]).ok();
    let fork = prism.run(&["integrations:fork", &id, "--name", "Fork", "--description", "A copy"]);
    let fork = fork.ok().to_owned();
    let customer = prism.run(&["customers:create", "--name", "Globex"]).ok().to_owned();
    let blank = prism.run(&[
        "integrations:create",
        "--name",
        "Blank",
        "--description",
        "Empty",
        "--customer",
        &customer,
    ]);
    let blank = blank.ok().to_owned();
    let ids = |flags: &[&str]| {
        let list = [&["integrations:list", "--columns", "id", "--no-header"], flags].concat();
        let listed = prism.run(&list);
        let lines = listed.ok().lines().map(|line| line.trim().to_owned());
        lines.collect::<BTreeSet<String>>()
    };
    assert_eq!(ids(&["--customer", &customer]), BTreeSet::from([blank.clone()]));
    assert_eq!(ids(&["--org-only"]), BTreeSet::from([id.clone(), fork.clone()]));
    assert_eq!(ids(&["--search", "bLAn"]), BTreeSet::from([blank.clone()]));
    let (newest, all) = (ids(&[]), ids(&["--showAllVersions"]));
    assert!(all.contains(&first) && !newest.contains(&first), "{newest:?} {all:?}");
    prism.run(&["integrations:update", &fork, "--customer", &customer]).ok();
    assert_eq!(ids(&["--customer", &customer]), BTreeSet::from([blank.clone(), fork.clone()]));
    let values = r#"[{"key": "Folder", "value": "x"}]"#;
    let refused = prism.run(&["integrations:update", &fork, "--test-config-vars", values]).refused();
    assert!(
        refused.contains("testConfigVariables") && refused.contains("no instance-level variable `Folder`"),
        "{refused}"
    );
    let with_folder = YAML.replace(
        "requiredConfigVars: []\nconfigPages: []",
        "requiredConfigVars:\n  - {key: Folder, stableKey: folder, dataType: string, orgOnly: false}\nconfigPages:\n  - {name: Set up, elements: [{type: configVar, value: Folder}]}",
    );
    let file = prism.file("folder.yml", with_folder.replace("name: Greeter", "name: Fork"));
    prism.run(&["integrations:import", "--path", &file, "--integrationId", &fork]).ok();
    let query = format!(
        r#"query {{ integration(id: "{fork}") {{ name testConfigVariables {{ nodes {{ value requiredConfigVariable {{ key }} }} }}
            systemInstance {{ configState configVariables {{ nodes {{ value }} }} }} }} }}"#
    );
    let tried = || {
        let said = prism.run(&["graphql:query", &query]);
        let said: Value = serde_json::from_str(said.ok()).unwrap();
        said.get("data").unwrap_or(&said)["integration"].clone()
    };
    let before = tried();
    assert_eq!(before["testConfigVariables"]["nodes"][0]["value"], Value::Null, "{before}");
    assert_eq!(before["systemInstance"]["configState"], "NEEDS_INSTANCE_CONFIGURATION");
    prism.run(&["integrations:update", &fork, "--test-config-vars", values]).ok();
    let after = tried();
    assert_eq!(
        after["testConfigVariables"]["nodes"],
        json!([{ "value": "x", "requiredConfigVariable": { "key": "Folder" } }])
    );
    assert_eq!(after["systemInstance"]["configState"], "FULLY_CONFIGURED");
    assert_eq!(after["systemInstance"]["configVariables"]["nodes"], json!([{ "value": "x" }]));
    prism.run(&["integrations:update", &fork, "--name", "Fork of it"]).ok();
    assert_eq!(
        tried()["testConfigVariables"],
        after["testConfigVariables"],
        "what is not given stays"
    );
    for integration in [&fork, &blank, &id] {
        prism.run(&["integrations:delete", integration]).ok();
    }
    assert!(!prism.run(&["integrations:list"]).ok().contains("Greeter"));
}
