//! Links and letters over a real catalog, at times that the test says.

use super::accounts::{self, NewOwner};
use super::letters::{Addressed, Delivery, Room};
use super::passwords::{self, Cost};
use crate::actor::Actor;
use crate::command::{CreateCustomer, CreateUser};
use crate::edit::{Definitions, Desk, Edit};
use crate::fault::Fault;
use perseat_domain::account::{Account, Client, Letter, PasswordHash, Proven, Purpose};
use perseat_domain::id::CustomerId;
use perseat_domain::model::{Membership, Role, User};
use perseat_domain::time::Timestamp;
use perseat_flow::definition::Limits;
use perseat_store::catalog::{Accounts as _, Catalog, Lookup as _, Options};
use perseat_store::custody::Custody;
use perseat_store::keyring::{self, Keyring, MasterKey};
use secrecy::SecretString;
use std::sync::Arc;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(60 * 60);
const START: Timestamp = Timestamp(1_000_000);

struct Bench {
    _folder: tempfile::TempDir,
    custody: Custody,
    at: Timestamp,
    next: u128,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (path, key) = (folder.path().join("keyring"), MasterKey::new(&[7; 32]));
        let keyring = Keyring::open(&path, key, &keyring::Options::default()).unwrap();
        let catalog = Catalog::open(&folder.path().join("catalog.redb"), Options::default()).unwrap();
        Self {
            _folder: folder,
            custody: Custody::resume(Arc::new(catalog), Arc::new(keyring)).unwrap(),
            at: START,
            next: 1,
        }
    }

    fn change<T>(&mut self, work: impl FnOnce(&mut Edit<'_, '_>) -> Result<T, Fault>) -> Result<T, Fault> {
        let next = &mut self.next;
        let mut random = move || {
            *next += 1;
            next.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
        };
        let mut desk = Desk {
            custody: &self.custody,
            definitions: Definitions::built_in(Limits::default()),
            actor: &Actor::local("local:0"),
            at: self.at,
            random: &mut random,
        };
        desk.change("test", work).map(|changed| changed.value)
    }

    /// An owner, Ann, and the secret of her link.
    fn owner(&mut self) -> (User, SecretString) {
        let new = NewOwner {
            email: "Ann@acme.example".to_owned(),
            name: Some("Ann".to_owned()),
            organization: "Acme".to_owned(),
        };
        self.change(|edit| edit.create_owner(&new, HOUR)).unwrap()
    }

    fn guest(&mut self, email: &str) -> User {
        let new = CreateUser {
            membership: Membership::Organization,
            email: email.to_owned(),
            name: None,
            external_id: None,
            phone: None,
            role: Role::Guest,
            labels: Vec::new(),
        };
        self.change(|edit| edit.create_user(&new)).unwrap()
    }

    fn holds(&self, secret: &SecretString) -> Option<Purpose> {
        let holder = accounts::holder(self.custody.catalog(), secret, self.at).unwrap();
        holder.map(|holder| holder.purpose)
    }

    fn account(&self, user: &User) -> Account {
        self.custody.catalog().account_of(user.id).unwrap().unwrap()
    }

    fn letters(&self) -> Vec<Letter> {
        self.custody.catalog().page::<Letter>(None, 99).unwrap().items
    }

    /// With room for so many letters in all, and two to one customer.
    fn invite(&mut self, user: &User, all: u64) -> Result<Option<SecretString>, Fault> {
        let (room, lifetime) = (room(all), HOUR);
        self.change(|edit| edit.invite_user(user.id, Delivery::Mail { room, lifetime }))
    }

    fn customer(&mut self, name: &str) -> CustomerId {
        let new = CreateCustomer {
            name: name.to_owned(),
            ..CreateCustomer::default()
        };
        self.change(|edit| edit.create_customer(&new)).unwrap().id
    }

    fn member(&mut self, customer: CustomerId, email: &str) -> User {
        let new = CreateUser {
            membership: Membership::Customer(customer),
            email: email.to_owned(),
            name: None,
            external_id: None,
            phone: None,
            role: Role::Member,
            labels: Vec::new(),
        };
        self.change(|edit| edit.create_user(&new)).unwrap()
    }

    /// What the only letter says now.
    fn address(&mut self) -> Addressed {
        let letters = self.letters();
        let [letter] = &letters[..] else {
            panic!("one letter waits: {letters:?}")
        };
        self.change(|edit| edit.address_letter(letter.id, HOUR)).unwrap().unwrap()
    }
}

fn room(all: u64) -> Room {
    Room { all, of_customer: 2 }
}

fn hash(text: &str) -> PasswordHash {
    passwords::hash(&SecretString::from(text.to_owned()), [1; 16], Cost { memory: 8, passes: 1 }).unwrap()
}

#[test]
fn a_link_works_once_and_until_its_time() {
    let mut bench = Bench::new();
    let (ann, first) = bench.owner();
    let (_, second) = bench.owner();
    assert_eq!(
        (bench.holds(&first), bench.holds(&second)),
        (Some(Purpose::Invitation), Some(Purpose::Invitation))
    );
    bench.at = Timestamp(START.after(HOUR).0 - 1);
    assert!(bench.holds(&first).is_some());
    bench.at = START.after(HOUR);
    assert!(bench.holds(&first).is_none() && bench.holds(&second).is_none());
    let late = bench.change(|edit| edit.set_password(&first, hash("a")));
    assert!(matches!(late, Err(Fault::Absent(_))), "{late:?}");
    assert_eq!(bench.account(&ann).password, None);

    let (_, third) = bench.owner();
    let (_, fourth) = bench.owner();
    bench.change(|edit| edit.set_password(&fourth, hash("a"))).unwrap();
    for used in [&fourth, &third] {
        assert!(bench.holds(used).is_none());
        let again = bench.change(|edit| edit.set_password(used, hash("b")));
        assert!(matches!(again, Err(Fault::Absent(_))), "{again:?}");
    }
    assert_eq!(bench.account(&ann).password, Some(hash("a")));
    let nobody = SecretString::from("nonsense".to_owned());
    assert!(bench.holds(&nobody).is_none());
}

#[test]
fn a_user_has_one_letter_of_each_kind_and_each_attempt_a_link_in_the_place_of_the_last() {
    let mut bench = Bench::new();
    bench.owner();
    let bob = bench.guest("bob@acme.example");
    let shown = Delivery::Shown { lifetime: HOUR };
    let shown = bench.change(|edit| edit.invite_user(bob.id, shown)).unwrap().unwrap();
    assert!(bench.invite(&bob, 1).unwrap().is_none(), "nobody but bob gets the link");
    let refused = bench.guest("eve@acme.example");
    let link = bench
        .invite(&refused, 1)
        .unwrap()
        .expect("where no letter has room the link is shown");
    assert_eq!((bench.holds(&link), bench.letters().len()), (Some(Purpose::Invitation), 1));

    let mut attempts = Vec::new();
    for _ in 0..5 {
        let addressed = bench.address();
        assert_eq!((addressed.organization.as_str(), &addressed.customer), ("Acme", &None));
        let id = bench.letters()[0].id;
        let due = bench.at.after(HOUR);
        bench.change(|edit| edit.put_off_letter(id, Some(due))).unwrap();
        attempts.push(addressed.secret);
    }
    assert_eq!((bench.letters()[0].attempts, bench.letters()[0].due_at), (5, START.after(HOUR)));
    let last = attempts.pop().unwrap();
    assert!(attempts.iter().all(|secret| bench.holds(secret).is_none()));
    assert_eq!(bench.holds(&last), Some(Purpose::Invitation));
    assert!(bench.holds(&shown).is_some(), "attempts do not crowd out the link that was shown");

    bench.at = START.after(Duration::from_secs(1));
    bench.invite(&bob, 1).unwrap();
    let again = bench.letters();
    assert_eq!(
        (again.len(), again[0].attempts, again[0].due_at),
        (1, 0, bench.at),
        "it begins anew"
    );
    bench.change(|edit| edit.put_off_letter(again[0].id, None)).unwrap();
    assert!(
        bench.letters().is_empty() && bench.holds(&last).is_none(),
        "given up together with its link"
    );

    bench.invite(&bob, 1).unwrap();
    let sent = bench.address();
    let id = bench.letters()[0].id;
    bench.change(|edit| edit.finish_letter(id)).unwrap();
    assert!(bench.letters().is_empty());
    bench.invite(&bob, 1).unwrap();
    bench.change(|edit| edit.set_password(&sent.secret, hash("a"))).unwrap();
    assert!(bench.letters().is_empty(), "what waits for whoever has a password now goes nowhere");
    assert!(bench.holds(&shown).is_none());

    bench.invite(&bob, 1).unwrap();
    assert_eq!(
        bench.letters()[0].purpose,
        Purpose::Reset,
        "whoever has a password is asked for another"
    );
    bench.change(|edit| edit.remove_user(bob.id, None)).unwrap();
    assert!(bench.letters().is_empty());
}

#[test]
fn letters_to_one_customer_leave_room_for_others_and_those_to_customers_for_the_organization_and_for_resets() {
    let mut bench = Bench::new();
    let (ann, _) = bench.owner();
    let customers = ["Globex", "Hooli", "Initech", "Umbrella"].map(|name| bench.customer(name));
    // Of eight letters two are kept, and a customer has two.
    let mut invite = |customer: usize, name: usize| {
        let user = bench.member(customers[customer], &format!("u{name}@c{customer}.example"));
        (bench.invite(&user, 8).unwrap().is_none(), user)
    };
    let written: Vec<bool> = [0, 0, 0, 1, 1, 1, 2, 2, 3]
        .into_iter()
        .enumerate()
        .map(|(n, of)| invite(of, n).0)
        .collect();
    assert_eq!(written, [true, true, false, true, true, false, true, true, false]);
    let (_, hans) = invite(3, 10);
    let reset = |bench: &mut Bench, user: &User, all| {
        let address = user.email.clone().unwrap();
        bench.change(|edit| edit.request_reset(&address, 16, room(all)))
    };
    let is_refused = |reset: Result<(), Fault>| reset.is_err_and(|fault| fault.to_string().contains("Too many letters"));
    reset(&mut bench, &hans, 8).unwrap();
    reset(&mut bench, &ann, 8).unwrap();
    assert_eq!(bench.letters().len(), 8);
    let bob = bench.guest("bob@acme.example");
    assert!(is_refused(reset(&mut bench, &bob, 8)));

    // Invitations to a customer's people take no room from those of them who forgot their password.
    let members = ["mia", "leo", "eva"].map(|name| bench.member(customers[0], &format!("{name}@globex.example")));
    let resets = members.each_ref().map(|user| reset(&mut bench, user, 16));
    assert_eq!(resets.map(is_refused), [false, false, true]);
    // Nor does an account without room take any from others of its address.
    let letter_to = |bench: &Bench, user: &User| bench.letters().into_iter().find(|letter| letter.user == user.id);
    let earlier = letter_to(&bench, &ann).unwrap();
    bench.change(|edit| edit.finish_letter(earlier.id)).unwrap();
    let other = bench.member(customers[0], "ann@acme.example");
    reset(&mut bench, &ann, 16).unwrap();
    assert!(letter_to(&bench, &ann).is_some() && letter_to(&bench, &other).is_none());
    // What is kept is not for whoever manages people.
    let shown = Delivery::Shown { lifetime: HOUR };
    let link = bench.change(|edit| edit.invite_user(hans.id, shown)).unwrap().unwrap();
    bench.change(|edit| edit.set_password(&link, hash("a"))).unwrap();
    assert_eq!(bench.letters().len(), 9);
    assert!(bench.invite(&hans, 12).is_err() && bench.invite(&hans, 13).unwrap().is_none());
    let ida = bench.member(customers[1], "ida@initech.example");
    assert!(bench.invite(&ida, 0).unwrap().is_some());
    let account = bench.account(&ida);
    bench
        .change(|edit| edit.begin_session(Proven::from(&account), Client::CommandLine, HOUR, 8))
        .unwrap();
    assert!(bench.invite(&ida, 0).is_err(), "nor is whoever signed in by a provider");
}

#[test]
fn whoever_forgot_their_password_gets_one_letter_for_each_account() {
    let mut bench = Bench::new();
    let (ann, _) = bench.owner();
    for address in ["nobody@acme.example", "ANN@acme.example", "ann@acme.example"] {
        bench.change(|edit| edit.request_reset(address, 16, room(9))).unwrap();
    }
    let [letter] = &bench.letters()[..] else {
        panic!("one letter waits")
    };
    assert_eq!((letter.user, letter.purpose), (ann.id, Purpose::Reset));
    let addressed = bench.address();
    assert_eq!(addressed.user, ann);
    assert_eq!(bench.holds(&addressed.secret), Some(Purpose::Reset));
}

#[test]
fn a_password_is_kept_under_another_hash_unless_it_was_changed_meanwhile() {
    let mut bench = Bench::new();
    let (ann, link) = bench.owner();
    bench.change(|edit| edit.set_password(&link, hash("a"))).unwrap();
    bench.change(|edit| edit.keep_password(ann.id, &hash("old"), hash("b"))).unwrap();
    assert_eq!(bench.account(&ann).password, Some(hash("a")));
    bench.change(|edit| edit.keep_password(ann.id, &hash("a"), hash("b"))).unwrap();
    assert_eq!(bench.account(&ann).password, Some(hash("b")));
}
