//! Apply over a real catalog in a temporary folder.

use super::*;
use crate::manifest::read_text;
use perseat_domain::definition::EndpointType;
use perseat_domain::model::{ConfigValue, InstanceState, Membership, UserConfig};
use perseat_flow::component::BuiltIn;
use perseat_store::catalog::{Catalog, Lookup, Options};
use perseat_store::keyring::{self, Keyring, MasterKey};
use std::path::Path;
use std::sync::Arc;

const INTEGRATION: &str = r#"
kind: Integration
definition: |
  definitionVersion: 7
  name: Files
  description: Files.
  endpointType: flow_specific
  requiredConfigVars:
    - {key: Address, stableKey: address, dataType: string, orgOnly: false}
    - {key: Folder, stableKey: folder, dataType: string, orgOnly: false}
    - key: Account
      stableKey: account
      dataType: connection
      orgOnly: false
      connection: {key: bearer, component: {key: http, isPublic: true, version: LATEST}}
      inputs: {}
  configPages:
    - {name: Company, userLevelConfigured: false, elements: [{type: configVar, value: Address}]}
    - {name: You, userLevelConfigured: true, elements: [{type: configVar, value: Folder}, {type: configVar, value: Account}]}
  flows:
    - name: Import
      stableKey: import
      description: Imports.
      endpointSecurityType: customer_required
      steps:
        - name: Trigger
          stableKey: import-trigger
          isTrigger: true
          action: {key: webhook, component: {key: webhook-triggers, isPublic: true, version: LATEST}}
          inputs: {}
"#;

const PEOPLE: &str = "
kind: Organization
name: Acme
ulcEnabled: true
---
kind: Customer
name: Globex
externalId: globex
labels: [Gold, gold]
---
kind: CustomerUser
customer: globex
name: Jane
externalId: jane
role: marketplace_user
---
kind: CustomerUser
customer: globex
name: Bob
externalId: bob
role: marketplace_user
";

const INSTANCE: &str = "
kind: Instance
name: Files
customer: globex
integration: Files
configVars: {Address: \"https://files.example\"}
apiKeys: {Import: [key-1]}
";

const JANE: &str = "
kind: UserLevelConfig
customer: globex
instance: Files
user: jane
configVars:
  Folder: /jane
  Account: {fields: {token: jane-token-0001}}
";

struct Bench {
    _folder: tempfile::TempDir,
    custody: Custody,
    next: u128,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keyring = Keyring::open(
            &folder.path().join("keyring"),
            MasterKey::new(&[7; 32]),
            &keyring::Options::default(),
        )
        .unwrap();
        let catalog = Catalog::open(&folder.path().join("catalog.redb"), Options::default()).unwrap();
        let custody = Custody::resume(Arc::new(catalog), Arc::new(keyring)).unwrap();
        Self {
            _folder: folder,
            custody,
            next: 1,
        }
    }

    fn apply(&mut self, parts: &[&str], options: ApplyOptions) -> Result<Applied, ApplyError> {
        let manifests = read_text(&parts.join("\n---\n"), Path::new("set-up.yml"), &|_| None).unwrap();
        let next = &mut self.next;
        let mut random = move || {
            *next += 1;
            next.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
        };
        let mut applier = Applier {
            by: "local:0",
            at: Timestamp(1_000),
            random: &mut random,
        };
        apply(&self.custody, &BuiltIn, &manifests, options, &mut applier)
    }

    fn problems(&mut self, parts: &[&str]) -> Vec<String> {
        match self.apply(parts, ApplyOptions::default()) {
            Err(ApplyError::Problems(problems)) => problems,
            other => panic!("expected problems, got {other:?}"),
        }
    }
}

#[test]
fn applying_twice_changes_nothing_the_second_time() {
    let mut bench = Bench::new();
    let all = [PEOPLE, INTEGRATION, INSTANCE, JANE];
    let first = bench.apply(&all, ApplyOptions::default()).unwrap();
    assert_eq!(first.plan.count(Action::Created), 7);
    let again = bench.apply(&all, ApplyOptions::default()).unwrap();
    assert_eq!(again.plan.count(Action::Unchanged), 7);
    assert_eq!(again.plan.revision, first.plan.revision);
    assert!(again.effects.routes.is_empty() && again.effects.instances.is_empty());

    let catalog = bench.custody.catalog();
    let customer = catalog.customer_by_external_id("globex").unwrap().unwrap();
    assert_eq!(customer.labels, ["gold"]);
    let instance = catalog.instance_by_name(customer.id, "Files").unwrap().unwrap();
    assert_eq!((instance.state, instance.config_revision), (InstanceState::Enabled, 1));
    let bundle = catalog.instance_bundle(instance.id).unwrap().unwrap();
    assert_eq!(bundle.version.definition.endpoint_type, EndpointType::FlowSpecific);
}

#[test]
fn a_changed_credential_is_a_new_version_of_the_connection_and_nothing_else_changes() {
    let mut bench = Bench::new();
    bench
        .apply(&[PEOPLE, INTEGRATION, INSTANCE, JANE], ApplyOptions::default())
        .unwrap();
    let changed = JANE.replace("jane-token-0001", "jane-token-0002");
    let applied = bench.apply(&[&changed], ApplyOptions::default()).unwrap();
    assert_eq!(applied.plan.count(Action::Changed), 1);
    assert_eq!(applied.effects.instances.len(), 1);

    let catalog = bench.custody.catalog();
    let customer = catalog.customer_by_external_id("globex").unwrap().unwrap();
    let instance = catalog.instance_by_name(customer.id, "Files").unwrap().unwrap();
    let jane = catalog
        .user_by_external_id(Membership::Customer(customer.id), "jane")
        .unwrap()
        .unwrap();
    let config = catalog.user_config_of(instance.id, jane.id).unwrap().unwrap();
    assert!(matches!(config.values["account"], ConfigValue::Connection { version: 2, .. }));
    assert_eq!(config.values["folder"], ConfigValue::Plain("/jane".into()));
    assert_eq!(config.config_revision, 2);
}

#[test]
fn every_problem_is_reported_and_then_nothing_is_applied() {
    let mut bench = Bench::new();
    let wrong = JANE.replace("Folder:", "Foldr:").replace("user: jane", "user: nobody");
    let no_key = INSTANCE.replace("apiKeys: {Import: [key-1]}", "");
    let problems = bench.problems(&[PEOPLE, INTEGRATION, &no_key, &wrong]);
    assert!(problems[0].contains("the flow `Import` requires an API key"), "{problems:?}");
    assert!(problems[1].contains("Globex has no instance `Files`"), "{problems:?}");
    assert!(bench.custody.catalog().organization().unwrap().is_none());

    bench.apply(&[PEOPLE, INTEGRATION, INSTANCE], ApplyOptions::default()).unwrap();
    let unknown_variable = JANE.replace("Folder:", "Foldr:");
    assert!(bench.problems(&[&unknown_variable])[0].contains("did you mean `Folder`?"));
    let wrong_level = JANE.replace("Folder: /jane", "Address: x");
    assert!(bench.problems(&[&wrong_level])[0].contains("`Address` is instance-level"));
}

#[test]
fn a_dry_run_plans_and_writes_nothing() {
    let mut bench = Bench::new();
    let options = ApplyOptions {
        dry_run: true,
        ..ApplyOptions::default()
    };
    let planned = bench.apply(&[PEOPLE, INTEGRATION, INSTANCE, JANE], options).unwrap();
    assert_eq!((planned.plan.count(Action::Created), planned.plan.is_applied), (7, false));
    assert_eq!(bench.custody.catalog().revision().unwrap(), 0);
}

#[test]
fn pruning_removes_what_no_manifest_names_and_keeps_the_answer_of_removed_urls() {
    let mut bench = Bench::new();
    bench
        .apply(&[PEOPLE, INTEGRATION, INSTANCE, JANE], ApplyOptions::default())
        .unwrap();
    let options = ApplyOptions {
        prune: true,
        ..ApplyOptions::default()
    };
    let removed = {
        let catalog = bench.custody.catalog();
        let customer = catalog.customer_by_external_id("globex").unwrap().unwrap();
        let instance = catalog.instance_by_name(customer.id, "Files").unwrap().unwrap();
        let jane = catalog
            .user_by_external_id(Membership::Customer(customer.id), "jane")
            .unwrap()
            .unwrap();
        catalog.user_config_of(instance.id, jane.id).unwrap().unwrap().id
    };
    let without_jane = bench.apply(&[PEOPLE, INTEGRATION, INSTANCE], options).unwrap();
    let pruned: Vec<_> = without_jane
        .plan
        .lines
        .iter()
        .filter(|line| line.action == Action::Pruned)
        .map(|line| &line.kind)
        .collect();
    assert_eq!(pruned, ["UserLevelConfig"]);
    let kept: UserConfig = bench.custody.catalog().require(removed).unwrap();
    assert_eq!((kept.removed_at, kept.values.len()), (Some(Timestamp(1_000)), 0));

    let organization = "kind: Organization\nname: Acme\nulcEnabled: true";
    let bare = bench.apply(&[organization], options).unwrap();
    assert!(bare.plan.count(Action::Pruned) >= 3);
    assert!(bench.custody.catalog().customer_by_external_id("globex").unwrap().is_none());
}

#[test]
fn user_level_pages_need_the_organizations_consent() {
    let mut bench = Bench::new();
    let off = PEOPLE.replace("ulcEnabled: true", "ulcEnabled: false");
    let problems = bench.problems(&[&off, INTEGRATION]);
    assert!(problems[0].contains("ulc_not_enabled"), "{problems:?}");
}

#[test]
fn a_draft_is_deployed_only_with_complete_flows_named() {
    let mut bench = Bench::new();
    let second = "
    - name: Export
      stableKey: export
      description: Exports.
      steps:
        - name: Trigger
          stableKey: export-trigger
          isTrigger: true
          action: {key: webhook, component: {key: webhook-triggers, isPublic: true, version: LATEST}}
          inputs: {}
        - name: Ask
          stableKey: ask
          action: {key: postMessage, component: {key: slack, isPublic: true, version: LATEST}}
          inputs: {}
";
    let draft = format!("{}{second}", INTEGRATION.trim_end_matches('\n').to_owned() + "\n");
    let problems = bench.problems(&[PEOPLE, &draft, INSTANCE]);
    assert!(problems[0].contains("`Files` is a draft: Export"), "{problems:?}");
    let named = INSTANCE.replace("apiKeys", "flows: [Import]\napiKeys");
    let applied = bench.apply(&[PEOPLE, &draft, &named], ApplyOptions::default()).unwrap();
    assert!(
        applied.plan.warnings.iter().any(|warning| warning.contains("slack")),
        "{:?}",
        applied.plan.warnings
    );
}
