//! Seeded mutations with faults at every I/O call: each is wholly there or not at all, and what was acknowledged stays.

use super::*;
use crate::fault_backend::open_at_last;
use crate::fault_workload::{Workload, campaign, drive};
use crate::folder::Folder;
use perseat_journal::disk::{Campaign, Random};
use std::sync::Arc;
use std::time::Duration;

const CATALOG: Campaign = Campaign {
    package: "perseat-store",
    test: "catalog::tests::seeds::a_mutation_is_wholly_there_or_not_at_all_whichever_call_fails",
};

/// Mutations in a row may fail; after so many possibilities doubt is put to an end.
const POSSIBLE: usize = 8;

/// What the catalog holds: customers by number with their users' numbers, and the keys to be destroyed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    revision: u64,
    customers: BTreeMap<u128, (String, Vec<u128>)>,
    pending: usize,
}

/// One mutation. It always changes something, so that it always raises the revision.
#[derive(Clone, Debug)]
enum Act {
    /// A new customer with so many users.
    Join(u128, u128),
    /// The first customer changes its description to this; without one, as `Join`.
    Describe(u128),
    /// The first customer goes with its users; without one, as `Join`.
    Leave(u128),
}

fn described(n: u128, text: &str) -> Customer {
    Customer {
        description: text.to_owned(),
        ..customer(n)
    }
}

impl Model {
    fn after(&self, act: &Act) -> Self {
        let mut next = self.clone();
        next.revision += 1;
        let first = next.customers.keys().next().copied();
        match (act, first) {
            (Act::Describe(n), Some(first)) => next.customers.get_mut(&first).unwrap().0 = n.to_string(),
            (Act::Leave(_), Some(first)) => next.pending += 1 + next.customers.remove(&first).unwrap().1.len(),
            (Act::Join(n, users), _) => {
                next.customers
                    .insert(*n, (String::new(), (0..*users).map(|user| n * 100 + user).collect()));
            }
            (Act::Describe(n) | Act::Leave(n), None) => {
                next.customers.insert(*n, (String::new(), Vec::new()));
            }
        }
        next
    }

    fn of(catalog: &Catalog) -> Result<Self, StoreError> {
        let view = catalog.view()?;
        let mut customers = BTreeMap::new();
        for customer in view.page::<Customer>(None, 1_000)?.items {
            let users = view.users_of(Membership::Customer(customer.id), None, 1_000)?.items;
            let users = users.iter().map(|user| user.id.0.as_u128()).collect();
            customers.insert(customer.id.0.as_u128(), (customer.description, users));
        }
        let revision = view.revision()?;
        let whole = view.verify_audit_chain()? == revision && view.events_after(0, usize::MAX)?.len() as u64 == revision;
        drop(view);
        let pending = catalog.pending_destruction(10_000)?.len();
        if !whole {
            return Err(StoreError::corrupt("audit or outbox"));
        }
        Ok(Self {
            revision,
            customers,
            pending,
        })
    }
}

fn perform(tx: &mut Mutation<'_>, act: &Act) -> Result<(), StoreError> {
    let first = tx.page::<Customer>(None, 1)?.items.pop();
    let join = |tx: &mut Mutation<'_>, n: u128, users: u128| {
        tx.put(&described(n, ""))?;
        (0..users).try_for_each(|user| tx.put(&super::user(n * 100 + user, &customer(n))).map(drop))
    };
    match (act, first) {
        (Act::Join(n, users), _) => join(tx, *n, *users),
        (Act::Describe(n), Some(first)) => tx.put(&described(first.id.0.as_u128(), &n.to_string())).map(drop),
        (Act::Leave(_), Some(first)) => tx.delete_customer(first.id).map(drop),
        (Act::Describe(n) | Act::Leave(n), None) => join(tx, *n, 0),
    }
}

struct Rig {
    disk: MemoryDisk,
    folder: fn(&MemoryDisk) -> Arc<dyn Folder>,
    catalog: Option<Catalog>,
    /// What it may hold: more than one where a mutation failed, which may yet be there.
    possible: Vec<Model>,
    acts: u128,
    acknowledged: u64,
}

impl Rig {
    fn catalog(&mut self) -> Result<&Catalog, String> {
        if self.catalog.is_none() {
            self.catalog = Some(open_at_last(&self.disk, || open_in((self.folder)(&self.disk)))?);
        }
        Ok(self.catalog.as_ref().unwrap())
    }

    fn mutate(&mut self, random: &mut Random) -> Result<(), String> {
        self.acts += 1;
        let act = match random.below(4) {
            0 => Act::Describe(self.acts),
            1 => Act::Leave(self.acts),
            _ => Act::Join(self.acts, random.below(4).into()),
        };
        let outcome = self.catalog()?.mutate(NOW, |tx| perform(tx, &act));
        let next: Vec<Model> = self.possible.iter().map(|model| model.after(&act)).collect();
        match outcome {
            Ok(mutated) => {
                self.acknowledged += 1;
                self.possible = next;
                self.possible.retain(|model| model.revision == mutated.revision);
                Ok(())
            }
            Err(StoreError::Io(_) | StoreError::Full(_) | StoreError::Reopening) => {
                self.possible.extend(next);
                if self.possible.len() > POSSIBLE { self.settle() } else { Ok(()) }
            }
            Err(error) => Err(format!("a mutation fails with {error:?}")),
        }
    }

    /// Writes the file anew if somebody was removed: nothing that it holds is another.
    fn rewrite(&mut self) -> Result<(), String> {
        match self.catalog()?.rewrite_if_due(NOW.at, Duration::ZERO) {
            Ok(Some(_)) => {
                self.acknowledged += 1;
                self.expect("written anew")
            }
            Ok(None) | Err(StoreError::Io(_) | StoreError::Full(_) | StoreError::Reopening) => Ok(()),
            Err(error) => Err(format!("it is not written anew: {error:?}")),
        }
    }

    /// After a crash there is no doubt: what is seen is what is on disk.
    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..8 {
            self.disk.crash();
            self.catalog = None;
            match Model::of(self.catalog()?) {
                Ok(found) if self.possible.contains(&found) => {
                    self.possible = vec![found];
                    return Ok(());
                }
                Err(StoreError::Io(_) | StoreError::Full(_) | StoreError::Reopening) => {}
                other => return Err(format!("after a crash it holds {other:?}, and not one of {:?}", self.possible)),
            }
        }
        Err("it cannot be read after any crash".into())
    }

    fn expect(&mut self, when: &str) -> Result<(), String> {
        match Model::of(self.catalog()?) {
            Ok(found) if self.possible.contains(&found) => Ok(()),
            Ok(found) => Err(format!("{when} it holds {found:?}, and not one of {:?}", self.possible)),
            Err(StoreError::Io(_) | StoreError::Full(_) | StoreError::Reopening) => Ok(()),
            Err(error) => Err(format!("{when} it cannot be read: {error:?}")),
        }
    }
}

impl Workload for Rig {
    const WARM_UP: u64 = 4;
    const ACKNOWLEDGED: u64 = 2;

    fn disk(&self) -> &MemoryDisk {
        &self.disk
    }

    fn close(&mut self) {
        self.catalog = None;
    }

    fn step(&mut self, random: &mut Random) -> Result<(), String> {
        match random.below(10) {
            0 => self.expect("in between"),
            1 => self.rewrite(),
            _ => self.mutate(random),
        }
    }

    fn end(&mut self, random: &mut Random) -> Result<(), String> {
        let found = Model::of(self.catalog()?).map_err(|error| format!("in the end it cannot be read: {error:?}"))?;
        if !self.possible.contains(&found) {
            return Err(format!("in the end it holds {found:?}, and not one of {:?}", self.possible));
        }
        self.possible = vec![found];
        self.mutate(random)?;
        match self.possible.len() {
            1 => Ok(()),
            _ => Err("a healed disk takes no mutation".into()),
        }
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged
    }
}

fn rig(folder: fn(&MemoryDisk) -> Arc<dyn Folder>, seed: u64) -> Rig {
    Rig {
        disk: MemoryDisk::new(seed),
        folder,
        catalog: None,
        possible: vec![Model::default()],
        acts: 0,
        acknowledged: 0,
    }
}

#[test]
fn a_mutation_is_wholly_there_or_not_at_all_whichever_call_fails() {
    campaign(&CATALOG, |seed, _| rig(FaultFolder::of, seed));
}

#[test]
fn mutations_on_a_disk_that_only_says_that_it_synced_are_missed() {
    let lying = |seed, trouble| drive(seed, trouble, |seed, _| rig(FaultFolder::lying, seed));
    assert!(CATALOG.catches("and not one of", |seed, trouble| lying(seed, trouble).map(drop)));
}
