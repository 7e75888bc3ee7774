use super::*;
use crate::seal::{RecordKind, SealError};
use std::fs;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

const HEADER: u64 = 4096;
const ALICE: Owner = Owner::User(UserId(Uuid::from_u128(0xa11ce)));
const ACME: CustomerId = CustomerId(Uuid::from_u128(0xac3e));

fn alice() -> NewKey {
    NewKey::User(UserId(Uuid::from_u128(0xa11ce)), Membership::Customer(ACME))
}

struct Ring {
    folder: TempDir,
    keyring: Option<Keyring>,
}

impl Ring {
    fn new() -> Self {
        let mut ring = Self {
            folder: tempfile::tempdir().unwrap(),
            keyring: None,
        };
        ring.reopen();
        ring
    }

    fn reopen(&mut self) -> &Keyring {
        self.keyring = None;
        let keyring = Keyring::open(&self.path(), MasterKey::new(&[7; 32]), &Options { cache_entries: 2 }).unwrap();
        self.keyring.insert(keyring)
    }

    fn keys(&self) -> &Keyring {
        self.keyring.as_ref().unwrap()
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("keyring")
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }

    fn overwrite(&self, at: u64, bytes: &[u8]) {
        let file = fs::OpenOptions::new().write(true).open(self.path()).unwrap();
        file.write_all_at(bytes, at).unwrap();
    }

    fn with_acme_and_alice() -> Self {
        let ring = Self::new();
        ring.keys().create_many([NewKey::Customer(ACME), alice()]).unwrap();
        ring
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn a_key_opens_after_a_restart_what_it_sealed_before() {
    let mut ring = Ring::with_acme_and_alice();
    let sealed = ring.keys().data_key(ALICE).unwrap().seal(RecordKind::Request, b"1", b"hello");
    let key = ring.reopen().data_key(ALICE).unwrap();
    assert_eq!(key.unseal(RecordKind::Request, b"1", &sealed).unwrap().as_slice(), b"hello");
}

#[test]
fn making_a_key_twice_keeps_the_first() {
    let ring = Ring::with_acme_and_alice();
    let sealed = ring.keys().data_key(ALICE).unwrap().seal(RecordKind::Request, b"1", b"hello");
    ring.keys().create_many([alice(), alice()]).unwrap();
    assert!(
        ring.keys()
            .data_key(ALICE)
            .unwrap()
            .unseal(RecordKind::Request, b"1", &sealed)
            .is_ok()
    );
    assert_eq!(ring.bytes().len() as u64, HEADER + 2 * slot::SLOT as u64);
}

#[test]
fn a_destroyed_key_is_neither_in_memory_nor_in_the_file() {
    let mut ring = Ring::with_acme_and_alice();
    let before = ring.bytes();
    let wrapped = &before[HEADER as usize + slot::SLOT + 40..HEADER as usize + slot::SLOT + 105];
    assert!(wrapped.iter().any(|byte| *byte != 0));
    ring.keys().data_key(ALICE).unwrap();
    ring.keys().destroy(ALICE).unwrap();
    assert!(matches!(ring.keys().data_key(ALICE), Err(StoreError::NoKey { .. })));
    let after = ring.bytes();
    assert!(!contains(&after, &wrapped[..8]), "the first bytes of the wrapped key are gone");
    assert!(!contains(&after, &wrapped[40..48]), "bytes from its middle are gone");
    assert!(!contains(&after, Uuid::from_u128(0xa11ce).as_bytes()), "so is the owner's id");
    assert!(matches!(ring.reopen().data_key(ALICE), Err(StoreError::NoKey { .. })));
}

#[test]
fn destroying_a_customers_key_takes_its_users_keys_with_it() {
    let ring = Ring::with_acme_and_alice();
    ring.keys().data_key(ALICE).unwrap();
    ring.keys().destroy(Owner::Customer(ACME)).unwrap();
    assert!(matches!(ring.keys().data_key(ALICE), Err(StoreError::NoKey { .. })));
}

#[test]
fn freed_slots_are_used_again() {
    let mut ring = Ring::with_acme_and_alice();
    let length = ring.bytes().len();
    ring.keys().destroy(ALICE).unwrap();
    ring.reopen().create(alice()).unwrap();
    assert_eq!(ring.bytes().len(), length);
    assert!(ring.keys().data_key(ALICE).is_ok());
}

#[test]
fn users_of_the_organization_need_its_key() {
    let ring = Ring::new();
    let user = UserId(Uuid::from_u128(1));
    let new = NewKey::User(user, Membership::Organization);
    assert!(matches!(ring.keys().create(new), Err(StoreError::NoKey { .. })));
    ring.keys().create_many([NewKey::Organization, new]).unwrap();
    assert!(ring.keys().data_key(Owner::User(user)).is_ok());
    assert!(ring.keys().data_key(Owner::Organization).is_ok());
}

#[test]
fn a_batch_that_fails_leaves_nothing_behind() {
    let ring = Ring::with_acme_and_alice();
    ring.keys().destroy(ALICE).unwrap();
    let before = ring.bytes();
    let orphan = NewKey::User(UserId(Uuid::from_u128(9)), Membership::Customer(CustomerId(Uuid::from_u128(9))));
    let others = (0..20_000).map(|n| NewKey::User(UserId(Uuid::from_u128(1_000 + n)), Membership::Customer(ACME)));
    assert!(
        ring.keys()
            .create_many([alice()].into_iter().chain(others).chain([orphan]))
            .is_err()
    );
    let after = ring.bytes();
    assert!(after.starts_with(&before));
    assert!(
        after[before.len()..].iter().all(|byte| *byte == 0),
        "a slot of the batch is not free"
    );
    assert!(!ring.keys().contains(ALICE));
    ring.keys().create(alice()).unwrap();
    assert!(ring.keys().data_key(ALICE).is_ok());
}

#[test]
fn the_cache_may_be_smaller_than_the_working_set() {
    let ring = Ring::with_acme_and_alice();
    let users: Vec<UserId> = (0..10).map(|n| UserId(Uuid::from_u128(n))).collect();
    ring.keys()
        .create_many(users.iter().map(|user| NewKey::User(*user, Membership::Customer(ACME))))
        .unwrap();
    for user in users.iter().chain(&users) {
        assert!(ring.keys().data_key(Owner::User(*user)).is_ok());
    }
    assert!(ring.keys().shared().cache.len() <= 2);
}

#[test]
fn keys_that_nobody_asks_for_leave_memory_and_open_again() {
    let ring = Ring::with_acme_and_alice();
    let sealed = ring.keys().data_key(ALICE).unwrap().seal(RecordKind::Request, b"1", b"hello");
    ring.keys().put_away_unused();
    ring.keys().put_away_unused();
    assert_eq!(ring.keys().shared().cache.len(), 0);
    let key = ring.keys().data_key(ALICE).unwrap();
    assert_eq!(key.unseal(RecordKind::Request, b"1", &sealed).unwrap().as_slice(), b"hello");
}

#[test]
fn a_torn_slot_is_found_and_not_used() {
    let mut ring = Ring::with_acme_and_alice();
    ring.keyring = None;
    ring.overwrite(HEADER + slot::SLOT as u64 + 60, &[0xee; 16]);
    let keys = ring.reopen();
    assert_eq!(
        keys.findings(),
        Findings {
            keys: 1,
            wiped: 0,
            damaged: 1
        }
    );
    assert!(matches!(keys.data_key(ALICE), Err(StoreError::Corrupt { .. })));
    assert!(
        matches!(keys.create(alice()), Err(StoreError::Corrupt { .. })),
        "a damaged key is not silently replaced"
    );
    keys.destroy(ALICE).unwrap();
    keys.create(alice()).unwrap();
    assert!(keys.data_key(ALICE).is_ok());
}

#[test]
fn a_wipe_that_was_cut_off_is_finished_on_open() {
    let mut ring = Ring::with_acme_and_alice();
    ring.keyring = None;
    ring.overwrite(HEADER + slot::SLOT as u64, &[0; 48]);
    let findings = ring.reopen().findings();
    assert_eq!(
        findings,
        Findings {
            keys: 1,
            wiped: 1,
            damaged: 0
        }
    );
    assert!(ring.bytes()[HEADER as usize + slot::SLOT..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_creation_that_was_cut_off_at_the_end_of_the_file_does_no_harm() {
    let mut ring = Ring::with_acme_and_alice();
    ring.keyring = None;
    let file = fs::OpenOptions::new().write(true).open(ring.path()).unwrap();
    file.set_len(HEADER + slot::SLOT as u64 + 30).unwrap();
    let keys = ring.reopen();
    assert_eq!(keys.findings().damaged, 1);
    assert!(keys.data_key(Owner::Customer(ACME)).is_ok());
    keys.create(NewKey::Organization).unwrap();
    assert!(ring.reopen().data_key(Owner::Organization).is_ok());
}

#[test]
fn a_key_moved_to_another_owners_slot_does_not_open() {
    let mut ring = Ring::with_acme_and_alice();
    let bob = NewKey::User(UserId(Uuid::from_u128(0xb0b)), Membership::Customer(ACME));
    ring.keys().create(bob).unwrap();
    ring.keyring = None;
    let at = |slot: usize| HEADER as usize + slot * slot::SLOT;
    let mut bytes: [u8; slot::SLOT] = ring.bytes()[at(2)..at(3)].try_into().unwrap();
    bytes[8..24].copy_from_slice(Uuid::from_u128(0xa11ce).as_bytes());
    let crc = crc32c::crc32c(&bytes[..124]).to_le_bytes();
    bytes[124..].copy_from_slice(&crc);
    ring.overwrite(at(1) as u64, &bytes);
    assert!(matches!(ring.reopen().data_key(ALICE), Err(StoreError::Sealed(SealError::Refused))));
}

#[test]
fn another_master_key_is_refused() {
    let mut ring = Ring::with_acme_and_alice();
    ring.keyring = None;
    let opened = Keyring::open(&ring.path(), MasterKey::new(&[8; 32]), &Options::default());
    assert!(matches!(opened, Err(StoreError::WrongMasterKey)));
}

#[test]
fn a_keyring_in_use_is_not_opened_twice() {
    let ring = Ring::new();
    let opened = Keyring::open(&ring.path(), MasterKey::new(&[7; 32]), &Options::default());
    assert!(matches!(opened, Err(StoreError::Locked { .. })));
}

#[test]
fn the_master_key_is_created_once_for_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("master.key");
    let (first, created) = MasterKey::load_or_create(&path).unwrap();
    assert!(created);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
    let (second, created) = MasterKey::load_or_create(&path).unwrap();
    assert!(!created);
    let sealed = first.0.seal(RecordKind::WrappedKey, b"", b"x");
    assert!(second.0.unseal(RecordKind::WrappedKey, b"", &sealed).is_ok());
}

#[test]
fn a_master_key_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("master.key");
    fs::write(&path, [1; 32]).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(MasterKey::load(&path), Err(StoreError::KeyExposed { mode: 0o640, .. })));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    assert!(MasterKey::load(&path).is_ok());
    for length in [31, 33] {
        fs::remove_file(&path).unwrap();
        fs::write(&path, vec![1; length]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(MasterKey::load(&path), Err(StoreError::Corrupt { .. })));
    }
}

/// The places of the generations in the header.
const GENERATIONS: [usize; 2] = [2048, 3072];

fn generation(ring: &Ring) -> u64 {
    let generation = ring.keys().mark().unwrap().generation;
    assert_eq!(mark(&ring.path()).unwrap().generation, generation);
    generation
}

#[test]
fn every_change_of_the_keys_raises_the_generation_and_nothing_else_does() {
    let mut ring = Ring::with_acme_and_alice();
    assert_eq!(generation(&ring), 1);
    ring.keys().destroy(ALICE).unwrap();
    assert_eq!(generation(&ring), 2);
    ring.reopen().create(alice()).unwrap();
    assert_eq!(
        (generation(&ring), ring.keys().mark().unwrap().slots),
        (3, 2),
        "as many slots, and newer"
    );
    ring.keys().data_key(ALICE).unwrap();
    ring.reopen();
    assert_eq!(generation(&ring), 3);
    // To the byte: the number and the CRC32C of the file's id and the number, in turn in two places.
    let bytes = ring.bytes();
    for (at, number) in [(GENERATIONS[0], 2_u64), (GENERATIONS[1], 3)] {
        let crc = crc32c::crc32c(&[&bytes[16..32], &number.to_le_bytes()].concat());
        assert_eq!(bytes[at..at + 12], *[&number.to_le_bytes()[..], &crc.to_le_bytes()].concat());
    }
    // A destruction that a crash cut off before the generation was durable is done again, and then counts.
    ring.keys().destroy(Owner::Organization).unwrap();
    assert_eq!(generation(&ring), 4);
}

#[test]
fn a_torn_generation_leaves_the_one_before_it() {
    let mut ring = Ring::with_acme_and_alice();
    ring.keys().destroy(ALICE).unwrap();
    ring.keyring = None;
    ring.overwrite(GENERATIONS[0] as u64 + 3, &[0xee]);
    ring.reopen();
    assert_eq!(generation(&ring), 1);
    ring.keys().create(alice()).unwrap();
    assert_eq!(generation(&ring), 2, "in the place of the torn one");
    ring.reopen().data_key(ALICE).unwrap();
}

#[test]
fn a_keyring_from_before_generations_opens_and_is_counted_from_then_on() {
    let mut ring = Ring::with_acme_and_alice();
    ring.keyring = None;
    for at in GENERATIONS {
        ring.overwrite(at as u64, &[0; 12]);
    }
    ring.reopen().data_key(ALICE).unwrap();
    assert_eq!(generation(&ring), 0);
    ring.keys().create(NewKey::Organization).unwrap();
    assert_eq!(generation(&ring), 1);
    ring.overwrite(100, &[1]);
    ring.keyring = None;
    let opened = Keyring::open(&ring.path(), MasterKey::new(&[7; 32]), &Options::default());
    assert!(
        matches!(opened, Err(StoreError::Corrupt { .. })),
        "the rest of the header is still checked"
    );
}

fn other(byte: u8) -> MasterKey {
    MasterKey::new(&[byte; 32])
}

#[test]
fn another_master_key_opens_everything_after_a_rotation_and_the_old_one_nothing() {
    let mut ring = Ring::with_acme_and_alice();
    ring.keys().create(NewKey::Organization).unwrap();
    let owners = [Owner::Organization, Owner::Customer(ACME), ALICE];
    let sealed = owners.map(|owner| ring.keys().data_key(owner).unwrap().seal(RecordKind::Request, b"1", b"hello"));
    let before = generation(&ring);
    let copy = ring.bytes();
    let mut told = Vec::new();
    let rewrapped = ring
        .keys()
        .rotate_master(&ring.path(), other(9), &mut |now| told.push(now))
        .unwrap();
    assert_eq!(
        (rewrapped.keys, rewrapped.slots, rewrapped.of),
        (2, 3, 3),
        "alice's is wrapped by acme's"
    );
    assert_eq!(told.last(), Some(&rewrapped));
    assert!(generation(&ring) > before, "an older copy is told from it");
    assert_eq!(fs::read_dir(ring.folder.path()).unwrap().count(), 1, "nothing is left beside it");
    // It goes on, on the new file.
    let bob = NewKey::User(UserId(Uuid::from_u128(0xb0b)), Membership::Customer(ACME));
    ring.keys().create(bob).unwrap();
    ring.keys().destroy(Owner::Organization).unwrap();
    ring.keyring = None;
    assert!(matches!(
        Keyring::open(&ring.path(), other(7), &Options::default()),
        Err(StoreError::WrongMasterKey)
    ));
    assert!(fits(&ring.path(), &other(9)).unwrap() && !fits(&ring.path(), &other(7)).unwrap());
    let keys = Keyring::open(&ring.path(), other(9), &Options::default()).unwrap();
    assert!(keys.contains(bob.owner()) && !keys.contains(Owner::Organization));
    for (owner, sealed) in owners.iter().zip(&sealed).skip(1) {
        let opened = keys.data_key(*owner).unwrap().unseal(RecordKind::Request, b"1", sealed);
        assert_eq!(opened.unwrap().as_slice(), b"hello", "{owner}");
    }
    for slot in copy[HEADER as usize..].chunks(slot::SLOT).take(1) {
        assert!(!contains(&ring.bytes(), &slot[40..105]), "the old wrapping is not in the new file");
    }
}

#[test]
fn what_a_rotation_left_beside_the_keyring_is_gone_after_the_next_start() {
    let mut ring = Ring::with_acme_and_alice();
    let draft = ring.folder.path().join("keyring.new");
    fs::write(&draft, ring.bytes()).unwrap();
    assert!(Keyring::look(&ring.path(), other(8), &Options::default()).is_err() && draft.exists());
    ring.reopen();
    assert!(!draft.exists() && ring.keys().contains(ALICE));
}

#[test]
fn a_rotation_keeps_slots_that_do_not_open_as_they_are_and_frees_none() {
    let mut ring = Ring::with_acme_and_alice();
    ring.keys().create(NewKey::Organization).unwrap();
    ring.keys().destroy(ALICE).unwrap();
    ring.overwrite(HEADER + 2 * slot::SLOT as u64 + 60, &[0xff; 8]);
    let damaged = ring.bytes()[HEADER as usize + 2 * slot::SLOT..].to_vec();
    ring.reopen();
    let rewrapped = ring.keys().rotate_master(&ring.path(), other(9), &mut |_| {}).unwrap();
    assert_eq!((rewrapped.keys, rewrapped.of), (1, 3));
    assert_eq!(ring.bytes()[HEADER as usize + 2 * slot::SLOT..], damaged);
    ring.keyring = None;
    let keys = Keyring::open(&ring.path(), other(9), &Options::default()).unwrap();
    assert_eq!(keys.findings().damaged, 1);
    assert!(keys.data_key(Owner::Customer(ACME)).is_ok() && matches!(keys.data_key(ALICE), Err(StoreError::NoKey { .. })));
}

fn opens(keyring: &Keyring, owner: Owner, sealed: &perseat_domain::model::Sealed) -> bool {
    keyring
        .data_key(owner)
        .is_ok_and(|key| key.unseal(RecordKind::Request, b"1", sealed).is_ok())
}

#[test]
fn the_next_version_of_a_customers_key_reaches_whoever_holds_it_and_the_one_before_opens_until_it_is_destroyed() {
    let mut ring = Ring::with_acme_and_alice();
    let customer = Owner::Customer(ACME);
    let held = ring.keys().data_key(customer).unwrap();
    let first = held.seal(RecordKind::Request, b"1", b"hello");
    let of_alice = ring.keys().data_key(ALICE).unwrap().seal(RecordKind::Request, b"1", b"hello");
    // So many that the cache forgot the customer's.
    for n in 0..8 {
        let other = CustomerId(Uuid::from_u128(n));
        ring.keys().create(NewKey::Customer(other)).unwrap();
        ring.keys().data_key(Owner::Customer(other)).unwrap();
    }
    let before = ring.bytes();
    assert_eq!(ring.keys().next_version(ACME).unwrap(), 2);
    let second = held.seal(RecordKind::Request, b"1", b"hello");
    assert_eq!(crate::seal::version_of(&second), Some(2));
    assert!(opens(ring.keys(), customer, &first) && opens(ring.keys(), customer, &second));
    // The key of alice is under the first version, until it is wrapped anew; then its bytes are what they were.
    assert!(!ring.keys().destroy_version(ACME, 1).unwrap(), "it still wraps alice's");
    ring.reopen();
    let slots = ring.keys().wrapped_by_older(ACME).unwrap();
    assert_eq!(slots.len(), 1);
    assert_eq!(ring.keys().wrap_anew(ACME, &slots).unwrap(), 1);
    assert_eq!(ring.keys().wrap_anew(ACME, &slots).unwrap(), 0, "there is nothing left to do");
    ring.keys().note_sealed_until(ACME, 1, 7).unwrap();
    ring.keys().note_sealed_until(ACME, 2, 41).unwrap();
    ring.reopen();
    let noted = OlderVersion {
        number: 1,
        sealed_until: Some(41),
    };
    assert_eq!(ring.keys().versions_of(ACME).unwrap().older, [noted]);
    assert_eq!(ring.keys().rotating(), [ACME]);
    assert!(opens(ring.keys(), customer, &first) && opens(ring.keys(), ALICE, &of_alice));
    assert!(Inspected::read(&ring.path()).unwrap().faults.is_empty());
    assert!(ring.keys().destroy_version(ACME, 1).unwrap());
    for _ in 0..2 {
        assert!(!opens(ring.keys(), customer, &first), "the first version is gone");
        assert!(opens(ring.keys(), customer, &second) && opens(ring.keys(), ALICE, &of_alice));
        assert_eq!(ring.keys().rotating(), []);
        ring.reopen();
    }
    assert!(
        held.unseal(RecordKind::Request, b"1", &first).is_ok(),
        "this one is of a keyring that is closed"
    );
    // An old copy of the file opens what was sealed before, and nothing that was since.
    fs::write(ring.path(), before).unwrap();
    ring.reopen();
    assert!(opens(ring.keys(), customer, &first) && !opens(ring.keys(), customer, &second));
}

#[test]
fn whoever_goes_during_a_rotation_takes_all_versions_along() {
    let mut ring = Ring::with_acme_and_alice();
    ring.keys().next_version(ACME).unwrap();
    ring.keys().next_version(ACME).unwrap();
    let slots = ring.keys().wrapped_by_older(ACME).unwrap();
    ring.keys().destroy(ALICE).unwrap();
    assert_eq!(ring.keys().wrap_anew(ACME, &slots).unwrap(), 0, "her key is not made again");
    ring.keys().destroy(Owner::Customer(ACME)).unwrap();
    assert!(matches!(ring.keys().next_version(ACME), Err(StoreError::NoKey { .. })));
    let left = ring.bytes();
    assert!(left[HEADER as usize..].iter().all(|byte| *byte == 0), "something is left");
    assert_eq!(ring.reopen().rotating(), []);
    // The rooms of the versions are free again.
    ring.keys().create_many([NewKey::Customer(ACME), alice()]).unwrap();
    assert_eq!(ring.bytes().len(), left.len());
}

#[test]
fn of_two_forms_of_a_key_that_a_crash_left_the_newer_one_counts_and_the_other_is_wiped() {
    let mut ring = Ring::with_acme_and_alice();
    let of_alice = ring.keys().data_key(ALICE).unwrap().seal(RecordKind::Request, b"1", b"hello");
    let former = ring.bytes();
    ring.keys().next_version(ACME).unwrap();
    let slots = ring.keys().wrapped_by_older(ACME).unwrap();
    let at = HEADER as usize + slots[0] as usize * slot::SLOT;
    ring.keys().wrap_anew(ACME, &slots).unwrap();
    // The wipe did not come through.
    ring.overwrite(at as u64, &former[at..at + slot::SLOT]);
    ring.reopen();
    assert!(ring.bytes()[at..at + slot::SLOT].iter().all(|byte| *byte == 0));
    assert!(ring.keys().destroy_version(ACME, 1).unwrap());
    assert!(opens(ring.keys(), ALICE, &of_alice));
    assert!(opens(ring.reopen(), ALICE, &of_alice));
}
