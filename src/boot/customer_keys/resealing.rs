//! One look through everything that a customer's key wraps or seals outside of the journal, in bounded transactions.

use perseat_admin::edit::Effects;
use perseat_domain::grant::Holder;
use perseat_domain::id::{CustomerId, InstanceId};
use perseat_domain::model::{Media, MediaOwner};
use perseat_domain::time::Timestamp;
use perseat_store::catalog::{Change, Lookup as _, is_sharing_stale, is_stale};
use perseat_store::custody::Custody;
use perseat_store::error::StoreError;
use perseat_store::keyring::Owner;
use perseat_store::seal::DataKey;

use super::super::plane::{Published, Publisher};
use super::{Counts, reach};

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
    /// Wraps and seals with the newest version what an older one did; gives how much that was. `told` hears of each batch.
    pub(super) fn pass(&self, told: &mut dyn FnMut(Counts)) -> Result<Counts, StoreError> {
        let mut all = Counts::default();
        let mut add = |more: Counts| {
            all.keys += more.keys;
            all.values += more.values;
            all.files += more.files;
            told(more);
        };
        self.keys(&mut add)?;
        let key = self.custody.keyring().data_key(Owner::Customer(self.customer))?;
        self.records(&key, &mut add)?;
        self.files(&key, &mut add)?;
        Ok(all)
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

    fn files(&self, key: &DataKey, add: &mut dyn FnMut(Counts)) -> Result<(), StoreError> {
        let Some(media) = self.custody.media() else { return Ok(()) };
        let owner = MediaOwner::Customer(self.customer);
        let mut after = None;
        loop {
            let page = self.custody.catalog().media_of(owner, after, self.batch)?;
            for file in page.items {
                if media.version_of(file.id)?.is_none_or(|version| version == key.version()) {
                    continue;
                }
                // Within a mutation, so that nobody removes it meanwhile. It changes nothing in the catalog.
                let sealed = self.custody.mutate(self.change(), |tx| match tx.get::<Media>(file.id)? {
                    Some(_) => media.reseal(file.id, key),
                    None => Ok(false),
                })?;
                add(Counts {
                    files: usize::from(sealed.value),
                    ..Counts::default()
                });
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    fn change(&self) -> Change<'static> {
        Change {
            by: "local:keys",
            at: self.at,
            action: "resealCustomer",
        }
    }
}
