//! What the journal alone says of executions whose first entries went with their segment: for where rows are made again.
//!
//! A `Carried` stands behind entries that came later than those that it repeats. So everything is looked through before a
//! row is made; it begins with what was carried, wherever that stands, and goes on with the entries as they come.

use super::Logged;
use bytes::Bytes;
use perseat_domain::entry::{Entry, EntryHead};
use perseat_domain::id::ExecutionId;
use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash as _, Hasher as _};

/// Fed with every entry of the journal, in position order. Of an entry it keeps a digest, and only of executions of which
/// something was carried: of what was live at once.
#[derive(Debug, Default)]
pub struct Copies(HashMap<ExecutionId, Seen>);

/// What was seen of an execution before it ended.
#[derive(Debug, Default)]
struct Seen {
    copies: Vec<Copied>,
    /// Position and digest of each entry that is not within a copy.
    others: Vec<(u64, u64)>,
    has_ended: bool,
}

/// A `Carried`.
#[derive(Debug)]
struct Copied {
    position: u64,
    first: u32,
    /// Of the entries in it.
    digests: Vec<u64>,
}

/// How a row begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beginning {
    /// Which execution.
    pub execution: ExecutionId,
    /// Where the `Carried` stand that together hold its entries from the first on, in the order of these; of each so many of the last.
    pub places: Vec<(u64, u32)>,
    /// Up to which position its other entries are only what these repeat.
    pub repeated_through: Option<u64>,
    /// Whether others between these and the rest may be gone: it has ended, and only what is live is carried.
    pub may_lack: bool,
}

impl Copies {
    /// Of the executions of which something was carried.
    #[must_use]
    pub fn of(carried: HashSet<ExecutionId>) -> Self {
        Self(carried.into_iter().map(|execution| (execution, Seen::default())).collect())
    }

    /// Takes the next entry. One that does not decode says nothing.
    pub fn take(&mut self, logged: &Logged) {
        let Ok(head) = EntryHead::read(&logged.payload) else { return };
        if let EntryHead::Accepted { execution, .. } = head {
            // All of it is here, and so would its end be.
            self.0.remove(&execution);
        }
        let Some(seen) = self.0.get_mut(&head.execution()).filter(|seen| !seen.has_ended) else {
            return;
        };
        match head {
            EntryHead::Ended(_) => seen.has_ended = true,
            EntryHead::Carried { .. } => seen.copies.extend(Copied::read(logged)),
            _ => seen.others.push((logged.position, digest(&logged.payload))),
        }
    }

    /// Executions with neither `Accepted` nor `Ended`: live, or ended in a segment that was dropped.
    #[must_use]
    pub fn in_doubt(&self) -> usize {
        self.0.values().filter(|seen| !seen.has_ended).count()
    }

    /// The executions without `Accepted` of which the beginning is here: all that came before their end but for what they may lack.
    pub fn beginnings(&self) -> impl Iterator<Item = Beginning> + '_ {
        self.0.iter().filter_map(|(execution, seen)| seen.beginning(*execution))
    }
}

impl Seen {
    fn beginning(&self, execution: ExecutionId) -> Option<Beginning> {
        let copies = self.covering();
        let digests = |(copied, entries): &(&Copied, u32)| copied.digests.iter().rev().take(*entries as usize).rev().copied().collect();
        let repeated = copies.iter().map(digests).collect::<Vec<Vec<u64>>>().concat();
        // What is carried is dropped only after that: the last that it repeats may be here as they were written, too.
        let most = self.others.len().min(repeated.len());
        let others = || self.others.iter().map(|(_, digest)| *digest);
        let repeats = |count: &usize| repeated.iter().rev().take(*count).rev().copied().eq(others().take(*count));
        let last = (1..=most).rev().find(repeats).and_then(|count| self.others.get(count - 1));
        (!copies.is_empty()).then(|| Beginning {
            execution,
            places: copies.iter().map(|(copied, entries)| (copied.position, *entries)).collect(),
            repeated_through: last.map(|(position, _)| *position),
            // Behind an entry that is here as it was written is everything.
            may_lack: self.has_ended && last.is_none(),
        })
    }

    /// The copies that together hold as many entries as can be had from the first on, each with how many of its last are new.
    fn covering(&self) -> Vec<(&Copied, u32)> {
        let (mut found, mut end) = (Vec::new(), 0);
        let next = |end: u32| {
            let next = self.copies.iter().filter(|copied| copied.first <= end && end < copied.end());
            next.max_by_key(|copied| (copied.end(), copied.position))
        };
        while let Some(copied) = next(end) {
            found.push((copied, copied.end() - end));
            end = copied.end();
        }
        found
    }
}

impl Copied {
    fn read(logged: &Logged) -> Option<Self> {
        match Entry::decode(&logged.payload) {
            Ok(Entry::Carried(carried)) if !carried.entries.is_empty() => Some(Self {
                position: logged.position,
                first: carried.first,
                digests: carried.entries.iter().map(digest).collect(),
            }),
            _ => None,
        }
    }

    /// The number of the entry behind its last.
    fn end(&self) -> u32 {
        self.first.saturating_add(self.digests.len() as u32)
    }
}

fn digest(payload: &Bytes) -> u64 {
    let mut hasher = DefaultHasher::new();
    payload.hash(&mut hasher);
    hasher.finish()
}
