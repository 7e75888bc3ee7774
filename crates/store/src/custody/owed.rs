//! Tokens that are owed to their providers, each sealed under a key of its own.

use super::Custody;
use crate::catalog::{Mutation, OwedId, Owes, Owing, Settled, StoredGrant, StoredOwed};
use crate::error::StoreError;
use crate::keyring::Owner;
use crate::seal::RecordKind;
use perseat_domain::grant::Debt;
use perseat_domain::time::Timestamp;
use zeroize::Zeroizing;

/// Tokens that are given back, or not.
const GIVEN_BACK: &str = "perseat_tokens_given_back_total";

/// Why one is forgotten at `owed.tokens`.
const TOO_MANY: &str = "too many wait already";

fn random_id() -> Result<OwedId, StoreError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| StoreError::Io(std::io::Error::other("no random bytes")))?;
    Ok(OwedId(uuid::Builder::from_random_bytes(bytes).into_uuid()))
}

/// Says that so many tokens are forgotten without their providers having been told.
fn forget(count: usize, why: &str) {
    if count > 0 {
        metrics::counter!(GIVEN_BACK, "outcome" => "dropped").increment(count as u64);
        tracing::warn!(
            count,
            why,
            "tokens that were given up may still be valid at their providers, which are not told"
        );
    }
}

impl Custody {
    /// Writes down what a mutation gives up. Nothing here keeps it from being made, but for a disk that fails it, too.
    pub(super) fn write_owed(&self, mutation: &mut Mutation<'_>, at: Timestamp) -> Result<Vec<OwedId>, StoreError> {
        let (owing, surplus) = mutation.take_owing()?;
        forget(surplus, TOO_MANY);
        if owing.is_empty() {
            return Ok(Vec::new());
        }
        let ids = owing.iter().map(|_| random_id()).collect::<Result<Vec<_>, _>>()?;
        if let Err(error) = self.keyring.create_many(ids.iter().map(|id| id.key())) {
            forget(owing.len(), &error.to_string());
            return Ok(Vec::new());
        }
        for (id, owing) in ids.iter().zip(owing) {
            let written = self.sealed(*id, &owing, at).and_then(|owed| mutation.put_owed(*id, &owed));
            if let Err(error) = written {
                self.forget_keys(&ids);
                return Err(error);
            }
        }
        Ok(ids)
    }

    fn sealed(&self, id: OwedId, owing: &Owing, at: Timestamp) -> Result<StoredOwed, StoreError> {
        let key = self.keyring.data_key(id.owner())?;
        Ok(StoredOwed {
            holder: owing.of.holder,
            variable: owing.of.variable.clone(),
            host: owing.host.clone(),
            debt: Debt::begun(at),
            sealed: key.seal(RecordKind::Owed, id.0.as_bytes(), &owing.plain),
        })
    }

    /// Destroys the keys of what is not owed after all. What is said to have failed may have been done: a key is kept whose row is
    /// there, or may be.
    pub(super) fn forget_unwritten(&self, ids: &[OwedId]) {
        match self.catalog.not_owed(ids) {
            Ok(unwritten) => self.forget_keys(&unwritten),
            Err(error) => tracing::warn!(%error, count = ids.len(), "whether tokens are owed is not known now; their keys are kept"),
        }
    }

    /// Destroys keys that no row has.
    fn forget_keys(&self, ids: &[OwedId]) {
        let owners: Vec<Owner> = ids.iter().map(|id| id.owner()).collect();
        if !owners.is_empty()
            && let Err(error) = self.keyring.destroy_many(&owners)
        {
            tracing::warn!(%error, "keys of nobody could not be destroyed");
        }
    }

    /// Writes down, durably, a token that a grant is not going to hold: what came for it after it was given up. Tells whether it was:
    /// not where the grant holds another one by now, unless that `is_apart` from it, nor, with a warning, where as many as may wait do.
    ///
    /// # Errors
    /// If the disk is full or fails.
    pub fn owe(&self, owing: &Owing, at: Timestamp, is_apart: impl FnOnce(&StoredGrant) -> bool) -> Result<bool, StoreError> {
        let id = random_id()?;
        let written = self.catalog.owe_unless_held(&owing.of, is_apart, || {
            self.keyring.create(id.key())?;
            Ok((id, self.sealed(id, owing, at)?))
        });
        match written {
            Ok(Owes::Written) => return Ok(true),
            Ok(Owes::Full) => forget(1, TOO_MANY),
            Ok(Owes::Nothing) => {}
            Err(_) => self.forget_unwritten(&[id]),
        }
        written.map(|_| false)
    }

    /// What is owed, opened; `None` where its key is gone: it was settled, and the row is of an older copy.
    ///
    /// # Errors
    /// If it was changed, or the keyring cannot be read.
    pub fn open_owed(&self, id: OwedId, owed: &StoredOwed) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        owed.open(id, &self.keyring)
    }

    /// Takes out those that are done with, destroys their keys, and writes it down where the grant is still there. `timeline` is how many
    /// events a grant keeps. Tells whether any of them was refused.
    ///
    /// # Errors
    /// If the disk is full or fails. Keys that could not be destroyed are, with the next mutation or start.
    pub fn settle_owed(&self, settled: &[Settled], at: Timestamp, timeline: usize) -> Result<bool, StoreError> {
        let is_any_refused = self.catalog.settle_owed(settled, at, timeline)?;
        self.destroy_pending()?;
        Ok(is_any_refused)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ALICE, NOW, Place, fill};
    use super::*;
    use crate::catalog::{Fate, GrantId};
    use perseat_domain::grant::Holder;
    use perseat_journal::disk::Fault;

    fn owing(text: &str) -> Owing {
        Owing {
            of: GrantId {
                holder: Holder::User(ALICE),
                variable: "crm".into(),
            },
            host: "provider.example".into(),
            plain: Zeroizing::new(text.as_bytes().to_vec()),
        }
    }

    fn opened(custody: &Custody) -> Vec<String> {
        let rows = custody.catalog().owed(None, 10).unwrap();
        let open = |(id, owed): &(OwedId, StoredOwed)| custody.open_owed(*id, owed).unwrap();
        rows.iter()
            .map(|row| open(row).map_or_else(|| "closed".into(), |plain| String::from_utf8(plain.to_vec()).unwrap()))
            .collect()
    }

    #[test]
    fn what_is_owed_outlives_its_user_and_a_crash_and_its_key_goes_with_it() {
        let place = Place::new();
        let custody = place.custody();
        custody.mutate(NOW, fill).unwrap();
        let removed = custody.mutate(NOW, |tx| {
            tx.owe(owing("refresh"));
            tx.delete_user(ALICE, Timestamp(2))
        });
        assert!(removed.unwrap().changed);
        drop(custody);
        place.disk.crash();
        let custody = place.custody();
        assert!(custody.keyring().data_key(Owner::User(ALICE)).is_err());
        assert_eq!(opened(&custody), ["refresh"]);
        let (id, owed) = custody.catalog().owed(None, 10).unwrap().remove(0);
        let settled = Settled {
            id,
            of: owed.grant(),
            fate: Fate::GivenBack,
        };
        custody.settle_owed(&[settled], Timestamp(3), 8).unwrap();
        assert!(custody.catalog().owed(None, 10).unwrap().is_empty());
        assert_eq!(custody.open_owed(id, &owed).unwrap(), None, "not even from a copy");
    }

    #[test]
    fn what_is_not_committed_owes_nothing_and_leaves_no_key() {
        let place = Place::new();
        let custody = place.custody();
        custody.mutate(NOW, fill).unwrap();
        let failed = custody.mutate(NOW, |tx| {
            tx.owe(owing("refresh"));
            tx.delete_user(ALICE, Timestamp(2))?;
            Err::<(), _>(StoreError::corrupt("on purpose"))
        });
        assert!(failed.is_err());
        let unchanged = custody.mutate(NOW, |tx| {
            tx.owe(owing("refresh"));
            Ok::<_, StoreError>(())
        });
        assert!(!unchanged.unwrap().changed);
        assert!(custody.catalog().owed(None, 10).unwrap().is_empty());
        drop(custody);
        assert_eq!(place.keyring().findings().keys, 3, "the organization's, the customer's, the user's");
    }

    #[test]
    fn what_is_owed_by_a_commit_that_was_said_to_have_failed_and_was_done_can_be_given_back() {
        let mut done = [0, 0];
        for (call, is_alone) in (0..40).flat_map(|call| [(call, false), (call, true)]) {
            let place = Place::new();
            let custody = place.custody();
            custody.mutate(NOW, fill).unwrap();
            place.disk.fail_at(place.disk.calls() + call, Fault::FailedSync);
            let failed = match is_alone {
                true => custody.owe(&owing("refresh"), Timestamp(2), |_| false).is_err(),
                false => {
                    let removed = custody.mutate(NOW, |tx| {
                        tx.owe(owing("refresh"));
                        tx.delete_user(ALICE, Timestamp(2))
                    });
                    removed.is_err()
                }
            };
            place.disk.heal();
            if !failed {
                continue;
            }
            let rows = opened(&custody);
            assert!(rows.is_empty() || rows == ["refresh"], "call {call}: {rows:?}");
            done[usize::from(is_alone)] += rows.len();
        }
        assert!(done.iter().all(|count| *count > 0), "{done:?}");
    }

    #[test]
    fn more_than_may_wait_is_forgotten_and_keeps_nobody_from_removing() {
        let place = Place::new();
        let custody = place.custody_with(2);
        custody.mutate(NOW, fill).unwrap();
        custody
            .mutate(NOW, |tx| {
                ["one", "two", "three"].into_iter().for_each(|text| tx.owe(owing(text)));
                tx.delete_user(ALICE, Timestamp(2))
            })
            .unwrap();
        let mut kept = opened(&custody);
        kept.sort();
        assert_eq!(kept, ["one", "two"]);
        assert!(!custody.owe(&owing("four"), Timestamp(3), |_| false).unwrap());
    }
}
