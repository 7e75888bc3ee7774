//! One customer from one daemon to another.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

use std::path::Path;
use std::process::{Command, Output};

use harness::daemon::{Daemon, Setup};
use harness::manifests::{Integration, flow, people, post, token};
use harness::provider::Provider;
use http::Method;

const CANARIES: [&str; 3] = ["token-of-globex-ann", "globex Inc", "ann@globex.example"];

fn perseat(data: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perseat"));
    command.args(arguments).arg("--data").arg(data).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[track_caller]
fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    said(output)
}

#[track_caller]
fn refused(output: &Output, why: &[&str]) {
    assert_eq!(output.status.code(), Some(1), "{}", said(output));
    for why in why {
        assert!(said(output).contains(why), "{why}: {}", said(output));
    }
}

fn files(provider: &Provider) -> (String, String) {
    let send = post("Send", "/sent", "onEvent.results.body.data");
    let files = Integration {
        name: "Files",
        endpoint_type: "flow_specific",
        is_user_level: true,
        keys: "",
        flows: flow("Send", "    endpointSecurityType: customer_optional\n", &[send]),
    };
    let instance = files.instance("globex", &provider.url(""), "apiKeys: {Send: [key-of-globex]}\n");
    (
        files.manifest(),
        instance + &files.user("globex", "ann") + &files.user("globex", "bob"),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_moves_with_its_users_credentials_and_urls_or_not_at_all() {
    let provider = Provider::start().await;
    let start = || Daemon::start(Setup::new().allow(&[provider.address()]));
    let (from, to) = (start(), start());
    let (integration, instances) = files(&provider);
    from.apply(&(people(&[("globex", &["ann", "bob"]), ("initech", &["joe"])]) + &integration + &instances))
        .await;
    let folder = tempfile::tempdir().unwrap();
    let [file, key] = ["globex.perseat", "key"].map(|name| folder.path().join(name).display().to_string());
    let export = ["customer", "export", "globex", &file, "--key-file", &key];
    assert!(done(&perseat(&from.data(), &export)).contains("was made"));
    refused(&perseat(&from.data(), &export), &["exists"]);
    let text = std::fs::read_to_string(&file).unwrap();
    for canary in CANARIES {
        assert!(!text.contains(canary), "{canary} stands in the file");
    }

    // What is missing is said, all at once, and nothing is taken in.
    let import = ["customer", "import", &file, "--key-file", &key];
    to.apply("kind: Organization\nname: Southwind\nulcEnabled: false\n---\nkind: Customer\nname: globex Inc\n---\n")
        .await;
    let why = [
        "no integration `Files`",
        "another customer is called `globex Inc`",
        "switched off here",
    ];
    refused(&perseat(&to.data(), &import), &why);
    to.apply(&("kind: Organization\nname: Southwind\nulcEnabled: true\n---\n".to_owned() + &integration))
        .await;
    refused(&perseat(&to.data(), &import), &["another customer is called `globex Inc`"]);
    to.apply("kind: Customer\nname: Another Globex\n---\n").await;
    let prune = perseat_admin::manifest::read_text(
        &("kind: Organization\nname: Southwind\nulcEnabled: true\n---\n".to_owned() + &integration),
        Path::new("m.yml"),
        &|_| None,
    );
    let body = serde_json::json!({ "manifests": prune.unwrap(), "options": { "prune": true, "dry_run": false } });
    to.local(Method::POST, "/apply", Some(body)).await.unwrap();
    let other = folder.path().join("other").display().to_string();
    perseat(
        &from.data(),
        &["customer", "export", "initech", &format!("{file}.2"), "--key-file", &other],
    );
    refused(
        &perseat(&to.data(), &["customer", "import", &file, "--key-file", &other]),
        &["the key is another one"],
    );

    let imported = done(&perseat(&to.data(), &import));
    assert!(
        imported.contains("2 users, 1 instances, 2 user configurations, 2 connections"),
        "{imported}"
    );
    refused(
        &perseat(&to.data(), &import),
        &[
            "is here already",
            "the id of the user `ann of globex` is taken",
            "2 user configurations",
        ],
    );

    // They arrive switched off: the other daemon still takes the same events.
    assert!(
        imported.contains("1 of the instances were switched on and are not yet"),
        "{imported}"
    );
    let before = from.endpoints("customer=globex").await;
    let ann_there = before.iter().find(|it| it.user.as_deref() == Some("ann")).unwrap().url.clone();
    let answer = to.post(&to.hook(&ann_there), &[("api-key", "key-of-globex")], "{}").await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (503, Some("instance_disabled")));
    let owner = harness::api::Api::program(&to, "owner").await;
    let found = owner.get("{ instances { nodes { id enabled } } }", serde_json::json!({})).await;
    assert_eq!(found["nodes"][0]["enabled"], false);
    let enable = "mutation ($i: ID!) { updateInstance(input: {id: $i, enabled: true}) { instance { enabled } errors { messages } } }";
    let enabled = owner.get(enable, serde_json::json!({ "i": found["nodes"][0]["id"] })).await;
    assert_eq!(enabled["instance"]["enabled"], true);

    // The same URLs, each with the account of its user; the key of the customer is asked for.
    let urls = |list: Vec<perseat_admin::endpoints::Endpoint>| {
        let mut paths: Vec<String> = list
            .iter()
            .filter_map(|it| it.url.split("/trigger/").nth(1).map(str::to_owned))
            .collect();
        paths.sort();
        paths
    };
    let (before, after) = (from.endpoints("customer=globex").await, to.endpoints("customer=globex").await);
    let anns = before.iter().find(|it| it.user.as_deref() == Some("ann")).unwrap().url.clone();
    assert_eq!(urls(before), urls(after));
    let json = ("content-type", "application/json");
    let answer = to.post(&to.hook(&anns), &[json], "{}").await;
    assert_eq!(answer.status, 401, "{:?}", answer.json());
    let answer = to.post(&to.hook(&anns), &[json, ("api-key", "key-of-globex")], "{}").await;
    assert_eq!(answer.status, 200, "{:?}", answer.json());
    let records = provider.until(1).await;
    assert_eq!(records[0].token, token("globex", "ann"));

    for (daemon, action) in [(&from, "exportCustomer"), (&to, "importCustomer")] {
        let audit = daemon.local(Method::GET, "/audit", None).await.unwrap().to_string();
        assert!(audit.contains(action), "{audit}");
        daemon.local(Method::GET, "/audit/verify", None).await.unwrap();
    }
}

#[test]
fn a_customer_moves_between_directories_at_rest() {
    let folder = tempfile::tempdir().unwrap();
    let [from, to] = ["from", "to"].map(|name| folder.path().join(name));
    let manifests = folder.path().join("m.yml");
    std::fs::write(&manifests, people(&[("globex", &["ann"])])).unwrap();
    done(&perseat(&from, &["apply", "-f", manifests.to_str().unwrap()]));
    std::fs::write(&manifests, "kind: Organization\nname: Southwind\n").unwrap();
    done(&perseat(&to, &["apply", "-f", manifests.to_str().unwrap()]));
    let [file, key] = ["globex.perseat", "key"].map(|name| folder.path().join(name).display().to_string());
    // In a directory in which the next master key waits for its predecessor to go.
    std::fs::copy(from.join("master-key"), from.join("master-key.next")).unwrap();
    let mut export = Command::new(env!("CARGO_BIN_EXE_perseat"));
    let export = export.args(["customer", "export", "globex", &file, "--key-file", &key, "--data", "."]);
    done(&export.current_dir(&from).output().unwrap());
    let said = done(&perseat(&to, &["customer", "import", &file, "--key-file", &key, "--switched-on"]));
    assert!(said.contains("1 users, 0 instances"), "{said}");
    for data in [&from, &to] {
        let verified = done(&perseat(data, &["verify", data.to_str().unwrap()]));
        assert!(verified.contains("everything fits"), "{verified}");
    }
}

#[test]
fn a_backup_from_before_a_customer_went_and_came_back_is_restored_without_its_users_of_then() {
    let mut daemon = Daemon::start(Setup::new());
    daemon.terminate();
    let folder = tempfile::tempdir().unwrap();
    let (data, restored) = (daemon.data(), folder.path().join("restored"));
    let [manifests, file, key, backup, keyring] =
        ["m.yml", "globex.perseat", "key", "backup", "keyring"].map(|name| folder.path().join(name).display().to_string());
    // How often the audit says by name that they were made.
    let named = |data: &Path| {
        let audit = done(&perseat(data, &["audit", "list"]));
        done(&perseat(data, &["audit", "verify"]));
        ["ann", "joe"].map(|user| audit.matches(&format!("created user {user}")).count())
    };
    let apply = |all: &[(&str, &[&str])], further: &[&str]| {
        std::fs::write(&manifests, people(all)).unwrap();
        done(&perseat(&data, &[&["apply", "-f", &manifests], further].concat()));
    };
    apply(&[("globex", &["ann"])], &[]);
    apply(&[("globex", &["ann"]), ("initech", &["joe"])], &[]);
    assert_eq!(named(&data), [1, 1]);
    done(&perseat(&data, &["backup", &backup]));
    done(&perseat(&data, &["customer", "export", "globex", &file, "--key-file", &key]));
    apply(&[("initech", &["joe"])], &["--prune"]);
    done(&perseat(&data, &["customer", "import", &file, "--key-file", &key]));
    assert_eq!(named(&data), [1, 1], "of ann the import alone says it");
    done(&perseat(&data, &["keyring", "export", &keyring]));

    let master = data.join("master-key");
    let [from, master] = [&backup, master.to_str().unwrap()];
    let keys = ["--keyring", &keyring, "--master-key", master];
    let none = folder.path().join("none");
    let said = done(&perseat(&none, &[&["verify", from], &keys[..]].concat()));
    assert!(
        said.contains("1 were deleted after the backup") && said.contains("everything fits"),
        "{said}"
    );
    std::fs::create_dir(&restored).unwrap();
    std::fs::copy(master, restored.join("master-key")).unwrap();
    let said = done(&perseat(&restored, &["restore", from, "--keyring", &keyring]));
    assert!(said.contains("taken out") && said.contains("\n  user "), "{said}");
    let verified = done(&perseat(&restored, &["verify", restored.to_str().unwrap()]));
    assert!(verified.contains("everything fits"), "{verified}");
    assert_eq!(named(&restored), [0, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_whose_integration_uses_a_connection_that_is_not_declared_here_is_refused_by_a_word_of_its_own() {
    let (from, to) = (Daemon::start(Setup::new()), Daemon::start(Setup::new()));
    let log = harness::manifests::step(
        "Log",
        "log",
        "writeLog",
        "          level: {type: value, value: info}\n          message: {type: value, value: it came}\n",
    );
    let definition = format!(
        "definitionVersion: 7\nname: Desk\nendpointType: flow_specific\nrequiredConfigVars:\n\
         \x20 - {{key: Account, stableKey: account, dataType: connection, useScopedConfigVar: crm}}\n\
         configPages:\n  - {{name: Company, elements: [{{type: configVar, value: Account}}]}}\nflows:\n{}",
        flow("Work", "", &[log])
    );
    let indented: String = definition.lines().map(|line| format!("  {line}\n")).collect();
    let integration = format!("kind: Integration\ndefinition: |\n{indented}---\n");
    let shared = "kind: SharedConnection\nname: CRM\nstableKey: crm\nsharing: customer\ncomponent: http\nconnection: bearer\n---\n";
    let instance = "kind: Instance\nname: Desk\ncustomer: globex\nintegration: Desk\n---\n";
    from.apply(&(people(&[("globex", &["ann"])]) + shared + &integration + instance))
        .await;
    to.apply(&(people(&[]) + &integration)).await;
    let folder = tempfile::tempdir().unwrap();
    let [file, key] = ["globex.perseat", "key"].map(|name| folder.path().join(name).display().to_string());
    done(&perseat(&from.data(), &["customer", "export", "globex", &file, "--key-file", &key]));
    let import = ["customer", "import", &file, "--key-file", &key];
    refused(
        &perseat(&to.data(), &import),
        &[
            "`Account` is the shared connection `crm`, which is not declared",
            "(shared_connection_missing)",
        ],
    );
    to.apply(shared).await;
    done(&perseat(&to.data(), &import));
}
