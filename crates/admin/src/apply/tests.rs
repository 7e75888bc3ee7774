//! Apply over a real catalog in a temporary folder.

mod givers;
mod keys;
mod values;

use super::*;
use crate::command::ImportIntegration;
use crate::grants::{Connection, Consent};
use crate::manifest::read_text;
use crate::routing;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use perseat_domain::definition::EndpointType;
use perseat_domain::grant::{Holder, Renewal, Renewed, Rules, Status, What};
use perseat_domain::model::{ConfigValue, InstanceState, Membership, UserConfig};
use perseat_domain::route::HashSecret;
use perseat_flow::definition::Limits;
use perseat_flow::oauth::read_token;
use perseat_store::catalog::{Catalog, GrantId, Lookup, Options, StoredGrant};
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
    limits: Limits,
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
            limits: Limits::default(),
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
        apply(&self.custody, Definitions::built_in(self.limits), &manifests, options, &mut applier)
    }

    /// Imports a definition as the version that is worked on.
    fn import(&mut self, definition: &str) {
        let actor = Actor::local("0");
        let mut next = self.next << 64;
        let mut random = move || {
            next += 1;
            next
        };
        let mut desk = Desk {
            custody: &self.custody,
            definitions: Definitions::built_in(self.limits),
            actor: &actor,
            at: Timestamp(1_000),
            random: &mut random,
        };
        let import = ImportIntegration {
            definition: definition.to_owned(),
            integration: None,
            customer: None,
        };
        desk.change("importIntegration", |edit| edit.import_integration(&import)).unwrap();
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
    assert_eq!(again.effects, Effects::default());

    let catalog = bench.custody.catalog();
    let customer = catalog.customer_by_external_id("globex").unwrap().unwrap();
    assert_eq!(customer.labels, ["gold"]);
    let instance = catalog.instance_by_name(customer.id, "Files").unwrap().unwrap();
    assert_eq!((instance.state, instance.config_revision), (InstanceState::Enabled, 1));
    let bundle = catalog.instance_bundle(instance.id).unwrap().unwrap();
    assert_eq!(bundle.version.definition.endpoint_type, EndpointType::FlowSpecific);
}

#[test]
fn a_version_that_is_worked_on_is_not_deployed() {
    let mut bench = Bench::new();
    bench.apply(&[PEOPLE], ApplyOptions::default()).unwrap();
    let definition = INTEGRATION.split_once("|\n").unwrap().1;
    let running = |number: u32| INSTANCE.replace("integration: Files", &format!("integration: Files\nversion: {number}"));
    bench.import(definition);
    assert!(bench.problems(&[INSTANCE])[0].contains("has no published version"));
    assert!(bench.problems(&[&running(1)])[0].contains("version 1 of `Files` is not published yet"));

    // A manifest of the integration publishes it.
    bench.apply(&[INTEGRATION, INSTANCE], ApplyOptions::default()).unwrap();
    bench.import(&definition.replace("customer_required", "unsecured"));
    assert!(bench.problems(&[&running(2)])[0].contains("version 2 of `Files` is not published yet"));
    assert!(bench.problems(&[&running(3)])[0].contains("version 3 of `Files` is not there"));
    for manifest in [INSTANCE.to_owned(), running(1)] {
        let again = bench.apply(&[&manifest], ApplyOptions::default()).unwrap();
        assert_eq!(again.plan.count(Action::Unchanged), 1, "{manifest}");
    }
    let catalog = bench.custody.catalog();
    let customer = catalog.customer_by_external_id("globex").unwrap().unwrap();
    let instance = catalog.instance_by_name(customer.id, "Files").unwrap().unwrap();
    assert_eq!(instance.deployed.map(|deployed| deployed.version), Some(1));
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
    assert_eq!((applied.effects.users.len(), applied.effects.instances.len()), (1, 0));

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
        .map(|line| (line.kind.as_str(), line.name.as_str()))
        .collect();
    assert_eq!(pruned, [("UserLevelConfig", "Globex / Files / jane")]);
    let kept: UserConfig = bench.custody.catalog().require(removed).unwrap();
    assert_eq!((kept.removed_at, kept.values.len()), (Some(Timestamp(1_000)), 0));

    let routed = |bench: &Bench| routing::snapshot(bench.custody.catalog(), HashSecret::new(7)).unwrap();
    let before = routed(&bench);
    assert_eq!(before.user_configs(), 1);
    let organization = "kind: Organization\nname: Acme\nulcEnabled: true";
    let bare = bench.apply(&[organization], options).unwrap();
    assert!(bare.plan.count(Action::Pruned) >= 3);
    let after = before.with_changes(bare.effects.routes, 9);
    assert_eq!(after.user_configs(), routed(&bench).user_configs(), "nothing of what is gone");
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

fn user(external_id: &str, email: &str) -> String {
    let external_id = if external_id.is_empty() {
        String::new()
    } else {
        format!("externalId: {external_id}\n")
    };
    format!("kind: CustomerUser\ncustomer: globex\nname: Somebody\n{external_id}email: {email}\nrole: marketplace_user\n")
}

impl Bench {
    /// The external ids and addresses of the customer's users.
    fn users(&self) -> Vec<(Option<String>, Option<String>)> {
        let catalog = self.custody.catalog();
        let customer = catalog.customer_by_external_id("globex").unwrap().unwrap();
        let page = catalog.users_of(Membership::Customer(customer.id), None, 100).unwrap();
        let mut users: Vec<_> = page.items.into_iter().map(|user| (user.external_id, user.email)).collect();
        users.sort();
        users
    }
}

#[test]
fn an_address_that_two_people_share_makes_nobody_somebody_else() {
    let mut bench = Bench::new();
    bench.apply(&[PEOPLE], ApplyOptions::default()).unwrap();
    bench.apply(&[&user("ann", "ann@globex.example")], ApplyOptions::default()).unwrap();
    let before = bench.users();
    for other in [user("ann2", "ann@globex.example"), user("", "ann@globex.example")] {
        let problems = bench.problems(&[&other]);
        assert!(
            problems[0].contains("`ann@globex.example` is that of the user with the external id `ann`"),
            "{problems:?}"
        );
        assert_eq!(bench.users(), before);
    }
    let both = bench.problems(&[&user("eve", "eve@globex.example"), &user("eve2", "eve@globex.example")]);
    assert_eq!(both.len(), 1, "{both:?}");
    assert!(both[0].contains("external id `eve`"), "{both:?}");

    bench.apply(&[&user("", "kim@globex.example")], ApplyOptions::default()).unwrap();
    let named = bench.apply(&[&user("kim", "kim@globex.example")], ApplyOptions::default()).unwrap();
    assert_eq!(named.plan.count(Action::Changed), 1, "who had no external id takes one up");
    assert!(bench.users().contains(&(Some("kim".into()), Some("kim@globex.example".into()))));
}

#[test]
fn a_record_has_one_manifest() {
    let mut bench = Bench::new();
    bench
        .apply(&[PEOPLE, INTEGRATION, INSTANCE, JANE], ApplyOptions::default())
        .unwrap();
    let customer = "kind: Customer\nname: Globex\nexternalId: globex\nlabels: [x]\n";
    let bob = "kind: CustomerUser\ncustomer: globex\nname: Bobby\nexternalId: bob\nrole: marketplace_user\n";
    let organization = "kind: Organization\nname: Other\nulcEnabled: true\n";
    let other = INTEGRATION.replace("description: Files.", "description: More files.");
    let parts = [
        PEOPLE,
        customer,
        bob,
        organization,
        INTEGRATION,
        &other,
        INSTANCE,
        INSTANCE,
        JANE,
        JANE,
    ];
    let problems = bench.problems(&parts);
    assert_eq!(problems.len(), 6, "{problems:#?}");
    for problem in &problems {
        assert!(
            problem.starts_with("set-up.yml:") && problem.contains("has a manifest already, at set-up.yml:"),
            "{problem}"
        );
    }
    assert_eq!(bench.custody.catalog().organization().unwrap().unwrap().name, "Acme");
}

#[test]
fn manifests_are_held_to_the_rules_of_the_commands() {
    let mut bench = Bench::new();
    let long = "x".repeat(257);
    let wrong = [
        "kind: Organization\nname: ' '\nsigningKeys: [junk]\n".to_owned(),
        "kind: Customer\nname: ''\nexternalId: ''\n".to_owned(),
        format!("kind: Customer\nname: Globex\nexternalId: globex\nlabels: [{long}]\n"),
        "kind: OrganizationUser\nname: ''\nexternalId: ''\nemail: nonsense\nrole: admin\n".to_owned(),
    ];
    let wrong: Vec<&str> = wrong.iter().map(String::as_str).collect();
    let told = [
        "`signingKeys`: Expected an RSA public key",
        "`labels`: At most 256 characters.",
        "`name`: This field may not be blank.",
        "`externalId`: This field may not be blank.",
        "`email`: Enter a valid email address.",
    ];
    let options = ApplyOptions {
        dry_run: true,
        ..ApplyOptions::default()
    };
    let problems = match bench.apply(&wrong, options) {
        Err(ApplyError::Problems(problems)) => problems,
        other => panic!("expected problems, got {other:?}"),
    };
    for expected in told {
        assert!(
            problems.iter().any(|problem| problem.contains(expected)),
            "{expected}: {problems:#?}"
        );
    }
    assert_eq!(problems.len(), 8, "{problems:#?}");
}

#[test]
fn a_definition_past_the_limits_is_refused_and_within_them_it_is_kept_whole() {
    let mut bench = Bench::new();
    bench.limits.bytes = 100;
    let problems = bench.problems(&[PEOPLE, INTEGRATION]);
    assert!(problems[0].contains("longer than 100 bytes"), "{problems:?}");
    // Past the defaults: what reads the definition and what takes keys out of it go by the same limits.
    let long = INTEGRATION.replace("description: Files.", &format!("description: {}", "x".repeat(9 << 20)));
    bench.limits.bytes = 10 << 20;
    bench.apply(&[PEOPLE, &long], ApplyOptions::default()).unwrap();
    let catalog = bench.custody.catalog();
    let integration = catalog.integration_by_name("Files").unwrap().unwrap();
    let version = catalog.integration_version(integration.id, 1).unwrap().unwrap();
    assert!(version.yaml.len() > 9 << 20, "{} bytes are kept", version.yaml.len());
}

/// A connection of the organization's at the provider of this name.
fn shared_at(provider: &str) -> String {
    let url = |path: &str| format!("\"https://{provider}.example/{path}\"");
    format!(
        "kind: SharedConnection\nname: CRM\nstableKey: crm\nsharing: organization\ncomponent: http\nconnection: oauth2\nfields:\n  tokenUrl: {}\n  \
         authorizeUrl: {}\n  revokeUrl: {}\n  clientId: the-client\n  clientSecret: the-secret\n",
        url("token"),
        url("authorize"),
        url("revoke")
    )
}

impl Bench {
    /// The organization's grant of it.
    fn shared(&self) -> GrantId {
        let organization = self.custody.catalog().organization().unwrap().unwrap();
        GrantId {
            holder: Holder::Organization(organization.id),
            variable: "crm".to_owned(),
        }
    }

    fn stored(&self) -> StoredGrant {
        let GrantId { holder, variable } = self.shared();
        self.custody.catalog().grants_of(holder).unwrap().remove(&variable).unwrap()
    }

    fn change<T>(&mut self, work: impl FnOnce(&mut Edit<'_, '_>) -> Result<T, Fault>) -> T {
        let mut desk = Desk {
            custody: &self.custody,
            definitions: Definitions::built_in(self.limits),
            actor: &Actor::local("local:0"),
            at: Timestamp(2_000),
            random: &mut || 7,
        };
        desk.change("test", work).unwrap().value
    }

    /// Somebody of this name consents at today's provider.
    fn consent(&mut self, subject: &str) {
        let claims = [r#"{"iss":"them","sub":""#, subject, r#""}"#].concat();
        let token = format!(
            r#"{{"access_token":"a","refresh_token":"r-of-{subject}","id_token":"h.{}.s"}}"#,
            URL_SAFE_NO_PAD.encode(claims)
        );
        let token = read_token("application/json", token.as_bytes(), &[]).unwrap();
        let (id, keyring) = (self.shared(), self.custody.keyring().clone());
        let registration = Connection::find(self.custody.catalog().as_ref(), &keyring, &id)
            .unwrap()
            .unwrap()
            .registration();
        let consent = Consent {
            token: &token,
            renewed: Renewed {
                lifetime: None,
                renewal: Renewal::Refresh { rotates: None },
            },
            registration,
            accounts: None,
        };
        self.change(|edit| edit.keep_consent(&id, &consent, &Rules::default()));
    }

    /// Who has to be told of tokens that were given up.
    fn told(&self) -> Vec<String> {
        let owed = self.custody.catalog().owed(None, 10).unwrap();
        owed.into_iter().map(|(_, owed)| owed.host).collect()
    }
}

#[test]
fn a_shared_connection_that_is_declared_at_another_provider_moves_its_grant() {
    let mut bench = Bench::new();
    bench.apply(&[PEOPLE, &shared_at("one")], ApplyOptions::default()).unwrap();
    bench.consent("ann");
    let described = shared_at("one").replace("sharing:", "description: Where customers are kept\nsharing:");
    bench.apply(&[&described], ApplyOptions::default()).unwrap();
    assert_eq!(bench.stored().grant.status, Status::Active, "another description moves nothing");

    bench.apply(&[&shared_at("two")], ApplyOptions::default()).unwrap();
    let moved = bench.stored();
    assert_eq!(
        (moved.grant.status, moved.grant.timeline.last().unwrap().what),
        (Status::Pending, What::Moved)
    );
    assert_eq!(moved.token, None);
    assert_eq!(bench.told(), ["one.example"]);
}

#[test]
fn a_token_of_another_provider_than_todays_is_told_to_nobody() {
    let mut bench = Bench::new();
    bench.apply(&[PEOPLE, &shared_at("one")], ApplyOptions::default()).unwrap();
    bench.consent("ann");
    let of_one = bench.stored();
    bench.apply(&[&shared_at("two")], ApplyOptions::default()).unwrap();
    // As one that was there before such a grant was moved at once.
    let hold = |bench: &Bench| {
        let catalog = bench.custody.catalog();
        catalog.store_grant(&bench.shared(), Some(&bench.stored()), &of_one).unwrap();
    };
    hold(&bench);
    let id = bench.shared();
    let given_up = bench.change(|edit| edit.disconnect(&id, &Rules::default()));
    assert!(!given_up.is_owed);
    hold(&bench);
    bench.consent("bob");
    assert_eq!(bench.told(), ["one.example"], "of the move alone");
    bench.consent("carl");
    assert_eq!(bench.told().len(), 2, "bob's is given back");
}
