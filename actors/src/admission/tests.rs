use super::*;
use crate::kit::VirtualClock;
use futures_util::FutureExt;
use tokio::task::JoinHandle;
use uuid::Uuid;

fn limits(user: u64, total: u64) -> AdmissionOptions {
    let limits = Limits {
        user,
        total,
        wait_percent: 100,
        ..Limits::default()
    };
    AdmissionOptions {
        limits,
        ..AdmissionOptions::default()
    }
}

fn claim_of(user: u128) -> Claim {
    Claim {
        customer: Some(CustomerId(Uuid::from_u128(1))),
        flow: Some((InstanceId(Uuid::from_u128(2)), FlowNumber(1))),
        user: Some(UserId(Uuid::from_u128(user))),
        bytes: 100,
    }
}

fn of_bytes(user: u128, bytes: u64) -> Claim {
    Claim { bytes, ..claim_of(user) }
}

fn counters(options: AdmissionOptions) -> (Admission, VirtualClock) {
    let clock = VirtualClock::default();
    (Admission::new(options, Arc::new(clock.clone())), clock)
}

/// Lets the other tasks of this single-threaded runtime run until they wait for something.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

fn admit_aside(admission: &Admission, claim: Claim) -> JoinHandle<Result<(), Overload>> {
    let admission = admission.clone();
    tokio::spawn(async move { admission.admit(claim).await.map(Admitted::keep) })
}

#[tokio::test]
async fn who_is_at_a_limit_is_refused_after_the_wait_and_others_are_not() {
    let all = Limits {
        wait_percent: 100,
        ..Limits::default()
    };
    let others = [
        (Scope::User, Limits { user: 2, ..all }),
        (Scope::Flow, Limits { flow: 2, ..all }),
        (Scope::Customer, Limits { customer: 2, ..all }),
        (Scope::User, Limits { user_bytes: 250, ..all }),
        (
            Scope::Customer,
            Limits {
                customer_bytes: 250,
                ..all
            },
        ),
    ];
    for (scope, limits) in others {
        let options = AdmissionOptions {
            limits,
            ..AdmissionOptions::default()
        };
        let other = match scope {
            Scope::User => claim_of(8),
            Scope::Flow => Claim {
                flow: Some((InstanceId(Uuid::from_u128(2)), FlowNumber(2))),
                ..claim_of(7)
            },
            _ => Claim {
                customer: Some(CustomerId(Uuid::from_u128(2))),
                ..claim_of(7)
            },
        };
        let (admission, clock) = counters(options);
        for _ in 0..2 {
            admission.admit(claim_of(7)).await.unwrap().keep();
        }
        let third = admit_aside(&admission, claim_of(7));
        settle().await;
        clock.advance(Duration::from_millis(249));
        settle().await;
        assert!(!third.is_finished());
        admission
            .admit(other)
            .now_or_never()
            .expect("another one does not wait")
            .unwrap()
            .keep();
        clock.advance(Duration::from_millis(1));
        let refused = third.await.unwrap().unwrap_err();
        assert_eq!((refused.scope, refused.retry_after), (scope, Duration::from_secs(2)));
        assert_eq!(admission.total(), (3, 300), "a refused claim leaves nothing behind");
    }
}

#[tokio::test]
async fn who_waits_for_their_own_room_leaves_places_to_others() {
    let options = AdmissionOptions {
        waiters_max: 8,
        ..limits(1, 10)
    };
    let (admission, _clock) = counters(options);
    for user in [7, 8] {
        admission.admit(claim_of(user)).await.unwrap().keep();
    }
    let theirs = [admit_aside(&admission, claim_of(7)), admit_aside(&admission, claim_of(7))];
    settle().await;
    let third = admission.admit(claim_of(7)).now_or_never();
    assert_eq!(third.unwrap().unwrap_err().scope, Scope::User, "not a moment");
    let other = admit_aside(&admission, claim_of(8));
    settle().await;
    admission.ended(&claim_of(8));
    other.await.unwrap().unwrap();
    // Whoever gave up leaves a place.
    let [first, second] = theirs;
    second.abort();
    settle().await;
    let third = admit_aside(&admission, claim_of(7));
    settle().await;
    for waits in [first, third] {
        admission.ended(&claim_of(7));
        waits.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn what_an_event_has_written_since_counts_until_it_ends() {
    let options = |user_bytes| AdmissionOptions {
        limits: Limits {
            user_bytes,
            wait_percent: 100,
            ..Limits::default()
        },
        waiters_max: 0,
        ..AdmissionOptions::default()
    };
    let (admission, _clock) = counters(options(1_000));
    admission.admit(claim_of(7)).await.unwrap().keep();
    admission.grew(&of_bytes(7, 801));
    assert_eq!(admission.admit(claim_of(7)).await.unwrap_err().scope, Scope::User);
    assert_eq!(admission.total(), (1, 901), "in all, too");
    admission.admit(claim_of(8)).await.unwrap().keep();
    admission.ended(&of_bytes(7, 901));
    admission.admit(claim_of(7)).await.unwrap().keep();
    // Found at a start.
    admission.restore(&of_bytes(9, 2_000));
    assert_eq!(admission.admit(claim_of(9)).await.unwrap_err().scope, Scope::User);
    for claim in [claim_of(7), claim_of(8), of_bytes(9, 2_000)] {
        admission.ended(&claim);
    }
    assert_eq!((admission.total(), admission.counters()), ((0, 0), 0));
    // Alone, even an oversized one fits.
    let (admission, _clock) = counters(options(10));
    admission.admit(claim_of(7)).await.unwrap().keep();
}

#[tokio::test]
async fn an_end_lets_one_waiting_caller_in_at_once() {
    let (admission, _clock) = counters(limits(1, 100));
    admission.admit(claim_of(7)).await.unwrap().keep();
    let (second, third) = (admit_aside(&admission, claim_of(7)), admit_aside(&admission, claim_of(7)));
    settle().await;
    admission.ended(&claim_of(7));
    second.await.unwrap().unwrap();
    settle().await;
    assert!(!third.is_finished());
    admission.ended(&claim_of(7));
    third.await.unwrap().unwrap();
    assert_eq!(admission.total().0, 1);
}

#[tokio::test]
async fn room_goes_to_whoever_waits_longest_and_not_to_who_has_just_come() {
    for limits in [limits(2, 100), limits(100, 2)] {
        let (admission, clock) = counters(limits);
        for _ in 0..2 {
            admission.admit(claim_of(7)).await.unwrap().keep();
        }
        let mut waiting: Vec<_> = (0..4).map(|_| admit_aside(&admission, claim_of(7))).collect();
        settle().await;
        let last = waiting.pop().unwrap();
        for waited in waiting {
            admission.ended(&claim_of(7));
            // one that comes before whoever was woken has had time to look
            assert!(admission.admit(claim_of(7)).now_or_never().is_none());
            waited.await.unwrap().unwrap();
        }
        assert!(!last.is_finished());
        admission.ended(&claim_of(7));
        last.await.unwrap().unwrap();
        assert_eq!((admission.total().0, clock.now().0), (2, 0));
    }
}

#[tokio::test]
async fn room_in_all_is_waited_for_too() {
    let (admission, clock) = counters(limits(10, 1));
    admission.admit(claim_of(7)).await.unwrap().keep();
    let second = admit_aside(&admission, claim_of(8));
    settle().await;
    admission.ended(&claim_of(7));
    second.await.unwrap().unwrap();
    let third = admit_aside(&admission, claim_of(9));
    settle().await;
    clock.advance(Duration::from_millis(250));
    assert_eq!(third.await.unwrap().unwrap_err().scope, Scope::Total);
}

#[tokio::test]
async fn more_waiting_callers_than_allowed_are_refused_immediately() {
    let options = AdmissionOptions {
        waiters_max: 0,
        ..limits(1, 100)
    };
    let (admission, _clock) = counters(options);
    admission.admit(claim_of(7)).await.unwrap().keep();
    assert_eq!(admission.admit(claim_of(7)).await.unwrap_err().scope, Scope::User);
}

#[tokio::test]
async fn callers_refused_again_and_again_leave_no_places_behind() {
    let (admission, clock) = counters(limits(1, 100));
    admission.admit(claim_of(7)).await.unwrap().keep();
    for _ in 0..100 {
        let refused = admit_aside(&admission, claim_of(7));
        settle().await;
        clock.advance(Duration::from_millis(250));
        refused.await.unwrap().unwrap_err();
    }
    let key = Key::User(UserId(Uuid::from_u128(7)));
    assert_eq!(admission.shard(&key)[&key].waiters.len(), 1);
}

#[tokio::test]
async fn a_failed_append_gives_the_room_back_and_nothing_stays_in_memory() {
    let (admission, _clock) = counters(limits(2, 100));
    drop(admission.admit(claim_of(7)).await.unwrap());
    admission.restore(&claim_of(8));
    assert_eq!((admission.total(), admission.counters()), ((1, 100), 3));
    admission.ended(&claim_of(8));
    assert_eq!((admission.total(), admission.counters()), ((0, 0), 0));
}

#[tokio::test]
async fn what_is_found_at_start_counts_even_beyond_the_limits() {
    let (admission, _clock) = counters(limits(1, 100));
    for _ in 0..5 {
        admission.restore(&claim_of(7));
    }
    assert_eq!(admission.admit_own(claim_of(7)).unwrap_err().scope, Scope::User);
    for _ in 0..5 {
        admission.ended(&claim_of(7));
    }
    admission.admit_own(claim_of(7)).unwrap().keep();
}

#[test]
fn claims_of_many_threads_never_pass_a_limit_and_add_up_to_nothing() {
    let (admission, _clock) = counters(limits(3, 8));
    std::thread::scope(|scope| {
        for thread in 0..4_u128 {
            let admission = &admission;
            scope.spawn(move || {
                for round in 0..2_000 {
                    if let Ok(held) = admission.admit_own(claim_of((thread + round) % 3)) {
                        assert!(admission.total().0 <= 8);
                        drop(held);
                    }
                }
            });
        }
    });
    assert_eq!((admission.total(), admission.counters()), ((0, 0), 0));
}

#[tokio::test]
async fn an_end_that_was_never_counted_takes_no_room_away() {
    let (admission, _clock) = counters(limits(1, 1));
    admission.ended(&claim_of(7));
    admission.admit(claim_of(7)).await.unwrap().keep();
    assert_eq!((admission.total(), admission.counters()), ((1, 100), 3));
}
