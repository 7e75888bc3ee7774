use super::*;

#[test]
fn a_full_disk_fails_mutations_whole_and_is_overcome_without_a_restart() {
    let (disk, catalog, world) = filled();
    disk.set_capacity(Some(disk.used()));
    let load = |tx: &mut Mutation<'_>| (1_000..30_000).try_for_each(|n| tx.put(&user(n, &world.customer)).map(|_| ()));
    assert!(matches!(catalog.mutate(NOW, load), Err(StoreError::Full(_))));
    assert_eq!(catalog.revision().unwrap(), 1, "reads go on");
    assert_eq!(catalog.page::<User>(None, 10).unwrap().items, world.users);
    disk.set_capacity(None);
    assert_eq!(catalog.mutate(NOW, load).unwrap().revision, 2);
}

#[test]
fn a_reader_over_a_failed_database_delays_its_reopening_and_no_more() {
    let (disk, catalog, world) = filled();
    let view = catalog.view().unwrap();
    disk.fail_after(0);
    assert!(catalog.mutate(NOW, |tx| tx.delete_customer(world.customer.id)).is_err());
    disk.fail_after(1_000_000);
    assert!(matches!(catalog.revision(), Err(StoreError::Reopening)));
    drop(view);
    assert_eq!(catalog.revision().unwrap(), 1);
}

#[test]
fn a_catalog_of_a_newer_format_is_refused() {
    let (disk, catalog, _) = filled();
    let transaction = catalog.database.get().unwrap().begin_write().unwrap();
    transaction.open_table(META).unwrap().insert(FORMAT, 9).unwrap();
    transaction.commit().unwrap();
    drop(catalog);
    assert!(matches!(open(&disk), Err(StoreError::UnknownFormat { found: 9, .. })));
}

#[test]
fn a_catalog_in_use_is_not_opened_twice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.redb");
    let catalog = Catalog::open(&path, Options::default()).unwrap();
    assert!(matches!(Catalog::open(&path, Options::default()), Err(StoreError::Locked { .. })));
    catalog.mutate(NOW, |tx| tx.put(&organization())).unwrap();
    drop(catalog);
    assert_eq!(Catalog::open(&path, Options::default()).unwrap().revision().unwrap(), 1);
}

/// What the world looks like after a mutation that replaces its customer.
fn replace_customer(tx: &mut Mutation<'_>) -> Result<bool, StoreError> {
    tx.delete_customer(World::new().customer.id)?;
    tx.put(&customer(11))
}

/// Runs the mutation on a disk that dies at its `at`th operation and keeps those unsynced ones that `survives` names.
/// Gives whether it was acknowledged and whether it is there.
fn crash_at(at: u64, survives: impl FnMut(usize) -> bool) -> (bool, bool) {
    let (disk, catalog, world) = filled();
    disk.fail_after(at);
    let acknowledged = catalog.mutate(NOW, replace_customer).is_ok();
    disk.crash(survives);
    drop(catalog);
    let catalog = open(&disk).unwrap();
    let revision = catalog.revision().unwrap();
    assert_eq!(catalog.verify_audit_chain().unwrap(), revision);
    assert_eq!(catalog.events_after(0, 10).unwrap().len() as u64, revision);
    let customers = catalog.page::<Customer>(None, 10).unwrap().items;
    let users = catalog.page::<User>(None, 10).unwrap().items.len();
    let pending = catalog.pending_destruction(10).unwrap().len();
    let expected = if revision == 1 {
        (vec![world.customer], 2, 0)
    } else {
        (vec![customer(11)], 0, 3)
    };
    assert_eq!((customers, users, pending), expected);
    (acknowledged, revision == 2)
}

#[test]
fn a_crash_at_any_operation_leaves_a_mutation_wholly_there_or_not_at_all() {
    let mut lost = 0;
    for at in 0.. {
        let outcomes = [
            crash_at(at, |_| false),
            crash_at(at, |n| n % 2 == 0),
            crash_at(at, |n| n % 3 == 1),
            crash_at(at, |_| true),
        ];
        for (acknowledged, there) in outcomes {
            assert!(there || !acknowledged, "what was acknowledged is there");
            lost += u32::from(!there);
        }
        if outcomes[0].0 {
            break;
        }
    }
    assert!(lost > 0, "some crash came before the commit");
}
