//! Segments that are kept while somebody copies them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// What is kept, and for how long already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// The oldest segment that is kept; all newer ones are, too.
    pub from: u32,
    /// Since the oldest pin was made.
    pub age: Duration,
}

/// All pins of one log.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    held: BTreeMap<u64, (u32, Instant)>,
}

impl Pins {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps every segment from `from` on.
    pub(crate) fn add(self: &Arc<Self>, from: u32) -> Pin {
        let mut state = self.lock();
        let id = state.next;
        state.next += 1;
        state.held.insert(id, (from, Instant::now()));
        drop(state);
        Pin { pins: self.clone(), id }
    }

    pub(crate) fn pinned(&self) -> Option<Pinned> {
        let state = self.lock();
        let from = state.held.values().map(|(from, _)| *from).min()?;
        let since = state.held.values().map(|(_, since)| *since).min()?;
        Some(Pinned {
            from,
            age: since.elapsed(),
        })
    }

    /// Whether the segment is kept.
    pub(crate) fn hold(&self, segment: u32) -> bool {
        self.lock().held.values().any(|(from, _)| *from <= segment)
    }

    pub(crate) fn break_all(&self) {
        self.lock().held.clear();
    }
}

/// Keeps segments from being released for as long as it lives, unless it is broken to make room.
///
/// Whoever reads a pinned segment's file asks [`Pin::is_whole`] after each read: while the answer is yes, what was read is of that segment.
#[derive(Debug)]
pub struct Pin {
    pins: Arc<Pins>,
    id: u64,
}

impl Pin {
    /// Lets go of the segments before `segment`.
    pub fn advance(&self, segment: u32) {
        if let Some((from, _)) = self.pins.lock().held.get_mut(&self.id) {
            *from = segment.max(*from);
        }
    }

    /// Whether it still holds.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.pins.lock().held.contains_key(&self.id)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.pins.lock().held.remove(&self.id);
    }
}
