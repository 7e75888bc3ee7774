use super::*;
use crate::catalog::{Change, Options};
use perseat_domain::id::{CustomerId, OrganizationId, UserId};
use perseat_domain::model::Membership;
use perseat_domain::time::Timestamp;
use uuid::Uuid;

fn filled(folder: &tempfile::TempDir) -> Catalog {
    let catalog = Catalog::open(&folder.path().join("catalog.redb"), Options::default()).unwrap();
    let change = Change {
        by: "test",
        at: Timestamp(1),
        action: "fill",
    };
    let customer = |n: u128| Customer {
        id: CustomerId(Uuid::from_u128(n)),
        name: format!("customer {n}"),
        external_id: Some(n.to_string()),
        description: String::new(),
        labels: vec![],
    };
    let fill = |mutation: &mut crate::catalog::Mutation<'_>| {
        mutation.put(&Organization {
            id: OrganizationId(Uuid::from_u128(1)),
            name: "Acme".into(),
            ulc_enabled: true,
            signing_keys: vec![],
        })?;
        (1..5).try_for_each(|n| mutation.put(&customer(n)).map(drop))?;
        mutation.put(&User {
            id: UserId(Uuid::from_u128(9)),
            membership: Membership::Customer(CustomerId(Uuid::from_u128(2))),
            email: Some("Ann@acme.example".into()),
            name: "Ann".into(),
            external_id: None,
            subject: None,
            subject_seen_at: None,
            labels: Vec::new(),
            role: perseat_domain::model::Role::Member,
            profile: perseat_domain::model::Profile::default(),
        })
    };
    catalog.mutate(change, fill).unwrap();
    catalog
        .mutate(change, |mutation| mutation.delete_customer(CustomerId(Uuid::from_u128(4))))
        .unwrap();
    catalog
}

fn found(catalog: &Catalog) -> Vec<String> {
    let mut findings = Findings::new(100);
    catalog.check(None, &mut findings).unwrap();
    findings.listed().to_vec()
}

#[test]
fn a_catalog_fits_itself_and_says_what_was_counted() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = filled(&folder);
    let mut findings = Findings::new(100);
    let report = catalog.check(None, &mut findings).unwrap();
    assert_eq!(findings.listed(), [] as [String; 0]);
    assert_eq!((report.revision, report.audit_entries, report.digests), (2, 2, 5));
    assert_eq!(report.records[1], ("customer", 3));
    // Unique values; entries of lists and orders.
    assert_eq!((report.index_rows, report.references), (6 + 9, 1));
    assert!(report.has(Owner::Organization) && report.has(Owner::User(UserId(Uuid::from_u128(9)))));
    assert_eq!(report.pending, [Owner::Customer(CustomerId(Uuid::from_u128(4)))]);
}

#[test]
fn rows_that_were_taken_out_put_in_or_changed_are_found_by_name() {
    type Damage = fn(&redb::WriteTransaction);
    let cases: [(&str, Damage); 6] = [
        ("does not lead from name \"customer 1\"", |tx| {
            tx.open_table(UNIQUE)
                .unwrap()
                .remove(Unique::CustomerName.key(Uuid::nil(), b"customer 1").as_slice())
                .unwrap();
        }),
        ("leads to no record that has it", |tx| {
            let key = Unique::CustomerName.key(Uuid::nil(), b"nobody");
            tx.open_table(UNIQUE).unwrap().insert(key.as_slice(), [0; 16].as_slice()).unwrap();
        }),
        ("leads to no record that is in it", |tx| {
            let key = [Owned::UsersOfMembership.prefix(Uuid::nil()), vec![0; 16]].concat();
            tx.open_table(OWNED).unwrap().insert(key.as_slice(), ()).unwrap();
        }),
        (
            "refers to customer 00000000-0000-0000-0000-000000000002, which is not there",
            |tx| {
                let id = Uuid::from_u128(2);
                tx.open_table(RecordType::Customer.table())
                    .unwrap()
                    .remove(id.as_bytes().as_slice())
                    .unwrap();
            },
        ),
        ("is not what mutation 1 wrote", |tx| {
            let mut table = tx.open_table(RecordType::Customer.table()).unwrap();
            let id = Uuid::from_u128(3);
            let mut bytes = table.get(id.as_bytes().as_slice()).unwrap().unwrap().value().to_vec();
            let last = bytes.len() - 3;
            bytes[last] ^= 1;
            table.insert(id.as_bytes().as_slice(), bytes.as_slice()).unwrap();
        }),
        ("the audit chain is broken", |tx| {
            tx.open_table(AUDIT).unwrap().remove(1).unwrap();
        }),
    ];
    for (said, damage) in cases {
        let folder = tempfile::tempdir().unwrap();
        let catalog = filled(&folder);
        let transaction = catalog.database.write().unwrap();
        damage(&transaction);
        transaction.commit().unwrap();
        let found = found(&catalog);
        assert!(found.iter().any(|finding| finding.contains(said)), "{said}: {found:?}");
    }
}
