//! Decides who runs next: start-time fair queueing at two levels, customer then user.
//!
//! Every customer, and every user within a customer, carries a tag: the cost it has been charged so far. A free slot
//! goes to the customer with the lowest tag, and in it to the user with the lowest tag. A grant is charged in advance
//! with the moving average of its flow and corrected by the real cost when it ends, so a user whose executions turn
//! out expensive pays for them before the next one. Whoever begins to wait does so at the current minimum, if it was not
//! charged more: having asked for less earns no credit, and a newcomer starts level with those who are served.
//!
//! A user holds at most a share of the slots while others wait; and the last slots go only to users below that share,
//! so that one user with a thousand hanging requests leaves room for the next user to start at once. Within these two
//! rules no slot stays free while somebody waits.
//!
//! Everything costs O(log n) in the customers and users that wait; those that are idle and owe nothing are forgotten.

use crate::id::{IdMap, give_back};
use std::collections::{BTreeSet, VecDeque};
use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

/// A name for a customer, user or flow: small and cheap to copy.
pub trait Key: Copy + Eq + Ord + Hash + Debug {}
impl<T: Copy + Eq + Ord + Hash + Debug> Key for T {}

/// What waits at a user `U`: small and cheap to copy.
pub trait Work<U>: Copy + Debug {
    /// Names a flow: executions of one flow cost about the same.
    type Flow: Key;

    /// The flow that this is an execution of.
    fn flow(&self, user: &U) -> Self::Flow;
}

/// Limits and weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FairOptions {
    /// Executions that run at once.
    pub slots: u32,
    /// A user runs at most `max(1, slots / user_divisor)` while others wait.
    pub user_divisor: u32,
    /// `slots / reserve_divisor` slots are kept for users below that share.
    pub reserve_divisor: u32,
    /// One second of CPU costs as much as so many seconds of a slot.
    pub cpu_weight: u32,
    /// What an execution of a flow not yet known is charged in advance.
    pub first_charge: Duration,
    /// Flows whose average is remembered at most.
    pub flows_max: usize,
}

impl Default for FairOptions {
    fn default() -> Self {
        Self {
            slots: 1_024,
            user_divisor: 4,
            reserve_divisor: 4,
            cpu_weight: 4,
            first_charge: Duration::from_millis(10),
            flows_max: 65_536,
        }
    }
}

/// What an execution used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Time in a slot.
    pub slot: Duration,
    /// CPU time of its code steps.
    pub cpu: Duration,
}

/// One free slot given to a user, for the oldest execution it has waiting. Given back by [`FairQueue::ended`] or
/// [`FairQueue::returned`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a grant that is never ended keeps its slot"]
pub struct Grant<U, W> {
    /// Whose turn it is.
    pub user: U,
    /// What waited longest at that user.
    pub work: W,
    charged: u64,
    stay: u64,
}

/// Microseconds of slot time.
type Tag = u64;
/// Order in a set: lowest tag first, then who has been there longest.
type Place<K> = (Tag, u64, K);

/// Waiting keys at one level: those that may have any slot, and those above their share.
#[derive(Debug)]
struct Lanes<K> {
    below: BTreeSet<Place<K>>,
    above: BTreeSet<Place<K>>,
}

impl<K: Key> Lanes<K> {
    const fn new() -> Self {
        Self {
            below: BTreeSet::new(),
            above: BTreeSet::new(),
        }
    }

    /// Whether nobody waits that goes before or beside one that is above its share or not.
    fn are_empty(&self, is_above: bool) -> bool {
        self.below.is_empty() && (!is_above || self.above.is_empty())
    }

    /// Where one begins that is charged less: with what the lowest that waits and may have any slot has used, or, if nobody does, where
    /// the last one was served. What was charged in advance does not count: it may be much too much.
    fn level(&self, now: Tag, advance: impl Fn(K) -> u64) -> Tag {
        let lowest = self.below.first();
        lowest.map_or(now, |(tag, _, key)| now.min(tag.saturating_sub(advance(*key))))
    }

    fn lane(&mut self, is_above: bool) -> &mut BTreeSet<Place<K>> {
        if is_above { &mut self.above } else { &mut self.below }
    }
}

#[derive(Debug)]
struct Customer<U> {
    tag: Tag,
    /// Of it, what was charged for those that run.
    advance: u64,
    /// When it entered the table: first come, first served among equals.
    stay: u64,
    /// The tag of the last user served: where an idle one re-enters.
    now: Tag,
    users: Lanes<U>,
    /// Users with nothing to do whose tag lies ahead of `now`: what they owe is not forgotten.
    owing: BTreeSet<(Tag, U)>,
    /// Users that wait or run.
    active: usize,
}

#[derive(Debug)]
struct User<C, W> {
    customer: C,
    tag: Tag,
    /// Of it, what was charged for those that run.
    advance: u64,
    /// When it entered the table, or was last gone: grants from before name another.
    stay: u64,
    waiting: VecDeque<W>,
    running: u32,
}

/// The queue. `C` and `U` name customers and users, `W` is what waits.
#[derive(Debug)]
pub struct FairQueue<C, U, W: Work<U>> {
    options: FairOptions,
    now: Tag,
    next_stay: u64,
    running: u32,
    waiting: usize,
    customers: IdMap<C, Customer<U>>,
    users: IdMap<U, User<C, W>>,
    lanes: Lanes<C>,
    owing: BTreeSet<(Tag, C)>,
    active: usize,
    averages: IdMap<W::Flow, u64>,
}

impl<C: Key, U: Key, W: Work<U>> FairQueue<C, U, W> {
    /// An empty queue.
    #[must_use]
    pub fn new(options: FairOptions) -> Self {
        Self {
            options,
            now: 0,
            next_stay: 0,
            running: 0,
            waiting: 0,
            customers: IdMap::default(),
            users: IdMap::default(),
            lanes: Lanes::new(),
            owing: BTreeSet::new(),
            active: 0,
            averages: IdMap::default(),
        }
    }

    /// One more execution waits at `user`, after those that wait there already. A user belongs to one customer for as
    /// long as it is known here.
    pub fn ready(&mut self, user: U, customer: C, work: W) {
        self.ready_behind(user, customer, work, |_| true);
    }

    /// The same, behind those of them that go before it: the first ones, as they stand.
    pub fn ready_behind(&mut self, user: U, customer: C, work: W, goes_before: impl Fn(&W) -> bool) {
        self.waiting += 1;
        if let Some(entry) = self.users.get_mut(&user).filter(|entry| !entry.waiting.is_empty()) {
            // It stands in line already, and its place does not change.
            entry.waiting.insert(entry.waiting.partition_point(goes_before), work);
            return;
        }
        self.enter(user, customer);
        let share = self.share();
        let level = self
            .lanes
            .level(self.now, |customer| self.customers.get(&customer).map_or(0, |one| one.advance));
        let among_users = self.customers.get(&customer).map_or(0, |customer| {
            let users = &self.users;
            customer
                .users
                .level(customer.now, |user| users.get(&user).map_or(0, |one| one.advance))
        });
        self.change(user, |entry, customer| {
            // Whoever did not wait while others were served was no worse off than they: what it used less is no credit.
            if customer.users.are_empty(entry.running >= share) {
                customer.tag = customer.tag.max(level);
            }
            entry.tag = entry.tag.max(among_users);
            entry.waiting.push_back(work);
        });
    }

    /// Whose turn it is, and what would run, if there is a slot for anybody.
    #[must_use]
    pub fn first(&self) -> Option<(U, W)> {
        let (user, _) = self.next()?;
        let work = self.users.get(&user)?.waiting.front()?;
        Some((user, *work))
    }

    /// The next user to run its oldest waiting execution, if there is a slot for anybody.
    pub fn grant(&mut self) -> Option<Grant<U, W>> {
        let (user, tag) = self.next()?;
        let entry = self.users.get(&user)?;
        let (work, stay) = (*entry.waiting.front()?, entry.stay);
        let charged = self.average(work.flow(&user));
        let now = self.change(user, |entry, customer| {
            entry.waiting.pop_front();
            entry.running += 1;
            entry.tag = entry.tag.saturating_add(charged);
            entry.advance = entry.advance.saturating_add(charged);
            customer.advance = customer.advance.saturating_add(charged);
            customer.now = customer.now.max(tag);
            let before = customer.tag;
            customer.tag = before.saturating_add(charged);
            before
        })?;
        self.waiting -= 1;
        self.running += 1;
        self.now = self.now.max(now);
        self.forgive(user);
        Some(Grant { user, work, charged, stay })
    }

    /// The execution of a grant ended: its slot is free and its real cost is charged. Once for each grant; one from
    /// before the user was [`gone`](Self::gone) is void. Returns whether it was not.
    pub fn ended(&mut self, grant: Grant<U, W>, cost: Cost) -> bool {
        let actual = micros(cost.slot).saturating_add(micros(cost.cpu).saturating_mul(u64::from(self.options.cpu_weight)));
        self.learn(grant.work.flow(&grant.user), actual);
        self.close(&grant, actual)
    }

    /// Nothing was run in the slot of a grant: it is free and nothing is charged. Otherwise as [`ended`](Self::ended).
    pub fn returned(&mut self, grant: Grant<U, W>) -> bool {
        self.close(&grant, 0)
    }

    /// Whether the slot of a grant is still its: not [given back](Self::ended), nor its user [gone](Self::gone) since.
    #[must_use]
    pub fn holds(&self, grant: &Grant<U, W>) -> bool {
        let user = self.users.get(&grant.user);
        user.is_some_and(|user| user.stay == grant.stay && user.running > 0)
    }

    fn close(&mut self, grant: &Grant<U, W>, actual: u64) -> bool {
        if !self.holds(grant) {
            return false;
        }
        let corrected = |tag: Tag| tag.saturating_add(actual).saturating_sub(grant.charged);
        self.change(grant.user, |user, customer| {
            user.running -= 1;
            user.tag = corrected(user.tag);
            user.advance = user.advance.saturating_sub(grant.charged);
            customer.tag = corrected(customer.tag);
            customer.advance = customer.advance.saturating_sub(grant.charged);
        });
        self.running -= 1;
        give_back(&mut self.users);
        give_back(&mut self.customers);
        true
    }

    /// Takes what `which` picks out of those that wait at `user`; returns whether it was there.
    pub fn withdraw(&mut self, user: U, which: impl Fn(&W) -> bool) -> bool {
        let left = self.change(user, |entry, _| {
            let place = entry.waiting.iter().position(which)?;
            entry.waiting.remove(place)
        });
        let found = left.flatten().is_some();
        self.waiting -= usize::from(found);
        found
    }

    /// Takes out everything that waits at `user`; what runs goes on.
    pub fn withhold(&mut self, user: U) -> VecDeque<W> {
        let left = self.change(user, |entry, _| std::mem::take(&mut entry.waiting));
        let left = left.unwrap_or_default();
        self.waiting -= left.len();
        left
    }

    /// Nothing of `user` waits or runs any more: its slots are free, its grants void. What it was charged stands.
    pub fn gone(&mut self, user: U) {
        let stay = self.stay();
        let left = self.change(user, |entry, customer| {
            entry.stay = stay;
            customer.advance = customer.advance.saturating_sub(std::mem::take(&mut entry.advance));
            (std::mem::take(&mut entry.waiting).len(), std::mem::take(&mut entry.running))
        });
        let (waited, ran) = left.unwrap_or_default();
        self.waiting -= waited;
        self.running -= ran;
    }

    /// The users that are remembered and that `which` picks, in their order.
    pub fn users_of(&self, which: impl Fn(&U) -> bool) -> BTreeSet<U> {
        self.users.keys().copied().filter(which).collect()
    }

    /// Executions that run.
    #[must_use]
    pub fn running(&self) -> u32 {
        self.running
    }

    /// Executions that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Users that are remembered: those that wait, run, or owe.
    #[must_use]
    pub fn users(&self) -> usize {
        self.users.len()
    }

    /// Executions a user may run while others wait.
    #[must_use]
    pub fn share(&self) -> u32 {
        (self.options.slots / self.options.user_divisor.max(1)).max(1)
    }

    /// Slots that users above their share leave free.
    #[must_use]
    pub fn reserve(&self) -> u32 {
        self.options.slots / self.options.reserve_divisor.max(1)
    }

    fn next(&self) -> Option<(U, Tag)> {
        let free = self.options.slots.saturating_sub(self.running);
        let first = |customers: &BTreeSet<Place<C>>, is_above: bool| {
            let (_, _, customer) = customers.first()?;
            let users = &self.customers.get(customer)?.users;
            let (tag, _, user) = if is_above { users.above.first()? } else { users.below.first()? };
            Some((*user, *tag))
        };
        if free == 0 {
            None
        } else if let Some(found) = first(&self.lanes.below, false) {
            Some(found)
        } else if free > self.reserve() {
            first(&self.lanes.above, true)
        } else {
            None
        }
    }

    fn stay(&mut self) -> u64 {
        self.next_stay += 1;
        self.next_stay
    }

    /// Makes sure that both are in the table.
    fn enter(&mut self, user: U, customer: C) {
        let stay = self.stay();
        self.customers.entry(customer).or_insert_with(|| Customer {
            tag: 0,
            advance: 0,
            stay,
            now: 0,
            users: Lanes::new(),
            owing: BTreeSet::new(),
            active: 0,
        });
        self.users.entry(user).or_insert_with(|| User {
            customer,
            tag: 0,
            advance: 0,
            stay,
            waiting: VecDeque::new(),
            running: 0,
        });
    }

    /// Lifts a user and its customer out of all orders, changes them, and puts them back where they belong now.
    fn change<R>(&mut self, key: U, act: impl FnOnce(&mut User<C, W>, &mut Customer<U>) -> R) -> Option<R> {
        let share = self.share();
        let user = self.users.get_mut(&key)?;
        let name = user.customer;
        let customer = self.customers.get_mut(&name)?;
        let was_active = user.is_active();
        if !user.waiting.is_empty() {
            customer.users.lane(user.running >= share).remove(&(user.tag, user.stay, key));
        }
        customer.owing.remove(&(user.tag, key));
        let customer_was_active = customer.active > 0;
        let old_place = (customer.tag, customer.stay, name);
        self.lanes.below.remove(&old_place);
        self.lanes.above.remove(&old_place);
        self.owing.remove(&(customer.tag, name));

        let result = act(user, customer);

        if !user.waiting.is_empty() {
            customer.users.lane(user.running >= share).insert((user.tag, user.stay, key));
        }
        match (was_active, user.is_active()) {
            (false, true) => customer.active += 1,
            (true, false) => customer.active -= 1,
            _ => {}
        }
        let owes = user.tag > customer.now;
        if !user.is_active() {
            if owes {
                customer.owing.insert((user.tag, key));
            } else {
                self.users.remove(&key);
            }
        }
        self.settle(name, customer_was_active);
        Some(result)
    }

    /// Puts a customer back into the orders after a change to one of its users.
    fn settle(&mut self, name: C, was_active: bool) {
        let Some(customer) = self.customers.get_mut(&name) else {
            return;
        };
        let is_active = customer.active > 0;
        match (was_active, is_active) {
            (false, true) => self.active += 1,
            (true, false) => self.active -= 1,
            _ => {}
        }
        if is_active {
            let place = (customer.tag, customer.stay, name);
            if !customer.users.below.is_empty() {
                self.lanes.below.insert(place);
            }
            if !customer.users.above.is_empty() {
                self.lanes.above.insert(place);
            }
            return;
        }
        // A customer without work forgets what its users owe each other; it may still owe other customers.
        for (_, user) in std::mem::take(&mut customer.owing) {
            self.users.remove(&user);
        }
        if customer.tag > self.now {
            self.owing.insert((customer.tag, name));
        } else {
            self.customers.remove(&name);
        }
        if self.active == 0 {
            for (_, customer) in std::mem::take(&mut self.owing) {
                self.customers.remove(&customer);
            }
        }
    }

    /// Forgets those whose debt the present has reached, after a grant to `user`.
    fn forgive(&mut self, user: U) {
        while let Some((tag, customer)) = self.owing.first().copied().filter(|(tag, _)| *tag <= self.now) {
            self.owing.remove(&(tag, customer));
            self.customers.remove(&customer);
        }
        let Some(name) = self.users.get(&user).map(|user| user.customer) else {
            return;
        };
        let Some(customer) = self.customers.get_mut(&name) else {
            return;
        };
        while let Some((tag, paid)) = customer.owing.first().copied().filter(|(tag, _)| *tag <= customer.now) {
            customer.owing.remove(&(tag, paid));
            self.users.remove(&paid);
        }
    }

    fn average(&self, flow: W::Flow) -> u64 {
        self.averages
            .get(&flow)
            .copied()
            .unwrap_or_else(|| micros(self.options.first_charge))
    }

    /// Moves the average an eighth of the way. A full table is emptied: the averages are soon learned again.
    fn learn(&mut self, flow: W::Flow, actual: u64) {
        if self.averages.len() >= self.options.flows_max && !self.averages.contains_key(&flow) {
            self.averages.clear();
        }
        let average = self.averages.entry(flow).or_insert(actual);
        *average = *average - *average / 8 + actual / 8;
    }
}

impl<C, W> User<C, W> {
    fn is_active(&self) -> bool {
        self.running > 0 || !self.waiting.is_empty()
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
