//! Grants: compared before they are written, and gone with their holder.

use super::*;
use crate::catalog::{GrantId, Stored, StoredGrant, SuppliedToken};
use crate::findings::Findings;
use crate::keyring::{Keyring, MasterKey, NewKey, Options as KeyringOptions, Owner};
use crate::seal::RecordKind;
use perseat_domain::definition::ActionRef;
use perseat_domain::grant::{Holder, NoticeLink, Outcome, Renewal, Renewed, Rules};
use perseat_domain::id::{SharedConnectionId, SharedValueId};
use perseat_domain::model::Sealed;
use perseat_domain::model::{ConfigValue, KeyDigest};
use perseat_domain::sharing::{SharedConnection, SharedValue, Sharing};

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

/// What a check says of grants, with a keyring that has the holder's key or without one.
fn checked(catalog: &Catalog, keys: Option<&Keyring>) -> (u64, u64, Vec<String>) {
    let mut findings = Findings::new(100);
    let report = catalog.check(keys, &mut findings).unwrap();
    let listed = findings.listed().iter().filter(|finding| finding.contains("grant")).cloned();
    (report.grants, report.opened, listed.collect())
}

#[test]
fn a_check_finds_grants_of_nobody_that_do_not_read_or_do_not_open() {
    let (_, catalog, world) = filled();
    let (folder, config) = (tempfile::tempdir().unwrap(), &world.configs[0]);
    let keyring = Keyring::open(&folder.path().join("keyring"), MasterKey::new(&[7; 32]), &KeyringOptions::default()).unwrap();
    let user = catalog.get::<User>(config.user).unwrap().unwrap();
    let Membership::Customer(customer) = user.membership else {
        panic!("a customer's user")
    };
    keyring
        .create_many([NewKey::Customer(customer), NewKey::User(user.id, user.membership)])
        .unwrap();
    let id = of(config);
    let key = keyring.data_key(Owner::User(user.id)).unwrap();
    let whole = StoredGrant {
        token: Some(key.seal(RecordKind::Grant, &id.to_key(), b"token")),
        ..given(1)
    };
    catalog.store_grant(&id, None, &whole).unwrap();
    let before = checked(&catalog, None);
    assert_eq!((before.0, before.2), (1, vec![]));
    let opened = checked(&catalog, Some(&keyring));
    assert_eq!((opened.1, opened.2), (before.1 + 1, vec![]));
    catalog.store_grant(&id, Some(&whole), &given(1)).unwrap();
    let (_, _, found) = checked(&catalog, Some(&keyring));
    assert!(found.len() == 1 && found[0].contains("does not open"), "{found:?}");
    assert_eq!(checked(&catalog, None).2, [] as [String; 0], "without keys that cannot be known");

    let write = |key: &[u8], row: &[u8]| {
        let transaction = catalog.database.write().unwrap();
        transaction
            .open_table(crate::catalog::grants::GRANTS)
            .unwrap()
            .insert(key, row)
            .unwrap();
        transaction.commit().unwrap();
    };
    write(&id.to_key(), &[1, 0xff]);
    write(&[[9; 16].as_slice(), b"account"].concat(), &[1]);
    let (count, _, found) = checked(&catalog, None);
    assert!(
        count == 2 && found.iter().any(|it| it.contains("does not read")) && found.iter().any(|it| it.contains("not there")),
        "{found:?}"
    );
}

fn over(before: &StoredGrant, at: u64) -> StoredGrant {
    let mut stored = before.clone();
    stored
        .grant
        .learn(Outcome::Over("invalid_grant".into()), Timestamp(at), &Rules::default());
    stored
}

#[test]
fn a_notice_is_there_as_long_as_its_grant_is_over_and_what_was_told_outlives_a_crash() {
    let (disk, catalog, world) = filled();
    let [mine, other] = [&world.configs[0], &world.configs[1]].map(of);
    let (fine, failed) = (given(1), over(&given(1), 5));
    for id in [&mine, &other] {
        catalog.store_grant(id, None, &fine).unwrap();
    }
    assert_eq!(catalog.notices(None, 10).unwrap(), []);
    catalog.store_grant(&mine, Some(&fine), &failed).unwrap();
    let begun = catalog.notice_of(&mine).unwrap().unwrap();
    assert_eq!(catalog.notices(None, 10).unwrap(), [(mine.clone(), begun.clone())]);
    assert_eq!(catalog.notices(Some(&mine), 10).unwrap(), []);
    let told = perseat_domain::grant::Notice {
        told_at: Some(Timestamp(6)),
        links: vec![NoticeLink {
            digest: KeyDigest([3; 32]),
            until: Timestamp(9),
        }],
        ..begun.clone()
    };
    assert!(catalog.store_notice(&mine, &begun, &told).unwrap());
    assert!(!catalog.store_notice(&mine, &begun, &told).unwrap(), "it is another one by now");
    assert!(!catalog.store_notice(&other, &begun, &told).unwrap(), "there is none");
    drop(catalog);
    disk.crash();
    let catalog = open(&disk).unwrap();
    assert_eq!(catalog.notice_of(&mine).unwrap(), Some(told));
    assert_eq!(checked(&catalog, None).2, [] as [String; 0]);

    // It ends with a new consent, with its holder, and its link with a restore.
    assert_eq!(catalog.mutate(NOW, |tx| tx.end_notice_links()).unwrap().value, 1);
    assert_eq!(catalog.notice_of(&mine).unwrap().unwrap().links, []);
    let mut again = failed.clone();
    let renewed = Renewed {
        lifetime: None,
        renewal: Renewal::None,
    };
    again.grant.consented(renewed, Timestamp(7), &Rules::default());
    catalog.mutate(NOW, |tx| tx.put_grant(&mine, &again)).unwrap();
    assert_eq!(catalog.notice_of(&mine).unwrap(), None);
    catalog.store_grant(&other, Some(&fine), &failed).unwrap();
    assert_eq!(catalog.notices(None, 10).unwrap().len(), 1);
    catalog
        .mutate(NOW, |tx| tx.remove_user_config(world.configs[1].id, Timestamp(8)))
        .unwrap();
    assert_eq!(catalog.notices(None, 10).unwrap(), []);
}

#[test]
fn a_check_finds_a_notice_of_a_grant_that_is_not_over() {
    let (_, catalog, world) = filled();
    let id = of(&world.configs[0]);
    catalog.store_grant(&id, None, &over(&given(1), 5)).unwrap();
    assert_eq!(checked(&catalog, None).2, [] as [String; 0]);
    let transaction = catalog.database.write().unwrap();
    transaction
        .open_table(crate::catalog::grants::GRANTS)
        .unwrap()
        .remove(id.to_key().as_slice())
        .unwrap();
    transaction.commit().unwrap();
    let found = checked(&catalog, None).2;
    assert!(found.len() == 1 && found[0].contains("which is not over"), "{found:?}");
}

/// A connection that is shared so, with what a customer or a user gave to it.
fn shared(catalog: &Catalog, number: u128, stable_key: &str, sharing: Sharing, holder: Option<Holder>) -> SharedConnection {
    let value = ConfigValue::Connection {
        sealed: Sealed(vec![7; 40]),
        version: 1,
    };
    let connection = SharedConnection {
        id: SharedConnectionId(id(number)),
        stable_key: stable_key.into(),
        key: "CRM".into(),
        description: String::new(),
        sharing,
        connection: ActionRef {
            component: "http".into(),
            action: "oauth2".into(),
        },
        value: Some(value.clone()),
    };
    let given = holder.map(|holder| SharedValue {
        id: SharedValueId(id(number + 1)),
        connection: connection.id,
        holder,
        value,
    });
    let made = catalog.mutate(NOW, |tx| {
        tx.put(&connection)?;
        given.iter().try_for_each(|given| tx.put(given).map(|_| ()))
    });
    made.unwrap();
    connection
}

#[test]
fn a_shared_grant_needs_its_connection_and_goes_with_it_and_with_its_holder() {
    let (_, catalog, world) = filled();
    let (customer, user) = (Holder::Customer(world.customer.id), Holder::User(world.users[0].id));
    let of = |holder, variable: &str| GrantId {
        holder,
        variable: variable.into(),
    };
    let (theirs, own) = (of(customer, "crm"), of(user, "drive"));
    assert_eq!(
        catalog.store_grant(&theirs, None, &given(1)).unwrap(),
        Stored::Gone,
        "nothing is declared"
    );
    let crm = shared(&catalog, 900, "crm", Sharing::Customer, Some(customer));
    let drive = shared(&catalog, 910, "drive", Sharing::User, Some(user));
    for id in [&theirs, &own] {
        assert_eq!(catalog.store_grant(id, None, &given(1)).unwrap(), Stored::Written);
    }
    // On the wrong level, by the wrong name, or of nobody.
    for id in [
        of(user, "crm"),
        of(customer, "drive"),
        of(customer, "other"),
        of(Holder::User(UserId(id(999))), "drive"),
    ] {
        assert_eq!(catalog.store_grant(&id, None, &given(1)).unwrap(), Stored::Gone, "{id:?}");
        let put = catalog.mutate(NOW, |tx| tx.put_grant(&id, &given(1)));
        assert!(matches!(put, Err(StoreError::NotFound { .. })), "{put:?}");
    }
    let (count, _, found) = checked(&catalog, None);
    assert_eq!((count, found), (2, Vec::new()));
    let is_there = |connection: &SharedConnection, holder| catalog.shared_value(connection.id, holder).unwrap().is_some();
    assert!(is_there(&crm, customer) && is_there(&drive, user) && !is_there(&crm, user));

    // The grant of a configuration's own variable of the same name is another one.
    let inline = GrantId {
        holder: Holder::Instance(world.instance.id),
        variable: "crm".into(),
    };
    catalog.store_grant(&inline, None, &given(1)).unwrap();
    assert!(catalog.mutate(NOW, |tx| tx.delete_shared_connection(crm.id)).unwrap().value);
    assert!(catalog.grants_of(customer).unwrap().is_empty() && !is_there(&crm, customer));
    assert_eq!(catalog.grants_of(inline.holder).unwrap().len(), 1);
    assert_eq!(catalog.store_grant(&theirs, None, &given(2)).unwrap(), Stored::Gone);
    catalog.mutate(NOW, |tx| tx.delete_user(world.users[0].id, Timestamp(9))).unwrap();
    assert!(catalog.grants_of(user).unwrap().is_empty() && !is_there(&drive, user));
    assert_eq!(checked(&catalog, None).2, [] as [String; 0]);
}

#[test]
fn a_record_and_its_grant_that_change_together_are_both_what_the_mutation_wrote() {
    let (_, catalog, world) = filled();
    let id = of(&world.configs[0]);
    let config = UserConfig {
        config_revision: world.configs[0].config_revision + 1,
        ..world.configs[0].clone()
    };
    let both = catalog.mutate::<_, StoreError>(NOW, |tx| {
        tx.put(&config)?;
        tx.put_grant(&id, &given(1))
    });
    assert!(both.unwrap().changed);
    let mut findings = Findings::new(100);
    catalog.check(None, &mut findings).unwrap();
    let wrong: Vec<_> = findings.listed().iter().filter(|finding| finding.contains("is not what")).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_supplied_token_is_known_by_what_can_be_spent_of_it() {
    let token = |access: &str, refresh: Option<&str>, lifetime: u32| {
        let mut token = serde_json::json!({ "access_token": access, "expires_in": lifetime });
        if let Some(refresh) = refresh {
            token["refresh_token"] = refresh.into();
        }
        SuppliedToken::of(&token)
    };
    let begin = |row: &mut StoredGrant, supplied: &SuppliedToken| {
        assert!(row.gives_way_to(Some(supplied)));
        row.is_supplied(Some(supplied));
        let renewal = Renewal::Refresh { rotates: None };
        row.grant = Default::default();
        row.grant.supplied(Renewed { lifetime: None, renewal });
    };
    let spend = |row: &mut StoredGrant, at: u64| {
        let renewal = Renewal::Refresh { rotates: Some(true) };
        row.grant
            .consented(Renewed { lifetime: None, renewal }, Timestamp(at), &Rules::default());
    };
    let (first, longer, second) = (token("a", Some("r"), 1), token("b", Some("r"), 2), token("a", Some("s"), 1));
    let mut row = StoredGrant::default();
    begin(&mut row, &first);
    assert!(
        !row.is_of(Some(&longer)) && row.gives_way_to(Some(&longer)),
        "as it was supplied it is corrected"
    );
    begin(&mut row, &longer);
    spend(&mut row, 1);
    assert!(
        row.is_of(Some(&first)) && !row.gives_way_to(Some(&first)),
        "one refresh token, which was spent"
    );
    assert!(row.is_of(None) && !row.gives_way_to(None));
    row.is_supplied(None);
    assert!(row.is_of(Some(&longer)), "it is remembered while nothing is supplied");
    begin(&mut row, &second);
    assert!(
        !row.is_of(Some(&first)) && !row.gives_way_to(Some(&first)),
        "nor does it come back after another one"
    );
    let lone = token("a", None, 1);
    begin(&mut row, &lone);
    assert!(row.gives_way_to(Some(&second)), "that one was never spent");
    row.grant.disconnected(Timestamp(2), &Rules::default());
    let same = token("a", None, 9);
    assert!(
        row.is_of(Some(&same)) && !row.gives_way_to(Some(&same)),
        "known by its access token, and given up"
    );
    // Of many the oldest is forgotten.
    for n in 0..20 {
        let next = token("x", Some(&n.to_string()), 1);
        begin(&mut row, &next);
        spend(&mut row, n);
    }
    assert!(row.spent.len() == 8 && row.gives_way_to(Some(&first)));
}

#[test]
fn a_row_of_the_format_before_is_read() {
    let mut row = given(2);
    row.supplied = Some(KeyDigest([3; 32]));
    let former = (&row.grant, &row.token, row.supplied, row.registration);
    let bytes = postcard::to_extend(&former, vec![1]).unwrap();
    let read = crate::catalog::grants::decode(&bytes).unwrap();
    row.is_consented = true;
    assert_eq!(read, row, "what came of what is not known: it is taken for somebody's consent");
    assert!(crate::catalog::grants::decode(&[3]).is_err());
}
