//! Executions that gave their turns back for want of memory, as `actors/src/user/short.rs` keeps them. The memory is the daemon's own.

use crate::stage::{ToOwner, ToUser};
use crate::world::World;
use futures_util::FutureExt;
use perseat_actors::execution::{ExecutionMemory, Room};
use perseat_domain::id::ExecutionId;
use perseat_domain::identity::Identity;
use perseat_domain::owner::UserKey;
use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

/// How much an execution takes, in the units of [`Workload::memory`](crate::workload::Workload::memory); some take none.
pub(crate) fn needs(execution: ExecutionId) -> usize {
    (execution.0.as_u128() % 4) as usize
}

enum State {
    Waits(Pin<Box<dyn Future<Output = Room>>>),
    /// It is on its way to the user's mailbox.
    Comes,
    Has(Room),
}

/// Of one user.
#[derive(Default)]
pub(crate) struct Short(BTreeMap<ExecutionId, State>);

impl Short {
    pub(crate) fn wait(&mut self, memory: &Arc<ExecutionMemory>, execution: ExecutionId, identity: Identity) {
        let memory = memory.clone();
        let claim = async move { memory.claim(&identity, needs(execution)).await.unwrap() };
        self.0.insert(execution, State::Waits(Box::pin(claim)));
    }

    /// What there is memory for now.
    fn served(&mut self) -> Vec<(ExecutionId, Room)> {
        let mut served = Vec::new();
        for (execution, state) in &mut self.0 {
            if let State::Waits(claim) = state
                && let Some(room) = claim.as_mut().now_or_never()
            {
                *state = State::Comes;
                served.push((*execution, room));
            }
        }
        served
    }

    pub(crate) fn take(&mut self, execution: ExecutionId) -> Option<Room> {
        match self.0.remove(&execution) {
            Some(State::Has(room)) => Some(room),
            _ => None,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl World {
    /// Memory that became free reaches who waits for it.
    pub(crate) fn memory_comes(&mut self) {
        for user in self.stage.instances.values_mut().flat_map(|instance| instance.users.values_mut()) {
            let served = user.short.served();
            user.mail
                .extend(served.into_iter().map(|(execution, room)| ToUser::RoomCame(execution, room)));
        }
    }

    pub(crate) fn room_came(&mut self, key: UserKey, execution: ExecutionId, room: Room) {
        let Some(user) = self.stage.alive(key) else { return };
        let Some(state) = user.short.0.get_mut(&execution) else {
            return;
        };
        if self.owner.room_came(execution) {
            *state = State::Has(room);
            self.stage.to_owner.push_back(ToOwner::HasRoom(execution));
        } else {
            user.short.0.remove(&execution);
            self.stage.model.has_room(execution);
        }
    }
}
