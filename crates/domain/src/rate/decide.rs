//! Who may begin now, who waits, and what answers teach.

use super::line::{Line, Waiter};
use super::scope::Scope;
use super::{Call, Limits, Rate, Said, ScopeId, Sender};
use crate::time::Timestamp;
use std::collections::{BTreeSet, HashMap};

/// How wide a scope is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// One account.
    Account,
    /// One customer.
    Customer,
    /// One app registration.
    Registration,
    /// The host.
    Host,
}

impl Level {
    /// The word for it in log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Customer => "customer",
            Self::Registration => "registration",
            Self::Host => "host",
        }
    }
}

/// Why a call does not even wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It could not begin before then, which is too late.
    TooLong(Timestamp),
    /// Too many wait already.
    Full,
}

/// Whose waiting is over.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Released {
    /// They begin.
    pub go: Vec<u64>,
    /// They could not begin before then, which is too late.
    pub refuse: Vec<(u64, Timestamp)>,
}

/// What an answer taught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learnt {
    /// The widest scope that is paused for it.
    pub level: Level,
    /// Until when.
    pub until: Timestamp,
    /// Whether that scope was free before.
    pub is_news: bool,
}

/// Where a waiting call stands.
#[derive(Clone, Copy, Debug)]
struct Place {
    host: ScopeId,
    sender: Sender,
    goes_first: bool,
    asleep: Option<Timestamp>,
}

/// All scopes and all that wait.
#[derive(Debug)]
pub struct Rates {
    limits: Limits,
    scopes: HashMap<ScopeId, Scope>,
    lines: HashMap<ScopeId, Line>,
    due: BTreeSet<(Timestamp, ScopeId)>,
    places: HashMap<u64, Place>,
    senders: HashMap<Sender, usize>,
    /// How many wait that go first.
    first: usize,
    next_ticket: u64,
}

impl Rates {
    /// Nothing is known and nobody waits.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            scopes: HashMap::new(),
            lines: HashMap::new(),
            due: BTreeSet::new(),
            places: HashMap::new(),
            senders: HashMap::new(),
            first: 0,
            next_ticket: 1,
        }
    }

    /// The limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.places.len()
    }

    /// How many scopes are remembered.
    #[must_use]
    pub fn tracked(&self) -> usize {
        self.scopes.len()
    }

    /// Begins a call if it need not wait. Whoever's time has come goes first: call [`Rates::release`] before.
    ///
    /// # Errors
    /// When it is worth asking again.
    pub fn start(&mut self, call: &Call, now: Timestamp) -> Result<(), Timestamp> {
        let free = self.free_at(call, now);
        if free > now {
            return Err(free);
        }
        let is_before = |line: &&Line| if call.goes_first { line.has_first() } else { line.has_ready() };
        if let Some(line) = self.lines.get(&call.host).filter(is_before) {
            return Err(line.due);
        }
        self.begin(call, now);
        Ok(())
    }

    /// Puts a call into the line; it is called by its ticket at the earliest by the next [`Rates::release`].
    ///
    /// # Errors
    /// If it would wait in vain, or too many wait.
    pub fn wait(&mut self, call: Call, give_up: Timestamp, now: Timestamp) -> Result<u64, Refusal> {
        let give_up = give_up.min(now.after(self.limits.max_wait));
        let free = self.free_at(&call, now);
        if free > give_up {
            return Err(Refusal::TooLong(free));
        }
        let own = self.senders.get(&call.sender).copied().unwrap_or(0);
        let is_full = match call.goes_first {
            true => self.first >= self.limits.waiting,
            false => self.places.len() - self.first >= self.limits.waiting || own >= self.limits.waiting_per_user,
        };
        if is_full {
            return Err(Refusal::Full);
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let place = Place {
            host: call.host,
            sender: call.sender,
            goes_first: call.goes_first,
            asleep: None,
        };
        self.places.insert(ticket, place);
        if call.goes_first {
            self.first += 1;
        } else {
            self.senders.insert(call.sender, own + 1);
        }
        self.lines.entry(call.host).or_default().push(Waiter { ticket, call, give_up });
        self.look_at(call.host, now);
        Ok(ticket)
    }

    /// A call waits no longer, or was released and does not begin.
    pub fn leave(&mut self, ticket: u64, now: Timestamp) {
        let Some(place) = self.forget(ticket) else { return };
        if let Some(line) = self.lines.get_mut(&place.host) {
            line.leave(ticket, place.sender, place.asleep);
        }
        self.look_at(place.host, now);
    }

    /// Lets begin whoever may, in their turns.
    pub fn release(&mut self, now: Timestamp) -> Released {
        let mut released = Released::default();
        while let Some((at, host)) = self.due.first().copied()
            && at <= now
        {
            self.due.pop_first();
            let Some(mut line) = self.lines.remove(&host) else { continue };
            for ticket in line.wake(now) {
                self.stands(ticket, None);
            }
            let next = self.release_line(host, &mut line, now, &mut released);
            if let Some(next) = next.filter(|_| !line.is_empty()) {
                line.due = next;
                self.due.insert((next, host));
                self.lines.insert(host, line);
            }
        }
        released
    }

    /// When it is worth releasing again.
    #[must_use]
    pub fn next_release(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// When the line is worth a look again; always later than now.
    fn release_line(&mut self, host: ScopeId, line: &mut Line, now: Timestamp, released: &mut Released) -> Option<Timestamp> {
        while line.has_ready() {
            let free = self.free_of(host, true, now);
            if free > now {
                return line.wakes_at().into_iter().chain([free]).min();
            }
            let Some(waiter) = line.take() else { break };
            let free = self.free_at(&waiter.call, now);
            if free <= now {
                self.forget(waiter.ticket);
                self.begin(&waiter.call, now);
                line.rotate(waiter.call);
                released.go.push(waiter.ticket);
            } else if free > waiter.give_up {
                self.forget(waiter.ticket);
                released.refuse.push((waiter.ticket, free));
            } else {
                self.stands(waiter.ticket, Some(free));
                line.sleep(free, waiter);
            }
        }
        line.wakes_at()
    }

    fn stands(&mut self, ticket: u64, asleep: Option<Timestamp>) {
        if let Some(place) = self.places.get_mut(&ticket) {
            place.asleep = asleep;
        }
    }

    fn forget(&mut self, ticket: u64) -> Option<Place> {
        let place = self.places.remove(&ticket)?;
        if place.goes_first {
            self.first -= 1;
        } else if let Some(count) = self.senders.get_mut(&place.sender) {
            *count -= 1;
            if *count == 0 {
                self.senders.remove(&place.sender);
            }
        }
        Some(place)
    }

    /// The line of this host is looked at by the next release.
    fn look_at(&mut self, host: ScopeId, now: Timestamp) {
        let Some(line) = self.lines.get_mut(&host) else { return };
        self.due.remove(&(line.due, host));
        if line.is_empty() {
            self.lines.remove(&host);
        } else {
            line.due = now;
            self.due.insert((now, host));
        }
    }

    fn rate_of(&self, id: ScopeId, is_host: bool) -> Option<Rate> {
        let own = self.limits.rates.get(&id).copied();
        own.or(self.limits.rate).filter(|_| is_host)
    }

    fn free_of(&mut self, id: ScopeId, is_host: bool, now: Timestamp) -> Timestamp {
        let rate = self.rate_of(id, is_host);
        let limits = &self.limits;
        self.scopes.get_mut(&id).map_or(now, |scope| scope.free_at(now, rate, limits))
    }

    fn free_at(&mut self, call: &Call, now: Timestamp) -> Timestamp {
        let scopes = chain(call).map(|(_, id)| id);
        let free = scopes.map(|id| self.free_of(id, id == call.host, now));
        free.max().unwrap_or(now)
    }

    fn begin(&mut self, call: &Call, now: Timestamp) {
        let rate = self.rate_of(call.host, true);
        if rate.is_some() {
            self.scope(call.host, now);
        }
        for (level, id) in chain(call) {
            if let Some(scope) = self.scopes.get_mut(&id) {
                scope.start(now, rate.filter(|_| level == Level::Host));
            }
        }
    }

    /// The scope, remembered from now on. Where there is no room, the one that ends first makes it.
    fn scope(&mut self, id: ScopeId, now: Timestamp) -> &mut Scope {
        if self.scopes.len() >= self.limits.tracked && !self.scopes.contains_key(&id) {
            self.make_room(now);
        }
        self.scopes.entry(id).or_default()
    }

    fn make_room(&mut self, now: Timestamp) {
        // Rates hold for hosts; no other scope has calls that began.
        let rates = self.limits.rates.values().chain(&self.limits.rate);
        let longest = rates.max_by_key(|rate| rate.per).copied();
        self.scopes.retain(|_, scope| scope.ends(longest) > now);
        if self.scopes.len() >= self.limits.tracked {
            let first = self.scopes.iter().min_by_key(|(id, scope)| (scope.ends(longest), **id));
            if let Some(first) = first.map(|(id, _)| *id) {
                self.scopes.remove(&first);
            }
        }
    }

    /// What the answer to a call says that began at `started`.
    pub fn answered(&mut self, call: &Call, started: Timestamp, said: Said, now: Timestamp) -> Option<Learnt> {
        match said {
            Said::Served(left) => {
                for (_, id) in chain(call) {
                    if let Some(scope) = self.scopes.get_mut(&id) {
                        scope.serve(started);
                    }
                }
                if let Some((left, span)) = left.filter(|(left, _)| *left < self.limits.watch_below) {
                    let limits = self.limits.clone_spans();
                    self.scope(call.account, now).left(left, span, now, &limits);
                }
                None
            }
            Said::Refused(again) => Some(self.refused(call, started, again, now)),
        }
    }

    fn refused(&mut self, call: &Call, started: Timestamp, again: Option<std::time::Duration>, now: Timestamp) -> Learnt {
        let limits = self.limits.clone_spans();
        let own = self.scope(call.account, now);
        let was_free = own.paused() <= now;
        let until = own.refuse(started, again, now, &limits);
        let mut learnt = Learnt {
            level: Level::Account,
            until,
            is_news: was_free,
        };
        for (level, id) in chain(call).skip(1) {
            let who = match level {
                Level::Account | Level::Customer => call.account,
                Level::Registration => call.tenant,
                Level::Host => call.client.unwrap_or(call.tenant),
            };
            let scope = self.scope(id, now);
            if scope.witness(who, until, now, &limits) {
                let was_free = scope.paused() <= now;
                let until = scope.refuse(started, again, now, &limits);
                learnt = Learnt {
                    level,
                    until,
                    is_news: was_free,
                };
            }
        }
        learnt
    }

    /// The scopes that are paused, and until when: what has to outlive a restart.
    #[must_use]
    pub fn paused(&self, now: Timestamp) -> Vec<(ScopeId, Timestamp)> {
        let paused = self.scopes.iter().map(|(id, scope)| (*id, scope.paused()));
        paused.filter(|(_, until)| *until > now).collect()
    }

    /// Takes up what was paused before a restart.
    pub fn resume(&mut self, paused: &[(ScopeId, Timestamp)], now: Timestamp) {
        let limits = self.limits.clone_spans();
        let longest = now.after(limits.max_pause);
        for (id, until) in paused.iter().filter(|(_, until)| *until > now) {
            self.scope(*id, now).pause((*until).min(longest), &limits);
        }
    }
}

impl Limits {
    /// The limits without the rates, for as long as a scope is borrowed.
    fn clone_spans(&self) -> Self {
        Self {
            rates: HashMap::new(),
            ..*self
        }
    }
}

/// The scopes of a call, narrowest first.
fn chain(call: &Call) -> impl Iterator<Item = (Level, ScopeId)> + use<> {
    let scopes = [
        Some((Level::Account, call.account)),
        Some((Level::Customer, call.tenant)),
        call.client.map(|client| (Level::Registration, client)),
        Some((Level::Host, call.host)),
    ];
    scopes.into_iter().flatten()
}
