use super::*;
use perseat_domain::id::UserId;
use perseat_domain::model::{Profile, Role};
use perseat_flow::component::BuiltIn;
use perseat_flow::definition::{Limits, Previous, parse};

#[test]
fn a_file_opens_with_its_key_and_as_it_was_written() {
    let bundle = Bundle {
        customer: Customer {
            id: CustomerId(Uuid::from_u128(7)),
            name: "Globex".into(),
            external_id: None,
            description: String::new(),
            labels: Vec::new(),
        },
        users: Vec::new(),
        integrations: Vec::new(),
        instances: Vec::new(),
        configs: Vec::new(),
    };
    let key = DataKey::new(&[1; 32], 0);
    let envelope = Envelope::seal(&bundle, &key, Timestamp(5));
    assert_eq!(envelope.open(&key).unwrap().customer, bundle.customer);
    assert!(
        !serde_json::to_string(&envelope).unwrap().contains("Globex"),
        "names are sealed, too"
    );
    let refused = |envelope: &Envelope, key: &DataKey| envelope.open(key).unwrap_err().to_string();
    assert!(refused(&envelope, &DataKey::new(&[2; 32], 0)).contains("the key is another one"));
    let mut other = envelope.clone();
    other.customer = CustomerId(Uuid::from_u128(8));
    assert!(refused(&other, &key).contains("was changed"));
    let mut newer = envelope;
    newer.format = FORMAT + 1;
    assert!(refused(&newer, &key).contains(&format!("format {}", FORMAT + 1)));
}

#[test]
fn a_file_brings_its_customers_people_and_nobody_else() {
    let customer = CustomerId(Uuid::from_u128(7));
    let user = |n: u128, membership: Membership, role: Role| User {
        id: UserId(Uuid::from_u128(n)),
        membership,
        name: format!("user {n}"),
        email: None,
        external_id: None,
        subject: None,
        subject_seen_at: None,
        labels: Vec::new(),
        role,
        profile: Profile::default(),
    };
    let own = Membership::Customer(customer);
    let bundle = |users: Vec<User>| Bundle {
        customer: Customer {
            id: customer,
            name: "Globex".into(),
            external_id: None,
            description: String::new(),
            labels: Vec::new(),
        },
        users,
        integrations: Vec::new(),
        instances: Vec::new(),
        configs: vec![],
    };
    assert!(
        bundle(vec![user(1, own, Role::Admin), user(2, own, Role::MarketplaceUser)])
            .strangers()
            .is_empty()
    );
    for planted in [
        user(3, Membership::Organization, Role::Owner),
        user(4, own, Role::Owner),
        user(5, own, Role::Integrator),
        user(6, Membership::Customer(CustomerId(Uuid::from_u128(8))), Role::Member),
    ] {
        let name = planted.name.clone();
        let found = bundle(vec![user(1, own, Role::Admin), planted]).strangers();
        assert!(found.len() == 1 && found[0].contains(&name), "{found:?}");
    }
    let config = UserConfig {
        id: perseat_domain::id::UserConfigId(Uuid::from_u128(9)),
        instance: perseat_domain::id::InstanceId(Uuid::from_u128(10)),
        user: UserId(Uuid::from_u128(1)),
        values: BTreeMap::new(),
        config_revision: 0,
        removed_at: None,
    };
    let with_config = Bundle {
        configs: vec![config],
        ..bundle(vec![user(1, own, Role::Admin)])
    };
    assert_eq!(with_config.strangers().len(), 1, "of an instance that is not in the file");
}

#[test]
fn one_text_whose_variables_have_other_stable_keys_is_another_definition() {
    let yaml = "definitionVersion: 7
name: Files
requiredConfigVars: [{key: Target folder, dataType: string}]
flows:
  - name: Main
    steps: [{name: Hook, isTrigger: true, action: {key: webhook, component: {key: webhook-triggers}}}]
";
    let digest = |stable_key: &str| {
        let previous = Previous {
            stable_keys: BTreeMap::from([("Target folder".to_owned(), stable_key.to_owned())]),
            ..Previous::default()
        };
        definition_digest(&IntegrationVersion {
            integration: IntegrationId(Uuid::from_u128(7)),
            version: 1,
            yaml: yaml.to_owned(),
            definition: parse(yaml, &BuiltIn, &previous, &Limits::default()).unwrap().definition,
            organization_keys: BTreeMap::new(),
            connection_secrets: BTreeMap::new(),
            is_draft: false,
            release: None,
        })
    };
    assert_eq!(digest("Folder"), digest("Folder"));
    assert_ne!(digest("Folder"), digest("Target folder"));
}
