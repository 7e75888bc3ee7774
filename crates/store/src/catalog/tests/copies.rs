//! Copies for backups.

use super::*;
use crate::custody::Custody;
use crate::findings::Findings;
use crate::folder::{Directory, Folder};
use crate::keyring::{self, Keyring, MasterKey, Owner};
use perseat_domain::account::{Account, Client, Letter, Purpose, Session};
use perseat_domain::definition::ActionRef;
use perseat_domain::grant::{Holder, Status};
use perseat_domain::id::{LetterId, MediaId, SessionId, SharedConnectionId, SharedValueId, TokenId};
use perseat_domain::model::{ApiToken, KeyDigest, Media, MediaKind, MediaOwner, Sealed, TokenHolder};
use perseat_domain::sharing::{SharedConnection, SharedValue, Sharing};
use std::fs::{self, File};
use std::path::Path;

/// Every row of the catalog but those of `meta`.
fn rows(catalog: &Catalog) -> Vec<(String, Vec<u8>, Vec<u8>)> {
    use redb::TableHandle as _;
    let view = catalog.view().unwrap();
    let mut all = Vec::new();
    for table in RecordType::ALL
        .map(RecordType::table)
        .into_iter()
        .chain([UNIQUE, SUPERSEDED, GRANTS, NOTICES, OWED])
    {
        for row in view.transaction.open_table(table).unwrap().iter().unwrap() {
            let (key, value) = row.unwrap();
            all.push((table.name().to_owned(), key.value().to_vec(), value.value().to_vec()));
        }
    }
    for row in view.transaction.open_table(OWNED).unwrap().iter().unwrap() {
        all.push(("owned".to_owned(), row.unwrap().0.value().to_vec(), Vec::new()));
    }
    for table in [AUDIT, OUTBOX] {
        for row in view.transaction.open_table(table).unwrap().iter().unwrap() {
            let (key, value) = row.unwrap();
            all.push((table.name().to_owned(), key.value().to_be_bytes().to_vec(), value.value().to_vec()));
        }
    }
    all
}

/// One of each kind of record that a user may have, for each user.
fn of_each_kind(tx: &mut Mutation<'_>, users: &[User; 2]) -> Result<(), StoreError> {
    let at = Timestamp(1);
    let shared = SharedConnection {
        id: SharedConnectionId(id(60)),
        stable_key: "crm".into(),
        key: "CRM".into(),
        description: String::new(),
        sharing: Sharing::User,
        connection: ActionRef {
            component: "http".into(),
            action: "apiKey".into(),
        },
        value: None,
    };
    tx.put(&shared)?;
    for (n, user) in (70..).step_by(10).zip(users) {
        tx.put(&Account {
            user: user.id,
            address: user.email.clone().unwrap().to_lowercase(),
            password: None,
            links: Vec::new(),
            locked_until: None,
            passwords: 0,
            has_signed_in: false,
        })?;
        tx.put(&Session {
            id: SessionId(id(n)),
            user: user.id,
            client: Client::Application,
            digest: KeyDigest([n as u8; 32]),
            spent: Vec::new(),
            began_at: at,
            expires_at: at,
        })?;
        tx.put(&Letter {
            id: LetterId(id(n + 1)),
            user: user.id,
            purpose: Purpose::Invitation,
            written_at: at,
            attempts: 0,
            due_at: at,
            link: None,
        })?;
        tx.put(&ApiToken {
            id: TokenId(id(n + 2)),
            name: format!("token of {}", user.name),
            holder: TokenHolder::User(user.id),
            digest: KeyDigest([n as u8 + 1; 32]),
            prefix: String::new(),
            issued_at: at,
            expires_at: None,
            revoked_at: None,
        })?;
        tx.put(&Media {
            id: MediaId(id(n + 3)),
            owner: MediaOwner::User(user.id),
            kind: MediaKind::Avatar,
            name: format!("picture of {}", user.name),
            bytes: 1,
        })?;
        tx.put(&SharedValue {
            id: SharedValueId(id(n + 4)),
            connection: shared.id,
            holder: Holder::User(user.id),
            value: ConfigValue::Connection {
                sealed: Sealed(vec![7; 40]),
                version: 1,
            },
        })?;
    }
    Ok(())
}

/// How many rows of each table of a copy are sealed, of those tables that hold rows of users.
fn sealed_rows(copy: &Path) -> BTreeMap<&'static str, usize> {
    use redb::{ReadOnlyDatabase, TableDefinition};
    let names = [
        "account",
        "api_token",
        "grant",
        "letter",
        "media",
        "notice",
        "session",
        "shared_value",
        "superseded",
        "user",
        "user_config",
    ];
    let reading = ReadOnlyDatabase::open(copy).unwrap().begin_read().unwrap();
    names
        .map(|name| {
            let table = reading.open_table(TableDefinition::<&[u8], &[u8]>::new(name)).unwrap();
            let rows = table.iter().unwrap();
            (
                name,
                rows.filter(|row| row.as_ref().unwrap().1.value().first() == Some(&0xff)).count(),
            )
        })
        .into()
}

/// Whether these bytes hold the text, whatever its case.
fn hold(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window.eq_ignore_ascii_case(text.as_bytes()))
}

/// What is in clear of a user in a catalog.
fn texts(n: u32) -> [String; 5] {
    [
        format!("user {n}"),
        format!("user{n}@example.com"),
        format!("u-{n}"),
        format!("/first/{n}"),
        format!("/second/{n}"),
    ]
}

#[test]
fn a_copy_says_nothing_of_a_user_whose_key_is_gone_and_is_whole_otherwise() {
    let place = tempfile::tempdir().unwrap();
    let folder: Arc<dyn Folder> = Arc::new(Directory::new(place.path()));
    let catalog = Arc::new(Catalog::open_in(folder.clone(), "catalog.redb", Options::default()).unwrap());
    let path = place.path().join("keyring");
    let keyring = Arc::new(Keyring::open(&path, MasterKey::new(&[1; 32]), &keyring::Options::default()).unwrap());
    let custody = Custody::resume(catalog.clone(), keyring.clone()).unwrap();
    let world = World::new();
    custody.mutate(NOW, |tx| world.write(tx)).unwrap();
    for (revision, folder) in [(2, "first"), (3, "second")] {
        let put = |tx: &mut Mutation<'_>| {
            world.configs.iter().zip([41, 42]).try_for_each(|(config, n)| {
                let values = [("folder".to_owned(), ConfigValue::Plain(format!("/{folder}/{n}")))];
                tx.put(&UserConfig {
                    config_revision: revision,
                    values: values.into(),
                    ..config.clone()
                })
                .map(|_| ())
            })
        };
        custody.mutate(NOW, put).unwrap();
    }
    custody.mutate(NOW, |tx| of_each_kind(tx, &world.users)).unwrap();
    for holder in world
        .configs
        .iter()
        .map(|config| Holder::UserConfig(config.id))
        .chain([Holder::Instance(world.instance.id)])
        .chain(world.users.iter().map(|user| Holder::User(user.id)))
    {
        let variable = if holder.is_shared() { "crm" } else { "account" };
        let id = GrantId {
            holder,
            variable: variable.into(),
        };
        let token = Some(Sealed(vec![7; 40]));
        let mut stored = StoredGrant {
            token,
            ..StoredGrant::default()
        };
        stored.grant.status = Status::Failed;
        assert_eq!(catalog.store_grant(&id, None, &stored).unwrap(), Stored::Written);
    }

    let copy = place.path().join("copy.redb");
    let file = File::options().read(true).write(true).create_new(true).open(&copy).unwrap();
    assert_eq!(catalog.copy_to(file, &keyring).unwrap(), 4);
    assert_eq!(
        sealed_rows(&copy),
        BTreeMap::from([
            ("account", 2),
            ("api_token", 2),
            ("grant", 4),
            ("letter", 2),
            ("media", 2),
            ("notice", 4),
            ("session", 2),
            ("shared_value", 2),
            ("superseded", 4),
            ("user", 2),
            ("user_config", 2),
        ])
    );
    let (here, there) = (rows(&catalog), fs::read(&copy).unwrap());
    assert!(hold(&there, "customer 10") && hold(&there, "instance 50331648"));
    for text in [41, 42].into_iter().flat_map(texts) {
        assert!(here.iter().any(|(_, key, value)| hold(key, &text) || hold(value, &text)), "{text}");
        assert!(!hold(&there, &text), "{text}");
    }
    let refused = Catalog::open_in(folder.clone(), "copy.redb", Options::default());
    assert!(matches!(refused, Err(StoreError::SealedCopy)), "{refused:?}");

    fs::copy(&copy, place.path().join("whole.redb")).unwrap();
    let opened = Catalog::open_copy(folder.clone(), "whole.redb", Options::default(), &keyring);
    let (whole, gone) = opened.unwrap();
    assert_eq!((rows(&whole), gone), (here, Gone::default()));
    drop(whole);
    Catalog::open_in(folder.clone(), "whole.redb", Options::default()).unwrap();

    let bob = &world.users[1];
    custody
        .mutate(NOW, |tx| tx.delete_user(bob.id, Timestamp(2_000)).map(|_| ()))
        .unwrap();
    assert!(!keyring.contains(Owner::User(bob.id)));
    let (left, gone) = Catalog::open_copy(folder, "copy.redb", Options::default(), &keyring).unwrap();
    assert_eq!(gone.users, BTreeMap::from([(bob.id, bob.membership)]));
    left.mutate(NOW, |tx| tx.settle_gone(&gone, Timestamp(3_000))).unwrap();
    let config = left.get::<UserConfig>(world.configs[1].id).unwrap().unwrap();
    assert_eq!((config.removed_at, config.config_revision), (Some(Timestamp(3_000)), 4));
    let mut findings = Findings::new(10);
    left.check(None, &mut findings).unwrap();
    assert_eq!(findings.listed(), [] as [String; 0]);
    let found = left.user_by_external_id(bob.membership, "u-41").unwrap();
    assert_eq!(found.as_ref(), Some(&world.users[0]));
    drop(left);
    let there = fs::read(&copy).unwrap();
    for (alice, bob) in texts(41).iter().zip(&texts(42)) {
        assert!(hold(&there, alice) && !hold(&there, bob), "{bob}");
    }
}
