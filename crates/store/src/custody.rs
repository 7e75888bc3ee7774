//! Catalog and keyring in the right order, so that no record is without its key and no key outlives its owner.
//!
//! A key is durable before the record of its owner is; the deletion of a record is durable, with a row that says
//! which keys must go, before those keys are overwritten; the row is cleared last. After a crash [`Custody::resume`]
//! finishes what the rows say. While there is a row no owner of its name gets a key: it would be taken for the one that must go.

mod owed;

use crate::catalog::{AuditEntry, Catalog, Change, Details, Mutated, Mutation, SealedDetails, Uncommitted, detail_record_id};
use crate::error::StoreError;
use crate::keyring::{Keyring, NewKey, Owner};
use crate::media::{MediaFiles, Unnamed};
use crate::seal::{DataKey, RecordKind};
use perseat_domain::model::Sealed;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Keys destroyed with one sync.
const PAGE: usize = 4_096;

/// Catalog and keyring together.
#[derive(Clone, Debug)]
pub struct Custody {
    catalog: Arc<Catalog>,
    keyring: Arc<Keyring>,
    media: Option<Arc<MediaFiles>>,
    /// Held while keys are destroyed, and while owners get theirs: not taken within a transaction.
    keys: Arc<Mutex<()>>,
}

impl Custody {
    /// Joins the two, and destroys the keys that an interrupted mutation left to be destroyed.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn resume(catalog: Arc<Catalog>, keyring: Arc<Keyring>) -> Result<Self, StoreError> {
        let custody = Self {
            catalog,
            keyring,
            media: None,
            keys: Arc::default(),
        };
        custody.destroy_pending()?;
        Ok(custody)
    }

    /// The catalog.
    #[must_use]
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// The keyring.
    #[must_use]
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    /// The same with the folder of uploaded files.
    #[must_use]
    pub fn with_media(mut self, media: Arc<MediaFiles>) -> Self {
        self.media = Some(media);
        self
    }

    /// Uploaded files, where this process keeps them.
    #[must_use]
    pub fn media(&self) -> Option<&MediaFiles> {
        self.media.as_deref()
    }

    /// [`Catalog::mutate`], with the keys of new owners made before it is durable and those of deleted owners
    /// destroyed after.
    ///
    /// # Errors
    /// As [`Catalog::mutate`], or if a key cannot be made, also because one of a deleted owner with the same id is left. Keys that
    /// could not be destroyed are logged and tried again by the next mutation and on start.
    pub fn mutate<T, E: From<StoreError>>(
        &self,
        change: Change<'_>,
        work: impl FnOnce(&mut Mutation<'_>) -> Result<T, E>,
    ) -> Result<Mutated<T>, E> {
        let turn = self.turn();
        self.destroy_left();
        let mut owed = Vec::new();
        let work = |mutation: &mut Mutation<'_>| {
            let value = work(mutation)?;
            owed = self.write_owed(mutation, change.at)?;
            Ok::<_, E>(value)
        };
        let mutated = self.catalog.mutate_then(change, work, &mut |uncommitted| {
            self.create(&uncommitted.new_keys)?;
            self.seal_details(uncommitted)
        });
        if !mutated.as_ref().is_ok_and(|mutated| mutated.changed) {
            self.forget_unwritten(&owed);
        }
        let mutated = mutated?;
        // The mutation is durable and must be published.
        self.destroy_left();
        drop(turn);
        self.remove(&mutated.unnamed_files);
        Ok(mutated)
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the keys of owners that are about to be there.
    fn create(&self, keys: &[NewKey]) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        if let Some(owner) = self.catalog.first_pending(keys.iter().map(|key| key.owner()))? {
            return Err(StoreError::KeyLeft { owner: owner.to_string() });
        }
        self.keyring.create_many(keys.iter().copied())
    }

    /// What fails is done later: the rows that are left say what.
    fn destroy_left(&self) {
        if let Err(error) = self.destroy_all() {
            tracing::error!(%error, "keys of deleted owners could not be destroyed yet");
        }
    }

    fn remove(&self, unnamed_files: &[Unnamed]) {
        for file in unnamed_files {
            // What is left is swept later.
            if let Some(Err(error)) = self.media().map(|media| media.remove(file.id, file.customer)) {
                tracing::warn!(%error, id = %file.id, "a file that nothing names could not be removed yet");
            }
        }
    }

    /// Nothing, where there is no organization yet.
    fn seal_details(&self, uncommitted: &Uncommitted) -> Result<Option<SealedDetails>, StoreError> {
        let Some(details) = &uncommitted.details else { return Ok(None) };
        let id = detail_record_id(uncommitted.revision);
        let seal = |owner: Owner, text: &str| {
            let key = self.key_of(owner)?;
            Ok::<_, StoreError>(key.map(|key| key.seal(RecordKind::AuditDetail, &id, text.as_bytes())))
        };
        let Some(shared) = seal(Owner::Organization, &details.shared)? else {
            return Ok(None);
        };
        let mut people = Vec::new();
        for (person, text) in &details.people {
            people.extend(seal(Owner::User(*person), text)?.map(|sealed| (*person, sealed)));
        }
        Ok(Some(SealedDetails { shared, people }))
    }

    /// What an audit entry says in sealed form, as JSON, but for what users are called whose keys of then are gone; `None` where it says
    /// nothing or the organization's key is gone.
    ///
    /// # Errors
    /// If it was changed, or the keyring cannot be read.
    pub fn details_of(&self, entry: &AuditEntry) -> Result<Option<String>, StoreError> {
        let Some(details) = &entry.details else { return Ok(None) };
        let open = |owner: Owner, sealed: &Sealed| {
            let Some(key) = self.key_of(owner)? else { return Ok(None) };
            let text = key.unseal(RecordKind::AuditDetail, &detail_record_id(entry.revision), sealed)?;
            let text = std::str::from_utf8(&text).map_err(|_| StoreError::corrupt("audit details"))?;
            Ok::<_, StoreError>(Some(text.to_owned()))
        };
        let Some(shared) = open(Owner::Organization, &details.shared)? else {
            return Ok(None);
        };
        let mut people = BTreeMap::new();
        for (person, sealed) in &details.people {
            match open(Owner::User(*person), sealed) {
                Ok(text) => people.extend(text.map(|text| (*person, text))),
                // Of somebody who was deleted and came again with the same id. Whether the entry was changed the chain tells.
                Err(StoreError::Sealed(error)) if error.is_another_key() => {}
                Err(error) => return Err(error),
            }
        }
        let joined = Details { shared, people }.joined();
        joined.map(Some).ok_or_else(|| StoreError::corrupt("audit details"))
    }

    /// The key of an owner, where there is one.
    fn key_of(&self, owner: Owner) -> Result<Option<Arc<DataKey>>, StoreError> {
        match self.keyring.data_key(owner) {
            Ok(key) => Ok(Some(key)),
            Err(StoreError::NoKey { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Destroys the keys of deleted owners; gives how many.
    ///
    /// # Errors
    /// If the disk fails; what is left is tried again by the next call.
    pub fn destroy_pending(&self) -> Result<usize, StoreError> {
        let _turn = self.turn();
        self.destroy_all()
    }

    fn destroy_all(&self) -> Result<usize, StoreError> {
        let mut count = 0;
        loop {
            let owners = self.catalog.pending_destruction(PAGE)?;
            if owners.is_empty() {
                return Ok(count);
            }
            self.keyring.destroy_many(&owners)?;
            self.catalog.clear_pending(&owners)?;
            count += owners.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Lookup, Options};
    use crate::fault_backend::FaultFolder;
    use crate::keyring::{self, MasterKey};
    use perseat_domain::id::{CustomerId, OrganizationId, UserId};
    use perseat_domain::model::{Customer, Membership, Organization, Profile, Role, User};
    use perseat_domain::time::Timestamp;
    use perseat_journal::disk::{Fault, MemoryDisk};
    use tempfile::TempDir;
    use uuid::Uuid;

    pub(super) const NOW: Change<'static> = Change {
        by: "local:0",
        at: Timestamp(1),
        action: "test",
    };
    const ACME: CustomerId = CustomerId(Uuid::from_u128(2));
    pub(super) const ALICE: UserId = UserId(Uuid::from_u128(3));
    const OWNERS: [Owner; 3] = [Owner::Organization, Owner::Customer(ACME), Owner::User(ALICE)];

    pub(super) struct Place {
        folder: TempDir,
        pub(super) disk: MemoryDisk,
    }

    impl Place {
        pub(super) fn new() -> Self {
            Self {
                folder: tempfile::tempdir().unwrap(),
                disk: MemoryDisk::new(1),
            }
        }

        fn catalog(&self, options: Options) -> Arc<Catalog> {
            Arc::new(Catalog::open_in(FaultFolder::of(&self.disk), "catalog.redb", options).unwrap())
        }

        pub(super) fn keyring(&self) -> Arc<Keyring> {
            let path = self.folder.path().join("keyring");
            Arc::new(Keyring::open(&path, MasterKey::new(&[1; 32]), &keyring::Options::default()).unwrap())
        }

        pub(super) fn custody(&self) -> Custody {
            Custody::resume(self.catalog(Options::default()), self.keyring()).unwrap()
        }

        pub(super) fn custody_with(&self, owed: u64) -> Custody {
            let options = Options {
                owed,
                ..Options::default()
            };
            Custody::resume(self.catalog(options), self.keyring()).unwrap()
        }
    }

    pub(super) fn fill(tx: &mut Mutation<'_>) -> Result<(), StoreError> {
        tx.put(&Organization {
            id: OrganizationId(Uuid::from_u128(1)),
            name: "Acme Software".into(),
            ulc_enabled: true,
            signing_keys: vec![],
        })?;
        tx.put(&Customer {
            id: ACME,
            name: "Acme".into(),
            external_id: None,
            description: String::new(),
            labels: vec![],
        })?;
        tx.put(&User {
            id: ALICE,
            membership: Membership::Customer(ACME),
            email: Some("alice@acme.example".into()),
            name: "Alice".into(),
            external_id: None,
            subject: None,
            subject_seen_at: None,
            labels: Vec::new(),
            role: Role::Member,
            profile: Profile::default(),
        })?;
        Ok(())
    }

    fn present(keyring: &Keyring) -> [bool; 3] {
        OWNERS.map(|owner| keyring.data_key(owner).is_ok())
    }

    #[test]
    fn owners_have_keys_from_their_creation_to_their_deletion() {
        let custody = Place::new().custody();
        custody.mutate(NOW, fill).unwrap();
        assert_eq!(present(custody.keyring()), [true, true, true]);
        custody.mutate(NOW, |tx| tx.delete_user(ALICE, Timestamp(2))).unwrap();
        assert_eq!(present(custody.keyring()), [true, true, false]);
        custody.mutate(NOW, |tx| tx.delete_customer(ACME)).unwrap();
        assert_eq!(present(custody.keyring()), [true, false, false]);
        assert!(custody.catalog().pending_destruction(1).unwrap().is_empty());
    }

    #[test]
    fn the_audit_says_what_was_changed_and_what_it_is_called_while_the_keys_of_those_are_there() {
        let custody = Place::new().custody();
        custody.mutate(NOW, fill).unwrap();
        let entry = custody.catalog().audit_after(0, 1).unwrap().remove(0);
        let stored = entry.details.as_ref().unwrap();
        let sealed = std::iter::once(&stored.shared).chain(stored.people.iter().map(|(_, sealed)| sealed));
        for sealed in sealed {
            assert!(
                !sealed.0.windows(5).any(|bytes| bytes == b"alice" || bytes == b"Acme "),
                "names are sealed"
            );
        }
        let details: serde_json::Value = serde_json::from_str(&custody.details_of(&entry).unwrap().unwrap()).unwrap();
        let names: Vec<_> = details["changes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| (it["change"].as_str().unwrap(), it["record"].as_str().unwrap(), it["name"].as_str()))
            .collect();
        assert_eq!(
            names,
            [
                ("created", "organization", None),
                ("created", "customer", Some("Acme")),
                ("created", "user", None)
            ]
        );
        assert!(custody.details_of(&entry).unwrap().unwrap().contains("alice@"));
        custody.mutate(NOW, |tx| tx.delete_user(ALICE, Timestamp(2))).unwrap();
        let entries = custody.catalog().audit_after(0, 2).unwrap();
        for entry in &entries {
            let said = custody.details_of(entry).unwrap().unwrap();
            assert!(said.contains(&ALICE.to_string()) && !said.contains("alice@"), "{said}");
        }
        custody.keyring().destroy(Owner::Organization).unwrap();
        assert_eq!(custody.details_of(&entry).unwrap(), None);
        assert_eq!(custody.catalog().verify_audit_chain().unwrap(), 2, "the chain needs no key");
    }

    #[test]
    fn keys_left_by_a_crash_after_the_deletion_are_destroyed_on_start() {
        let place = Place::new();
        let custody = place.custody();
        custody.mutate(NOW, fill).unwrap();
        custody.catalog().mutate(NOW, |tx| tx.delete_customer(ACME)).unwrap();
        assert_eq!(
            present(custody.keyring()),
            [true, true, true],
            "the deletion is durable, the keys are still there"
        );
        drop(custody);
        place.disk.crash();
        let custody = place.custody();
        assert_eq!(present(custody.keyring()), [true, false, false]);
        assert_eq!(custody.destroy_pending().unwrap(), 0);
    }

    #[test]
    fn who_comes_again_keeps_the_key_whenever_clearing_the_rows_of_before_fails() {
        const CALLS: u64 = 60;
        // A customer is deleted, with a fault at this call of it.
        let deleted = |call| {
            let place = Place::new();
            let custody = place.custody();
            custody.mutate(NOW, fill).unwrap();
            place.disk.fail_at(place.disk.calls() + call, Fault::FailedSync);
            let deleted = custody.mutate(NOW, |tx| tx.delete_customer(ACME));
            place.disk.heal();
            let is_left = deleted.is_ok() && !custody.catalog().pending_destruction(1).unwrap().is_empty();
            (place, custody, is_left)
        };
        let left: Vec<u64> = (0..CALLS).filter(|call| deleted(*call).2).collect();
        let (Some(first), Some(last)) = (left.first(), left.last()) else {
            panic!("no row was left");
        };
        let (mut refused, mut kept) = (0, 0);
        for (first, second) in (0..CALLS).flat_map(|second| [(*first, second), (*last, second)]) {
            let (place, custody, _) = deleted(first);
            place.disk.fail_at(place.disk.calls() + second, Fault::FailedSync);
            let again = custody.mutate(NOW, fill);
            place.disk.heal();
            refused += u64::from(matches!(again, Err(StoreError::KeyLeft { .. })));
            if again.is_ok() {
                custody.destroy_pending().unwrap();
                kept += 1;
                assert_eq!(present(custody.keyring()), [true, true, true], "{first} {second}");
            }
        }
        assert!(refused > 0 && kept > 0, "{refused} {kept}");
    }

    #[test]
    fn keys_are_durable_before_their_owners_are() {
        let place = Place::new();
        let custody = place.custody();
        place.disk.fail_at(place.disk.calls(), Fault::Stop);
        assert!(custody.mutate(NOW, fill).is_err());
        assert_eq!(present(custody.keyring()), [true, true, true]);
        place.disk.crash();
        assert_eq!(custody.catalog().organization().unwrap(), None);
        custody.mutate(NOW, fill).unwrap();
        assert_eq!(present(custody.keyring()), [true, true, true]);
    }
}
