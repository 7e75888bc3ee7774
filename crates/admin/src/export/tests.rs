use super::*;
use crate::apply::{Action, Applier, ApplyOptions, Plan, apply};
use crate::edit::Definitions;
use crate::manifest::{Located, read_files, read_text};
use perseat_domain::grant::Holder;
use perseat_domain::time::Timestamp;
use perseat_flow::definition::Limits;
use perseat_store::catalog::{Catalog, Options};
use perseat_store::keyring::{self, MasterKey};
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;

fn custody(folder: &Path) -> Custody {
    let catalog = Catalog::open(&folder.join("catalog.redb"), Options::default()).unwrap();
    let keyring = Keyring::open(&folder.join("keyring"), MasterKey::new(&[1; 32]), &keyring::Options::default()).unwrap();
    Custody::resume(Arc::new(catalog), Arc::new(keyring)).unwrap()
}

fn applied(custody: &Custody, manifests: &[Located]) -> Plan {
    let mut count = 0;
    let mut random = || {
        count += 1;
        uuid::Uuid::new_v4().as_u128() + count
    };
    let mut applier = Applier {
        by: "test",
        at: Timestamp(1),
        random: &mut random,
    };
    apply(
        custody,
        Definitions::built_in(Limits::default()),
        manifests,
        ApplyOptions::default(),
        &mut applier,
    )
    .unwrap()
    .plan
}

/// A secret's own name is its value, so that an exported variable can be told from the one that was applied.
fn demo() -> Vec<Located> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/demo");
    read_files(&folder, &|name| Some(format!("value of {name}"))).unwrap()
}

/// What each exported variable must hold: the values are found by where they stand.
fn value(variable: &str) -> String {
    let customer = if variable.starts_with("GLOBEX") { "GLOBEX" } else { "INITECH" };
    let user = ["JANE", "BOB"].into_iter().find(|user| variable.contains(&format!("_{user}_")));
    match (variable.ends_with("API_KEY"), user) {
        (true, _) => "value of PERSEAT_DEMO_API_KEY".to_owned(),
        (false, Some(user)) => format!("value of PERSEAT_DEMO_TOKEN_{customer}_{user}"),
        (false, None) => format!("value of PERSEAT_DEMO_TOKEN_{customer}"),
    }
}

#[test]
fn an_export_applied_again_changes_nothing_and_rebuilds_an_empty_catalog() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let custody_of_first = custody(first.path());
    let created = applied(&custody_of_first, &demo());
    let exported = export(&custody_of_first, ExportLimits::default()).unwrap();
    assert!(!exported.yaml.contains("value of PERSEAT_DEMO_TOKEN"), "a secret is printed");
    assert!(!exported.yaml.contains("value of PERSEAT_DEMO_API_KEY"), "a secret is printed");
    assert_eq!(exported.variables.len(), 2 + 2 + 28, "{:?}", exported.variables);

    let read = read_text(&exported.yaml, Path::new("export.yml"), &|name| Some(value(name))).unwrap();
    let again = applied(&custody_of_first, &read);
    assert_eq!(again.count(Action::Unchanged), created.lines.len(), "{again}");
    assert_eq!(again.lines.len(), created.lines.len());

    let custody_of_second = custody(second.path());
    assert_eq!(applied(&custody_of_second, &read).count(Action::Created), created.lines.len());
    let copy = export(&custody_of_second, ExportLimits::default()).unwrap();
    assert_eq!(copy, exported, "the order does not depend on ids");
}

const GUARDED: &str = "definitionVersion: 7
name: Guarded
description: ''
flows:
  - name: Main
    endpointSecurityType: organization
    organizationApiKeys: [s3cret-one]
    steps: [{name: In, isTrigger: true, action: {key: webhook, component: {key: webhook-triggers, isPublic: true, version: LATEST}}, inputs: {}}]
configPages: []
";

fn guarded(definition: &str) -> Vec<Located> {
    let integration = Manifest::Integration(Integration {
        file: None,
        definition: Some(definition.to_owned()),
        organization_api_keys: BTreeMap::new(),
        connection_secrets: BTreeMap::new(),
    });
    let organization = Manifest::Organization(Organization {
        name: "Acme".into(),
        ulc_enabled: false,
        signing_keys: vec![],
    });
    let located = |manifest| Located {
        file: "set-up.yml".into(),
        line: 1,
        manifest,
    };
    vec![located(organization), located(integration)]
}

#[test]
fn organization_keys_leave_as_variables_and_a_yaml_that_says_they_were_taken_out_keeps_them() {
    let folder = tempfile::tempdir().unwrap();
    let custody = custody(folder.path());
    applied(&custody, &guarded(GUARDED));
    let exported = export(&custody, ExportLimits::default()).unwrap();
    assert!(!exported.yaml.contains("s3cret"));
    assert_eq!(exported.variables, ["GUARDED_MAIN_API_KEY"]);
    let read = read_text(&exported.yaml, Path::new("export.yml"), &|_| Some("s3cret-one".to_owned())).unwrap();
    assert_eq!(applied(&custody, &read).count(Action::Unchanged), 2);

    let with = |keys: &str| guarded(&GUARDED.replace("[s3cret-one]", keys));
    let refused = |definition: &[Located]| {
        let mut random = || 1;
        let mut applier = Applier {
            by: "test",
            at: Timestamp(1),
            random: &mut random,
        };
        let definitions = Definitions::built_in(Limits::default());
        let refused = apply(&custody, definitions, definition, ApplyOptions::default(), &mut applier);
        refused.unwrap_err().to_string()
    };
    let digests = || {
        let catalog = custody.catalog();
        let integration = catalog.integration_by_name("Guarded").unwrap().unwrap();
        let version = catalog
            .integration_version(integration.id, integration.latest_version)
            .unwrap()
            .unwrap();
        let keys = version.organization_keys.values().next().cloned().unwrap_or_default();
        keys.into_iter().map(|key| key.digest).collect::<Vec<_>>()
    };
    let [one, two] = ["s3cret-one", "s3cret-two"].map(perseat_store::seal::key_digest);
    assert_eq!(applied(&custody, &with("[removed]")).count(Action::Unchanged), 2);
    assert_eq!(digests(), [one]);
    assert_eq!(applied(&custody, &with("[removed, s3cret-two]")).count(Action::Changed), 1);
    assert_eq!(digests(), [one, two]);
    // Which of them is meant cannot be told.
    let message = refused(&with("[removed]"));
    assert!(
        message.contains("organizationApiKeys") && message.contains("there are 2"),
        "{message}"
    );
    assert_eq!(digests(), [one, two]);
    assert_eq!(applied(&custody, &with("[s3cret-two]")).count(Action::Changed), 1);
    assert_eq!(digests(), [two]);
    let stranger = guarded(&GUARDED.replace("s3cret-one", "removed").replace("name: Guarded", "name: Strange"));
    let message = refused(&stranger);
    assert!(message.contains("there are 0"), "{message}");
}

const CONNECTED: &str = "definitionVersion: 7
name: Cloud
requiredConfigVars:
  - key: Account
    stableKey: account
    dataType: connection
    connection: {key: basic, component: {key: http, isPublic: true, version: LATEST}}
    inputs: {username: {type: value, value: robot}, password: {type: value, value: s3cret-word}}
flows:
  - name: Main
    steps: [{name: In, isTrigger: true, action: {key: webhook, component: {key: webhook-triggers, isPublic: true, version: LATEST}}, inputs: {}}]
configPages: []
";

fn refused(custody: &Custody, manifests: &[Located]) -> String {
    let mut random = || 1;
    let mut applier = Applier {
        by: "test",
        at: Timestamp(1),
        random: &mut random,
    };
    let definitions = Definitions::built_in(Limits::default());
    apply(custody, definitions, manifests, ApplyOptions::default(), &mut applier)
        .unwrap_err()
        .to_string()
}

#[test]
fn secret_inputs_of_connections_leave_as_variables_and_stay_where_the_yaml_says_that_they_were_removed() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (custody, empty) = (self::custody(first.path()), self::custody(second.path()));
    applied(&custody, &guarded(CONNECTED));
    let exported = export(&custody, ExportLimits::default()).unwrap();
    assert!(
        exported.yaml.contains("robot") && !exported.yaml.contains("s3cret"),
        "{}",
        exported.yaml
    );
    assert_eq!(exported.variables, ["CLOUD_ACCOUNT_PASSWORD"]);
    let read = |word: &str| read_text(&exported.yaml, Path::new("export.yml"), &|_| Some(word.to_owned())).unwrap();
    assert_eq!(applied(&custody, &read("s3cret-word")).count(Action::Unchanged), 2);
    let removed = CONNECTED.replace("s3cret-word", perseat_flow::definition::REDACTED);
    assert_eq!(applied(&custody, &guarded(&removed)).count(Action::Unchanged), 2);
    assert!(refused(&empty, &guarded(&removed)).contains("`password` of the connection `Account`"));
    assert_eq!(applied(&empty, &read("s3cret-word")).count(Action::Created), 2);
    assert_eq!(export(&empty, ExportLimits::default()).unwrap(), exported);
    assert_eq!(applied(&empty, &read("s3cret-other")).count(Action::Changed), 1);

    let shared = CONNECTED
        .replace("value: s3cret-word", "value: *word")
        .replace("name: Cloud", "name: &word Cloud");
    assert!(refused(&custody, &guarded(&shared)).contains("anchor"));
    let mut unknown = read("x");
    for located in &mut unknown {
        if let Manifest::Integration(integration) = &mut located.manifest {
            let names = integration.connection_secrets.values_mut().next().unwrap();
            names.insert("username".into(), SecretText::Text("x".into()));
        }
    }
    assert!(refused(&custody, &unknown).contains("no secret input `username`"));
}

#[test]
fn more_than_the_limit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let custody = custody(folder.path());
    applied(&custody, &demo());
    assert!(matches!(
        export(&custody, ExportLimits { manifests: 5 }),
        Err(ExportError::TooMany(5))
    ));
}

proptest! {
    #[test]
    fn any_text_survives_its_document(name in any::<String>(), text in any::<String>(), lines in "[ -~\t]{0,8}(\n[ -~\t]{0,12}){0,5}") {
        let manifest = Manifest::UserLevelConfig(UserLevelConfig {
            customer: name.clone(),
            instance: lines.clone(),
            user: "yes".into(),
            config_vars: [(name, ConfigVarValue::Text(SecretText::Text(text))), ("kind".into(), ConfigVarValue::Text(SecretText::Text(lines)))].into(),
        });
        // A control character that YAML has no form for may be refused; nothing may come back different.
        if let Some(document) = document(&manifest) {
            let read = read_text(&document, Path::new("set-up.yml"), &|_| None).unwrap();
            prop_assert_eq!(&read[0].manifest, &manifest);
        }
    }
}

const SHARED: &str = "kind: Organization
name: Acme
ulcEnabled: true
---
kind: Customer
name: Globex
externalId: globex
---
kind: CustomerUser
customer: globex
name: Ann
externalId: ann
role: marketplace_user
---
kind: SharedConnection
name: CRM
stableKey: crm
description: Where customers are kept
sharing: user
component: http
connection: oauth2
fields: {clientId: id, clientSecret: of-the-organization}
---
kind: SharedConnection
name: Mail
stableKey: mail
sharing: organization
component: http
connection: bearer
fields: {token: of-all}
---
kind: SharedConnection
name: Files
stableKey: files
sharing: customer
component: http
connection: bearer
---
kind: SharedConnectionValue
connection: files
customer: globex
fields: {token: of-globex}
---
kind: SharedConnectionValue
connection: crm
customer: globex
user: ann
token: {access_token: of-ann}
";

#[test]
fn shared_connections_are_exported_sealed_by_whose_they_are_and_pruned() {
    let folder = tempfile::tempdir().unwrap();
    let custody = custody(folder.path());
    let read = |text: &str| {
        let secret = |name: &str| {
            let of = ["CLIENTID", "CLIENTSECRET", "ANN", "GLOBEX", "MAIL"]
                .into_iter()
                .find(|word| name.contains(word));
            Some(
                match of? {
                    "CLIENTID" => "id",
                    "CLIENTSECRET" => "of-the-organization",
                    "ANN" => "of-ann",
                    "GLOBEX" => "of-globex",
                    _ => "of-all",
                }
                .to_owned(),
            )
        };
        read_text(text, Path::new("shared.yml"), &secret).unwrap()
    };
    let created = applied(&custody, &read(SHARED));
    assert_eq!(created.count(Action::Created), 8, "{created}");
    let exported = export(&custody, ExportLimits::default()).unwrap();
    assert!(!exported.yaml.contains("of-"), "a secret is printed: {}", exported.yaml);
    let again = applied(&custody, &read(&exported.yaml));
    assert_eq!(again.count(Action::Unchanged), 8, "{again}\n{}", exported.yaml);

    // Each part opens by the key of whose it is, and by no other.
    let catalog = custody.catalog();
    let crm = catalog.shared_connection("crm").unwrap().unwrap();
    let globex = catalog.customer_by_external_id("globex").unwrap().unwrap();
    let ann = catalog
        .user_by_external_id(Membership::Customer(globex.id), "ann")
        .unwrap()
        .unwrap();
    let owners =
        [Owner::Organization, Owner::Customer(globex.id), Owner::User(ann.id)].map(|owner| custody.keyring().data_key(owner).unwrap());
    let opens = |record: Uuid, name: &str, value: &ConfigValue| {
        owners
            .clone()
            .map(|key| perseat_store::sharing::open(&key, record, name, value).is_ok())
    };
    assert_eq!(opens(crm.id.0, "crm", &crm.value.clone().unwrap()), [true, false, false]);
    let files = catalog.shared_connection("files").unwrap().unwrap();
    let customers = catalog.shared_value(files.id, Holder::Customer(globex.id)).unwrap().unwrap();
    assert_eq!(opens(customers.id.0, "", &customers.value), [false, true, false]);
    let users = catalog.shared_value(crm.id, Holder::User(ann.id)).unwrap().unwrap();
    assert_eq!(opens(users.id.0, "", &users.value), [false, false, true]);

    let fewer = SHARED.split("---\nkind: SharedConnection\nname: CRM").next().unwrap();
    let mut random = || uuid::Uuid::new_v4().as_u128();
    let mut applier = Applier {
        by: "test",
        at: Timestamp(2),
        random: &mut random,
    };
    let options = ApplyOptions {
        prune: true,
        dry_run: false,
    };
    let pruned = apply(
        &custody,
        Definitions::built_in(Limits::default()),
        &read(fewer),
        options,
        &mut applier,
    )
    .unwrap();
    assert_eq!(pruned.plan.count(Action::Pruned), 5, "{}", pruned.plan);
    assert!(pruned.effects.is_everywhere);
    assert!(catalog.shared_connection("crm").unwrap().is_none() && catalog.shared_value(crm.id, Holder::User(ann.id)).unwrap().is_none());
}
