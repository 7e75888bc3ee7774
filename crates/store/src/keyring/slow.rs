//! Keys that are read from a slow or failing disk while others are asked for, made and destroyed.

use super::file::KeyringFile;
use super::twin::{Reads, Twin};
use super::*;
use crate::seal::{DataKey, RecordKind};
use perseat_journal::disk::MemoryDisk;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

const ACME: CustomerId = CustomerId(Uuid::from_u128(1));
const ALICE: UserId = UserId(Uuid::from_u128(2));
const BOB: UserId = UserId(Uuid::from_u128(3));
const CAROL: UserId = UserId(Uuid::from_u128(4));

/// A keyring that holds these users' keys in its file alone.
fn keyring(users: &[UserId]) -> (Keyring, Arc<Mutex<Reads>>) {
    let twin = Twin::on(&MemoryDisk::new(1), "keyring").unwrap();
    let (reads, master) = (twin.reads(), MasterKey::new(&[7; 32]));
    let file = KeyringFile::on(Box::new(twin), &master).unwrap();
    let keyring = Keyring::over(file, master, &Options::default()).unwrap();
    let users = users.iter().map(|user| NewKey::User(*user, Membership::Customer(ACME)));
    keyring.create_many([NewKey::Customer(ACME)].into_iter().chain(users)).unwrap();
    (keyring, reads)
}

/// Lets the next read wait; gives what hears of it, and what ends it.
fn slowly(reads: &Mutex<Reads>) -> (Receiver<()>, Sender<()>) {
    let (has_read, read) = channel();
    let (goes_on, may_go_on) = channel();
    *reads.lock().unwrap() = Reads::Slowly {
        has_read,
        goes_on: may_go_on,
    };
    (read, goes_on)
}

/// A keyring with Bob's key in memory, and Alice's being read by another thread.
struct Reading {
    keyring: Arc<Keyring>,
    goes_on: Sender<()>,
    reader: thread::JoinHandle<Result<Arc<DataKey>, StoreError>>,
}

impl Reading {
    fn begin() -> (Self, Arc<Mutex<Reads>>) {
        let (keyring, reads) = keyring(&[ALICE, BOB]);
        let keyring = Arc::new(keyring);
        keyring.data_key(Owner::User(BOB)).unwrap();
        (Self::of(Owner::User(ALICE), keyring, &reads), reads)
    }

    /// This key being read by another thread.
    fn of(owner: Owner, keyring: Arc<Keyring>, reads: &Mutex<Reads>) -> Self {
        Self::by(keyring, reads, move |keyring| keyring.data_key(owner))
    }

    /// Another thread that reads a key in the middle of this.
    fn by(
        keyring: Arc<Keyring>,
        reads: &Mutex<Reads>,
        work: impl FnOnce(&Keyring) -> Result<Arc<DataKey>, StoreError> + Send + 'static,
    ) -> Self {
        let (has_read, goes_on) = slowly(reads);
        let of = keyring.clone();
        let reader = thread::spawn(move || work(&of));
        has_read.recv().unwrap();
        Self { keyring, goes_on, reader }
    }

    fn end(self) -> Result<Arc<DataKey>, StoreError> {
        self.goes_on.send(()).unwrap();
        self.reader.join().unwrap()
    }

    /// Does this on another thread, and fails where it has to wait for the one that reads.
    fn meanwhile<T: Send + 'static>(&self, work: impl FnOnce(&Keyring) -> T + Send + 'static) -> T {
        let (done, is_done) = channel();
        let keyring = self.keyring.clone();
        thread::spawn(move || done.send(work(&keyring)));
        is_done.recv_timeout(Duration::from_secs(60)).expect("it waits for a read")
    }
}

#[test]
fn a_key_that_is_read_slowly_holds_up_nobody_whose_key_is_in_memory() {
    let (reading, _) = Reading::begin();
    let bob = reading.meanwhile(|keyring| keyring.data_key(Owner::User(BOB)));
    assert!(bob.is_ok());
    let keyring = reading.keyring.clone();
    let alice = reading.end().unwrap();
    assert!(
        Arc::ptr_eq(&alice, &keyring.data_key(Owner::User(ALICE)).unwrap()),
        "it is in memory now"
    );
}

#[test]
fn who_must_not_wait_gets_no_key_that_has_to_be_read_from_the_disk() {
    let (keyring, reads) = keyring(&[ALICE, BOB]);
    let at_once = |user| keyring.data_key_at_once(Owner::User(user)).unwrap();
    let bob = at_once(BOB).expect("it is read without waiting");
    *reads.lock().unwrap() = Reads::Not { after: 0 };
    assert!(at_once(ALICE).is_none(), "the disk would have to be waited for");
    assert!(Arc::ptr_eq(&bob, &at_once(BOB).unwrap()), "it is in memory");
    let nobody = keyring.data_key_at_once(Owner::User(UserId(Uuid::from_u128(4))));
    assert!(matches!(nobody, Err(StoreError::NoKey { .. })));
    *reads.lock().unwrap() = Reads::AtOnce;
    let alice = keyring.data_key(Owner::User(ALICE)).unwrap();
    assert!(Arc::ptr_eq(&alice, &at_once(ALICE).unwrap()));
}

#[test]
fn a_customers_key_that_is_read_slowly_holds_up_nobody_and_is_the_same_for_all() {
    let (keyring, reads) = keyring(&[]);
    let (keyring, owner) = (Arc::new(keyring), Owner::Customer(ACME));
    keyring.put_away_unused();
    keyring.put_away_unused();
    let reading = Reading::of(owner, keyring, &reads);
    let first = reading.meanwhile(move |keyring| keyring.data_key(owner)).unwrap();
    assert!(Arc::ptr_eq(&first, &reading.end().unwrap()));
}

#[test]
fn a_key_that_is_destroyed_while_it_is_read_is_given_to_nobody() {
    for owner in [Owner::User(ALICE), Owner::Customer(ACME)] {
        let (reading, _) = Reading::begin();
        reading.meanwhile(move |keyring| keyring.destroy(owner)).unwrap();
        let keyring = reading.keyring.clone();
        assert!(matches!(reading.end(), Err(StoreError::NoKey { .. })), "{owner}");
        assert!(
            matches!(keyring.data_key(Owner::User(ALICE)), Err(StoreError::NoKey { .. })),
            "{owner}"
        );
    }
}

#[test]
fn a_key_that_is_made_anew_while_its_former_one_is_read_is_the_new_one() {
    let (reading, _) = Reading::begin();
    let sealed = reading.meanwhile(|keyring| {
        let alice = NewKey::User(ALICE, Membership::Customer(ACME));
        keyring.destroy(alice.owner()).unwrap();
        // In the same slot.
        keyring.create(alice).unwrap();
        keyring.data_key(alice.owner()).unwrap().seal(RecordKind::Request, b"1", b"hello")
    });
    let key = reading.end().unwrap();
    assert_eq!(key.unseal(RecordKind::Request, b"1", &sealed).unwrap().as_slice(), b"hello");
}

#[test]
fn a_version_stays_while_it_cannot_be_read_whom_it_serves() {
    let (keyring, reads) = keyring(&[ALICE]);
    keyring.next_version(ACME).unwrap();
    // The slot that the version wraps is read, the key in it is not.
    *reads.lock().unwrap() = Reads::Not { after: 1 };
    assert!(matches!(keyring.destroy_version(ACME, 1), Err(StoreError::Io(_))));
    *reads.lock().unwrap() = Reads::AtOnce;
    assert!(keyring.data_key(Owner::User(ALICE)).is_ok());
}

#[test]
fn a_key_is_read_once_whatever_becomes_of_others() {
    let (reading, reads) = Reading::begin();
    reading
        .meanwhile(|keyring| {
            keyring.create(NewKey::User(CAROL, Membership::Customer(ACME)))?;
            keyring.destroy(Owner::User(CAROL))
        })
        .unwrap();
    *reads.lock().unwrap() = Reads::Not { after: 0 };
    assert!(reading.end().is_ok(), "it is read again");
}

#[test]
fn a_key_that_changed_as_it_was_read_is_read_again_and_holds_up_nobody() {
    let (reading, reads) = Reading::begin();
    reading
        .meanwhile(|keyring| {
            let alice = NewKey::User(ALICE, Membership::Customer(ACME));
            keyring.destroy(alice.owner())?;
            keyring.create(alice)
        })
        .unwrap();
    let (has_read, goes_on) = slowly(&reads);
    reading.goes_on.send(()).unwrap();
    has_read.recv().unwrap();
    let bob = reading.meanwhile(|keyring| keyring.data_key(Owner::User(BOB)));
    goes_on.send(()).unwrap();
    assert!(bob.is_ok() && reading.reader.join().unwrap().is_ok());
}

#[test]
fn the_versions_of_a_key_that_is_read_slowly_hold_up_nobody() {
    let (keyring, reads) = keyring(&[BOB]);
    let keyring = Arc::new(keyring);
    keyring.put_away_unused();
    keyring.data_key(Owner::User(BOB)).unwrap();
    keyring.put_away_unused();
    let reading = Reading::by(keyring, &reads, |keyring| {
        assert_eq!(keyring.versions_of(ACME)?.newest, 1);
        keyring.data_key(Owner::Customer(ACME))
    });
    let bob = reading.meanwhile(|keyring| keyring.data_key_at_once(Owner::User(BOB)));
    assert!(bob.unwrap().is_some());
    reading.end().unwrap();
}
