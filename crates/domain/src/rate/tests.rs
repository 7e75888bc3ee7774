use super::{Call, Level, Limits, Rate, Rates, Refusal, Said, ScopeId, Sender};
use crate::id::{CustomerId, UserId};
use crate::time::Timestamp;
use proptest::prelude::*;
use std::collections::HashMap;
use std::time::Duration;
use uuid::Uuid;

const HOST: ScopeId = ScopeId(1);
const START: Timestamp = Timestamp(1_000_000);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn at(millis: u64) -> Timestamp {
    START.after(Duration::from_millis(millis))
}

/// The call of a user of a customer, through the registration `client` or none; one account each.
fn call_by(customer: u128, user: u128, client: Option<u128>) -> Call {
    let sender = Sender {
        customer: CustomerId(Uuid::from_u128(customer)),
        user: Some(UserId(Uuid::from_u128(customer << 32 | user))),
    };
    let through = client.unwrap_or(0) << 96;
    Call {
        sender,
        account: ScopeId(through | 3 << 80 | customer << 32 | user),
        tenant: ScopeId(through | 2 << 80 | customer << 32),
        client: client.map(|_| ScopeId(through)),
        host: HOST,
        goes_first: false,
    }
}

/// The request for a token of a user's grant.
fn token_of(customer: u128, user: u128) -> Call {
    let call = call(customer, user);
    Call {
        account: ScopeId(call.account.0 | 4 << 80),
        goes_first: true,
        ..call
    }
}

fn call(customer: u128, user: u128) -> Call {
    call_by(customer, user, None)
}

fn rated(count: u32, per: u64) -> Limits {
    Limits {
        rate: Some(Rate { count, per: millis(per) }),
        max_wait: Duration::from_hours(100),
        ..Limits::default()
    }
}

/// All that begin until nobody waits, with when and in that order.
fn run_dry(rates: &mut Rates, mut now: Timestamp) -> Vec<(u64, Timestamp)> {
    let mut began = Vec::new();
    while let Some(next) = rates.next_release() {
        now = now.max(next);
        let released = rates.release(now);
        assert!(released.refuse.is_empty(), "{released:?}");
        began.extend(released.go.into_iter().map(|ticket| (ticket, now)));
    }
    began
}

const LATER: Timestamp = Timestamp(u64::MAX);

#[test]
fn a_refused_account_waits_for_what_it_was_told_and_no_other_does() {
    let mut rates = Rates::new(Limits::default());
    let (ann, bob) = (call(1, 1), call(1, 2));
    rates.start(&ann, at(0)).unwrap();
    let learnt = rates.answered(&ann, at(0), Said::Refused(Some(millis(5_000))), at(100)).unwrap();
    assert_eq!((learnt.level, learnt.until, learnt.is_news), (Level::Account, at(5_100), true));
    assert_eq!(rates.start(&ann, at(200)), Err(at(5_100)));
    rates.start(&bob, at(200)).unwrap();
    let ticket = rates.wait(ann, LATER, at(200)).unwrap();
    assert!(rates.release(at(5_099)).go.is_empty());
    rates.start(&bob, at(5_099)).unwrap();
    assert_eq!(rates.release(at(5_100)).go, [ticket]);
    assert_eq!(rates.waiting(), 0);
}

#[test]
fn a_wait_that_is_too_long_is_none() {
    let mut rates = Rates::new(Limits::default());
    let ann = call(1, 1);
    rates.answered(&ann, at(0), Said::Refused(Some(millis(50_000))), at(0));
    assert_eq!(rates.wait(ann, at(40_000), at(1)), Err(Refusal::TooLong(at(50_000))));
    let ticket = rates.wait(ann, at(55_000), at(1)).unwrap();
    rates.answered(&ann, at(0), Said::Refused(Some(millis(70_000))), at(2));
    let released = rates.release(at(2));
    assert_eq!((released.go, released.refuse), (vec![], vec![(ticket, at(70_002))]));
    assert_eq!(rates.next_release(), None);
}

#[test]
fn refusals_without_a_time_double_the_pause_and_those_of_one_moment_count_once() {
    let mut rates = Rates::new(Limits::default());
    let ann = call(1, 1);
    let mut now = 0;
    for (round, pause) in [1_000, 2_000, 4_000].into_iter().enumerate() {
        for late in 0..10 {
            let learnt = rates.answered(&ann, at(now), Said::Refused(None), at(now + 10 + late)).unwrap();
            assert_eq!(learnt.until, at(now + 10 + late + pause), "round {round}");
        }
        now += 20 + pause;
    }
    rates.start(&ann, at(now)).unwrap();
    rates.answered(&ann, at(now), Said::Served(None), at(now + 1));
    let learnt = rates.answered(&ann, at(now + 2), Said::Refused(None), at(now + 3)).unwrap();
    assert_eq!(learnt.until, at(now + 1_003));
}

#[test]
fn requests_for_tokens_go_before_whatever_waits_and_take_nobodys_turn() {
    let mut rates = Rates::new(rated(1, 100));
    rates.start(&call(1, 1), at(0)).unwrap();
    let flood: Vec<u64> = (0..4).map(|_| rates.wait(call(1, 1), LATER, at(1)).unwrap()).collect();
    let other = rates.wait(call(2, 1), LATER, at(1)).unwrap();
    let tokens = [(1, 1), (2, 2)].map(|(customer, user)| rates.wait(token_of(customer, user), LATER, at(2)).unwrap());
    let gone = rates.wait(token_of(3, 1), LATER, at(2)).unwrap();
    rates.leave(gone, at(3));
    let began: Vec<u64> = run_dry(&mut rates, at(3)).into_iter().map(|(ticket, _)| ticket).collect();
    assert_eq!(began, [tokens[0], tokens[1], flood[0], other, flood[1], flood[2], flood[3]]);

    // Where there is room it waits for nobody who waits.
    rates.start(&call(1, 1), at(10_000)).unwrap();
    rates.wait(call(1, 1), LATER, at(10_001)).unwrap();
    assert!(rates.start(&call(2, 1), at(10_100)).is_err());
    rates.start(&token_of(2, 1), at(10_100)).unwrap();
}

#[test]
fn a_flood_of_calls_leaves_room_for_requests_for_tokens_and_they_have_a_bound_too() {
    let limits = Limits {
        waiting: 2,
        ..rated(1, 100)
    };
    let mut rates = Rates::new(limits);
    rates.start(&call(1, 1), at(0)).unwrap();
    for user in [1, 2] {
        rates.wait(call(1, user), LATER, at(1)).unwrap();
        rates.wait(token_of(1, user), LATER, at(1)).unwrap();
    }
    assert_eq!(rates.wait(call(1, 3), LATER, at(1)), Err(Refusal::Full));
    assert_eq!(rates.wait(token_of(1, 3), LATER, at(1)), Err(Refusal::Full));
    assert_eq!(run_dry(&mut rates, at(1)).len(), 4);
    assert_eq!(rates.waiting(), 0);
}

#[test]
fn after_a_pause_calls_begin_one_by_one() {
    let mut rates = Rates::new(Limits::default());
    let ann = call(1, 1);
    rates.answered(&ann, at(0), Said::Refused(Some(millis(1_000))), at(0));
    let tickets: Vec<u64> = (0..5).map(|_| rates.wait(ann, LATER, at(1)).unwrap()).collect();
    let began = run_dry(&mut rates, at(1));
    let expected: Vec<(u64, Timestamp)> = tickets.into_iter().zip([1_000, 1_050, 1_100, 1_150, 1_200].map(at)).collect();
    assert_eq!(began, expected);
}

#[test]
fn accounts_of_one_customer_are_evidence_against_it_and_against_nobody_else() {
    let mut rates = Rates::new(Limits::default());
    let refused = Said::Refused(Some(millis(9_000)));
    for user in 1..=20 {
        let call = call_by(1, user, Some(7));
        let learnt = rates.answered(&call, at(0), refused, at(0)).unwrap();
        assert_eq!(learnt.level, if user < 3 { Level::Account } else { Level::Customer });
    }
    assert_eq!(rates.start(&call_by(1, 99, Some(7)), at(1)), Err(at(9_000)));
    rates.start(&call_by(2, 1, Some(7)), at(1)).unwrap();
    rates.start(&call_by(1, 1, Some(8)), at(1)).unwrap();
}

#[test]
fn customers_are_evidence_against_their_registration_and_registrations_against_the_host() {
    let mut rates = Rates::new(Limits::default());
    let refused = Said::Refused(Some(millis(9_000)));
    let mut levels = Vec::new();
    for client in 1..=3 {
        for customer in 1..=3 {
            let call = call_by(client << 8 | customer, 1, Some(client));
            levels.push(rates.answered(&call, at(0), refused, at(0)).unwrap().level);
        }
        rates
            .start(&call_by(999, 1, None), at(1))
            .map_or_else(|_| assert_eq!(client, 3), |()| assert!(client < 3));
    }
    use Level::{Account, Host, Registration};
    let expected = [Account, Account, Registration, Account, Account, Registration, Host, Host, Host];
    assert_eq!(levels, expected);
}

#[test]
fn one_that_is_served_meanwhile_is_evidence_to_the_contrary() {
    let mut rates = Rates::new(Limits::default());
    for user in 1..=20 {
        let learnt = rates.answered(&call(1, user), at(0), Said::Refused(None), at(0)).unwrap();
        assert_eq!(learnt.level, Level::Account);
        rates.answered(&call(1, 100), at(0), Said::Served(None), at(0));
    }
}

#[test]
fn a_pause_outlives_a_restart_and_a_clock_that_was_set_back_makes_it_no_longer() {
    let mut rates = Rates::new(Limits::default());
    let ann = call(1, 1);
    rates.answered(&ann, at(0), Said::Refused(Some(Duration::from_hours(20))), at(0));
    let kept = rates.paused(at(10));
    assert_eq!(kept, [(ann.account, at(3_600_000))]);
    let mut later = Rates::new(Limits::default());
    later.resume(&kept, at(1_000));
    assert_eq!(later.start(&ann, at(1_000)), Err(at(3_600_000)));
    later.start(&call(1, 2), at(1_000)).unwrap();
    assert_eq!(later.start(&ann, Timestamp(0)), Err(Timestamp(3_600_000)));
    assert_eq!(later.start(&ann, at(3_600_000)), Ok(()));
    assert!(rates.paused(at(3_600_000)).is_empty());
}

#[test]
fn what_waits_for_its_own_account_holds_nobody_of_the_same_user_up() {
    let mut rates = Rates::new(rated(1, 100));
    let first = call(1, 1);
    let other = Call {
        account: ScopeId(77),
        ..first
    };
    rates.answered(&first, at(0), Said::Refused(Some(millis(1_000))), at(0));
    let slow = rates.wait(first, LATER, at(1)).unwrap();
    let quick = rates.wait(other, LATER, at(1)).unwrap();
    assert_eq!(run_dry(&mut rates, at(1)), [(quick, at(1)), (slow, at(1_000))]);
}

proptest! {
    #[test]
    fn never_more_begin_within_a_span_than_the_rate_says(
        count in 1u32..6,
        per in 1u64..500,
        steps in prop::collection::vec((0u64..120, 0u128..3, 0u128..3, 0u8..4), 1..200),
    ) {
        let mut rates = Rates::new(rated(count, per));
        let (mut now, mut began, mut tickets) = (0, Vec::new(), Vec::new());
        for (passes, customer, user, deed) in steps {
            now += passes;
            let released = rates.release(at(now));
            began.extend(released.go.iter().map(|_| at(now)));
            tickets.retain(|ticket| !released.go.contains(ticket));
            match deed {
                0 => began.extend(rates.start(&call(customer, user), at(now)).ok().map(|()| at(now))),
                1 if !tickets.is_empty() => rates.leave(tickets.swap_remove(now as usize % tickets.len()), at(now)),
                _ => tickets.push(rates.wait(call(customer, user), LATER, at(now)).unwrap()),
            }
        }
        let rest = run_dry(&mut rates, at(now));
        prop_assert_eq!(rest.len(), tickets.len(), "everybody's turn comes");
        began.extend(rest.into_iter().map(|(_, at)| at));
        for (first, last) in began.iter().zip(began.iter().skip(count as usize)) {
            prop_assert!(last.since(*first) >= millis(per), "{began:?}");
        }
    }

    #[test]
    fn never_more_begin_than_a_provider_said_are_left(
        answers in prop::collection::vec((0u32..8, 1u64..400, 0u64..50), 1..60),
    ) {
        let mut rates = Rates::new(Limits::default());
        let (ann, mut now) = (call(1, 1), 0);
        // What was said of the window that is open: until when, and how many more at most.
        let mut open: Option<(u64, u32)> = None;
        for (left, span, passes) in answers {
            now += passes;
            open = open.filter(|(until, _)| *until > now);
            while rates.start(&ann, at(now)).is_ok() {
                match &mut open {
                    Some((_, 0)) => prop_assert!(false, "one too many at {now}"),
                    Some((_, left)) => *left -= 1,
                    None => break,
                }
            }
            rates.answered(&ann, at(now), Said::Served(Some((left, millis(span)))), at(now));
            open = Some(open.map_or((now + span, left), |(until, known)| (until, known.min(left))));
        }
    }

    #[test]
    fn between_two_calls_of_a_user_others_begin_at_most_as_often_as_their_customers_take_turns(
        floods in prop::collection::vec((0u128..4, 0u128..4, 1usize..40), 2..12),
        count in 1u32..4,
    ) {
        let mut rates = Rates::new(rated(count, 10));
        let mut senders = HashMap::new();
        for (customer, user, calls) in floods {
            for _ in 0..calls {
                let call = call(customer, user);
                senders.insert(rates.wait(call, LATER, at(0)).unwrap(), (customer, user));
            }
        }
        let order: Vec<(u128, u128)> = run_dry(&mut rates, at(0)).iter().map(|(ticket, _)| senders[ticket]).collect();
        prop_assert_eq!(order.len(), senders.len());
        let mut who: Vec<(u128, u128)> = order.clone();
        who.sort_unstable();
        who.dedup();
        for one in &who {
            let mut customers: Vec<u128> = who.iter().map(|(customer, _)| *customer).collect();
            customers.dedup();
            let users = who.iter().filter(|(customer, _)| *customer == one.0).count();
            let bound = customers.len() * users;
            let own = order.iter().enumerate().filter(|(_, sender)| *sender == one).map(|(at, _)| at + 1);
            let mut before = 0;
            for place in own {
                prop_assert!(place - before <= bound, "{one:?} waits {} turns of {bound}: {order:?}", place - before);
                before = place;
            }
        }
    }

    #[test]
    fn what_is_remembered_has_its_bounds_and_everybody_leaves(
        steps in prop::collection::vec((0u64..200, 0u128..6, 0u128..6, 0u8..8, 0u128..5), 1..300),
        has_rate in any::<bool>(),
    ) {
        let limits = Limits { tracked: 12, waiting: 20, waiting_per_user: 4, ..rated(2, 300) };
        let limits = Limits { rate: limits.rate.filter(|_| has_rate), ..limits };
        let mut rates = Rates::new(limits);
        let (mut now, mut waiting) = (0, HashMap::new());
        for (passes, customer, user, deed, host) in steps {
            now += passes;
            let released = rates.release(at(now));
            for ticket in released.go.iter().chain(released.refuse.iter().map(|(ticket, _)| ticket)) {
                prop_assert!(waiting.remove(ticket).is_some(), "released once");
            }
            let call = Call { host: ScopeId(host << 100 | 1), ..call_by(customer, user, (user % 2 == 0).then_some(user)) };
            match deed {
                0 | 1 => { rates.answered(&call, at(now), Said::Refused(None), at(now)); }
                2 => { rates.answered(&call, at(now), Said::Served(Some((1, millis(400)))), at(now)); }
                3 => if let Some(ticket) = waiting.keys().min().copied() {
                    waiting.remove(&ticket);
                    rates.leave(ticket, at(now));
                },
                _ => match rates.wait(call, at(now + 5_000), at(now)) {
                    Ok(ticket) => { waiting.insert(ticket, call.sender); }
                    Err(Refusal::Full) => {
                        let own = waiting.values().filter(|sender| **sender == call.sender).count();
                        prop_assert!(waiting.len() == 20 || own == 4);
                    }
                    Err(Refusal::TooLong(until)) => prop_assert!(until > at(now + 5_000)),
                },
            }
            prop_assert!(rates.tracked() <= 12);
            prop_assert_eq!(rates.waiting(), waiting.len());
            if let Some(next) = rates.next_release() {
                prop_assert!(!waiting.is_empty() && next.0 > 0);
            } else {
                prop_assert!(waiting.is_empty());
            }
        }
        for ticket in waiting.into_keys() {
            rates.leave(ticket, at(now));
        }
        prop_assert_eq!((rates.waiting(), rates.next_release()), (0, None));
    }
}
