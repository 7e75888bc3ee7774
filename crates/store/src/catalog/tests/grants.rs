//! Grants: compared before they are written, and gone with their holder.

use super::*;
use crate::catalog::{GrantId, Stored, StoredGrant};
use perseat_domain::grant::{Holder, Renewal, Renewed, Rules};
use perseat_domain::model::Sealed;

fn of(config: &UserConfig) -> GrantId {
    GrantId {
        holder: Holder::UserConfig(config.id),
        variable: "account".into(),
    }
}

fn given(times: u64) -> StoredGrant {
    let mut stored = StoredGrant {
        token: Some(Sealed(vec![7; 40])),
        ..StoredGrant::default()
    };
    let renewed = Renewed {
        lifetime: None,
        renewal: Renewal::None,
    };
    for at in 0..times {
        stored.grant.consented(renewed, Timestamp(at), &Rules::default());
    }
    stored
}

#[test]
fn a_grant_is_replaced_only_as_it_was_read_and_without_a_revision() {
    let (disk, catalog, world) = filled();
    let (id, revision) = (of(&world.configs[0]), catalog.revision().unwrap());
    assert_eq!(catalog.store_grant(&id, None, &given(1)).unwrap(), Stored::Written);
    assert_eq!(catalog.store_grant(&id, None, &given(2)).unwrap(), Stored::Overtaken);
    assert_eq!(catalog.store_grant(&id, Some(&given(1)), &given(2)).unwrap(), Stored::Written);
    assert_eq!(catalog.revision().unwrap(), revision, "no mutation");
    drop(catalog);
    disk.crash();
    let catalog = open(&disk).unwrap();
    let found = catalog.grants_of(id.holder).unwrap();
    assert_eq!(found, BTreeMap::from([("account".to_owned(), given(2))]));
    assert!(catalog.grants_of(Holder::UserConfig(world.configs[1].id)).unwrap().is_empty());
    assert!(catalog.grants_of(Holder::Instance(world.instance.id)).unwrap().is_empty());
}

#[test]
fn what_somebody_does_to_a_grant_is_audited_and_wins() {
    let (_, catalog, world) = filled();
    let id = of(&world.configs[0]);
    catalog.store_grant(&id, None, &given(1)).unwrap();
    let mutated = catalog.mutate(NOW, |tx| tx.put_grant(&id, &given(3))).unwrap();
    assert!(mutated.changed);
    assert_eq!(mutated.touched, Touched::Records(vec![world.configs[0].id.into()]));
    assert_eq!(catalog.store_grant(&id, Some(&given(1)), &given(2)).unwrap(), Stored::Overtaken);
    catalog.verify_audit_chain().unwrap();
}

#[test]
fn grants_go_with_their_holder_and_come_to_none_that_is_gone() {
    let (_, catalog, world) = filled();
    let [mine, other] = [&world.configs[0], &world.configs[1]].map(of);
    let shared = GrantId {
        holder: Holder::Instance(world.instance.id),
        variable: "company".into(),
    };
    for id in [&mine, &other, &shared] {
        catalog.store_grant(id, None, &given(1)).unwrap();
    }
    catalog
        .mutate(NOW, |tx| tx.remove_user_config(world.configs[0].id, Timestamp(5)))
        .unwrap();
    let count = |id: &GrantId| catalog.grants_of(id.holder).unwrap().len();
    assert_eq!([&mine, &other, &shared].map(count), [0, 1, 1]);
    assert_eq!(catalog.store_grant(&mine, None, &given(1)).unwrap(), Stored::Gone);
    let refused = catalog.mutate(NOW, |tx| tx.put_grant(&mine, &given(1)));
    assert!(matches!(refused, Err(StoreError::NotFound { .. })));
    catalog.mutate(NOW, |tx| tx.delete_instance(world.instance.id)).unwrap();
    assert_eq!([&mine, &other, &shared].map(count), [0, 0, 0]);
    assert_eq!(catalog.store_grant(&shared, None, &given(1)).unwrap(), Stored::Gone);
}
