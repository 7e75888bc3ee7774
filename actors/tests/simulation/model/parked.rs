//! What waits for a credential: who is tried when, and for how long.

use super::Model;
use perseat_domain::id::ExecutionId;
use perseat_domain::owner::{Turn, UserKey, Wait};
use perseat_domain::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Where an execution stands in the order of acceptance.
type Place = (u64, ExecutionId);

/// Who of those that wait finds out.
#[derive(Debug, Default)]
pub(super) struct Scouts {
    /// Who is on its way, for which connection.
    sent: BTreeMap<(UserKey, String), Place>,
    /// Connections that are to be tried when nobody is on the way.
    wanted: BTreeSet<(UserKey, String)>,
    /// What waited, was let go, and did not go on yet.
    let_go: BTreeMap<(UserKey, Place), Wait>,
}

impl Scouts {
    /// It finds out no more: for what it was sent and does not wait again, the next one is to.
    fn is_back(&mut self, user: UserKey, place: Place, waits_for: Option<&str>) {
        let sent = self.sent.iter().filter(|((of, _), scout)| (*of, **scout) == (user, place));
        let lanes: Vec<(UserKey, String)> = sent.map(|(lane, _)| lane.clone()).collect();
        for lane in lanes {
            self.sent.remove(&lane);
            if waits_for != Some(&lane.1) {
                self.wanted.insert(lane);
            }
        }
    }

    /// It went on.
    pub(super) fn went_on(&mut self, user: UserKey, place: Place) {
        self.let_go.remove(&(user, place));
    }
}

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
            story.is_resting = true;
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
        let is_so = std::mem::take(&mut story.is_resting) && story.is_known;
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
        self.scouts.went_on(user, place);
        self.scouts.is_back(user, place, Some(&wait.connection));
        self.wait_behind(user, place, &wait.connection);
        if let Some(again) = wait.again {
            let known = self.again.entry(user).or_insert(again);
            *known = again.min(*known);
        }
        self.parked.entry(user).or_default().insert(place, wait);
        self.send_scouts(user);
    }

    /// What was let go for the same connection later than this, and has not had its turn, waits on.
    fn wait_behind(&mut self, user: UserKey, place: Place, connection: &str) {
        let Some(line) = self.lines.get(&user).cloned() else { return };
        for other in line.into_iter().filter(|other| *other > place) {
            let is_cancelled = self.stories.get(&other.1).is_some_and(|story| story.cancelled.is_some());
            let is_so = |wait: &&Wait| wait.connection == connection && !is_cancelled;
            let Some(wait) = self.scouts.let_go.get(&(user, other)).filter(is_so).cloned() else {
                continue;
            };
            self.lines.entry(user).or_default().remove(&other);
            self.scouts.went_on(user, other);
            self.scouts.is_back(user, other, None);
            self.parked.entry(user).or_default().insert(other, wait);
        }
    }

    /// Its end was asked for, or has come.
    pub(super) fn finds_out_no_more(&mut self, user: UserKey, place: Place) {
        self.scouts.went_on(user, place);
        self.scouts.is_back(user, place, None);
        self.send_scouts(user);
    }

    /// Whoever waits longest for each connection that is to be tried lines up, where nobody is on the way.
    fn send_scouts(&mut self, user: UserKey) {
        let waiting = self.parked.get(&user).cloned().unwrap_or_default();
        for (place, wait) in waiting {
            let lane = (user, wait.connection);
            if self.scouts.wanted.contains(&lane) && !self.scouts.sent.contains_key(&lane) {
                self.scouts.sent.insert(lane.clone(), place);
                self.scouts.wanted.remove(&lane);
                self.goes(user, place);
            }
        }
        let sent = &self.scouts.sent;
        self.scouts.wanted.retain(|lane| lane.0 != user || sent.contains_key(lane));
    }

    /// It waits no more, and lines up.
    fn goes(&mut self, user: UserKey, place: Place) {
        if let Some(wait) = self.unparked(user, place) {
            self.scouts.let_go.insert((user, place), wait);
        }
        self.lined_up(place.1);
    }

    pub(super) fn unparked(&mut self, user: UserKey, place: Place) -> Option<Wait> {
        let of_user = self.parked.get_mut(&user)?;
        let wait = of_user.remove(&place);
        if of_user.is_empty() {
            self.parked.remove(&user);
            self.again.remove(&user);
        }
        wait
    }

    /// Whatever these users wait for is to be tried.
    pub(crate) fn try_parked(&mut self, which: impl Fn(&UserKey) -> bool) {
        self.again.retain(|user, _| !which(user));
        let waited = self.parked.iter().filter(|(user, _)| which(user));
        let waited = waited.flat_map(|(user, waiting)| waiting.values().map(|wait| (*user, wait.connection.clone())));
        let on_the_way = self.scouts.sent.keys().filter(|(user, _)| which(user)).cloned();
        let lanes: Vec<(UserKey, String)> = waited.chain(on_the_way).collect();
        self.scouts.wanted.extend(lanes.iter().cloned());
        for (user, _) in lanes {
            self.send_scouts(user);
        }
    }

    /// The user has all credentials but these: whoever waits for another lines up.
    pub(crate) fn usable(&mut self, user: UserKey, missing: &[String]) {
        let waiting = self.parked.get(&user).into_iter().flatten();
        let usable = waiting.filter(|(_, wait)| !missing.contains(&wait.connection));
        let usable: Vec<Place> = usable.map(|(place, _)| *place).collect();
        let is_missing = |lane: &(UserKey, String)| lane.0 != user || missing.contains(&lane.1);
        self.scouts.sent.retain(|lane, _| is_missing(lane));
        self.scouts.wanted.retain(is_missing);
        usable.into_iter().for_each(|place| self.goes(user, place));
    }

    /// The owner looks at what waits for a credential.
    pub(crate) fn looks(&mut self, now: Timestamp) {
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
        let due: BTreeSet<UserKey> = self.again.iter().filter(|(_, at)| **at <= now).map(|(user, _)| *user).collect();
        self.try_parked(|user| due.contains(user));
    }
}
