//! What waits for a credential: who is tried when, and for how long.

use super::Model;
use perseat_domain::id::ExecutionId;
use perseat_domain::owner::{Turn, UserKey, Wait};
use perseat_domain::time::Timestamp;
use std::collections::BTreeSet;

impl Model {
    /// A credential is gone, or back.
    pub(crate) fn account(&mut self, user: UserKey, connection: &str, is_missing: bool) {
        let account = (user, connection.to_owned());
        match is_missing {
            true => self.missing.insert(account),
            false => self.missing.remove(&account),
        };
    }

    /// An activation is over: that its execution waits for a credential is durable.
    pub(crate) fn parks(&mut self, number: u64) {
        self.report.parked += 1;
        if let Some((story, _)) = self.running(number) {
            story.is_parking = true;
            // A step whose credential went missing between two tries begins anew.
            let open = story.running.take().and_then(|running| running.open);
            if let Some(open) = open {
                story.begun.entry(open.path).or_insert((0, 1)).1 += 1;
            }
        }
    }

    /// The owner hears of it.
    pub(crate) fn parked(&mut self, turn: &Turn, wait: &Wait) {
        let Some(story) = self.stories.get_mut(&turn.execution) else {
            return;
        };
        let is_so = std::mem::take(&mut story.is_parking) && story.is_known;
        let is_cancelled = story.cancelled.is_some();
        let is_void = turn.slot.is_some() && self.handed.get(&turn.execution) != Some(turn);
        self.slot_freed(turn);
        match (is_so && !is_void, is_cancelled) {
            (true, false) => self.is_parked(turn.execution, wait.clone()),
            (true, true) => self.lined_up(turn.execution),
            (false, _) => {}
        }
    }

    /// An execution waits for a credential.
    pub(crate) fn is_parked(&mut self, execution: ExecutionId, wait: Wait) {
        let Some(story) = self.stories.get_mut(&execution) else { return };
        story.is_known = true;
        let (user, place) = (UserKey::of(&story.identity), (story.order, execution));
        if let Some(again) = wait.again {
            let known = self.again.entry(user).or_insert(again);
            *known = again.min(*known);
        }
        self.parked.entry(user).or_default().insert(place, wait);
    }

    pub(super) fn unparked(&mut self, user: UserKey, place: (u64, ExecutionId)) -> Option<Wait> {
        let of_user = self.parked.get_mut(&user)?;
        let wait = of_user.remove(&place);
        if of_user.is_empty() {
            self.parked.remove(&user);
            self.again.remove(&user);
        }
        wait
    }

    /// Whoever waits longest for each connection of these users lines up, to find out.
    pub(crate) fn try_parked(&mut self, which: impl Fn(&UserKey) -> bool) {
        let mut first = Vec::new();
        for (user, waiting) in self.parked.iter().filter(|(user, _)| which(user)) {
            let mut connections = BTreeSet::new();
            let longest = waiting.iter().filter(|(_, wait)| connections.insert(&wait.connection));
            first.extend(longest.map(|(place, _)| (*user, *place)));
        }
        self.again.retain(|user, _| !which(user));
        for (user, place) in first {
            self.unparked(user, place);
            self.lined_up(place.1);
        }
    }

    /// The user has all credentials but these: whoever waits for another lines up.
    pub(crate) fn usable(&mut self, user: UserKey, missing: &[String]) {
        let waiting = self.parked.get(&user).into_iter().flatten();
        let usable = waiting.filter(|(_, wait)| !missing.contains(&wait.connection));
        let usable: Vec<(u64, ExecutionId)> = usable.map(|(place, _)| *place).collect();
        for place in usable {
            self.unparked(user, place);
            self.lined_up(place.1);
        }
    }

    /// The owner looks at what waits for a credential.
    pub(crate) fn looks(&mut self, now: Timestamp) {
        let due: BTreeSet<UserKey> = self.again.iter().filter(|(_, at)| **at <= now).map(|(user, _)| *user).collect();
        let mut ends = Vec::new();
        for (user, waiting) in &self.parked {
            let ended = waiting.iter().filter(|(_, wait)| wait.until <= now);
            ends.extend(ended.map(|(place, _)| (*user, *place)));
        }
        for (user, place) in ends {
            self.unparked(user, place);
            self.given_up.insert(place.1);
            self.lined_up(place.1);
        }
        self.try_parked(|user| due.contains(user));
    }
}
