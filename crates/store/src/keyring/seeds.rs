//! Seeded creations and destructions of keys with faults at every I/O call.

use super::file::KeyringFile;
use super::twin::Twin;
use super::*;
use crate::fault_backend::open_at_last;
use crate::fault_workload::{Workload, campaign};
use crate::seal::RecordKind;
use perseat_domain::model::Sealed;
use perseat_journal::disk::{Campaign, Fault, MemoryDisk, Random};
use std::collections::BTreeMap;

const KEYRING: Campaign = Campaign {
    package: "perseat-store",
    test: "keyring::seeds::a_key_is_there_until_it_is_gone_for_good_whichever_call_fails",
};
const NAME: &str = "keyring";

fn open(disk: &MemoryDisk) -> Result<Keyring, StoreError> {
    let master = MasterKey::new(&[7; 32]);
    let file = KeyringFile::on(Box::new(Twin::on(disk, NAME)?), &master)?;
    // Next to no cache: nearly every use of a key reads its slot.
    Keyring::over(file, master, &Options { cache_entries: 1 })
}

/// What is known of an owner's key.
#[derive(Clone, Debug)]
enum Known {
    /// It was made; this is sealed under it.
    There(Sealed),
    /// It was destroyed, or never made.
    Gone,
    /// Its making failed: it is there whole, or not, or damaged.
    Doubtful,
    /// Its destruction failed: it is there, damaged or gone.
    Going,
}

/// Customer 0 to 3 and three users each.
fn key(n: u64) -> NewKey {
    let customer = CustomerId(Uuid::from_u128(u128::from(n / 4) + 1));
    match n % 4 {
        0 => NewKey::Customer(customer),
        _ => NewKey::User(UserId(Uuid::from_u128(u128::from(n) + 100)), Membership::Customer(customer)),
    }
}

/// Why a rotation went no further.
enum Stop {
    Failed(StoreError),
    Wrong(String),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl From<String> for Stop {
    fn from(what: String) -> Self {
        Self::Wrong(what)
    }
}

struct Rig {
    disk: MemoryDisk,
    keyring: Option<Keyring>,
    known: BTreeMap<u64, Known>,
    acknowledged: u64,
    /// The generation after the last acknowledged change.
    generation: u64,
}

impl Rig {
    fn keyring(&mut self) -> Result<&Keyring, String> {
        if self.keyring.is_none() {
            self.keyring = Some(open_at_last(&self.disk, || open(&self.disk))?);
        }
        Ok(self.keyring.as_ref().unwrap())
    }

    /// Makes the keys of a customer and some of its users.
    fn create(&mut self, random: &mut Random) -> Result<(), String> {
        let customer = random.below(4) * 4;
        let wanted: Vec<u64> = (customer..=customer + random.below(4)).collect();
        let made = self.keyring()?.create_many(wanted.iter().map(|n| key(*n)));
        for n in wanted {
            let now = match (&made, self.known.get(&n)) {
                (_, Some(Known::There(sealed))) => Known::There(sealed.clone()),
                (Ok(()), _) => Known::There(self.seal(n)?),
                (Err(_), Some(Known::Going)) => Known::Going,
                (Err(_), _) => Known::Doubtful,
            };
            self.known.insert(n, now);
        }
        match made {
            Ok(()) => {
                self.acknowledged += 1;
                self.expect_newer()?;
                self.expect("after keys were made")
            }
            Err(StoreError::Io(_) | StoreError::Full(_)) => Ok(()),
            // A slot that was torn is not silently replaced: it has to be destroyed first.
            Err(StoreError::Corrupt { .. }) => self.destroy_numbers(&(customer..customer + 4).collect::<Vec<_>>()),
            Err(error) => Err(format!("keys cannot be made: {error:?}")),
        }
    }

    /// A change was acknowledged: its generation is durable, and higher than any before.
    fn expect_newer(&mut self) -> Result<(), String> {
        let header = self.disk.durable(NAME);
        let header = header.first_chunk().ok_or("no header is durable")?;
        let generation = file::mark_of(header, 0).ok_or("the header is not whole")?.generation;
        match generation > self.generation {
            true => self.generation = generation,
            false => return Err(format!("generation {generation} is durable after {}", self.generation)),
        }
        Ok(())
    }

    fn seal(&mut self, n: u64) -> Result<Sealed, String> {
        for _ in 0..8 {
            match self.keyring()?.data_key(key(n).owner()) {
                Ok(key) => return Ok(key.seal(RecordKind::Request, &n.to_le_bytes(), b"secret")),
                // A planned fault, used up by trying; what was made survives the crash.
                Err(StoreError::Io(_) | StoreError::Full(_)) => {
                    self.disk.crash();
                    self.keyring = None;
                }
                Err(error) => return Err(format!("key {n} was made and is not there: {error:?}")),
            }
        }
        Err(format!("key {n} cannot be read"))
    }

    /// Goes some way to the next version of a customer's key, and of those on their way already. A failure on it loses nothing.
    fn rotate(&mut self, random: &mut Random) -> Result<(), String> {
        let n = random.below(4) * 4;
        let NewKey::Customer(customer) = key(n) else { return Ok(()) };
        let (begins, ends) = (random.below(2) == 0, random.below(3) > 0);
        let outcome = self.rotate_some(customer, n, begins, ends);
        match outcome {
            Ok(acknowledged) => {
                self.acknowledged += acknowledged;
                if acknowledged > 0 {
                    self.expect_newer()?;
                }
            }
            Err(Stop::Failed(StoreError::Io(_) | StoreError::Full(_) | StoreError::NoKey { .. })) => {}
            // What is doubtful may not open.
            Err(Stop::Failed(StoreError::Corrupt { .. } | StoreError::Sealed(_)))
                if !matches!(self.known.get(&n), Some(Known::There(_))) => {}
            Err(Stop::Failed(error)) => return Err(format!("the key {n} cannot be rotated: {error:?}")),
            Err(Stop::Wrong(what)) => return Err(what),
        }
        self.expect("after a rotation")
    }

    fn rotate_some(&mut self, customer: CustomerId, n: u64, begins: bool, ends: bool) -> Result<u64, Stop> {
        let mut acknowledged = 0;
        if begins {
            self.keyring()?.next_version(customer)?;
            acknowledged += 1;
        }
        let keyring = self.keyring()?;
        let slots = keyring.wrapped_by_older(customer)?;
        for part in slots.chunks(2) {
            acknowledged += keyring.wrap_anew(customer, part)? as u64;
        }
        if !ends {
            return Ok(acknowledged);
        }
        let newest = keyring.versions_of(customer)?.newest;
        keyring.note_sealed_until(customer, newest, 7)?;
        let key = keyring.data_key(Owner::Customer(customer))?;
        let versions = keyring.versions_of(customer)?;
        if let Some(Known::There(sealed)) = self.known.get_mut(&n)
            && let Some(again) = key
                .reseal(RecordKind::Request, &n.to_le_bytes(), sealed)
                .map_err(StoreError::from)?
        {
            *sealed = again;
        }
        drop(key);
        for older in versions.older {
            if older.sealed_until != Some(7) {
                return Err(Stop::Wrong(format!("of a version of the key {n} nothing is noted")));
            }
            if !self.keyring()?.destroy_version(customer, older.number)? {
                return Err(Stop::Wrong(format!("an older version of the key {n} still wraps something")));
            }
            acknowledged += 1;
            self.expect_version_wiped(customer, older.number)?;
        }
        Ok(acknowledged)
    }

    /// Not one slot of the disk holds a destroyed version.
    fn expect_version_wiped(&self, customer: CustomerId, version: u32) -> Result<(), String> {
        let durable = self.disk.durable(NAME);
        let slots = durable.get(4096..).unwrap_or_default().as_chunks::<{ slot::SLOT }>().0;
        let mut left = slots.iter().filter_map(slot::Slot::decode);
        match left.any(|slot| slot.key == NewKey::Customer(customer) && slot.version == version) {
            true => Err(format!(
                "version {version} of the key of {customer} was destroyed and is still on the disk"
            )),
            false => Ok(()),
        }
    }

    fn destroy(&mut self, random: &mut Random) -> Result<(), String> {
        let first = random.below(16);
        let numbers = if first.is_multiple_of(4) {
            first..first + 4
        } else {
            first..first + 1
        };
        self.destroy_numbers(&numbers.collect::<Vec<_>>())
    }

    fn destroy_numbers(&mut self, numbers: &[u64]) -> Result<(), String> {
        let owners: Vec<Owner> = numbers.iter().map(|n| key(*n).owner()).collect();
        let destroyed = self.keyring()?.destroy_many(&owners);
        self.known.extend(numbers.iter().map(|n| match destroyed {
            Ok(()) => (*n, Known::Gone),
            Err(_) => (*n, Known::Going),
        }));
        match destroyed {
            Ok(()) => {
                self.acknowledged += 1;
                self.expect_newer()?;
                self.expect("after keys were destroyed")?;
                self.expect_wiped(&owners)
            }
            Err(StoreError::Io(_) | StoreError::Full(_)) => Ok(()),
            Err(error) => Err(format!("keys cannot be destroyed: {error:?}")),
        }
    }

    /// Not one slot of the disk names a destroyed key's owner.
    fn expect_wiped(&self, owners: &[Owner]) -> Result<(), String> {
        let durable = self.disk.durable(NAME);
        let slots = durable.get(4096..).unwrap_or_default().as_chunks::<{ slot::SLOT }>().0;
        for bytes in slots {
            if let slot::Content::Live(owner) | slot::Content::Damaged(Some(owner)) = slot::Content::of(bytes)
                && owners.contains(&owner)
            {
                return Err(format!("the key of {owner} was destroyed and is still on the disk"));
            }
        }
        Ok(())
    }

    fn expect(&mut self, when: &str) -> Result<(), String> {
        let known = self.known.clone();
        let keyring = self.keyring()?;
        for (n, known) in known {
            let found = keyring.data_key(key(n).owner());
            match (&known, found) {
                (_, Err(StoreError::Io(_))) => {}
                (Known::There(sealed), Ok(key)) if key.unseal(RecordKind::Request, &n.to_le_bytes(), sealed).is_ok() => {}
                (Known::Gone, Err(StoreError::NoKey { .. })) => {}
                // A user's key that survived where its customer's did not opens no more.
                (
                    Known::Doubtful | Known::Going,
                    Ok(_) | Err(StoreError::NoKey { .. } | StoreError::Corrupt { .. } | StoreError::Sealed(_)),
                ) => {}
                (known, Ok(_)) => return Err(format!("{when} key {n} is {known:?} and there is another one")),
                (known, Err(error)) => return Err(format!("{when} key {n} is {known:?}, and {error:?}")),
            }
        }
        Ok(())
    }
}

impl Workload for Rig {
    const WARM_UP: u64 = 8;
    const ACKNOWLEDGED: u64 = 3;

    fn disk(&self) -> &MemoryDisk {
        &self.disk
    }

    fn close(&mut self) {
        self.keyring = None;
    }

    fn step(&mut self, random: &mut Random) -> Result<(), String> {
        match random.below(12) {
            0..=2 => self.destroy(random),
            3..=6 => self.rotate(random),
            _ => self.create(random),
        }
    }

    fn end(&mut self, random: &mut Random) -> Result<(), String> {
        self.expect("in the end")?;
        // What the catalog still lists for destruction is destroyed on the next start.
        let of = |known: &BTreeMap<u64, Known>, is: fn(&Known) -> bool| -> Vec<u64> {
            known.iter().filter(|(_, known)| is(known)).map(|(n, _)| *n).collect()
        };
        let going = of(&self.known, |known| matches!(known, Known::Going | Known::Doubtful));
        self.destroy_numbers(&going)?;
        let gone = of(&self.known, |known| matches!(known, Known::Gone));
        self.expect_wiped(&gone.iter().map(|n| key(*n).owner()).collect::<Vec<_>>())?;
        let acknowledged = self.acknowledged;
        self.create(random)?;
        match self.acknowledged - acknowledged {
            1 => Ok(()),
            _ => Err("a healed disk takes no keys".into()),
        }
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged
    }
}

fn rig(seed: u64) -> Rig {
    Rig {
        disk: MemoryDisk::new(seed),
        keyring: None,
        known: BTreeMap::new(),
        acknowledged: 0,
        generation: 0,
    }
}

/// A sync that fails may have put new keys on disk all the same.
#[test]
fn a_key_whose_making_failed_is_gone_once_its_destruction_is_acknowledged() {
    let mut failed = 0;
    for seed in 0..32 {
        for call in 0..4 {
            let mut rig = rig(seed);
            rig.keyring().unwrap().create(key(12)).unwrap();
            rig.disk.fail_at(rig.disk.calls() + call, Fault::FailedSync);
            failed += usize::from(rig.keyring().unwrap().create_many([key(13), key(14)]).is_err());
            rig.disk.heal();
            rig.destroy_numbers(&[13, 14]).unwrap();
            assert_eq!(rig.acknowledged, 1, "the destruction did not succeed");
        }
    }
    assert!(failed >= 32, "no sync failed");
}

#[test]
fn a_key_is_there_until_it_is_gone_for_good_whichever_call_fails() {
    campaign(&KEYRING, |seed, _| rig(seed));
}
