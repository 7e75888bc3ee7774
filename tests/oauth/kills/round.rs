//! What a round goes through, and what has to come of it.

use std::time::Duration;

use crate::harness::oauth::{Manner, Stall};

/// Where the daemon is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// At a point of its code.
    At(&'static str),
    /// While the provider, which was asked, is silent.
    While(Stall),
}

const PLACES: [Place; 7] = [
    Place::At("grant-due"),
    Place::At("grant-intended"),
    Place::While(Stall::Before),
    Place::While(Stall::After),
    Place::At("grant-answered"),
    Place::At("grant-stored"),
    Place::At("grant-told"),
];

/// What a provider does with refresh tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It exchanges them, and takes a second use for theft.
    Strict,
    /// The same, but it forgives a second use for a while.
    Forgiving,
    /// It leaves them as they are.
    Steady,
}

const KINDS: [Kind; 3] = [Kind::Strict, Kind::Forgiving, Kind::Steady];

impl Kind {
    pub(super) fn manner(self) -> Manner {
        Manner {
            rotates: self != Self::Steady,
            grace: (self == Self::Forgiving).then_some(Duration::from_mins(10)),
            ..Manner::default()
        }
    }

    /// What the connection declares of it.
    pub(super) fn inputs(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Strict => &[],
            Self::Forgiving => &[("refreshReuse", "600")],
            Self::Steady => &[("refreshReuse", "always")],
        }
    }
}

/// Whose grant it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holding {
    /// A user's own, of one instance.
    Own,
    /// A user's, of all their instances.
    User,
    /// A customer's.
    Customer,
    /// The organization's.
    Organization,
}

impl Holding {
    pub(super) fn account(self) -> &'static str {
        match self {
            Self::Own | Self::User => "ann",
            Self::Customer => "globex",
            Self::Organization => "company",
        }
    }

    /// Who uses it.
    pub(super) fn users(self) -> &'static [&'static str] {
        match self {
            Self::Own | Self::User => &["ann"],
            Self::Customer => &["ann", "bob"],
            Self::Organization => &["ann", "bob", "carl", "dora"],
        }
    }
}

/// What somebody does about the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Consent,
    Disconnect,
}

/// What the provider is like once the daemon is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Fine,
    /// It answers 503 for a while.
    Down,
    /// It does what it is asked for and says nothing: the connection breaks.
    Breaks,
}

/// What one seed asks for, in the order of things.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    pub(super) kind: Kind,
    pub(super) holding: Holding,
    /// Where the daemon is killed in the first renewal.
    pub(super) place: Place,
    /// Further executions that are accepted by then.
    pub(super) ahead: usize,
    /// What comes in between, where the renewal waits for the provider.
    pub(super) meanwhile: Option<Act>,
    /// Whether it is killed once more, and where if there is a renewal by then; right after its start if there is none.
    pub(super) again: Option<Place>,
    pub(super) mood: Mood,
    /// Executions that are accepted after the last of these kills.
    pub(super) more: usize,
    /// What somebody does when all is over.
    pub(super) later: Option<Act>,
    /// Whether it is killed right after somebody consented.
    pub(super) last: bool,
}

impl Round {
    pub(super) fn of(seed: u64) -> Self {
        let mut random = Random(seed);
        let pick = |number: u64, of: usize| usize::try_from(number % of as u64).unwrap();
        let place = PLACES[pick(seed / KINDS.len() as u64, PLACES.len())];
        let holdings = [
            Holding::Own,
            Holding::Own,
            Holding::Own,
            Holding::User,
            Holding::Customer,
            Holding::Organization,
        ];
        let acts = [None, None, Some(Act::Consent), Some(Act::Disconnect)];
        let meanwhile = acts[random.below(acts.len())];
        Self {
            kind: KINDS[pick(seed, KINDS.len())],
            holding: holdings[random.below(holdings.len())],
            place,
            ahead: random.below(4),
            meanwhile: meanwhile.filter(|_| matches!(place, Place::While(_))),
            again: (random.below(2) == 0).then(|| PLACES[random.below(PLACES.len())]),
            mood: [Mood::Fine, Mood::Fine, Mood::Down, Mood::Breaks][random.below(4)],
            more: random.below(4),
            later: acts[random.below(acts.len())],
            last: random.below(3) == 0,
        }
    }
}

/// What is left of the first token's renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Nothing: it is due as before.
    Nothing,
    /// It was begun so often, and nobody knows how that ended.
    Doubt(u8),
    /// Nothing: there is another token.
    Done,
    /// Nobody will ever know how it ended.
    Lost,
    /// The connection was given up.
    GivenUp,
}

impl Left {
    /// Whether a daemon that starts will renew.
    pub(super) fn is_due(self, kind: Kind) -> bool {
        match (self, kind) {
            (Self::Nothing, _) | (Self::Doubt(_), Kind::Steady) => true,
            (Self::Doubt(begun), Kind::Forgiving) => begun < 2,
            (Self::Doubt(_) | Self::Done | Self::Lost | Self::GivenUp, _) => false,
        }
    }

    /// What it is once a renewal was cut off there, and how often the provider took the token in it.
    pub(super) fn cut(self, place: Place) -> (Self, usize) {
        let doubt = match self {
            Self::Doubt(begun) => Self::Doubt(begun + 1),
            _ => Self::Doubt(1),
        };
        match place {
            Place::At("grant-due") => (self, 0),
            Place::At("grant-intended") | Place::While(Stall::Before) => (doubt, 0),
            Place::At("grant-answered") | Place::While(_) => (doubt, 1),
            Place::At(_) => (Self::Done, 1),
        }
    }

    /// What it is once a daemon was left alone with a provider of this mood, and how often that took the token; at least so often
    /// where a token may be spent at will.
    pub(super) fn settled(self, kind: Kind, mood: Mood) -> (Self, usize) {
        match (self, mood) {
            (Self::Done | Self::GivenUp, _) => (self, 0),
            _ if !self.is_due(kind) => (Self::Lost, 0),
            (_, Mood::Fine) => (Self::Done, 1),
            // Somebody who asks a second time learns nothing of the first from an answer that is none.
            (Self::Doubt(_), Mood::Down) if kind == Kind::Forgiving => (Self::Lost, 0),
            (_, Mood::Down) => (Self::Done, 1),
            (_, Mood::Breaks) if kind == Kind::Steady => (Self::Done, 2),
            (Self::Nothing, Mood::Breaks) if kind == Kind::Forgiving => (Self::Lost, 2),
            (_, Mood::Breaks) => (Self::Lost, 1),
        }
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }
}
