//! What waits for memory.

use super::Model;
use perseat_domain::id::ExecutionId;
use perseat_domain::owner::{Turn, UserKey};

impl Model {
    /// An activation is over before it began anything, for want of memory.
    pub(crate) fn gives_back(&mut self, number: u64) {
        self.report.short += 1;
        if let Some((story, _)) = self.running(number) {
            story.is_resting = true;
            story.running = None;
        }
    }

    /// The owner hears of it.
    pub(crate) fn gave_back(&mut self, turn: &Turn) {
        let is_void = self.handed.get(&turn.execution) != Some(turn);
        self.slot_freed(turn);
        let Some(story) = self.stories.get_mut(&turn.execution) else {
            return;
        };
        let is_so = std::mem::take(&mut story.is_resting) && story.is_known && !is_void;
        if is_so {
            story.is_short = true;
            let (user, place) = (UserKey::of(&story.identity), (story.order, turn.execution));
            self.scouts.went_on(user, place);
        }
    }

    /// There is memory for it: it lines up.
    pub(crate) fn has_room(&mut self, execution: ExecutionId) {
        if self.is_short_no_more(execution) {
            self.lined_up(execution);
        }
    }

    /// It waits for memory no longer; whether it did.
    pub(super) fn is_short_no_more(&mut self, execution: ExecutionId) -> bool {
        let story = self.stories.get_mut(&execution);
        story.is_some_and(|story| std::mem::take(&mut story.is_short))
    }
}
