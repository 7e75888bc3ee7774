//! A provider that remembers what was spent.

use crate::plan::{Kind, Weather};
use perseat_domain::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A refresh token and the access token that was given with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Token {
    /// Which consent it comes from.
    pub(crate) chain: usize,
    pub(crate) refresh: u32,
    pub(crate) access: u32,
}

/// What the token endpoint answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Token(Token),
    /// `invalid_grant`.
    Over,
    Down,
    Busy(Option<Duration>),
}

/// What somebody allowed.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    pub(crate) newest: u32,
    access: u32,
    access_ends: Timestamp,
    exchanged_at: Option<Timestamp>,
    pub(crate) is_revoked: bool,
    /// Whether it was said that it is over.
    pub(crate) said_over: bool,
    /// Whether it was ended because a refresh token was taken for stolen.
    pub(crate) is_stolen: bool,
    /// Refresh tokens that were spent and of which an answer of 5xx said otherwise.
    denied: BTreeSet<u32>,
    /// How often a refresh token that was good was spent.
    uses: u32,
    /// When each refresh token was spent.
    spends: BTreeMap<u32, Vec<Timestamp>>,
}

#[derive(Debug)]
pub(crate) struct Provider {
    kind: Kind,
    life: Duration,
    pub(crate) weather: Weather,
    chains: Vec<Chain>,
}

impl Provider {
    pub(crate) fn new(kind: Kind, life: Duration) -> Self {
        Self {
            kind,
            life,
            weather: Weather::Fine,
            chains: Vec::new(),
        }
    }

    pub(crate) fn chain(&self, token: Token) -> &Chain {
        &self.chains[token.chain]
    }

    /// Somebody consented at `now`.
    pub(crate) fn consent(&mut self, now: Timestamp) -> Token {
        self.chains.push(Chain {
            newest: 1,
            access: 1,
            access_ends: now.after(self.life),
            ..Chain::default()
        });
        Token {
            chain: self.chains.len() - 1,
            refresh: 1,
            access: 1,
        }
    }

    pub(crate) fn revoke(&mut self, token: Token) {
        self.chains[token.chain].is_revoked = true;
    }

    pub(crate) fn end_access(&mut self, token: Token) {
        self.chains[token.chain].access_ends = Timestamp(0);
    }

    /// Whether its API takes this access token.
    pub(crate) fn works(&self, token: Token, now: Timestamp) -> bool {
        let chain = &self.chains[token.chain];
        !chain.is_revoked && chain.access == token.access && now < chain.access_ends
    }

    /// Whether the grant goes on, but not with this refresh token.
    pub(crate) fn is_lost(&self, token: Token) -> bool {
        let chain = &self.chains[token.chain];
        self.kind != Kind::Steady && !chain.is_revoked && chain.newest != token.refresh
    }

    /// Whether this refresh token was spent and the answer was that it was not.
    pub(crate) fn denied(&self, token: Token) -> bool {
        self.chains[token.chain].denied.contains(&token.refresh)
    }

    /// A refresh token is spent; what is wrong about that, if anything is. Where it `denies` that, the answer is 5xx all the same.
    pub(crate) fn spend(&mut self, token: Token, denies: bool, now: Timestamp) -> Result<Answer, String> {
        match self.weather {
            Weather::Fine => {}
            Weather::Down => return Ok(Answer::Down),
            Weather::Busy(retry_after) => return Ok(Answer::Busy(retry_after)),
        }
        let (kind, life) = (self.kind, self.life);
        let chain = &mut self.chains[token.chain];
        // Whoever is told that a token was not spent may spend it.
        let is_told_so = chain.denied.contains(&token.refresh);
        let spends = chain.spends.entry(token.refresh).or_default();
        spends.push(now);
        if matches!(kind, Kind::Strict | Kind::Forgiving(_)) {
            let span = now.since(spends[0]);
            let is_forgiven = spends.len() == 1 || (spends.len() == 2 && kind.grace().is_some_and(|grace| span <= grace));
            if !is_forgiven && !is_told_so {
                return Err(format!("{token:?} of a {} provider was spent at {spends:?}", kind.name()));
            }
        }
        if chain.is_revoked {
            chain.said_over = true;
            return Ok(Answer::Over);
        }
        let is_first = token.refresh == chain.newest;
        if kind == Kind::Steady || is_first {
            chain.access += 1;
            chain.access_ends = now.after(life);
        }
        chain.uses += u32::from(is_first);
        let exchanges = match kind {
            Kind::Strict | Kind::Forgiving(_) => true,
            Kind::Steady => false,
            Kind::Seldom(each) => chain.uses.is_multiple_of(each),
        };
        if exchanges && is_first {
            chain.newest += 1;
            chain.exchanged_at = Some(now);
        }
        let forgives = |chain: &Chain| {
            let at = chain.exchanged_at.filter(|_| token.refresh + 1 == chain.newest);
            at.zip(kind.grace()).is_some_and(|(at, grace)| now.since(at) <= grace)
        };
        if kind != Kind::Steady && !is_first && !forgives(chain) {
            (chain.is_revoked, chain.said_over, chain.is_stolen) = (true, true, true);
            return match is_told_so {
                true => Ok(Answer::Over),
                false => Err(format!("{token:?} was taken for stolen: {chain:?}")),
            };
        }
        if denies {
            if chain.newest != token.refresh {
                chain.denied.insert(token.refresh);
            }
            return Ok(Answer::Down);
        }
        Ok(Answer::Token(Token {
            chain: token.chain,
            refresh: if kind == Kind::Steady { token.refresh } else { chain.newest },
            access: chain.access,
        }))
    }
}
