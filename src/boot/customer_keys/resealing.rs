//! One look through everything that a customer's key wraps or seals outside of the journal, in bounded transactions.

use std::collections::BTreeSet;

use perseat_admin::edit::Effects;
use perseat_domain::grant::Holder;
use perseat_domain::id::{CustomerId, InstanceId, MediaId};
use perseat_domain::model::{Media, MediaOwner};
use perseat_domain::time::Timestamp;
use perseat_store::catalog::{Change, Lookup as _, is_sharing_stale, is_stale};
use perseat_store::custody::Custody;
use perseat_store::error::StoreError;
use perseat_store::keyring::Owner;
use perseat_store::media::Found;
use perseat_store::seal::DataKey;

use super::super::plane::{Published, Publisher};
use super::{Counts, reach};

/// What one look did and found.
#[derive(Debug, Default)]
pub(super) struct Pass {
    pub(super) done: Counts,
    /// Files of the customer that open with no version of its key, or are damaged. They are left as they are.
    pub(super) unopened: BTreeSet<MediaId>,
}

/// See the module.
pub(super) struct Resealing<'a> {
    pub(super) custody: &'a Custody,
    pub(super) publisher: &'a Publisher,
    pub(super) at: Timestamp,
    pub(super) customer: CustomerId,
    /// Keys or records at a time.
    pub(super) batch: usize,
}

impl Resealing<'_> {
    /// Wraps and seals with the newest version what an older one did. `told` hears of each batch.
    pub(super) fn pass(&self, told: &mut dyn FnMut(Counts)) -> Result<Pass, StoreError> {
        let mut done = Counts::default();
        let mut add = |more: Counts| {
            done.keys += more.keys;
            done.values += more.values;
            done.files += more.files;
            told(more);
        };
        self.keys(&mut add)?;
        let key = self.custody.keyring().data_key(Owner::Customer(self.customer))?;
        self.records(&key, &mut add)?;
        let unopened = self.files(&key, &mut add)?;
        Ok(Pass { done, unopened })
    }

    fn keys(&self, add: &mut dyn FnMut(Counts)) -> Result<(), StoreError> {
        let keyring = self.custody.keyring();
        for slots in keyring.wrapped_by_older(self.customer)?.chunks(self.batch) {
            let keys = keyring.wrap_anew(self.customer, slots)?;
            reach("user-keys-wrapped");
            add(Counts { keys, ..Counts::default() });
        }
        Ok(())
    }

    fn records(&self, key: &DataKey, add: &mut dyn FnMut(Counts)) -> Result<(), StoreError> {
        let catalog = self.custody.catalog();
        let mut after = None;
        loop {
            let view = catalog.view()?;
            let page = view.instances_of_customer(self.customer, after, self.batch)?;
            let mut stale = Vec::new();
            for instance in &page.items {
                if is_stale(&view, instance, key.version())? {
                    stale.push(instance.id);
                }
            }
            drop(view);
            self.write(key, &stale, false, add)?;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let is_stale = is_sharing_stale(&catalog.view()?, self.customer, key.version())?;
        self.write(key, &[], is_stale, add)
    }

    /// Seals in one transaction, and lets whoever holds what was sealed before read it again.
    fn write(&self, key: &DataKey, instances: &[InstanceId], is_shared: bool, add: &mut dyn FnMut(Counts)) -> Result<(), StoreError> {
        if instances.is_empty() && !is_shared {
            return Ok(());
        }
        let (values, unopened) = self.publisher.publish(|| {
            let mut effects = Effects::default();
            let mut unopened = 0;
            let mutated = self.custody.mutate(self.change(), |tx| {
                let mut values = 0;
                for id in instances {
                    let done = tx.reseal_instance(*id, key)?;
                    unopened += done.unopened;
                    if done.sealed > 0 {
                        values += done.sealed;
                        effects.instances.insert(*id);
                    }
                }
                if is_shared {
                    let done = tx.reseal_shared(self.customer, key)?;
                    unopened += done.unopened;
                    if done.sealed > 0 {
                        values += done.sealed;
                        effects.holders.insert(Holder::Customer(self.customer));
                    }
                }
                Ok::<_, StoreError>(values)
            })?;
            let published = Published {
                effects,
                revision: mutated.revision,
            };
            Ok::<_, StoreError>(((mutated.value, unopened), published))
        })?;
        if values > 0 {
            reach("records-resealed");
        }
        if unopened > 0 {
            tracing::warn!(customer = %self.customer, values = unopened, "sealed values open with no version of their customer's key");
        }
        add(Counts {
            values,
            ..Counts::default()
        });
        Ok(())
    }

    /// Those that a record names and those that nothing has taken up; gives which of the customer's do not open.
    fn files(&self, key: &DataKey, add: &mut dyn FnMut(Counts)) -> Result<BTreeSet<MediaId>, StoreError> {
        let mut unopened = BTreeSet::new();
        let Some(media) = self.custody.media() else { return Ok(unopened) };
        for found in media.found()? {
            let Found::File(id) = found else { continue };
            let is_done = match opened(media.is_stale(id, key))? {
                Some(false) => continue,
                // Within a mutation, so that no record is written meanwhile. It changes nothing in the catalog.
                Some(true) => self.custody.mutate(self.change(), |_| opened(media.reseal(id, key)))?.value,
                None if self.is_named(id)? => None,
                // Another owner's.
                None => continue,
            };
            let Some(is_done) = is_done else {
                unopened.insert(id);
                continue;
            };
            add(Counts {
                files: usize::from(is_done),
                ..Counts::default()
            });
        }
        Ok(unopened)
    }

    /// Whether a record says that it is the customer's.
    fn is_named(&self, id: MediaId) -> Result<bool, StoreError> {
        let record = self.custody.catalog().get::<Media>(id)?;
        Ok(record.is_some_and(|record| record.owner == MediaOwner::Customer(self.customer)))
    }

    fn change(&self) -> Change<'static> {
        Change {
            by: "local:keys",
            at: self.at,
            action: "resealCustomer",
        }
    }
}

/// `None` where a file does not open: it is damaged, or no version is there any more that sealed it. A disk that is full or fails is
/// another matter.
fn opened<T>(file: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match file {
        Ok(file) => Ok(Some(file)),
        Err(StoreError::Sealed(_) | StoreError::Corrupt { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
