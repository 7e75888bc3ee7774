//! The organization, its users and keys, components, and what is not here.

use crate::cli::{Prism, perseat};
use crate::harness::daemon::Setup;

#[test]
fn the_organization_its_users_and_its_keys_are_managed() {
    let prism = Prism::start(Setup::new());
    prism.run(&["organization:update", "--name", "Acme Renamed"]).ok();
    assert!(prism.run(&["me"]).ok().contains("Acme Renamed"));
    let role = prism.find(&["organization:users:roles"], "name=^Integrator$");
    let made = prism.run(&[
        "organization:users:create",
        "--email",
        "ann@acme.example",
        "--name",
        "Ann",
        "--role",
        &role,
    ]);
    let user = made.ok().to_owned();
    prism
        .run(&[
            "organization:users:update",
            &user,
            "--phone",
            "555",
            "--name",
            "Ann A.",
            "-d",
            "true",
            "-o",
            "true",
        ])
        .ok();
    let listed = prism.run(&["organization:users:list"]);
    assert!(
        listed.ok().contains("Ann A.") && listed.out.contains("Integrator"),
        "{}",
        listed.out
    );
    let ann = perseat(&prism.daemon, &["token", "create", "--user", "ann@acme.example"]);
    let me = prism.run_as(&ann, &["me"]);
    assert!(me.ok().contains("Ann A."), "{}", me.out);
    prism.run_as(&ann, &["organization:update", "--name", "No"]).refused();
    prism.run(&["organization:users:delete", &user]).ok();
    prism.run_as(&ann, &["me"]).refused();

    let generated = prism.run(&["organization:signing-keys:generate"]);
    assert!(generated.ok().contains("BEGIN PRIVATE KEY"), "{}", generated.out);
    let listed = prism.run(&["organization:signing-keys:list", "--extended", "--no-truncate"]);
    assert!(listed.ok().contains("BEGIN PUBLIC KEY"), "{}", listed.out);
    let key = prism.find(&["organization:signing-keys:list"], "imported=false");
    prism.run(&["organization:signing-keys:delete", &key]).ok();
    prism.run(&["organization:connections:list"]).ok();
    prism.run(&["organization:connections:list", "--managed-by", "org"]).ok();
    assert!(prism.run(&["logs:severities:list"]).ok().contains("WARN"));
    prism.run(&["translations:list"]).ok();
    let words = prism.file("words.json", "");
    prism.run(&["translations:list", "--output-file", &words]).ok();

    let audit = perseat(&prism.daemon, &["audit", "list"]);
    assert!(audit.contains("createOrganizationUser") && audit.contains("token:"), "{audit}");
    assert!(perseat(&prism.daemon, &["audit", "verify"]).contains("entries"));
}

#[test]
fn a_key_that_was_made_elsewhere_is_imported() {
    let prism = Prism::start(Setup::new());
    let generated = prism.run(&["organization:signing-keys:generate"]).ok().to_owned();
    let private = prism.file("private.pem", &generated[generated.find("-----BEGIN").unwrap()..]);
    let key = prism.find(&["organization:signing-keys:list"], "imported=false");
    let query = "query { organization { signingKeys { nodes { publicKey } } } }";
    let answer: serde_json::Value = serde_json::from_str(prism.run(&["graphql:query", query]).ok()).unwrap();
    let data = answer.get("data").unwrap_or(&answer);
    let public = data
        .pointer("/organization/signingKeys/nodes/0/publicKey")
        .unwrap()
        .as_str()
        .unwrap();
    let file = prism.file("public.pem", public);
    let twice = prism
        .run(&["organization:signing-keys:import", "--public-key-file", &file])
        .refused();
    assert!(twice.contains("registered already"), "{twice}");
    prism.run(&["organization:signing-keys:delete", &key]).ok();

    let embed = [
        "token",
        "embed",
        "--customer",
        "globex",
        "--customer-name",
        "Globex",
        "--user",
        "jane",
        "--key",
        &private,
    ];
    let bearer = perseat(&prism.daemon, &embed);
    prism.run_as(&bearer, &["me"]).refused();
    prism.run(&["organization:signing-keys:import", "--public-key-file", &file]).ok();
    assert!(
        prism.run_as(&bearer, &["me"]).ok().contains("Globex"),
        "the customer is made on first sight"
    );
    let wrong = prism.file("wrong.pem", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n");
    assert!(
        prism
            .run(&["organization:signing-keys:import", "--public-key-file", &wrong])
            .refused()
            .contains("RSA public key")
    );
}

#[test]
fn components_are_listed() {
    let prism = Prism::start(Setup::new());
    assert!(prism.run(&["components:list"]).ok().contains("Http"));
    assert!(!prism.run(&["components:list", "--search", "http"]).ok().contains("Branch"));
    assert!(prism.run(&["components:actions:list", "http"]).ok().contains("Http Post"));
    assert!(
        prism
            .run(&["components:triggers:list", "webhook-triggers"])
            .ok()
            .contains("Webhook")
    );
    prism.run(&["components:data-sources:list", "http"]).ok();
    assert!(prism.run(&["components:list", "--showAllVersions"]).ok().contains("Http"));
    for (command, component) in [
        ("components:actions:list", "http"),
        ("components:triggers:list", "webhook-triggers"),
        ("components:data-sources:list", "http"),
    ] {
        prism.run(&[command, component, "--public"]).ok();
        let private = prism.run(&[command, component, "--private"]);
        let said = format!("{}{}", private.out, private.error);
        assert!(!private.is_ok && said.contains("is not valid"), "{command}: {said}");
    }
}

/// Commands that ask the server for something it does not have, each with arguments that it takes.
pub(crate) const EXCLUDED: [&[&str]; 20] = [
    &["alerts:events:list", "x"],
    &["alerts:groups:create", "--name", "x"],
    &["alerts:groups:delete", "x"],
    &["alerts:groups:list"],
    &["alerts:monitors:clear", "x"],
    &["alerts:monitors:create", "--name", "x", "--instance", "x", "--triggers", "[]"],
    &["alerts:monitors:delete", "x"],
    &["alerts:monitors:list"],
    &["alerts:triggers:list"],
    &[
        "alerts:webhooks:create",
        "--name",
        "x",
        "--url",
        "https://x.example",
        "--payloadTemplate",
        "{}",
    ],
    &["alerts:webhooks:delete", "x"],
    &["alerts:webhooks:list"],
    &["components:delete", "x"],
    &["components:publish", "--no-confirm", "--no-check-signature"],
    &["integrations:convert", "x"],
    &["on-prem-resources:delete", "x"],
    &["on-prem-resources:list"],
    &["on-prem-resources:registration-jwt", "--orgOnly"],
    &["workflows:export", "x"],
    &["workflows:import", "--path", "workflow.yml"],
];

#[test]
fn commands_that_are_excluded_say_so() {
    let prism = Prism::start(Setup::new());
    prism.file("workflow.yml", "name: x\n");
    let component = "exports.default = { key: 'x', display: { label: 'x', description: 'x' }, actions: {}, triggers: {} };";
    prism.file("index.js", component);
    let next = std::sync::atomic::AtomicUsize::new(0);
    let ask = || {
        while let Some(command) = EXCLUDED.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
            let said = prism.run(command);
            let all = format!("{}\n{}", said.out, said.error);
            assert!(!said.is_ok && all.contains("not supported by this server"), "{command:?}: {all}");
        }
    };
    std::thread::scope(|scope| {
        let threads = [scope.spawn(ask), scope.spawn(ask)];
        for thread in threads {
            thread.join().unwrap();
        }
    });
    let file = prism.file("greeter.yml", crate::integrations::YAML);
    let imported = prism.run(&["integrations:import", "--path", &file]);
    let id = imported.ok().lines().last().unwrap().trim().to_owned();
    let flow = prism.find(&["integrations:flows:list", &id], "name=Greet");
    let tested = prism.run(&["integrations:flows:test", "--integration-id", &id, "--flow-id", &flow]);
    assert!(
        tested.out.contains("not supported by this server"),
        "{}\n{}",
        tested.out,
        tested.error
    );
    let listen = [
        "integrations:flows:listen",
        "--integration-id",
        &id,
        "--flow-id",
        &flow,
        "--timeout",
        "1",
    ];
    let listened = prism.run(&listen);
    assert!(
        listened.error.contains("not supported by this server"),
        "{}\n{}",
        listened.out,
        listened.error
    );
}
