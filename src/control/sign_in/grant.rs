//! Codes: what somebody who signed in may exchange for tokens, once.

use super::kept::Kept;
use super::request::Challenge;
use perseat_domain::account::{Client, Proven};
use perseat_domain::id::SessionId;
use std::time::Duration;

/// What a code stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) proven: Proven,
    pub(super) client: Client,
    pub(super) redirect_uri: String,
    pub(super) challenge: Challenge,
}

enum Code {
    /// Not exchanged yet; until when it may be.
    Fresh(Grant, Duration),
    /// Being exchanged.
    Taken,
    /// Exchanged for this session.
    Used(SessionId),
    /// Shown twice: whatever it was exchanged for has to end.
    Replayed,
}

/// What became of a code that was shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// It is exchanged now.
    Fresh(Grant),
    /// It was exchanged before: this session has to end.
    Again(Option<SessionId>),
    /// It is none, or too old.
    Unknown,
}

/// Codes of the last while. Used ones are remembered for as long as an access token works, to know them when they come again.
pub(super) struct Codes {
    kept: Kept<Code>,
    lifetime: Duration,
    remembered_for: Duration,
}

impl Codes {
    pub(super) fn new(most: usize, lifetime: Duration, remembered_for: Duration) -> Self {
        Self {
            kept: Kept::new(most),
            lifetime,
            remembered_for: remembered_for.max(lifetime),
        }
    }

    /// Keeps a new code.
    pub(super) fn issue(&mut self, code: &str, grant: Grant, now: Duration) {
        let (until, end) = (now + self.remembered_for, now + self.lifetime);
        self.kept
            .put(code, grant.proven.user.0.to_string(), Code::Fresh(grant, end), until, now);
    }

    /// Somebody shows a code. Whatever they say besides, it is of no more use.
    pub(super) fn show(&mut self, code: &str, now: Duration) -> Shown {
        let Some(kept) = self.kept.get(code, now) else {
            return Shown::Unknown;
        };
        match std::mem::replace(kept, Code::Replayed) {
            Code::Fresh(grant, end) if now < end => {
                *kept = Code::Taken;
                Shown::Fresh(grant)
            }
            Code::Fresh(..) => Shown::Unknown,
            Code::Used(session) => Shown::Again(Some(session)),
            Code::Taken | Code::Replayed => Shown::Again(None),
        }
    }

    /// Notes what a code was exchanged for; false if it was shown again meanwhile, so that the session has to end.
    pub(super) fn used(&mut self, code: &str, session: SessionId, now: Duration) -> bool {
        match self.kept.get(code, now) {
            Some(kept @ Code::Taken) => {
                *kept = Code::Used(session);
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use perseat_domain::id::UserId;
    use uuid::Uuid;

    fn grant() -> Grant {
        Grant {
            proven: Proven {
                user: UserId(Uuid::from_u128(1)),
                passwords: 1,
            },
            client: Client::CommandLine,
            redirect_uri: "http://localhost:59400/".into(),
            challenge: Challenge::of(&"v".repeat(43)),
        }
    }

    #[test]
    fn a_code_is_exchanged_once_within_its_time() {
        let second = Duration::from_secs;
        let mut codes = Codes::new(10, second(60), second(600));
        let session = SessionId(Uuid::from_u128(7));
        for code in ["a", "b", "c"] {
            codes.issue(code, grant(), second(0));
        }
        assert_eq!(codes.show("a", second(59)), Shown::Fresh(grant()));
        assert!(codes.used("a", session, second(59)));
        assert_eq!(codes.show("a", second(300)), Shown::Again(Some(session)));
        assert_eq!(codes.show("b", second(60)), Shown::Unknown, "too late");
        assert_eq!(codes.show("c", second(1)), Shown::Fresh(grant()));
        assert_eq!(codes.show("c", second(1)), Shown::Again(None));
        assert!(!codes.used("c", session, second(1)), "it was shown again before the session began");
        assert_eq!(codes.show("x", second(1)), Shown::Unknown);
    }
}
