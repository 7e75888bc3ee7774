use super::*;
use crate::catalog::{GrantId, Stored, StoredGrant};
use perseat_domain::grant::Holder;
use perseat_journal::disk::Fault;
use std::sync::mpsc;
use std::thread;

#[test]
fn a_full_disk_fails_mutations_whole_and_is_overcome_without_a_restart() {
    let (disk, catalog, world) = filled();
    disk.set_capacity(disk.used());
    let load = |tx: &mut Mutation<'_>| (1_000..30_000).try_for_each(|n| tx.put(&user(n, &world.customer)).map(|_| ()));
    assert!(matches!(catalog.mutate(NOW, load), Err(StoreError::Full(_))));
    assert_eq!(catalog.revision().unwrap(), 1, "reads go on");
    assert_eq!(catalog.page::<User>(None, 10).unwrap().items, world.users);
    disk.set_capacity(u64::MAX);
    assert_eq!(catalog.mutate(NOW, load).unwrap().revision, 2);
}

#[test]
fn whoever_waits_to_write_behind_one_that_finds_the_disk_full_writes() {
    let (disk, catalog, world) = filled();
    let id = GrantId {
        holder: Holder::UserConfig(world.configs[0].id),
        variable: "account".into(),
    };
    disk.set_capacity(disk.used());
    let (begins, begun) = mpsc::channel();
    let (failed, wrote) = thread::scope(|scope| {
        let mut waiting = None;
        let failed = catalog.mutate(NOW, |tx| {
            let (catalog, id) = (&catalog, &id);
            waiting = Some(scope.spawn(move || {
                begins.send(()).unwrap();
                catalog.store_grant(id, None, &StoredGrant::default())
            }));
            begun.recv().unwrap();
            (1_000..30_000).try_for_each(|n| tx.put(&user(n, &world.customer)).map(|_| ()))
        });
        (failed, waiting.unwrap().join().unwrap())
    });
    assert!(matches!(failed, Err(StoreError::Full(_))));
    assert_eq!(wrote.unwrap(), Stored::Written);
}

#[test]
fn a_reader_over_a_failed_database_delays_its_reopening_and_no_more() {
    let (disk, catalog, world) = filled();
    let view = catalog.view().unwrap();
    disk.fail_at(disk.calls(), Fault::Error);
    assert!(catalog.mutate(NOW, |tx| tx.delete_customer(world.customer.id)).is_err());
    assert!(matches!(catalog.revision(), Err(StoreError::Reopening)));
    drop(view);
    assert_eq!(catalog.revision().unwrap(), 1);
}

#[test]
fn a_catalog_of_a_newer_format_is_refused() {
    let (disk, catalog, _) = filled();
    let transaction = catalog.database.write().unwrap();
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
