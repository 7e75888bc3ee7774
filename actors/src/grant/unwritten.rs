//! What became of renewals and could not be written down, in mind until it is: by the grant on disk a renewal would seem to be cut off.
//! The same of those that were not begun, because their intent was said not to be written, and may be; and of what was refused, which
//! is told once.

use crate::execution::{ExecutionEnv, off_arbiter};
use perseat_domain::grant::Grant;
use perseat_store::StoreError;
use perseat_store::catalog::{Catalog, GrantId, Lookup as _, StoredGrant};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// As many are kept in mind. No key: each is a grant whose row could not be written, and past it what is unsettled is written before
/// anything goes on.
const MOST: usize = 1_024;

/// A grant that is unsettled on disk, or may be, and what is known of it.
#[derive(Clone, Debug)]
struct Known {
    /// As it may be on disk.
    on_disk: Vec<Grant>,
    held: StoredGrant,
}

impl Known {
    fn is_about(&self, found: &Grant) -> bool {
        self.on_disk.iter().any(|grant| grant.stands_as(found))
    }

    /// What takes the place of this row; none where the row is of another token or registration, or somebody else wrote it since: that is the
    /// truth.
    fn in_place_of(&self, row: &StoredGrant) -> Option<StoredGrant> {
        let is_of_the_same = (row.supplied, row.registration) == (self.held.supplied, self.held.registration);
        (is_of_the_same && self.is_about(&row.grant)).then(|| StoredGrant {
            grant: self.held.grant.clone(),
            ..row.clone()
        })
    }

    fn write_down(&self, catalog: &Catalog, id: &GrantId) -> Result<(), StoreError> {
        let Some(row) = catalog.grants_of(id.holder)?.remove(&id.variable) else {
            return Ok(());
        };
        if let Some(stored) = self.in_place_of(&row) {
            catalog.store_grant(id, Some(&row), &stored)?;
        }
        Ok(())
    }
}

/// The grants of one arbiter's actors; it outlives them. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Unwritten(Arc<Mutex<BTreeMap<GrantId, Known>>>);

impl Unwritten {
    fn all(&self) -> MutexGuard<'_, BTreeMap<GrantId, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where one of `on_disk` is found, `held` is the truth. Tells whether there was room.
    pub(super) fn keep(&self, id: &GrantId, on_disk: Vec<Grant>, held: StoredGrant) -> bool {
        let mut all = self.all();
        let has_room = all.len() < MOST || all.contains_key(id);
        if has_room {
            all.insert(id.clone(), Known { on_disk, held });
        }
        has_room
    }

    /// What is the truth where this is found; what was known of another one is forgotten.
    pub(super) fn recall(&self, id: &GrantId, found: &Grant) -> Option<Grant> {
        let mut all = self.all();
        let known = all.get(id)?;
        if known.is_about(found) {
            return Some(known.held.grant.clone());
        }
        all.remove(id);
        None
    }

    /// Writes all of it down, once nothing is tended any more. What cannot be written now is tried again a while later.
    pub(super) async fn write_down(&self, env: &ExecutionEnv) {
        loop {
            let all = self.all().clone();
            for (id, known) in all {
                let (catalog, of) = (env.custody.catalog().clone(), id.clone());
                match off_arbiter(move || known.write_down(&catalog, &of)).await {
                    Ok(()) => self.forget(&id),
                    Err(error) => {
                        tracing::warn!(%error, holder = ?id.holder, connection = %id.variable, "what became of a renewal cannot be written down now");
                    }
                }
            }
            if self.all().is_empty() {
                return;
            }
            env.clock.sleep(env.limits.full_retry).await;
        }
    }

    /// Something was written since.
    pub(super) fn forget(&self, id: &GrantId) {
        self.all().remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use perseat_domain::grant::{Holder, Status};
    use perseat_domain::id::InstanceId;
    use perseat_domain::model::KeyDigest;
    use perseat_domain::time::Timestamp;
    use perseat_store::seal::key_digest;
    use uuid::Uuid;

    fn id(number: usize) -> GrantId {
        GrantId {
            holder: Holder::Instance(InstanceId(Uuid::from_u128(number as u128))),
            variable: "crm".into(),
        }
    }

    #[test]
    fn what_is_known_holds_for_the_grant_that_was_on_disk_and_for_no_other() {
        let unwritten = Unwritten::default();
        let intended = |at| {
            let mut grant = Grant::default();
            grant.intend(Timestamp(at));
            grant
        };
        let on_disk = intended(1);
        let held = Grant {
            status: Status::Failed,
            ..Grant::default()
        };
        let stored = StoredGrant {
            grant: held.clone(),
            ..StoredGrant::default()
        };
        assert!(unwritten.keep(&id(1), vec![on_disk.clone(), intended(2)], stored.clone()));
        assert_eq!(unwritten.recall(&id(2), &on_disk), None);
        for found in [&on_disk, &intended(2)] {
            assert_eq!(unwritten.recall(&id(1), found), Some(held.clone()));
        }
        assert_eq!(unwritten.recall(&id(1), &intended(3)), None);
        assert_eq!(unwritten.recall(&id(1), &on_disk), None, "another was found since");
        unwritten.keep(&id(1), vec![on_disk.clone()], stored);
        unwritten.forget(&id(1));
        assert_eq!(unwritten.recall(&id(1), &on_disk), None, "another was written since");
    }

    #[test]
    fn what_is_known_takes_the_place_of_no_row_of_another_token_or_registration() {
        let digests = |supplied: &str, registration: &str| (Some(key_digest(supplied)), Some(key_digest(registration)));
        let row = |(supplied, registration): (Option<KeyDigest>, Option<KeyDigest>)| StoredGrant {
            supplied,
            registration,
            ..StoredGrant::default()
        };
        let same = row(digests("token", "registration"));
        let failed = Grant {
            status: Status::Failed,
            ..Grant::default()
        };
        let held = StoredGrant {
            grant: failed.clone(),
            ..same.clone()
        };
        let known = Known {
            on_disk: vec![same.grant.clone()],
            held: held.clone(),
        };
        assert_eq!(known.in_place_of(&same), Some(held));
        for other in [digests("another", "registration"), digests("token", "another")] {
            assert_eq!(known.in_place_of(&row(other)), None);
        }
        let written_since = StoredGrant { grant: failed, ..same };
        assert_eq!(known.in_place_of(&written_since), None);
    }

    #[test]
    fn only_so_many_are_kept_in_mind() {
        let unwritten = Unwritten::default();
        let keep = |number| unwritten.keep(&id(number), Vec::new(), StoredGrant::default());
        assert!((0..MOST).all(keep));
        assert!(!keep(MOST) && keep(0));
        unwritten.forget(&id(0));
        assert!(keep(MOST));
    }
}
