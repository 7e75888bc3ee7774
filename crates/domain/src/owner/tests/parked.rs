//! Executions that wait for a credential.

use super::*;

impl Rig {
    /// What has its turn is taken up and lacks a credential; the numbers that were parked.
    fn park_all(&mut self, again: Option<Timestamp>) -> Vec<u128> {
        let mut parked = Vec::new();
        while let Some(turn) = self.users.turns.pop() {
            self.owner.take_up(turn.execution).unwrap();
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
    rig.owner.take_up(id(5)).unwrap();
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
        rig.owner.take_up(turn.execution).unwrap();
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
    rig.owner.take_up(id(2)).unwrap();
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
    assert!(
        rig.users.turns.iter().all(|turn| turn.slot.is_none()),
        "they end outside their turn"
    );
    assert_eq!((rig.turns(), rig.owner.next_look()), (vec![1, 2, 3], None));
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
