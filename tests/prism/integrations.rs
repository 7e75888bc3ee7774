//! Integrations from import to deletion.

use crate::cli::Prism;
use crate::harness::daemon::Setup;

const YAML: &str = "definitionVersion: 7
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

    prism.run(&["integrations:publish", &id, "--comment", "First"]).ok();
    let first = prism.run(&["integrations:versions", &id, "--latest-available", "--columns", "id", "--no-header"]);
    let first = first.ok().to_owned();
    assert_ne!(first, id, "a version has an id of its own");
    let versions = prism.run(&["integrations:versions", &id, "--extended"]);
    assert!(versions.ok().contains("First"), "{}", versions.out);
    let again = prism.run(&["integrations:publish", &id]).refused();
    assert!(again.contains("published already"), "{again}");

    let changed = prism.file("changed.yml", &YAML.replace("Greets.", "Greets loudly."));
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
    let replaced = prism.file("replaced.yml", &YAML.replace("Greets.", "Replaced."));
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
        ])
        .ok();
    prism.run(&["integrations:set-debug", "true", "--integration-id", &id]).ok();
    let fork = prism.run(&["integrations:fork", &id, "--name", "Fork", "--description", "A copy"]);
    let fork = fork.ok().to_owned();
    let blank = prism.run(&["integrations:create", "--name", "Blank", "--description", "Empty"]);
    let blank = blank.ok().to_owned();
    for integration in [&fork, &blank, &id] {
        prism.run(&["integrations:delete", integration]).ok();
    }
    assert!(!prism.run(&["integrations:list"]).ok().contains("Greeter"));
}
