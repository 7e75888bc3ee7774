//! The memory of answers: how much of bodies all requests hold at a time, and how much of that one sender.
//!
//! It is taken piece by piece while a body arrives, and nobody waits for it: two answers that are half read could wait for each other.

use perseat_domain::rate::Sender;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One sender has at most the memory divided by this, so that others go on. No key: it goes with `outbound.answer-memory`.
const SENDER_DIVISOR: usize = 2;

/// Memory for answers. Clones are the same memory.
#[derive(Clone, Debug)]
pub struct AnswerMemory(Arc<Memory>);

#[derive(Debug)]
struct Memory {
    size: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    /// Those that hold some.
    by_sender: HashMap<Option<Sender>, usize>,
}

/// There is no room now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

impl AnswerMemory {
    /// So many bytes.
    #[must_use]
    pub fn new(size: usize) -> Self {
        let held = Mutex::default();
        Self(Arc::new(Memory { size, held }))
    }

    /// How many bytes are held now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.0.held().all
    }

    /// Room for an answer to a sender; none yet.
    pub(super) fn room(&self, sender: Option<Sender>) -> Room {
        Room {
            memory: Arc::clone(&self.0),
            sender,
            bytes: 0,
        }
    }
}

impl Memory {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one answer holds. It is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    memory: Arc<Memory>,
    sender: Option<Sender>,
    bytes: usize,
}

impl Room {
    /// Holds `bytes` in all from now on.
    ///
    /// # Errors
    /// If there is no room for what is more than before; that is held on.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        let size = self.memory.size;
        let held = &mut *self.memory.held();
        let own = held.by_sender.get(&self.sender).copied().unwrap_or_default();
        if more > size.saturating_sub(held.all) || more > (size / SENDER_DIVISOR).saturating_sub(own) {
            return Err(NoRoom);
        }
        held.all += more;
        held.by_sender.insert(self.sender, own + more);
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let held = &mut *self.memory.held();
        held.all -= self.bytes;
        if let Some(own) = held.by_sender.get_mut(&self.sender) {
            *own -= self.bytes;
            if *own == 0 {
                held.by_sender.remove(&self.sender);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use perseat_domain::id::{CustomerId, UserId};
    use uuid::Uuid;

    fn sender(user: u128) -> Option<Sender> {
        Some(Sender {
            customer: CustomerId(Uuid::nil()),
            user: Some(UserId(Uuid::from_u128(user))),
        })
    }

    #[test]
    fn a_sender_has_half_of_the_memory_and_all_of_them_the_whole() {
        let memory = AnswerMemory::new(100);
        let (mut first, mut second) = (memory.room(sender(1)), memory.room(sender(1)));
        assert_eq!((first.grow(30), second.grow(20)), (Ok(()), Ok(())));
        assert_eq!((first.grow(31), first.grow(30)), (Err(NoRoom), Ok(())));
        let (mut other, mut nobodys) = (memory.room(sender(2)), memory.room(None));
        assert_eq!((other.grow(51), other.grow(40)), (Err(NoRoom), Ok(())));
        assert_eq!((nobodys.grow(11), nobodys.grow(10)), (Err(NoRoom), Ok(())));
        assert_eq!(memory.held(), 100);

        drop(second);
        assert_eq!((first.grow(50), memory.held()), (Ok(()), 100));
        drop((first, other, nobodys));
        assert_eq!(memory.held(), 0);
        assert!(memory.0.held().by_sender.is_empty());
    }
}
