//! The owner.

use super::parked::{Parked, Wait};
use super::shares::{Held, Shares};
use super::table::{Deaths, Live, Stand, Table, TakenUp};
use super::{Note, Turn, UserKey, Waiting};
use crate::entry::{EntryError, EntryHead, EntryRef};
use crate::fair::{Cost, FairOptions, FairQueue};
use crate::id::{CustomerId, ExecutionId};
use crate::identity::Identity;
use crate::time::Timestamp;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// Limits of one owner.
#[derive(Clone, Copy, Debug)]
pub struct OwnerOptions {
    /// Slots and shares (`execution.slots`).
    pub fair: FairOptions,
    /// Bytes of accepted entries kept in memory until they start (`execution.payload-cache`).
    pub cache_bytes: usize,
    /// What has begun may hold so much before nothing more begins.
    pub shares: Shares,
}

/// An entry that just became durable.
#[derive(Clone, Copy, Debug)]
pub struct Commit<'a> {
    /// Its position's bits.
    pub position: u64,
    /// Its stored form.
    pub payload: &'a Bytes,
}

/// Why a user does not take work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its actor is down or leaves; whoever restarts it will say [`Owner::back`].
    Down,
    /// There is no room; [`Owner::catch_up`] tries again.
    Busy,
}

/// Whether a message reached its user.
pub type Reached = Result<(), Refusal>;

/// How an owner reaches its users. Nothing here may call back into the owner.
pub trait Users {
    /// Has an execution taken up.
    ///
    /// # Errors
    /// If the user cannot be reached now.
    fn start(&mut self, turn: &Turn) -> Reached;

    /// Has a running execution end.
    ///
    /// # Errors
    /// If the user cannot be reached now.
    fn cancel(&mut self, user: UserKey, execution: ExecutionId) -> Reached;
}

/// The live executions of one owner and their order.
#[derive(Debug)]
pub struct Owner {
    pub(super) table: Table,
    pub(super) queue: FairQueue<CustomerId, UserKey, Waiting>,
    /// Users whose executions are withheld.
    paused: BTreeSet<UserKey>,
    /// Those of them that were only busy.
    behind: BTreeSet<UserKey>,
    /// Those that are back but for appends that are not settled.
    returning: BTreeSet<UserKey>,
    /// Running executions that were not reached when their end was asked for.
    unheard: BTreeSet<ExecutionId>,
    /// What waits for a credential.
    pub(super) parked: Parked,
    /// What has begun holds so much.
    pub(super) held: Held,
    is_draining: bool,
    /// Nothing starts until it is let go.
    is_held: bool,
}

impl Owner {
    /// An owner with nothing live.
    #[must_use]
    pub fn new(options: OwnerOptions) -> Self {
        Self {
            table: Table::new(options.cache_bytes),
            queue: FairQueue::new(options.fair),
            paused: BTreeSet::new(),
            behind: BTreeSet::new(),
            returning: BTreeSet::new(),
            unheard: BTreeSet::new(),
            parked: Parked::default(),
            held: Held::new(options.shares),
            is_draining: false,
            is_held: false,
        }
    }

    /// Takes in the next committed entry. Follow a batch with [`grant`](Self::grant).
    ///
    /// # Errors
    /// If it does not decode; nothing changed then.
    pub fn committed(&mut self, commit: Commit<'_>, users: &mut dyn Users) -> Result<Note, EntryError> {
        let reference = |entries| EntryRef {
            position: commit.position,
            entries,
            bytes: u32::try_from(commit.payload.len()).unwrap_or(u32::MAX),
        };
        match EntryHead::read(commit.payload)? {
            EntryHead::Accepted { identity: None, .. } => {}
            EntryHead::Accepted {
                execution,
                identity: Some(identity),
            } => {
                // With room for its start, too.
                let mut entries = Vec::with_capacity(2);
                entries.push(reference(1));
                let live = Live {
                    identity,
                    order: commit.position,
                    entries,
                    bytes: commit.payload.len() as u64,
                    has_begun: false,
                    has_memory: false,
                    accepted: Some(commit.payload.clone()),
                    stand: Stand::Withheld,
                    deaths: Deaths::All(0),
                    deaths_told: 0,
                    is_cancelled: false,
                    unsettled: 0,
                };
                self.table.insert(execution, live);
                self.line_up(execution, &identity);
                return Ok(Note::Accepted);
            }
            EntryHead::Started { execution, deaths } => {
                self.went_on(execution, reference(1));
                self.began(execution);
                if let Some(live) = self.table.get_mut(execution) {
                    live.deaths.are_written(deaths, live.deaths_told);
                    self.parked.went_on(live.user(), live.order);
                }
            }
            EntryHead::Progress(execution) => {
                let grown = reference(1);
                self.went_on(execution, grown);
                let Some((identity, claim)) = self.table.grew(execution, grown.bytes.into()) else {
                    return Ok(Note::Other);
                };
                self.held.add(&identity, claim.bytes);
                return Ok(Note::Grew(claim));
            }
            EntryHead::Carried { execution, first, count } => self.table.carried(execution, first, reference(count)),
            EntryHead::Cancelled(execution) => {
                self.went_on(execution, reference(1));
                self.cancel(execution, users);
            }
            EntryHead::Ended(execution) => {
                if let Some(live) = self.table.remove(execution) {
                    self.unheard.remove(&execution);
                    self.parked.remove(live.user(), live.order);
                    if live.stand == Stand::Waiting {
                        self.queue.withdraw(live.user(), |waiting| waiting.execution == execution);
                    }
                    self.send_scouts(live.user());
                    self.is_apart_no_more(&live.identity, live.order);
                    self.frees(&live);
                    return Ok(Note::Ended(live.claim()));
                }
            }
        }
        Ok(Note::Other)
    }

    /// Gives the free slots to those whose turn it is.
    pub fn grant(&mut self, users: &mut dyn Users) {
        self.hand_out(users);
        while self.let_in() {
            self.hand_out(users);
        }
    }

    fn hand_out(&mut self, users: &mut dyn Users) {
        while !self.is_draining
            && !self.is_held
            && let Some((user, work)) = self.queue.first()
        {
            let execution = work.execution;
            // Whoever is set apart was not served.
            if self.is_set_apart(user, execution) {
                self.queue.withdraw(user, |waiting| waiting.execution == execution);
                continue;
            }
            let slot = self.queue.grant();
            self.start(&Turn { execution, user, slot }, users);
        }
    }

    /// A user takes up an execution; `None` if it ended meanwhile or its turn is void. Whoever was granted it anew since takes it up.
    pub fn take_up(&mut self, turn: &Turn) -> Option<TakenUp> {
        if turn.slot.is_some_and(|slot| !self.queue.holds(&slot)) {
            return None;
        }
        let is_scout = |live: &Live| self.parked.is_scout(live.user(), live.order);
        self.table.take_up(turn.execution, is_scout)
    }

    /// A running execution died and its user did not: it lines up again, in its old place. To be told after everything
    /// that the execution saw become durable.
    pub fn fell(&mut self, turn: &Turn) {
        // Its turn is over when its end is durable.
        if self.table.get_mut(turn.execution).is_some_and(|live| live.stand == Stand::Ending) {
            return;
        }
        let is_void = turn.slot.is_some_and(|slot| !self.queue.returned(slot));
        let Some(live) = self.table.get_mut(turn.execution) else {
            return;
        };
        if is_void || live.stand != Stand::Running {
            return;
        }
        live.deaths.one_more();
        self.line_up_in_place(turn.user, vec![turn.execution]);
    }

    /// An actor died while it waited for an append: whether that became durable is not known yet.
    pub fn unsettled(&mut self, execution: ExecutionId) {
        if let Some(live) = self.table.get_mut(execution) {
            live.unsettled += 1;
        }
    }

    /// It is known now, and what became durable was [taken in](Self::committed) before.
    pub fn settled(&mut self, user: UserKey, execution: ExecutionId, users: &mut dyn Users) {
        if let Some(live) = self.table.get_mut(execution) {
            live.unsettled = live.unsettled.saturating_sub(1);
        }
        if self.returning.contains(&user) {
            self.back(|other| *other == user, users);
        }
    }

    /// A running execution is through: its end is handed over to be written, and will be, whatever becomes of its user. False where
    /// the death of its actor was [taken in](Self::died) before: it is not this activation that ends it, and nothing is to be written.
    #[must_use]
    pub fn ending(&mut self, execution: ExecutionId) -> bool {
        let live = self.table.get_mut(execution).filter(|live| live.stand == Stand::Running);
        live.map(|live| live.stand = Stand::Ending).is_some()
    }

    /// A turn is over: the execution's end is durable, or it had ended before it was taken up and cost nothing.
    pub fn over(&mut self, turn: &Turn, cost: Option<Cost>) {
        let Some(slot) = turn.slot else { return };
        // A turn from before its user died is void.
        let _is_held = match cost {
            Some(cost) => self.queue.ended(slot, cost),
            None => self.queue.returned(slot),
        };
    }

    /// A running execution cannot go on before a credential is back: its slot is free, and it stands apart. One whose end
    /// was asked for lines up at once, to be ended. What was accepted later and let go for the same credential waits on behind it.
    pub fn parked(&mut self, turn: &Turn, cost: Cost, wait: Wait) {
        let is_void = turn.slot.is_some_and(|slot| !self.queue.ended(slot, cost));
        let Some(live) = self.table.get_mut(turn.execution) else {
            return;
        };
        if is_void || live.stand != Stand::Running {
            return;
        }
        if live.is_cancelled {
            return self.line_up_in_place(turn.user, vec![turn.execution]);
        }
        live.stand = Stand::Parked;
        let order = live.order;
        self.hold_back(turn.user, order, &wait.connection);
        self.parked.add(turn.user, order, turn.execution, wait);
        self.send_scouts(turn.user);
    }

    /// The credentials of these users may be back: the first execution that waits for each lines up to find out. Where one
    /// is on its way already that is done when it is back, or at its end.
    pub fn try_parked(&mut self, which: impl Fn(&UserKey) -> bool, users: &mut dyn Users) {
        self.try_all(self.parked.users(which));
        self.grant(users);
    }

    /// [`try_parked`](Self::try_parked) for one user, which looks at no others.
    pub fn try_parked_of(&mut self, user: UserKey, users: &mut dyn Users) {
        self.try_all(vec![user]);
        self.grant(users);
    }

    /// All credentials of a user but these can be used: whatever waits for others lines up again, each in its old place. To be
    /// told after each reading, and whenever a [scout](TakenUp::is_scout) is taken up.
    pub fn usable(&mut self, user: UserKey, missing: &[String], users: &mut dyn Users) {
        let usable = self.parked.take_usable(user, missing);
        self.unpark(user, usable);
        self.grant(users);
    }

    /// What has waited long enough lines up, to end in its turn or to go on if it can; what is worth it by now is tried.
    pub fn look(&mut self, now: Timestamp, users: &mut dyn Users) {
        let mut ended: BTreeMap<UserKey, Vec<ExecutionId>> = BTreeMap::new();
        for (user, execution) in self.parked.take_ended(now) {
            ended.entry(user).or_default().push(execution);
        }
        for (user, executions) in ended {
            self.unpark(user, executions);
        }
        self.try_all(self.parked.due(now));
        self.grant(users);
    }

    /// When [`look`](Self::look) has something to do.
    #[must_use]
    pub fn next_look(&self) -> Option<Timestamp> {
        self.parked.next_look()
    }

    /// Whether something of this user is parked, or on its way to find out.
    #[must_use]
    pub fn has_parked(&self, user: UserKey) -> bool {
        self.parked.holds(user)
    }

    /// Executions that are parked.
    #[must_use]
    pub fn parked_now(&self) -> usize {
        self.parked.len()
    }

    /// A turn did not reach its user after all.
    pub fn refused(&mut self, turn: &Turn, why: Refusal) {
        let is_void = turn.slot.is_some_and(|slot| !self.queue.returned(slot));
        if let Some(live) = self.table.get_mut(turn.execution)
            && !is_void
            && live.stand == Stand::Granted
        {
            live.stand = Stand::Withheld;
            self.held.stir(live.identity.customer);
            self.pause(turn.user, why);
        }
    }

    /// The actors of these users died: what they were running is withheld like the rest, and counts a death. What was through
    /// ends as it would have.
    pub fn died(&mut self, which: impl Fn(&UserKey) -> bool) {
        // A slot may be held by an execution whose end was taken in already.
        for user in self.queue.users_of(&which) {
            self.queue.gone(user);
        }
        // What is parked, stands apart or ends runs nowhere, and stays where it is.
        let stays = |live: &Live| matches!(live.stand, Stand::Ending | Stand::Parked | Stand::Apart);
        let lost = |live: &&mut Live| !stays(live) && which(&live.user());
        for live in self.table.values_mut().filter(lost) {
            if live.stand == Stand::Running {
                live.deaths.one_more();
            }
            (live.stand, live.has_memory) = (Stand::Withheld, false);
            self.held.stir(live.identity.customer);
            let user = live.user();
            self.behind.remove(&user);
            self.paused.insert(user);
        }
        // What their last actors but one wrote no longer decides when they are back.
        self.returning.retain(|user| !which(user));
    }

    /// The actors of these users can be reached again. One whose last actor left appends behind is back once they are
    /// settled: what was written must be known before it is gone on with.
    pub fn back(&mut self, which: impl Fn(&UserKey) -> bool, users: &mut dyn Users) {
        let unsettled = self.table.unsettled().filter(|user| which(user) && self.paused.contains(user));
        let held: BTreeSet<UserKey> = unsettled.collect();
        let is_back = |user: &UserKey| which(user) && !held.contains(user);
        self.paused.retain(|user| !is_back(user));
        self.behind.retain(|user| !is_back(user));
        self.returning.retain(|user| !is_back(user));
        self.line_up_all(is_back);
        self.returning.extend(held.iter().copied());
        // Nobody may have told what the last actor found out.
        self.try_parked(is_back, users);
    }

    /// Tries again what found its user busy.
    pub fn catch_up(&mut self, users: &mut dyn Users) {
        for execution in std::mem::take(&mut self.unheard) {
            self.cancel(execution, users);
        }
        let behind = std::mem::take(&mut self.behind);
        if !behind.is_empty() {
            self.back(|user| behind.contains(user), users);
        }
    }

    /// A running execution did not hear that it is to end.
    pub fn not_heard(&mut self, execution: ExecutionId) {
        if self.table.get_mut(execution).is_some_and(|live| live.stand == Stand::Running) {
            self.unheard.insert(execution);
        }
    }

    /// Holds everything that waits, or lets it go; what is cancelled ends all the same. Follow it with [`grant`](Self::grant).
    pub fn hold(&mut self, is_held: bool) {
        self.is_held = is_held;
    }

    /// From now on nothing starts.
    pub fn drain(&mut self) {
        self.is_draining = true;
    }

    /// Users that are tried again by [`catch_up`](Self::catch_up).
    #[must_use]
    pub fn behind(&self) -> usize {
        self.behind.len()
    }

    /// Executions that hold a slot.
    #[must_use]
    pub fn running(&self) -> u32 {
        self.queue.running()
    }

    /// Executions accepted and not ended.
    #[must_use]
    pub fn live(&self) -> usize {
        self.table.len()
    }

    fn went_on(&mut self, execution: ExecutionId, reference: EntryRef) {
        if let Some(live) = self.table.get_mut(execution) {
            live.entries.push(reference);
        }
    }

    fn try_all(&mut self, tried: Vec<UserKey>) {
        for user in tried {
            self.parked.want(user);
            self.send_scouts(user);
        }
    }

    /// Whoever is to find out about a credential lines up.
    fn send_scouts(&mut self, user: UserKey) {
        let scouts = self.parked.take_scouts(user);
        self.unpark(user, scouts);
    }

    /// What was accepted after `order`, let go for this connection and not taken up waits on.
    fn hold_back(&mut self, user: UserKey, order: u64, connection: &str) {
        let is_held = |table: &mut Table, execution| {
            let live = table.get_mut(execution);
            live.is_some_and(|live| matches!(live.stand, Stand::Waiting | Stand::Withheld) && !live.is_cancelled)
        };
        let mut behind = self.parked.let_go_behind(user, order, connection);
        behind.retain(|(_, execution)| is_held(&mut self.table, *execution));
        if behind.is_empty() {
            return;
        }
        for (order, execution) in behind {
            self.parked.put_back(user, order);
            self.queue.withdraw(user, |waiting| waiting.execution == execution);
            self.stands(execution, Stand::Parked);
        }
    }

    fn unpark(&mut self, user: UserKey, executions: Vec<ExecutionId>) {
        if !executions.is_empty() {
            self.line_up_in_place(user, executions);
        }
    }

    /// These line up among what waits at their user, in the order of acceptance; they are withheld where that is paused.
    pub(super) fn line_up_in_place(&mut self, user: UserKey, executions: Vec<ExecutionId>) {
        let is_paused = self.paused.contains(&user);
        for execution in executions {
            self.stands(execution, if is_paused { Stand::Withheld } else { Stand::Waiting });
            if let Some(live) = self.table.get(execution).filter(|_| !is_paused) {
                let waiting = Waiting {
                    execution,
                    flow: live.identity.flow,
                };
                let goes_before = |other: &Waiting| self.table.get(other.execution).is_none_or(|other| other.order < live.order);
                self.queue.ready_behind(user, live.identity.customer, waiting, goes_before);
            }
        }
    }

    /// What is withheld of these users, in the order of acceptance.
    fn line_up_all(&mut self, which: impl Fn(&UserKey) -> bool) {
        for (execution, identity) in self.table.withheld(which) {
            self.line_up(execution, &identity);
        }
    }

    /// At the end of its user's queue, unless that is paused.
    pub(super) fn line_up(&mut self, execution: ExecutionId, identity: &Identity) {
        let user = UserKey::of(identity);
        if self.paused.contains(&user) {
            return;
        }
        let waiting = Waiting {
            execution,
            flow: identity.flow,
        };
        self.queue.ready(user, identity.customer, waiting);
        self.stands(execution, Stand::Waiting);
    }

    /// A waiting or parked execution ends now, outside its turn: it uses no slot worth counting. A running one is told. Any other
    /// finds out when it is taken up.
    pub(super) fn cancel(&mut self, execution: ExecutionId, users: &mut dyn Users) {
        let Some(live) = self.table.get_mut(execution) else {
            return;
        };
        live.is_cancelled = true;
        let (user, stand, order, identity) = (live.user(), live.stand, live.order, live.identity);
        match stand {
            Stand::Waiting | Stand::Parked | Stand::Short | Stand::Apart => {
                self.is_apart_no_more(&identity, order);
                self.queue.withdraw(user, |waiting| waiting.execution == execution);
                self.parked.remove(user, order);
                let turn = Turn {
                    execution,
                    user,
                    slot: None,
                };
                self.start(&turn, users);
                self.send_scouts(user);
            }
            Stand::Running => {
                if users.cancel(user, execution) == Err(Refusal::Busy) {
                    self.unheard.insert(execution);
                }
            }
            Stand::Withheld | Stand::Granted | Stand::Ending => {}
        }
    }

    fn start(&mut self, turn: &Turn, users: &mut dyn Users) {
        self.stands(turn.execution, Stand::Granted);
        if let Err(why) = users.start(turn) {
            self.refused(turn, why);
        }
    }

    /// Withholds what waits at a user.
    fn pause(&mut self, user: UserKey, why: Refusal) {
        if why == Refusal::Busy {
            self.behind.insert(user);
        } else {
            self.behind.remove(&user);
        }
        self.paused.insert(user);
        self.withhold(user);
    }

    fn withhold(&mut self, user: UserKey) {
        for waiting in self.queue.withhold(user) {
            self.stands(waiting.execution, Stand::Withheld);
        }
    }

    pub(super) fn stands(&mut self, execution: ExecutionId, stand: Stand) {
        if let Some(live) = self.table.get_mut(execution) {
            live.stand = stand;
            if matches!(stand, Stand::Withheld | Stand::Parked) {
                self.held.stir(live.identity.customer);
            }
        }
    }
}
