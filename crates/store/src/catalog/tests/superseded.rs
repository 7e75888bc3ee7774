//! Earlier values: kept while somebody may ask for them, never credentials, never for long.

use super::*;

/// Alice's configuration in `revision`, with this folder and this credential.
fn saved(world: &World, revision: u64, folder: &str, credential: u8) -> UserConfig {
    let connection = ConfigValue::Connection {
        sealed: perseat_domain::model::Sealed(vec![credential; 9]),
        version: revision,
    };
    UserConfig {
        config_revision: revision,
        values: BTreeMap::from([("folder".into(), ConfigValue::Plain(folder.into())), ("account".into(), connection)]),
        ..world.configs[0].clone()
    }
}

fn save(catalog: &Catalog, at: u64, config: &UserConfig) {
    let change = Change { at: Timestamp(at), ..NOW };
    assert!(catalog.mutate(change, |tx| tx.put(config)).unwrap().changed);
}

fn folder_in(catalog: &Catalog, world: &World, revision: u64) -> Option<String> {
    let values = catalog.values_in::<UserConfig>(world.configs[0].id, revision).unwrap();
    values.map(|values| {
        assert!(!values.contains_key("account"), "a credential is never kept");
        values["folder"].clone()
    })
}

#[test]
fn the_values_of_a_revision_are_found_after_later_ones() {
    let (_, catalog, world) = filled();
    for (revision, folder, credential) in [(10, "/a", 1), (11, "/a", 2), (12, "/b", 2), (13, "/c", 3)] {
        save(&catalog, revision, &saved(&world, revision, folder, credential));
    }
    let found = [10, 11, 12, 13].map(|revision| folder_in(&catalog, &world, revision));
    let expected = [Some("/a"), Some("/a"), Some("/b"), None];
    assert_eq!(found, expected.map(|folder| folder.map(str::to_owned)), "the last is today's");
    assert_eq!(
        catalog.values_in::<UserConfig>(world.configs[1].id, 10).unwrap(),
        None,
        "another record's values are not taken for these"
    );
}

#[test]
fn an_instance_keeps_what_was_deployed() {
    let (_, catalog, world) = filled();
    let deployed = |revision: u64, region: &str| {
        let mut instance = world.instance.clone();
        let values = BTreeMap::from([("region".into(), ConfigValue::Plain(region.into()))]);
        instance.config.values = values;
        instance.deployed = Some(instance.config.clone());
        instance.config_revision = revision;
        instance
    };
    for instance in [deployed(5, "eu"), deployed(6, "us")] {
        catalog.mutate(NOW, |tx| tx.put(&instance)).unwrap();
    }
    let of = |revision| catalog.values_in::<Instance>(world.instance.id, revision).unwrap();
    assert_eq!(of(5).unwrap()["region"], "eu");
    assert_eq!(of(6), None);
    catalog.mutate(NOW, |tx| tx.delete_instance(world.instance.id)).unwrap();
    assert_eq!(of(5), None, "nothing is left of a deleted instance");
}

#[test]
fn earlier_values_go_with_their_user_by_age_and_beyond_their_number() {
    let options = Options {
        revisions_kept: 3,
        ..Options::default()
    };
    let catalog = Catalog::open_in(FaultFolder::of(&MemoryDisk::new(1)), "catalog.redb", options).unwrap();
    let world = World::new();
    catalog.mutate(NOW, |tx| world.write(tx)).unwrap();
    for revision in 10..16 {
        save(&catalog, revision * 100, &saved(&world, revision, &format!("/{revision}"), 1));
    }
    let found = [11, 12, 13, 14].map(|revision| folder_in(&catalog, &world, revision).unwrap());
    assert_eq!(found, ["/12", "/12", "/13", "/14"], "the three newest are kept");
    let revision = catalog.revision().unwrap();
    assert_eq!(catalog.purge_superseded(Timestamp(1_300), 10).unwrap(), 0, "12 went at 1300");
    assert_eq!(catalog.purge_superseded(Timestamp(1_401), 1).unwrap(), 1);
    assert_eq!(catalog.purge_superseded(Timestamp(1_401), 10).unwrap(), 1);
    assert_eq!(folder_in(&catalog, &world, 12).unwrap(), "/14");
    assert_eq!(catalog.revision().unwrap(), revision, "no mutation");
    catalog.verify_audit_chain().unwrap();
    catalog
        .mutate(NOW, |tx| tx.remove_user_config(world.configs[0].id, Timestamp(9_000)))
        .unwrap();
    assert_eq!(folder_in(&catalog, &world, 14), None, "a removed user's values are gone");
}

#[test]
fn a_catalog_from_before_this_table_is_opened() {
    let disk = MemoryDisk::new(1);
    let open = || super::open(&disk).unwrap();
    let catalog = open();
    let transaction = catalog.database.write().unwrap();
    transaction.delete_table(SUPERSEDED).unwrap();
    transaction.commit().unwrap();
    drop(catalog);
    assert_eq!(open().values_in::<UserConfig>(UserConfigId(id(1)), 1).unwrap(), None);
}
