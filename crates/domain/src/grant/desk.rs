//! Many ask for one grant, and one reading answers them all: so however many meet an ended token, it is renewed once.

use crate::time::Timestamp;
use std::sync::Arc;

/// What is read, renewed on the way if it was due, and given to whoever asks.
pub trait Given {
    /// Whether it is a grant of this version.
    fn is_of(&self, version: u64) -> bool;

    /// When it is to be read again.
    fn look_again(&self) -> Option<Timestamp>;
}

impl<A: Given> Given for Arc<A> {
    fn is_of(&self, version: u64) -> bool {
        A::is_of(self, version)
    }

    fn look_again(&self) -> Option<Timestamp> {
        A::look_again(self)
    }
}

/// None where there is nothing to give, and nothing to look at again.
impl<A: Given> Given for Option<A> {
    fn is_of(&self, version: u64) -> bool {
        self.as_ref().is_some_and(|given| given.is_of(version))
    }

    fn look_again(&self) -> Option<Timestamp> {
        self.as_ref()?.look_again()
    }
}

/// What is to be done about a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked<Q, A> {
    /// Answer it.
    Answer(Q, A),
    /// It waits for the reading that is under way.
    Waits,
    /// It waits, and the reading begins now.
    Begin,
}

/// What is to be done after a reading.
#[derive(Debug, PartialEq, Eq)]
pub enum Read<Q, A> {
    /// What was read is not the truth any more: begin again.
    Again,
    /// Answer these; whoever was answered before hears whether `before` is no more.
    Answer {
        /// What was known before this reading.
        before: Option<A>,
        /// Who asked.
        waiting: Vec<Q>,
    },
}

#[derive(Debug)]
enum State<A> {
    Unread,
    Reading { is_stale: bool, before: Option<A> },
    Read(A),
}

/// Who asks for one grant, and what is known of it.
#[derive(Debug)]
pub struct Desk<Q, A> {
    state: State<A>,
    /// Versions that third parties refused, for the next reading.
    refused: Vec<u64>,
    waiting: Vec<Q>,
}

impl<Q, A> Default for Desk<Q, A> {
    fn default() -> Self {
        Self {
            state: State::Unread,
            refused: Vec::new(),
            waiting: Vec::new(),
        }
    }
}

impl<Q, A: Given + Clone> Desk<Q, A> {
    /// Somebody asks; `refused` is the version that a third party refused.
    pub fn ask(&mut self, question: Q, refused: Option<u64>, now: Timestamp) -> Asked<Q, A> {
        // A refusal of another version than today's is answered by today's, and so is one of what is being read.
        let is_todays = |version: &u64| match &self.state {
            State::Read(known) => known.is_of(*version),
            State::Unread => true,
            State::Reading { .. } => false,
        };
        let refused = refused.filter(is_todays);
        self.refused.extend(refused);
        if let State::Read(known) = &self.state
            && refused.is_none()
            && known.look_again().is_none_or(|due| now < due)
        {
            return Asked::Answer(question, known.clone());
        }
        self.waiting.push(question);
        if matches!(self.state, State::Reading { .. }) {
            return Asked::Waits;
        }
        Asked::Begin
    }

    /// A reading begins; gives the versions that were refused.
    pub fn begin(&mut self) -> Vec<u64> {
        let before = match std::mem::replace(&mut self.state, State::Unread) {
            State::Read(known) => Some(known),
            State::Unread | State::Reading { .. } => None,
        };
        self.state = State::Reading { is_stale: false, before };
        std::mem::take(&mut self.refused)
    }

    /// The reading is over.
    pub fn read(&mut self, known: A) -> Read<Q, A> {
        let before = match std::mem::replace(&mut self.state, State::Read(known)) {
            State::Reading { is_stale: true, .. } => {
                self.state = State::Unread;
                return Read::Again;
            }
            State::Reading { before, .. } => before,
            State::Unread | State::Read(_) => None,
        };
        Read::Answer {
            before,
            waiting: std::mem::take(&mut self.waiting),
        }
    }

    /// It failed; gives who waited for it. One that is not the truth any more is begun again all the same: `None`.
    pub fn failed(&mut self) -> Option<Vec<Q>> {
        let is_stale = matches!(self.state, State::Reading { is_stale: true, .. });
        self.state = State::Unread;
        (!is_stale).then(|| std::mem::take(&mut self.waiting))
    }

    /// What is known, or being read, is not the truth any more.
    pub fn forget(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Unread) {
            State::Reading { before, .. } => State::Reading { is_stale: true, before },
            State::Unread | State::Read(_) => State::Unread,
        };
    }

    /// Who waits for an answer.
    pub fn waiting(&self) -> impl Iterator<Item = &Q> {
        self.waiting.iter()
    }

    /// Whether nobody waits and nothing is being read.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !matches!(self.state, State::Reading { .. })
    }
}
