//! Lists in the order of a text.

use super::*;
use perseat_domain::id::MediaId;
use perseat_domain::model::{Media, MediaKind, MediaOwner};

fn names(found: &[(Vec<u8>, User)]) -> Vec<&str> {
    found.iter().map(|(_, user)| user.name.as_str()).collect()
}

fn named(n: u128, of: &Customer, name: &str) -> User {
    User {
        name: name.to_owned(),
        ..user(n, of)
    }
}

fn filled() -> (Catalog, [Customer; 2]) {
    let catalog = Catalog::open_in(FaultFolder::of(&MemoryDisk::new(1)), "catalog.redb", Options::default()).unwrap();
    let customers = [customer(100), customer(200)];
    catalog
        .mutate(NOW, |tx| {
            tx.put(&organization())?;
            for customer in &customers {
                tx.put(customer)?;
            }
            for (n, name) in ["bob", "Anna", "annabel", "Bobby", "bob"].into_iter().enumerate() {
                tx.put(&named(10 + n as u128, &customers[n % 2], name))?;
            }
            Ok::<_, StoreError>(())
        })
        .unwrap();
    (catalog, customers)
}

#[test]
fn users_are_listed_by_name_both_ways_page_by_page() {
    let (catalog, customers) = filled();
    let all = Sorted::users_by_name(None);
    for descending in [false, true] {
        for limit in 1..=6 {
            let (mut seen, mut after): (Vec<User>, Option<Vec<u8>>) = (Vec::new(), None);
            loop {
                let reading = Reading {
                    after: after.as_deref(),
                    descending,
                    limit,
                    ..Reading::default()
                };
                let page = catalog.sorted(all, &reading).unwrap();
                if page.is_empty() {
                    break;
                }
                after = page.last().map(|(place, _)| place.clone());
                seen.extend(page.into_iter().map(|(_, user)| user));
            }
            let mut found: Vec<&str> = seen.iter().map(|user| user.name.as_str()).collect();
            if descending {
                found.reverse();
            }
            assert_eq!(found, ["Anna", "annabel", "bob", "bob", "Bobby"]);
        }
    }
    let own = Sorted::users_by_name(Some(Membership::Customer(customers[1].id)));
    let reading = Reading {
        limit: 9,
        ..Reading::default()
    };
    assert_eq!(names(&catalog.sorted(own, &reading).unwrap()), ["Anna", "Bobby"]);
}

#[test]
fn a_beginning_and_a_whole_text_are_found_without_regard_to_case_and_cursors_of_elsewhere_find_nothing_else() {
    let (catalog, _) = filled();
    let all = Sorted::users_by_name(None);
    let find = |starts_with, whole, after: Option<&[u8]>, descending| {
        let reading = Reading {
            starts_with,
            whole,
            after,
            descending,
            limit: 9,
        };
        let found = catalog.sorted(all, &reading).unwrap();
        names(&found).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(find("BOB", false, None, false), ["bob", "bob", "Bobby"]);
    assert_eq!(find("BOB", false, None, true), ["Bobby", "bob", "bob"]);
    assert_eq!(find("Bob", true, None, false), ["bob", "bob"]);
    assert_eq!(find("bo\0", false, None, false), Vec::<String>::new());
    assert_eq!(find("ann", false, Some(b"zzz"), false), Vec::<String>::new());
    assert_eq!(find("ann", false, Some(b"zzz"), true), ["annabel", "Anna"]);
    assert_eq!(find("bob", false, Some(b"aaa"), false), ["bob", "bob", "Bobby"]);
    assert_eq!(find("bob", false, Some(b"aaa"), true), Vec::<String>::new());
    let emails = Sorted::users_by_email(None);
    let reading = Reading {
        starts_with: "user12@",
        limit: 2,
        ..Reading::default()
    };
    assert_eq!(names(&catalog.sorted(emails, &reading).unwrap()), ["annabel"]);
}

#[test]
fn a_renamed_record_moves_and_a_deleted_one_goes() {
    let (catalog, customers) = filled();
    let first = || {
        let reading = Reading {
            limit: 1,
            ..Reading::default()
        };
        catalog.sorted(Sorted::users_by_name(None), &reading).unwrap().remove(0).1.name
    };
    catalog.mutate(NOW, |tx| tx.put(&named(10, &customers[0], "Aaron"))).unwrap();
    assert_eq!(first(), "Aaron");
    catalog.mutate(NOW, |tx| tx.delete_user(UserId(id(10)), Timestamp(2))).unwrap();
    assert_eq!(first(), "Anna");
}

#[test]
fn a_file_from_before_these_lists_gets_them_when_it_is_opened() {
    let disk = MemoryDisk::new(1);
    let catalog = Catalog::open_in(FaultFolder::of(&disk), "catalog.redb", Options::default()).unwrap();
    catalog
        .mutate(NOW, |tx| {
            tx.put(&organization())?;
            tx.put(&customer(100))?;
            tx.put(&user(10, &customer(100)))
        })
        .unwrap();
    {
        let transaction = catalog.database.write().unwrap();
        transaction.open_table(META).unwrap().remove(INDEXES).unwrap();
        transaction.delete_table(RecordType::Media.table()).unwrap();
        let mut owned = transaction.open_table(OWNED).unwrap();
        owned.retain(|key, ()| key[0] < 9).unwrap();
        drop(owned);
        transaction.commit().unwrap();
    }
    let find = |catalog: &Catalog| {
        let reading = Reading {
            limit: 9,
            ..Reading::default()
        };
        let users = catalog.sorted(Sorted::users_by_name(None), &reading).unwrap().len();
        users + catalog.sorted(Sorted::customers_by_name(), &reading).unwrap().len()
    };
    assert_eq!(find(&catalog), 0);
    drop(catalog);
    let catalog = Catalog::open_in(FaultFolder::of(&disk), "catalog.redb", Options::default()).unwrap();
    assert_eq!(find(&catalog), 2);
    assert_eq!(catalog.avatar_of(MediaOwner::Customer(customer(100).id)).unwrap(), None);
}

#[test]
fn files_go_with_their_owner_and_are_named_to_be_removed() {
    let (catalog, customers) = filled();
    let file = |n: u128, owner, kind, name: &str| Media {
        id: MediaId(id(n)),
        owner,
        kind,
        name: name.to_owned(),
        bytes: 1,
    };
    let (first, second) = (MediaOwner::Customer(customers[0].id), MediaOwner::Customer(customers[1].id));
    let of_user = MediaOwner::User(UserId(id(10)));
    catalog
        .mutate(NOW, |tx| {
            tx.put(&file(1, first, MediaKind::Avatar, "a.png"))?;
            tx.put(&file(2, first, MediaKind::Attachment, "a.pdf"))?;
            tx.put(&file(3, of_user, MediaKind::Avatar, "a.png"))?;
            tx.put(&file(4, second, MediaKind::Attachment, "a.pdf"))
        })
        .unwrap();
    assert!(
        catalog
            .mutate(NOW, |tx| tx.put(&file(5, first, MediaKind::Attachment, "a.pdf")))
            .is_err(),
        "a name stands for one attachment"
    );
    let deleted = catalog.mutate(NOW, |tx| tx.delete_customer(customers[0].id)).unwrap();
    let mut gone: Vec<u128> = deleted.unnamed_files.iter().map(|file| file.id.0.as_u128()).collect();
    gone.sort_unstable();
    assert_eq!(gone, [1, 2, 3]);
    assert!(deleted.unnamed_files.iter().all(|file| file.customer == Some(customers[0].id)));
    assert!(catalog.attachment_by_name(second, "a.pdf").unwrap().is_some());
    assert_eq!(catalog.media_of(first, None, 9).unwrap().items, []);
}
