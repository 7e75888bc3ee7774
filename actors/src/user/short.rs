//! Executions that gave their turns back for want of memory, and wait for it without a slot.

use super::actor::UserActor;
use crate::execution::{ExecutionEnv, Room};
use crate::kit::{LocalRun, Mailbox, Obituary, run_here};
use actix::{Context, Handler, Message};
use perseat_domain::id::{ExecutionId, IdMap};
use perseat_domain::identity::Identity;
use std::sync::Arc;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Short(IdMap<ExecutionId, State>);

#[derive(Debug)]
enum State {
    /// It is waited for, until this is dropped.
    Waits(#[expect(dead_code, reason = "the wait ends with it")] LocalRun),
    Has(Room),
}

impl Short {
    /// From now on so much memory is waited for; [`RoomCame`] says that it is there.
    pub(super) fn wait(&mut self, env: &Arc<ExecutionEnv>, me: &Mailbox<UserActor>, of: (ExecutionId, Identity), bytes: usize) {
        let (env, me, (execution, identity)) = (env.clone(), me.clone(), of);
        let wait = run_here(Obituary::new(|_| ()), async move {
            if let Ok(room) = env.memory.claim(&identity, bytes).await {
                me.tell_past_the_bound(RoomCame { execution, room });
            }
        });
        self.0.insert(execution, State::Waits(wait));
    }

    /// Notes that it came; false where the execution waits for none any more.
    fn came(&mut self, RoomCame { execution, room }: RoomCame) -> bool {
        let state = self.0.get_mut(&execution);
        state.map(|state| *state = State::Has(room)).is_some()
    }

    /// What came for an execution that is taken up. Nothing is waited for any more.
    pub(super) fn take(&mut self, execution: ExecutionId) -> Option<Room> {
        let state = self.0.remove(&execution);
        if self.0.is_empty() {
            self.0 = IdMap::default();
        }
        match state {
            Some(State::Has(room)) => Some(room),
            Some(State::Waits(_)) | None => None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Sent by the wait: there is memory for an execution.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct RoomCame {
    execution: ExecutionId,
    room: Room,
}

impl Handler<RoomCame> for UserActor {
    type Result = ();

    fn handle(&mut self, message: RoomCame, _: &mut Context<Self>) {
        let execution = message.execution;
        if self.short().came(message) && !self.has_room(execution) {
            self.short().take(execution);
        }
    }
}
