use super::*;
use proptest::prelude::*;

const RULES: Rules = Rules {
    lead: Duration::from_mins(5),
    grace: None,
    back_off: Duration::from_secs(5),
    back_off_max: Duration::from_mins(5),
    fresh: Duration::from_mins(1),
    timeline: 32,
};
const ROTATING: Renewal = Renewal::Refresh { rotates: Some(true) };
const NOW: Timestamp = Timestamp(1_000_000_000);

fn given(lifetime: Option<u64>, renewal: Renewal) -> Grant {
    let mut grant = Grant::default();
    let lifetime = lifetime.map(Duration::from_secs);
    grant.consented(Renewed { lifetime, renewal }, NOW, &RULES);
    grant
}

fn at(seconds: u64) -> Timestamp {
    NOW.after(Duration::from_secs(seconds))
}

fn passing(reason: &str) -> Outcome {
    Outcome::Passing {
        reason: reason.into(),
        retry_after: None,
    }
}

#[test]
fn a_token_is_due_five_minutes_before_its_end_or_half_its_life_if_that_is_shorter() {
    for (lifetime, due) in [(3600, 3300), (600, 300), (60, 30), (2, 1)] {
        let grant = given(Some(lifetime), ROTATING);
        assert_eq!(grant.look_again(NOW, &RULES), Some(at(due)), "{lifetime} s");
        assert_eq!(grant.need(at(due - 1), &RULES), Need::Nothing);
        assert_eq!(grant.need(at(due), &RULES), Need::Renewal);
    }
}

#[test]
fn a_token_without_a_known_end_is_used_until_it_is_refused() {
    let mut grant = given(None, ROTATING);
    assert_eq!(grant.look_again(NOW, &RULES), None);
    assert_eq!(grant.need(at(u64::from(u32::MAX)), &RULES), Need::Nothing);
    assert!(!grant.refused(grant.generation - 1, at(100), &RULES), "an older token was refused");
    assert!(grant.refused(grant.generation, at(100), &RULES));
    assert_eq!(grant.need(at(100), &RULES), Need::Renewal);
}

#[test]
fn a_supplied_token_is_as_it_was_until_it_is_spent_or_given_up() {
    let renewed = |renewal| Renewed {
        lifetime: Some(Duration::from_hours(1)),
        renewal,
    };
    let supplied = || {
        let mut grant = Grant::default();
        grant.supplied(renewed(ROTATING));
        grant
    };
    let after = |change: &dyn Fn(&mut Grant)| {
        let mut grant = supplied();
        change(&mut grant);
        grant.is_as_supplied()
    };
    assert!(after(&|_| {}));
    assert!(after(&|grant| grant.await_account(true)));
    assert!(after(&|grant| {
        grant.intend(NOW);
        grant.learn(passing("invalid_client"), NOW, &RULES);
    }));
    let spent_or_given_up: [&dyn Fn(&mut Grant); 5] = [
        &|grant| grant.intend(NOW),
        &|grant| {
            grant.learn(Outcome::Token(renewed(ROTATING)), NOW, &RULES);
        },
        &|grant| {
            grant.learn(Outcome::Over("invalid_grant".into()), NOW, &RULES);
        },
        &|grant| grant.disconnected(NOW, &RULES),
        &|grant| grant.moved(NOW, &RULES),
    ];
    for (number, change) in spent_or_given_up.iter().enumerate() {
        assert!(!after(change), "{number}");
    }
    assert!(!Grant::of_credentials(1).is_as_supplied() && !given(None, ROTATING).is_as_supplied());
}

#[test]
fn a_grant_without_a_token_is_of_use_to_nobody() {
    for (grant, obstacle) in [
        (given(Some(3600), ROTATING), Obstacle::Consent),
        (Grant::of_credentials(1), Obstacle::Patience),
    ] {
        assert_eq!(grant.obstacle(false, NOW, &RULES), Some(obstacle));
    }
}

#[test]
fn a_fresh_token_that_is_refused_is_not_at_fault() {
    let mut grant = given(Some(3600), ROTATING);
    let before = grant.clone();
    assert!(!grant.refused(grant.generation, at(3), &RULES), "another one would fare no better");
    assert_eq!(grant, before);
}

/// The clock was ahead and was set right: what it wrote lies further ahead than anything that the rules write.
#[test]
fn what_a_clock_wrote_that_was_ahead_holds_nothing_up() {
    let day = Duration::from_hours(24);
    let ahead = NOW.after(day);
    let given_ahead = || {
        let mut grant = Grant::default();
        let lifetime = Some(Duration::from_hours(1));
        let renewal = ROTATING;
        grant.consented(Renewed { lifetime, renewal }, ahead, &RULES);
        grant
    };
    let mut grant = given_ahead();
    assert_eq!(grant.need(NOW, &RULES), Need::Renewal, "when it ends nobody knows");
    assert!(grant.refused(grant.generation, NOW, &RULES), "nor that it is fresh");
    grant.intend(ahead);
    assert_eq!(grant.learn(passing("http_503"), ahead, &RULES), Next::Done);
    assert_eq!(grant.need(NOW, &RULES), Need::Renewal, "its wait is over long ago");

    // A clock that is kept right goes back by less.
    let lately = NOW.after(day - Duration::from_secs(50));
    assert_eq!(given_ahead().need(lately, &RULES), Need::Nothing);
    assert!(!given_ahead().refused(1, lately, &RULES));

    let forgiving = Rules {
        grace: Some(Duration::from_secs(30)),
        ..RULES
    };
    let mut grant = given_ahead();
    grant.intend(ahead);
    assert_eq!(
        grant.last_moment(NOW, &forgiving),
        Some(NOW),
        "how long ago it was spent nobody knows"
    );
    assert_eq!(grant.settle(NOW, &forgiving), Next::Done);
    assert_eq!(grant.status, Status::Uncertain);
}

#[test]
fn a_refused_token_that_cannot_be_renewed_needs_consent() {
    let mut grant = given(None, Renewal::None);
    assert!(grant.refused(grant.generation, at(100), &RULES));
    assert_eq!((grant.status, grant.need(at(100), &RULES)), (Status::Failed, Need::Consent));
    assert_eq!(grant.reason.as_deref(), Some("token_refused"));
}

#[test]
fn an_hour_of_a_provider_that_is_down_keeps_the_grant_and_its_token() {
    let mut grant = given(Some(3600), ROTATING);
    let (mut now, mut tries) = (at(3300), 0);
    while now < at(3300 + 3600) {
        match grant.need(now, &RULES) {
            Need::Renewal => {
                grant.intend(now);
                grant.learn(passing("http_503"), now, &RULES);
                tries += 1;
            }
            Need::Nothing => assert!(now < at(3600), "an ended token was used"),
            Need::Patience => assert!(now >= at(3600)),
            Need::Consent => panic!("consent was asked for: {grant:?}"),
        }
        assert_eq!(grant.status, Status::Error);
        now = grant.look_again(now, &RULES).unwrap().max(now.after(Duration::from_millis(1)));
    }
    assert!((12..=20).contains(&tries), "{tries} tries in an hour");
    assert!(
        grant.timeline.len() < 4,
        "repeated failures fill the timeline: {:?}",
        grant.timeline
    );
    grant.intend(now);
    let renewed = Renewed {
        lifetime: Some(Duration::from_hours(1)),
        renewal: ROTATING,
    };
    grant.learn(Outcome::Token(renewed), now, &RULES);
    assert_eq!((grant.status, grant.failures, grant.reason), (Status::Active, 0, None));
}

#[test]
fn a_grant_that_is_refused_after_a_server_error_may_have_been_spent_by_then_and_is_uncertain() {
    let steady = Renewal::Refresh { rotates: Some(false) };
    let over = || Outcome::Over("invalid_grant".into());
    for (renewal, reason, status) in [
        (ROTATING, "http_503", Status::Uncertain),
        (Renewal::Refresh { rotates: None }, "http_500", Status::Uncertain),
        (steady, "http_503", Status::Failed),
        (ROTATING, "http_429", Status::Failed),
        (ROTATING, "provider_unreachable", Status::Failed),
    ] {
        let mut grant = given(Some(60), renewal);
        for (seconds, outcome) in [(30, passing(reason)), (60, passing("http_429")), (120, over())] {
            grant.intend(at(seconds));
            grant.learn(outcome, at(seconds), &RULES);
        }
        assert_eq!(grant.status, status, "{renewal:?} {reason}");
    }
    // What was before a token says nothing of it.
    let mut grant = given(Some(60), ROTATING);
    let renewed = Outcome::Token(Renewed {
        lifetime: Some(Duration::from_mins(1)),
        renewal: ROTATING,
    });
    for (seconds, outcome) in [(30, passing("http_503")), (60, renewed), (120, over())] {
        grant.intend(at(seconds));
        grant.learn(outcome, at(seconds), &RULES);
    }
    assert_eq!(grant.status, Status::Failed);
}

#[test]
fn a_provider_that_asks_for_a_longer_pause_gets_it() {
    let mut grant = given(Some(60), ROTATING);
    grant.intend(at(30));
    let outcome = Outcome::Passing {
        reason: "http_429".into(),
        retry_after: Some(Duration::from_mins(10)),
    };
    grant.learn(outcome, at(30), &RULES);
    assert_eq!(grant.need(at(31), &RULES), Need::Nothing);
    assert_eq!(grant.need(at(61), &RULES), Need::Patience);
    assert_eq!(grant.look_again(at(31), &RULES), Some(at(60)), "its token ends before");
    assert_eq!(grant.look_again(at(61), &RULES), Some(at(630)));
}

#[test]
fn what_was_interrupted_is_spent_again_only_where_that_is_safe() {
    let forgiving = Rules {
        grace: Some(Duration::from_secs(30)),
        ..RULES
    };
    // (how it is renewed, the rules, how long after, what is next, where it stands)
    let unknown = Renewal::Refresh { rotates: None };
    let steady = Renewal::Refresh { rotates: Some(false) };
    for (renewal, rules, after, next, status) in [
        (ROTATING, RULES, 0, Next::Done, Status::Uncertain),
        (unknown, RULES, 0, Next::Done, Status::Uncertain),
        (ROTATING, forgiving, 29, Next::Again, Status::Active),
        (ROTATING, forgiving, 30, Next::Done, Status::Uncertain),
        (steady, RULES, 1000, Next::Done, Status::Active),
        (Renewal::Credentials, RULES, 1000, Next::Done, Status::Active),
    ] {
        let mut grant = given(Some(60), renewal);
        grant.intend(at(30));
        assert_eq!(grant.settle(at(30 + after), &rules), next, "{renewal:?} {after}");
        assert_eq!(grant.status, status, "{renewal:?} {after}");
        let is_due = status == Status::Active && next == Next::Done;
        assert_eq!(grant.need(at(30 + after), &rules) == Need::Renewal && next == Next::Done, is_due);
        if next == Next::Again {
            grant.intend(at(30 + after));
            assert_eq!(grant.settle(at(30 + after), &rules), Next::Done, "a third use");
            assert_eq!(grant.status, Status::Uncertain);
        }
    }
}

#[test]
fn a_registration_that_acts_for_itself_is_tried_again_whatever_it_is_told() {
    let mut grant = Grant::of_credentials(1);
    grant.intend(at(0));
    grant.learn(Outcome::Over("access_denied".into()), at(0), &RULES);
    assert_eq!((grant.status, grant.reason.as_deref()), (Status::Error, Some("access_denied")));
    assert_eq!(grant.need(at(4), &RULES), Need::Patience);
    assert_eq!(grant.need(at(5), &RULES), Need::Renewal);
}

#[test]
fn what_ends_is_told_apart_and_asks_for_consent() {
    let mut grant = given(Some(60), ROTATING);
    grant.intend(at(30));
    grant.learn(Outcome::Over("invalid_grant".into()), at(30), &RULES);
    assert_eq!((grant.status, grant.reason.as_deref()), (Status::Failed, Some("invalid_grant")));
    let failed = grant.generation;
    grant.consented(
        Renewed {
            lifetime: None,
            renewal: ROTATING,
        },
        at(40),
        &RULES,
    );
    assert!(grant.generation > failed);
    grant.disconnected(at(50), &RULES);
    assert_eq!(
        (grant.status, grant.held, grant.need(at(50), &RULES)),
        (Status::Pending, None, Need::Consent)
    );
    let what: Vec<What> = grant.timeline.iter().map(|happening| happening.what).collect();
    assert_eq!(what, [What::Issued, What::Ended, What::Reconnected, What::Disconnected]);
}

#[test]
fn the_timeline_and_its_words_are_bounded() {
    let mut grant = given(None, ROTATING);
    for round in 0..100 {
        grant.intend(at(round));
        grant.learn(passing(&format!("{round}\n{}", "ü".repeat(500))), at(round), &RULES);
    }
    assert_eq!(grant.timeline.len(), RULES.timeline);
    let reason = grant.timeline.last().unwrap().reason.clone().unwrap();
    assert!(reason.starts_with("99ü") && reason.len() <= 120, "{reason}");
}

/// A provider that exchanges refresh tokens, and takes a use of an old one for theft.
#[derive(Debug)]
struct Provider {
    /// At each use of so many; at none for 0.
    each: u64,
    uses: u64,
    grace: Option<u64>,
    /// The newest refresh token.
    newest: u64,
    /// When the one before it was exchanged.
    exchanged_at: u64,
    is_revoked: bool,
    saw_reuse: bool,
}

impl Provider {
    fn spend(&mut self, token: u64, now: u64) -> Result<u64, &'static str> {
        if self.is_revoked {
            return Err("invalid_grant");
        }
        if token == self.newest {
            self.uses += 1;
            if self.each > 0 && self.uses.is_multiple_of(self.each) {
                self.newest += 1;
                self.exchanged_at = now;
            }
            return Ok(self.newest);
        }
        if token + 1 == self.newest && self.grace.is_some_and(|grace| now <= self.exchanged_at + grace) {
            return Ok(self.newest);
        }
        self.saw_reuse = true;
        self.is_revoked = true;
        Err("invalid_grant")
    }
}

/// What befalls one renewal.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Well,
    Unreachable,
    Unavailable,
    /// The answer is lost on its way.
    AnswerLost,
    /// Killed after the intent, before the call.
    KilledBefore,
    /// Killed after the call, before the outcome is durable.
    KilledAfter,
}

fn fates() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Well),
        1 => Just(Fate::Unreachable),
        1 => Just(Fate::Unavailable),
        1 => Just(Fate::AnswerLost),
        1 => Just(Fate::KilledBefore),
        1 => Just(Fate::KilledAfter),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever happens and whenever: no refresh token is spent twice outside a grace, a grant that is lost is said to be
    /// uncertain or failed, one that the provider never ended is never said to be over, and generations only rise.
    #[test]
    fn no_schedule_of_crashes_spends_twice_or_loses_a_grant_silently(
        each in 0_u64..4,
        grace in prop_oneof![Just(None), (1_u64..120).prop_map(Some)],
        revoke_at in prop::option::of(0_usize..40),
        steps in prop::collection::vec((0_u64..400, fates()), 1..40),
    ) {
        let rules = Rules { grace: grace.map(Duration::from_secs), ..RULES };
        let mut provider = Provider { each, uses: 0, grace, newest: 1, exchanged_at: 0, is_revoked: false, saw_reuse: false };
        let mut grant = Grant::default();
        let first = Renewed { lifetime: Some(Duration::from_secs(60)), renewal: Renewal::Refresh { rotates: None } };
        grant.consented(first, NOW, &rules);
        // The durable state: what a crash falls back to.
        let (mut durable, mut token) = (grant.clone(), 1);
        let mut seconds = 0;
        for (round, (pause, fate)) in steps.into_iter().enumerate() {
            if revoke_at == Some(round) {
                provider.is_revoked = true;
            }
            seconds += pause;
            let before = grant.generation;
            let mut again = grant.settle(at(seconds), &rules);
            if again == Next::Done && grant.need(at(seconds), &rules) == Need::Renewal {
                again = Next::Again;
            }
            let mut fate = fate;
            while again == Next::Again {
                again = Next::Done;
                grant.intend(at(seconds));
                durable = grant.clone();
                let answer = match fate {
                    Fate::Unreachable | Fate::Unavailable | Fate::KilledBefore => None,
                    Fate::Well | Fate::AnswerLost | Fate::KilledAfter => Some(provider.spend(token, seconds)),
                };
                match (fate, answer) {
                    (Fate::KilledBefore | Fate::KilledAfter, _) => grant = durable.clone(),
                    (Fate::AnswerLost, _) => again = grant.learn(Outcome::Unknown("connection_lost".into()), at(seconds), &rules),
                    (_, None) => again = grant.learn(passing("http_503"), at(seconds), &rules),
                    (_, Some(Err(code))) => again = grant.learn(Outcome::Over(code.into()), at(seconds), &rules),
                    (_, Some(Ok(new))) => {
                        let renewal = Renewal::Refresh { rotates: (new != token).then_some(true) };
                        let renewed = Renewed { lifetime: Some(Duration::from_secs(60)), renewal };
                        again = grant.learn(Outcome::Token(renewed), at(seconds), &rules);
                        token = new;
                    }
                }
                fate = Fate::AnswerLost;
            }
            durable = grant.clone();
            prop_assert!(!provider.saw_reuse, "spent twice outside the grace: {grant:?}");
            prop_assert!(grant.generation >= before);
            if grant.status == Status::Failed {
                prop_assert!(provider.is_revoked, "said to be over, and it is not: {grant:?}");
            }
            let is_lost = token != provider.newest && grant.intent.is_none();
            if is_lost {
                prop_assert!(matches!(grant.status, Status::Uncertain | Status::Failed), "lost and not said: {grant:?}");
            }
        }
        let _ = durable;
    }
}

#[test]
fn a_forecast_says_when_it_renews_or_ends_and_a_new_consent_is_told_from_the_first() {
    let rules = Rules::default();
    let given = |grant: &mut Grant, at, lifetime, renewal| {
        let renewed = Renewed {
            lifetime: Some(Duration::from_secs(lifetime)),
            renewal,
        };
        grant.consented(renewed, Timestamp(at), &rules);
    };
    let mut grant = Grant::default();
    assert_eq!(grant.forecast(&rules), Forecast::Over);
    given(&mut grant, 0, 3_600, Renewal::Refresh { rotates: None });
    assert_eq!(grant.forecast(&rules), Forecast::Renews(Timestamp(3_300_000)));
    grant.learn(Outcome::Over("invalid_grant".into()), Timestamp(5), &rules);
    assert_eq!(grant.forecast(&rules), Forecast::Over);
    given(&mut grant, 6, 3_600, Renewal::None);
    assert_eq!(grant.forecast(&rules), Forecast::Ends(Timestamp(3_600_006)));
    let story: Vec<What> = grant.timeline.iter().map(|happening| happening.what).collect();
    assert_eq!(story, [What::Issued, What::Ended, What::Reconnected]);
    given(&mut grant, 7, 3_600, Renewal::None);
    assert_eq!(grant.timeline.last().map(|last| last.what), Some(What::Issued), "nothing had ended");
}
