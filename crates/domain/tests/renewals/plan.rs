//! What a seed is about: providers and their moods, who sends how much, and when things go wrong.

use crate::chance::Chance;
use perseat_domain::grant::{Renewal, Rules};
use perseat_domain::time::Timestamp;
use std::time::Duration;

/// When a run begins.
pub(crate) const BEGIN: Timestamp = Timestamp(1_000_000_000);
/// From then on nothing goes wrong any more.
pub(crate) const CALM: Duration = Duration::from_hours(2);
/// A call is given up after so long (`oauth.timeout`).
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// How a provider treats refresh tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// It exchanges one at each use, and takes a second use for theft.
    Strict,
    /// The same, but it forgives a second use for a while after the first.
    Forgiving(Duration),
    /// It leaves them as they are.
    Steady,
    /// It exchanges one at each use of so many, and takes a use of what was exchanged for theft.
    Seldom(u32),
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Forgiving(_) => "forgiving",
            Self::Steady => "steady",
            Self::Seldom(_) => "seldom",
        }
    }

    pub(crate) fn grace(self) -> Option<Duration> {
        match self {
            Self::Forgiving(grace) => Some(grace),
            Self::Strict | Self::Steady | Self::Seldom(_) => None,
        }
    }
}

/// How the provider answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    Fine,
    /// With 5xx.
    Down,
    /// With 429.
    Busy(Option<Duration>),
}

/// What happens by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Incident {
    Send(usize),
    Weather(Weather),
    /// The disk is full, or has room again.
    Full(bool),
    /// What is known of the provider is not enough to ask it, or is again.
    Unconfigured(bool),
    /// A user takes back at the provider what they allowed.
    Revoke(usize),
    /// The provider ends an access token early.
    EndAccess(usize),
    /// A user consents though nobody asked them to.
    Consent(usize),
    HolderDies(usize),
    Crash,
}

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    /// What the configuration declares.
    pub(crate) declared: Option<Duration>,
    /// Whether it declares that refresh tokens stay as they are.
    pub(crate) reuses_always: bool,
    /// How long access tokens live.
    pub(crate) life: Duration,
    /// Whether the provider says so.
    pub(crate) tells_life: bool,
    pub(crate) users: usize,
    pub(crate) slots: u32,
    pub(crate) incidents: Vec<(Timestamp, Incident)>,
    /// The steps of renewals at which the process dies.
    pub(crate) crashes: Vec<u64>,
    /// Those at which the actor that is at it dies.
    pub(crate) deaths: Vec<u64>,
    /// Whether all users share one grant, as an organization's.
    pub(crate) shares: bool,
    /// One answer in so many is 5xx though the provider did what it was asked for.
    pub(crate) denies: usize,
    /// One answer in so many is lost on its way.
    pub(crate) loses: usize,
    /// One call in so many takes longer than anybody waits.
    pub(crate) stalls: usize,
    /// One reading or write in so many fails.
    pub(crate) fails: usize,
}

impl Plan {
    pub(crate) fn new(seed: u64, chance: &mut Chance) -> Self {
        let users = chance.between(1, 3);
        let grace = Duration::from_secs([10, 30, 60, 600][chance.below(4)]);
        let seldom = Kind::Seldom(chance.between(2, 4) as u32);
        let kind = [Kind::Strict, Kind::Forgiving(grace), Kind::Steady, seldom][chance.below(4)];
        let mut plan = Self {
            kind,
            // Nobody declares more than there is.
            declared: kind.grace().filter(|_| !chance.one_in(4)),
            reuses_always: kind == Kind::Steady && chance.one_in(2),
            life: Duration::from_secs([60, 300, 900, 3_600][chance.below(4)]),
            tells_life: !chance.one_in(4),
            users,
            slots: chance.between(1, 6) as u32,
            incidents: Vec::new(),
            crashes: vec![seed % 48],
            deaths: Vec::new(),
            shares: users > 1 && chance.one_in(3),
            denies: [0, 0, 8][chance.below(3)],
            loses: [0, 4, 20][chance.below(3)],
            stalls: [0, 5, 20][chance.below(3)],
            fails: [0, 0, 15][chance.below(3)],
        };
        if chance.one_in(8) {
            plan.crashes.clear();
        }
        for _ in 0..chance.below(4) {
            plan.crashes.push(chance.below(200) as u64);
        }
        for _ in 0..chance.below(3) {
            plan.deaths.push(chance.below(100) as u64);
        }
        plan.incidents(chance);
        plan
    }

    fn at(&mut self, at: Duration, incident: Incident) {
        self.incidents.push((BEGIN.after(at), incident));
    }

    fn incidents(&mut self, chance: &mut Chance) {
        let calm = CALM.as_millis() as usize;
        for user in 0..self.users {
            for _ in 0..chance.between(2, 6) {
                let at = chance.millis(0, calm);
                // Several meet the same token.
                for _ in 0..chance.between(1, 5) {
                    self.at(at + chance.millis(0, 30), Incident::Send(user));
                }
            }
            self.at(CALM + Duration::from_mins(10) + chance.millis(0, 60_000), Incident::Send(user));
            let fates = [
                Incident::Revoke(user),
                Incident::EndAccess(user),
                Incident::Consent(user),
                Incident::HolderDies(user),
            ];
            for fate in fates {
                for _ in 0..chance.below(3) {
                    self.at(chance.millis(0, calm), fate);
                }
            }
        }
        if chance.one_in(3) {
            self.spell(
                chance,
                Duration::from_hours(1),
                Incident::Weather(Weather::Down),
                Incident::Weather(Weather::Fine),
            );
        }
        for _ in 0..chance.below(3) {
            let retry = Duration::from_secs([1, 30, 240, 7_200][chance.below(4)]);
            let weather = [Weather::Down, Weather::Busy(None), Weather::Busy(Some(retry))][chance.below(3)];
            let span = chance.millis(1_000, 600_000);
            self.spell(chance, span, Incident::Weather(weather), Incident::Weather(Weather::Fine));
        }
        if chance.one_in(4) {
            let span = chance.millis(1_000, 300_000);
            self.spell(chance, span, Incident::Full(true), Incident::Full(false));
        }
        if chance.one_in(6) {
            let span = chance.millis(1_000, 60_000);
            self.spell(chance, span, Incident::Unconfigured(true), Incident::Unconfigured(false));
        }
        for _ in 0..chance.below(2) {
            self.at(chance.millis(0, calm), Incident::Crash);
        }
        for over in [
            Incident::Weather(Weather::Fine),
            Incident::Full(false),
            Incident::Unconfigured(false),
        ] {
            self.at(CALM, over);
        }
    }

    fn spell(&mut self, chance: &mut Chance, span: Duration, begins: Incident, ends: Incident) {
        let at = chance.millis(0, CALM.as_millis() as usize);
        self.at(at, begins);
        self.at(at + span, ends);
    }

    pub(crate) fn rules(&self) -> Rules {
        Rules {
            grace: self.declared,
            ..Rules::default()
        }
    }

    /// How many grants there are, and which of them a user uses.
    pub(crate) fn grants(&self) -> usize {
        if self.shares { 1 } else { self.users }
    }

    pub(crate) fn grant_of(&self, user: usize) -> usize {
        if self.shares { 0 } else { user }
    }

    /// How the next token is had, as far as that is known of a first one.
    pub(crate) fn first_renewal(&self) -> Renewal {
        Renewal::Refresh {
            rotates: self.reuses_always.then_some(false),
        }
    }
}
