mod copies;
mod faults;
mod grants;
mod rewrite;
mod seeds;
mod sorted;
mod superseded;

use super::*;
use crate::fault_backend::FaultFolder;
use perseat_domain::definition::{Definition, EndpointType, RoutingFields};
use perseat_domain::id::{CustomerId, InstanceId, OrganizationId, UserConfigId, UserId};
use perseat_domain::model::{
    ConfigValue, Customer, Instance, InstanceConfig, InstanceState, Integration, IntegrationSettings, Membership, Organization, Profile,
    Release, Role, User, UserConfig,
};
use perseat_journal::disk::MemoryDisk;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

const NOW: Change<'static> = Change {
    by: "local:0",
    at: Timestamp(1_000),
    action: "test",
};

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn organization() -> Organization {
    Organization {
        id: OrganizationId(id(1)),
        name: "Acme Software".into(),
        ulc_enabled: true,
        signing_keys: vec![],
    }
}

fn customer(n: u128) -> Customer {
    Customer {
        id: CustomerId(id(n)),
        name: format!("customer {n}"),
        external_id: Some(format!("c-{n}")),
        description: String::new(),
        labels: vec![],
    }
}

fn user(n: u128, of: &Customer) -> User {
    User {
        id: UserId(id(n)),
        membership: Membership::Customer(of.id),
        email: Some(format!("User{n}@example.com")),
        name: format!("user {n}"),
        external_id: Some(format!("u-{n}")),
        subject: None,
        subject_seen_at: None,
        labels: Vec::new(),
        role: Role::Member,
        profile: Profile::default(),
    }
}

fn integration(n: u128) -> Integration {
    Integration {
        id: IntegrationId(id(n)),
        name: format!("integration {n}"),
        latest_version: 1,
        flow_numbers: BTreeMap::new(),
        withdrawn: BTreeSet::new(),
        settings: IntegrationSettings::default(),
        test_values: BTreeMap::new(),
    }
}

fn version(of: &Integration, version: u32) -> IntegrationVersion {
    let definition = Definition {
        name: of.name.clone(),
        description: String::new(),
        endpoint_type: EndpointType::FlowSpecific,
        routing: RoutingFields::default(),
        config_vars: vec![],
        pages: vec![],
        flows: vec![],
        warnings: vec![],
    };
    IntegrationVersion {
        integration: of.id,
        version,
        yaml: "definitionVersion: 7\n".into(),
        definition,
        organization_keys: BTreeMap::new(),
        connection_secrets: BTreeMap::new(),
        is_draft: false,
        release: Some(Release::default()),
    }
}

fn instance(n: u128, of: &Customer, integration: &Integration) -> Instance {
    let config = InstanceConfig {
        version: 1,
        ..InstanceConfig::default()
    };
    Instance {
        id: InstanceId(id(n)),
        name: format!("instance {n}"),
        description: String::new(),
        labels: vec![],
        customer: of.id,
        integration: integration.id,
        state: InstanceState::Enabled,
        deployed: Some(config.clone()),
        config,
        config_revision: 1,
        deployed_at: None,
        registrations: Vec::new(),
    }
}

fn user_config(n: u128, instance: &Instance, user: &User) -> UserConfig {
    UserConfig {
        id: UserConfigId(id(n)),
        instance: instance.id,
        user: user.id,
        values: [("folder".to_owned(), ConfigValue::Plain("/".into()))].into(),
        config_revision: 1,
        removed_at: None,
    }
}

/// One customer with one instance and two configured users.
struct World {
    customer: Customer,
    integration: Integration,
    instance: Instance,
    users: [User; 2],
    configs: [UserConfig; 2],
}

impl World {
    fn new() -> Self {
        let (customer, integration) = (customer(10), integration(20));
        let instance = instance(0x300_0000, &customer, &integration);
        let users = [user(41, &customer), user(42, &customer)];
        let configs = [
            user_config(0x510_0000, &instance, &users[0]),
            user_config(0x520_0000, &instance, &users[1]),
        ];
        Self {
            customer,
            integration,
            instance,
            users,
            configs,
        }
    }

    fn write(&self, tx: &mut Mutation<'_>) -> Result<(), StoreError> {
        tx.put(&organization())?;
        tx.put(&self.customer)?;
        tx.put(&self.integration)?;
        tx.put(&version(&self.integration, 1))?;
        tx.put(&self.instance)?;
        self.users.iter().try_for_each(|user| tx.put(user).map(|_| ()))?;
        self.configs.iter().try_for_each(|config| tx.put(config).map(|_| ()))
    }
}

fn open(disk: &MemoryDisk) -> Result<Catalog, StoreError> {
    open_in(FaultFolder::of(disk))
}

fn open_in(folder: Arc<dyn Folder>) -> Result<Catalog, StoreError> {
    let options = Options {
        cache_bytes: 1024 * 1024,
        ..Options::default()
    };
    Catalog::open_in(folder, "catalog.redb", options)
}

fn filled() -> (MemoryDisk, Catalog, World) {
    let disk = MemoryDisk::new(1);
    let catalog = open(&disk).unwrap();
    let world = World::new();
    catalog.mutate(NOW, |tx| world.write(tx)).unwrap();
    (disk, catalog, world)
}

#[test]
fn records_are_found_by_id_and_by_every_unique_value() {
    let (_, catalog, world) = filled();
    let of = Membership::Customer(world.customer.id);
    let alice = &world.users[0];
    assert_eq!(catalog.organization().unwrap(), Some(organization()));
    assert_eq!(catalog.get::<Customer>(world.customer.id).unwrap().as_ref(), Some(&world.customer));
    assert_eq!(catalog.customer_by_external_id("c-10").unwrap().as_ref(), Some(&world.customer));
    assert_eq!(catalog.customer_by_name("customer 10").unwrap().as_ref(), Some(&world.customer));
    assert_eq!(catalog.user_by_external_id(of, "u-41").unwrap().as_ref(), Some(alice));
    assert_eq!(catalog.user_by_email(of, "USER41@example.com").unwrap().as_ref(), Some(alice));
    assert_eq!(catalog.user_by_email(Membership::Organization, "user41@example.com").unwrap(), None);
    assert_eq!(
        catalog.integration_by_name("integration 20").unwrap().as_ref(),
        Some(&world.integration)
    );
    let found = catalog.instance_by_name(world.customer.id, "instance 50331648").unwrap();
    assert_eq!(found.as_ref(), Some(&world.instance));
    let found = catalog.user_config_of(world.instance.id, alice.id).unwrap();
    assert_eq!(found.as_ref(), Some(&world.configs[0]));
    assert_eq!(
        catalog.integration_version(world.integration.id, 1).unwrap().as_deref(),
        Some(&version(&world.integration, 1))
    );
}

#[test]
fn bundles_hold_what_actors_need() {
    let (_, catalog, world) = filled();
    let bundle = catalog.instance_bundle(world.instance.id).unwrap().unwrap();
    assert_eq!((&bundle.customer, &bundle.integration), (&world.customer, &world.integration));
    assert_eq!(bundle.version.version, 1);
    let again = catalog.instance_bundle(world.instance.id).unwrap().unwrap();
    assert!(Arc::ptr_eq(&bundle.version, &again.version), "the version is parsed once");
    let user = catalog.user_bundle(world.configs[1].id).unwrap().unwrap();
    assert_eq!((&user.user, &user.config), (&world.users[1], &world.configs[1]));
    assert!(catalog.instance_bundle(InstanceId(id(9))).unwrap().is_none());
}

#[test]
fn pages_follow_each_other_without_gap() {
    let (_, catalog, world) = filled();
    let of = Membership::Customer(world.customer.id);
    let first = catalog.users_of(of, None, 1).unwrap();
    assert_eq!(first.items, world.users[..1]);
    let second = catalog.users_of(of, first.next, 1).unwrap();
    assert_eq!((second.items.as_slice(), second.next), (&world.users[1..], None));
    assert_eq!(catalog.page::<User>(None, 10).unwrap().items, world.users);
    assert_eq!(
        catalog.user_configs_of_instance(world.instance.id, None, 10).unwrap().items,
        world.configs
    );
    assert_eq!(
        catalog.user_configs_of_user(world.users[1].id, None, 10).unwrap().items,
        world.configs[1..]
    );
    assert_eq!(
        catalog.instances_of_integration(world.integration.id, None, 10).unwrap().items,
        [world.instance]
    );
}

#[test]
fn a_mutation_that_changes_nothing_leaves_no_trace() {
    let (disk, catalog, world) = filled();
    let before = disk.changes();
    let mutated = catalog.mutate(NOW, |tx| world.write(tx)).unwrap();
    assert!(!mutated.changed);
    assert_eq!((mutated.revision, catalog.revision().unwrap()), (1, 1));
    assert_eq!(mutated.touched, Touched::Records(vec![]));
    assert_eq!(disk.changes(), before, "nothing was written");
}

#[test]
fn a_mutation_that_fails_leaves_no_trace() {
    let (_, catalog, world) = filled();
    let failed = catalog.mutate(NOW, |tx| {
        tx.delete_customer(world.customer.id)?;
        tx.put(&customer(11))?;
        Err::<(), _>(StoreError::WrongMasterKey)
    });
    assert!(matches!(failed, Err(StoreError::WrongMasterKey)));
    assert_eq!(catalog.revision().unwrap(), 1);
    assert_eq!(catalog.page::<Customer>(None, 10).unwrap().items, [world.customer]);
}

#[test]
fn a_taken_unique_value_is_a_conflict_that_names_the_field_and_harms_nothing() {
    let (_, catalog, world) = filled();
    let rival = Customer {
        external_id: world.customer.external_id.clone(),
        ..customer(11)
    };
    let result = catalog.mutate(NOW, |tx| {
        let refused = tx.put(&rival).unwrap_err();
        assert_eq!(refused.to_string(), "customer: external id \"c-10\" is taken");
        assert_eq!(tx.customer_by_name("customer 11")?, None);
        tx.put(&customer(12))
    });
    assert!(result.unwrap().changed);
    assert_eq!(catalog.customer_by_external_id("c-10").unwrap(), Some(world.customer));
}

#[test]
fn a_freed_unique_value_can_be_taken() {
    let (_, catalog, world) = filled();
    let renamed = Customer {
        name: "renamed".into(),
        external_id: None,
        ..world.customer
    };
    let heir = Customer {
        name: "customer 10".into(),
        external_id: Some("c-10".into()),
        ..customer(11)
    };
    catalog.mutate(NOW, |tx| tx.put(&renamed).and_then(|_| tx.put(&heir))).unwrap();
    assert_eq!(catalog.customer_by_external_id("c-10").unwrap(), Some(heir));
    assert_eq!(catalog.customer_by_name("renamed").unwrap(), Some(renamed));
}

#[test]
fn records_cannot_refer_to_what_does_not_exist_nor_move_to_another_owner() {
    let (_, catalog, world) = filled();
    let refused = |work: &dyn Fn(&mut Mutation<'_>) -> Result<bool, StoreError>| catalog.mutate(NOW, work).unwrap_err();
    let stranger = customer(11);
    assert!(matches!(
        refused(&|tx| tx.put(&user(50, &stranger))),
        StoreError::NotFound { record: "customer", .. }
    ));
    let moved = User {
        membership: Membership::Organization,
        ..world.users[0].clone()
    };
    assert!(matches!(
        refused(&|tx| tx.put(&moved)),
        StoreError::Fixed { field: "membership", .. }
    ));
    let mut newer = world.instance.clone();
    newer.config.version = 2;
    assert!(matches!(
        refused(&|tx| tx.put(&newer)),
        StoreError::NotFound {
            record: "integration version",
            ..
        }
    ));
    assert!(matches!(
        refused(&|tx| tx.delete_integration(world.integration.id)),
        StoreError::InUse { .. }
    ));
    let mut rewritten = version(&world.integration, 1);
    rewritten.yaml.push('#');
    assert!(matches!(refused(&|tx| tx.put(&rewritten)), StoreError::Fixed { field: "yaml", .. }));
    let second = Organization {
        id: OrganizationId(id(2)),
        ..organization()
    };
    assert!(matches!(
        refused(&|tx| tx.put(&second)),
        StoreError::Conflict {
            record: "organization",
            ..
        }
    ));
}

#[test]
fn deleting_a_customer_takes_everything_below_it() {
    let (_, catalog, world) = filled();
    catalog.mutate(NOW, |tx| tx.delete_customer(world.customer.id)).unwrap();
    assert!(catalog.page::<User>(None, 1).unwrap().items.is_empty());
    assert!(catalog.page::<Instance>(None, 1).unwrap().items.is_empty());
    assert!(catalog.page::<UserConfig>(None, 1).unwrap().items.is_empty());
    let view = catalog.view().unwrap();
    assert_eq!(
        view.transaction.open_table(OWNED).unwrap().len().unwrap(),
        0,
        "no index row is left"
    );
    assert_eq!(
        view.transaction.open_table(UNIQUE).unwrap().len().unwrap(),
        1,
        "but the integration's name"
    );
    assert_eq!(
        catalog.pending_destruction(10).unwrap().len(),
        3,
        "the keys of the customer and of two users are to go"
    );
    let gone = catalog.mutate(NOW, |tx| tx.delete_integration(world.integration.id)).unwrap();
    assert!(gone.value);
    assert!(catalog.page::<IntegrationVersion>(None, 1).unwrap().items.is_empty());
}

#[test]
fn a_removed_user_configuration_keeps_its_row_without_values_until_it_is_purged() {
    let (_, catalog, world) = filled();
    let alice = &world.users[0];
    catalog.mutate(NOW, |tx| tx.delete_user(alice.id, Timestamp(5_000))).unwrap();
    let row = catalog.get::<UserConfig>(world.configs[0].id).unwrap().unwrap();
    assert_eq!((row.removed_at, row.values.len()), (Some(Timestamp(5_000)), 0));
    assert_eq!(catalog.user_config_of(world.instance.id, alice.id).unwrap(), None);
    let purge = |before| catalog.mutate(NOW, |tx| tx.purge_removed(Timestamp(before), 10)).unwrap().value;
    assert_eq!(purge(5_000), []);
    assert_eq!(purge(5_001), [world.configs[0].id]);
    assert_eq!(catalog.get::<UserConfig>(world.configs[0].id).unwrap(), None);
    assert_eq!(catalog.user_configs_of_user(alice.id, None, 10).unwrap().items, []);
}

#[test]
fn a_user_can_configure_an_instance_again_after_removal() {
    let (_, catalog, world) = filled();
    let again = user_config(0x530_0000, &world.instance, &world.users[0]);
    let put = |config: &UserConfig| catalog.mutate(NOW, |tx| tx.put(config));
    assert!(matches!(put(&again), Err(StoreError::Conflict { field: "user", .. })));
    catalog
        .mutate(NOW, |tx| tx.remove_user_config(world.configs[0].id, Timestamp(1)))
        .unwrap();
    put(&again).unwrap();
    assert_eq!(catalog.user_config_of(world.instance.id, world.users[0].id).unwrap(), Some(again));
}

#[test]
fn changes_are_told_record_by_record_until_they_are_too_many_or_too_old() {
    let options = Options {
        named_changes: 2,
        outbox_entries: 2,
        ..Options::default()
    };
    let catalog = Catalog::open_in(FaultFolder::of(&MemoryDisk::new(1)), "catalog.redb", options).unwrap();
    let put = |n: u128| catalog.mutate(NOW, |tx| tx.put(&customer(n))).unwrap();
    assert_eq!(put(1).touched, Touched::Records(vec![CustomerId(id(1)).into()]));
    put(2);
    let both = vec![CustomerId(id(1)).into(), CustomerId(id(2)).into()];
    assert_eq!(catalog.changes_since(0).unwrap(), (2, Touched::Records(both)));
    assert_eq!(catalog.changes_since(2).unwrap(), (2, Touched::Records(vec![])));
    put(3);
    assert_eq!(
        catalog.changes_since(0).unwrap(),
        (3, Touched::Everything),
        "the first event was dropped"
    );
    let many = catalog.mutate(NOW, |tx| (4..8).try_for_each(|n| tx.put(&customer(n)).map(|_| ())));
    assert_eq!(many.unwrap().touched, Touched::Everything);
    assert_eq!(catalog.changes_since(3).unwrap(), (4, Touched::Everything));
    let entry = catalog.audit_after(3, 1).unwrap().remove(0);
    assert_eq!((entry.count, entry.changes.len()), (4, 2));
}

type Entries<'t> = redb::Table<'t, u64, &'static [u8]>;

#[test]
fn the_audit_chain_shows_a_changed_and_a_missing_entry() {
    let (_, catalog, world) = filled();
    for n in 2..5 {
        catalog
            .mutate(NOW, |tx| {
                tx.put(&Customer {
                    description: n.to_string(),
                    ..world.customer.clone()
                })
            })
            .unwrap();
    }
    assert_eq!(catalog.verify_audit_chain().unwrap(), 4);
    let entry = catalog.audit_after(1, 1).unwrap().remove(0);
    assert_eq!(
        (entry.by.as_str(), entry.action.as_str(), entry.at),
        ("local:0", "test", Timestamp(1_000))
    );
    assert_eq!(
        (entry.changes[0].key, entry.changes[0].kind),
        (world.customer.id.into(), ChangeKind::Changed)
    );
    let tamper = |work: &dyn Fn(&mut Entries<'_>)| {
        let transaction = catalog.database.write().unwrap();
        work(&mut transaction.open_table(AUDIT).unwrap());
        transaction.commit().unwrap();
        let error = catalog.verify_audit_chain().unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }));
        error.to_string()
    };
    let forged = AuditEntry {
        by: "nobody".into(),
        ..entry
    };
    let forged = audit::encode(&forged).unwrap();
    assert_eq!(
        tamper(&|entries| drop(entries.insert(2, forged.as_slice()).unwrap())),
        "audit entry 3 is corrupt"
    );
    assert_eq!(tamper(&|entries| drop(entries.pop_first().unwrap())), "audit entry 2 is corrupt");
    assert_eq!(tamper(&|entries| entries.retain(|_, _| false).unwrap()), "audit entry 1 is corrupt");
}

#[test]
fn for_each_gives_every_record_and_stops_at_the_visitors_error() {
    let (_, catalog, world) = filled();
    let view = catalog.view().unwrap();
    let mut seen = Vec::new();
    view.for_each(|config: UserConfig| {
        seen.push(config);
        Ok::<_, StoreError>(())
    })
    .unwrap();
    assert_eq!(seen, world.configs);
    let stopped = view.for_each(|_: User| Err(StoreError::WrongMasterKey));
    assert!(matches!(stopped, Err(StoreError::WrongMasterKey)));
}

#[test]
fn sealed_segments_enter_the_chain_once_and_are_found_by_number() {
    let (_, catalog, _) = filled();
    let hash = |number: u32| SegmentHash {
        number,
        hash: [number as u8; 32],
    };
    assert_eq!(catalog.attested().unwrap(), 0);
    let noted = catalog.mutate(NOW, |tx| {
        tx.attest(&[hash(3), hash(4)]);
        Ok::<_, StoreError>(())
    });
    assert!(noted.unwrap().changed);
    catalog
        .mutate(NOW, |tx| {
            tx.attest(&[hash(7)]);
            Ok::<_, StoreError>(())
        })
        .unwrap();
    assert_eq!(catalog.attested().unwrap(), 7);
    let found = catalog.view().unwrap().segment_hashes(4).unwrap();
    assert_eq!(found, [(3, hash(7)), (2, hash(4))]);
    assert_eq!(catalog.verify_audit_chain().unwrap(), 3);
    let nothing = catalog.mutate(NOW, |tx| {
        tx.attest(&[]);
        Ok::<_, StoreError>(())
    });
    assert!(!nothing.unwrap().changed);
}

#[test]
fn details_name_what_changed_within_their_limit() {
    let options = Options {
        audit_details: 300,
        ..Options::default()
    };
    let catalog = Catalog::open_in(FaultFolder::of(&MemoryDisk::new(1)), "catalog.redb", options).unwrap();
    let mut said = None;
    catalog
        .mutate_then(
            NOW,
            |tx| (1..8).try_for_each(|n| tx.put(&customer(n)).map(|_| ())),
            &mut |uncommitted| {
                said.clone_from(&uncommitted.details);
                Ok(None)
            },
        )
        .unwrap();
    let said = said.unwrap().joined().unwrap();
    let details: serde_json::Value = serde_json::from_str(&said).unwrap();
    let named = details["changes"].as_array().unwrap();
    assert!(!named.is_empty() && said.len() < 400, "{said}");
    assert_eq!(named.len() as u64 + details["more"].as_u64().unwrap(), 7);
    assert_eq!(named[0]["external id"], "c-1");
}
