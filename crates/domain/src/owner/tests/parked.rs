//! Executions that wait for a credential.

use super::*;
use std::time::Duration;

impl Rig {
    /// What has its turn is taken up and lacks a credential; the numbers that were parked.
    fn park_all(&mut self, again: Option<Timestamp>) -> Vec<u128> {
        let mut parked = Vec::new();
        while let Some(turn) = self.users.turns.pop() {
            self.owner.take_up(&turn).unwrap();
            let wait = Wait {
                connection: "account".into(),
                until: Timestamp(1_000 + self.position),
                again,
            };
            self.owner.parked(&turn, Cost::default(), wait);
            parked.push(turn.execution.0.as_u128());
            self.owner.grant(&mut self.users);
        }
        parked
    }
}

impl Rig {
    /// With so many slots, and so many of Ann's executions that are parked.
    fn with_parked(slots: u32, count: u128) -> Self {
        let mut rig = Self::new(slots);
        (1..=count).for_each(|number| rig.accept(number, ANN));
        rig.park_all(None);
        assert_eq!(rig.owner.parked_now() as u128, count);
        rig
    }

    /// The credentials may be back; who lines up to find out.
    fn tried(&mut self) -> Vec<u128> {
        self.owner.try_parked(|_| true, &mut self.users);
        self.numbers()
    }

    fn numbers(&self) -> Vec<u128> {
        self.users.turns.iter().map(|turn| turn.execution.0.as_u128()).collect()
    }

    fn take(&mut self) -> (Turn, TakenUp) {
        let turn = self.users.turns.remove(0);
        let taken = self.owner.take_up(&turn).unwrap();
        (turn, taken)
    }

    pub(super) fn parks(&mut self, turn: &Turn, connection: &str) {
        let wait = Wait {
            connection: connection.into(),
            until: Timestamp(1_000),
            again: None,
        };
        self.owner.parked(turn, Cost::default(), wait);
        self.owner.grant(&mut self.users);
    }
}

fn key(user: u128) -> UserKey {
    UserKey::of(&identity(user))
}

#[test]
fn what_is_parked_holds_no_slot_and_runs_in_its_old_order_once_its_credential_is_back() {
    let mut rig = Rig::new(1);
    (1..=4).for_each(|number| rig.accept(number, ANN));
    assert_eq!(rig.park_all(None), [1, 2, 3, 4]);
    assert_eq!((rig.owner.running(), rig.owner.parked_now()), (0, 4));
    rig.accept(5, BOB);
    assert_eq!(rig.turns(), [5], "another user goes on");
    rig.take_up(5).unwrap();
    rig.end(5);
    rig.owner.died(|user| *user == key(BOB));

    // The first finds out; it lacks the credential still, and the rest does not move.
    rig.owner.try_parked(|_| true, &mut rig.users);
    assert_eq!(rig.park_all(None), [1]);
    rig.owner.usable(key(ANN), &["account".into()], &mut rig.users);
    assert_eq!((rig.turns(), rig.owner.parked_now()), (vec![], 4));

    rig.owner.try_parked(|_| true, &mut rig.users);
    rig.owner.usable(key(ANN), &["other".into()], &mut rig.users);
    assert_eq!(rig.owner.parked_now(), 0);
    rig.accept(6, ANN);
    let mut order = Vec::new();
    while let Some(turn) = rig.users.turns.pop() {
        rig.owner.take_up(&turn).unwrap();
        order.push(turn.execution.0.as_u128());
        rig.end(turn.execution.0.as_u128());
        rig.owner.over(&turn, Some(Cost::default()));
        rig.owner.grant(&mut rig.users);
    }
    assert_eq!(order, [1, 2, 3, 4, 6]);
}

#[test]
fn a_parked_execution_is_cancelled_at_once_and_one_that_is_cancelled_is_not_parked() {
    let mut rig = Rig::new(2);
    rig.accept(1, ANN);
    rig.park_all(None);
    rig.cancel(1);
    assert!(rig.users.turns[0].slot.is_none(), "outside its turn");
    assert_eq!((rig.turns(), rig.owner.parked_now()), (vec![1], 0));
    rig.accept(2, ANN);
    let turn = rig.users.turns.pop().unwrap();
    rig.take_up(2).unwrap();
    // Its end was asked for while it parked.
    rig.cancel(2);
    let wait = Wait {
        connection: "account".into(),
        until: Timestamp(9),
        again: None,
    };
    rig.owner.parked(&turn, Cost::default(), wait);
    rig.owner.grant(&mut rig.users);
    assert_eq!((rig.turns(), rig.owner.parked_now()), (vec![2], 0));
}

#[test]
fn somebody_looks_when_a_wait_is_over_and_when_it_is_worth_trying() {
    let mut rig = Rig::new(1);
    (1..=3).for_each(|number| rig.accept(number, ANN));
    rig.park_all(Some(Timestamp(50)));
    assert_eq!(rig.owner.next_look(), Some(Timestamp(50)));
    rig.owner.look(Timestamp(49), &mut rig.users);
    assert_eq!(rig.turns(), [] as [u128; 0]);
    rig.owner.look(Timestamp(50), &mut rig.users);
    assert_eq!(rig.park_all(None), [1], "one finds out");
    let end = rig.owner.next_look().unwrap();
    assert_eq!(end, Timestamp(1_003));
    rig.owner.look(end, &mut rig.users);
    // Whether they end is found out in their turns: what they waited for may be back.
    let mut ended = Vec::new();
    while let Some(turn) = rig.users.turns.pop() {
        assert!(turn.slot.is_some() && rig.owner.take_up(&turn).is_some());
        ended.push(turn.execution.0.as_u128());
        rig.owner.over(&turn, Some(Cost::default()));
        rig.owner.grant(&mut rig.users);
    }
    assert_eq!((ended, rig.owner.next_look()), (vec![1, 2, 3], None));
}

#[test]
fn what_has_waited_long_enough_does_not_begin_while_everything_is_held() {
    let mut rig = Rig::with_parked(1, 2);
    rig.owner.hold(true);
    let end = rig.owner.next_look().unwrap();
    rig.owner.look(end.after(Duration::from_secs(1)), &mut rig.users);
    assert_eq!(rig.turns(), [] as [u128; 0]);
    rig.owner.hold(false);
    rig.owner.grant(&mut rig.users);
    assert_eq!(rig.turns(), [1]);
}

#[test]
fn a_user_that_dies_leaves_what_is_parked_and_tries_it_when_it_is_back() {
    let mut rig = Rig::new(1);
    (1..=3).for_each(|number| rig.accept(number, ANN));
    rig.park_all(None);
    rig.owner.died(|_| true);
    assert_eq!(rig.owner.parked_now(), 3);
    rig.back();
    assert_eq!((rig.park_all(None), rig.owner.parked_now()), (vec![1], 3));
}

#[test]
fn what_was_parked_before_a_restart_is_parked_after_it() {
    let mut rig = Rig::new(1);
    for number in 1..=2 {
        let recovered = Recovered {
            execution: id(number),
            identity: identity(ANN),
            order: number as u64,
            entries: Vec::new(),
            cancel_requested: number == 2,
            parked: Some(Wait {
                connection: "account".into(),
                until: Timestamp(1_000),
                again: None,
            }),
        };
        rig.owner.recover(recovered, &mut rig.users);
    }
    assert_eq!((rig.turns(), rig.owner.parked_now()), (vec![2], 1), "what was cancelled ends");
    rig.owner.try_parked(|_| true, &mut rig.users);
    assert_eq!(rig.turns(), [1]);
}

#[test]
fn one_at_a_time_finds_out_and_a_try_meanwhile_is_made_when_it_is_back() {
    let mut rig = Rig::with_parked(4, 3);
    assert_eq!(rig.tried(), [1]);
    assert_eq!(rig.tried(), [1], "it is on its way");
    let (turn, taken) = rig.take();
    assert!(taken.is_scout);
    assert_eq!(rig.tried(), [] as [u128; 0], "it has not found out yet");
    // What it found may have been so before the last try was asked for.
    rig.parks(&turn, "account");
    assert_eq!(rig.numbers(), [1]);
    let (turn, _) = rig.take();
    rig.parks(&turn, "account");
    assert_eq!((rig.numbers(), rig.owner.parked_now()), (vec![], 3), "once for both");
    assert_eq!(rig.tried(), [1]);
}

#[test]
fn however_a_scout_ends_the_next_one_finds_out() {
    type End = fn(&mut Rig);
    let ends: [(&str, End); 6] = [
        ("at its end", |rig| {
            let (turn, _) = rig.take();
            rig.end(1);
            rig.owner.over(&turn, Some(Cost::default()));
            rig.owner.grant(&mut rig.users);
        }),
        ("cancelled before it begins", |rig| {
            rig.owner.hold(true);
            rig.owner.try_parked(|_| true, &mut rig.users);
            rig.cancel(1);
            rig.take();
            rig.end(1);
            rig.owner.hold(false);
            rig.owner.grant(&mut rig.users);
        }),
        ("cancelled while it runs", |rig| {
            let (turn, _) = rig.take();
            rig.cancel(1);
            rig.parks(&turn, "account");
            let (turn, _) = rig.take();
            rig.end(1);
            rig.owner.over(&turn, Some(Cost::default()));
            rig.owner.grant(&mut rig.users);
        }),
        ("after its death", |rig| {
            let (turn, _) = rig.take();
            rig.owner.fell(&turn);
            rig.owner.grant(&mut rig.users);
            assert_eq!(rig.numbers(), [1], "it is still on its way");
            let (turn, _) = rig.take();
            rig.end(1);
            rig.owner.over(&turn, Some(Cost::default()));
            rig.owner.grant(&mut rig.users);
        }),
        ("after the death of its user", |rig| {
            rig.take();
            rig.owner.died(|_| true);
            rig.back();
            assert_eq!(rig.numbers(), [1], "it is still on its way");
            let (turn, _) = rig.take();
            rig.end(1);
            rig.owner.over(&turn, Some(Cost::default()));
            rig.owner.grant(&mut rig.users);
        }),
        ("with another wait", |rig| {
            let (turn, _) = rig.take();
            rig.parks(&turn, "other");
        }),
    ];
    for (how, end) in ends {
        let mut rig = Rig::with_parked(4, 3);
        if !how.contains("begins") {
            assert_eq!(rig.tried(), [1]);
        }
        end(&mut rig);
        assert_eq!(rig.numbers(), [2], "{how}");
    }
}

#[test]
fn each_connection_has_its_own_scout_and_a_release_lets_all_go_in_order() {
    let mut rig = Rig::new(8);
    (1..=4).for_each(|number| rig.accept(number, ANN));
    for connection in ["crm", "mail", "crm", "mail"] {
        let (turn, _) = rig.take();
        rig.parks(&turn, connection);
    }
    assert_eq!(rig.tried(), [1, 2]);
    let (_, first) = rig.take();
    assert!(first.is_scout);
    rig.owner.usable(key(ANN), &["mail".into()], &mut rig.users);
    assert_eq!(rig.numbers(), [2, 3], "who waits for the other one does not move");
    assert_eq!(rig.tried(), [2, 3], "the scout for it is on its way");
    rig.owner.usable(key(ANN), &[], &mut rig.users);
    assert_eq!((rig.turns(), rig.owner.parked_now()), (vec![2, 3, 4], 0));
    assert!(!rig.take_up(3).unwrap().is_scout, "nobody waits for it");
}

#[test]
fn what_was_let_go_and_has_not_begun_stays_behind_an_older_one_that_waits_again() {
    let mut rig = Rig::with_parked(1, 4);
    assert_eq!(rig.tried(), [1]);
    rig.owner.usable(key(ANN), &[], &mut rig.users);
    rig.accept(5, ANN);
    let (turn, _) = rig.take();
    rig.parks(&turn, "account");
    assert_eq!(
        (rig.numbers(), rig.owner.parked_now()),
        (vec![5], 4),
        "what never waited may find out"
    );
    let (turn, _) = rig.take();
    rig.parks(&turn, "account");
    assert_eq!(rig.tried(), [1]);
    rig.owner.usable(key(ANN), &[], &mut rig.users);
    let mut order = Vec::new();
    while !rig.users.turns.is_empty() {
        let (turn, _) = rig.take();
        order.push(turn.execution.0.as_u128());
        rig.end(turn.execution.0.as_u128());
        rig.owner.over(&turn, Some(Cost::default()));
        rig.owner.grant(&mut rig.users);
    }
    assert_eq!(order, [1, 2, 3, 4, 5]);
}

#[test]
fn a_scout_that_has_not_begun_gives_way_to_an_older_one_that_waits_by_then() {
    let mut rig = Rig::new(2);
    rig.accept(1, ANN);
    let (first, _) = rig.take();
    rig.accept(2, ANN);
    let (second, _) = rig.take();
    rig.parks(&second, "account");
    rig.accept(3, BOB);
    rig.take();
    // Both slots are taken; the credential may be back, and the older one has found out before.
    assert_eq!(rig.tried(), [] as [u128; 0]);
    rig.parks(&first, "account");
    assert_eq!((rig.numbers(), rig.owner.parked_now()), (vec![1], 1));
}

#[test]
fn one_that_went_on_is_not_held_back() {
    let mut rig = Rig::with_parked(2, 2);
    rig.tried();
    rig.owner.usable(key(ANN), &[], &mut rig.users);
    let (first, _) = rig.take();
    let (second, _) = rig.take();
    rig.start(2, 0);
    rig.owner.fell(&second);
    rig.parks(&first, "account");
    assert_eq!((rig.numbers(), rig.owner.parked_now()), (vec![2], 1));
}

#[test]
fn what_was_let_go_and_has_memory_by_now_finds_out_itself_whether_its_credential_is_back() {
    let mut rig = Rig::with_parked(2, 2);
    rig.owner.usable(key(ANN), &[], &mut rig.users);
    let (first, _) = rig.take();
    let (second, _) = rig.take();
    assert_eq!(second.execution, id(2));
    rig.owner.gave_back(&second, &mut rig.users);
    rig.accept(3, BOB);
    let (third, _) = rig.take();
    rig.owner.has_room(id(2));
    // The slot that this frees is the next one's: it is not left to wait behind the first.
    rig.parks(&first, "account");
    assert_eq!(rig.numbers(), [2]);
    rig.owner.over(&third, None);
}
