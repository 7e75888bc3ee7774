//! Executions for which there is no memory.

use super::table::Stand;
use super::{Owner, Turn, Users};
use crate::id::ExecutionId;

impl Owner {
    /// A running execution gives its turn back before it has begun anything, for want of memory: its slot is free, and it stands apart
    /// until there [is room](Self::has_room). One whose end was asked for is taken up once more, to be ended.
    pub fn gave_back(&mut self, turn: &Turn, users: &mut dyn Users) {
        let is_void = turn.slot.is_some_and(|slot| !self.queue.returned(slot));
        let live = self
            .table
            .get_mut(turn.execution)
            .filter(|live| !is_void && live.stand == Stand::Running);
        let Some(live) = live else { return };
        live.stand = Stand::Short;
        let (is_cancelled, order) = (live.is_cancelled, live.order);
        self.held.stir(live.identity.customer);
        // Where it was let go for a credential it finds out itself whether that is back: whoever keeps memory for it would not hear that
        // it waits on.
        self.parked.went_on(turn.user, order);
        if is_cancelled {
            self.cancel(turn.execution, users);
        }
    }

    /// An execution that memory [came for](Self::room_came) lines up again, in its old place.
    pub fn has_room(&mut self, execution: ExecutionId) {
        if let Some(live) = self.table.get_mut(execution)
            && live.stand == Stand::Short
        {
            live.has_memory = true;
            let user = live.user();
            self.line_up_in_place(user, vec![execution]);
        }
    }
}
