//! Who begins nothing more because of what theirs holds.

use super::*;
use crate::entry::StepsDone;

impl Rig {
    /// Its turn came; it begins, gives so many bytes and waits for a credential.
    fn begins_and_waits(&mut self, number: u128, bytes: usize) {
        let turn = self.users.last[&id(number)];
        self.owner.take_up(&turn).unwrap();
        self.start(number, 0);
        self.gives(number, bytes);
        self.parks(&turn, "account");
    }

    fn gives(&mut self, number: u128, bytes: usize) {
        let logs = Some(Sealed(vec![0; bytes]));
        self.commit(StepsDone {
            execution: id(number),
            attempt: 1,
            steps: Vec::new(),
            branches: Vec::new(),
            logs,
            log_counts: Vec::new(),
        });
    }
}

#[test]
fn nothing_more_of_a_user_begins_while_what_has_begun_holds_their_share() {
    let mut rig = Rig::new(1);
    (1..=4).for_each(|number| rig.accept(number, ANN));
    rig.begins_and_waits(1, 500);
    rig.begins_and_waits(2, 500);
    assert_eq!(rig.turns(), [1, 2], "what has begun holds a thousand bytes");
    rig.accept(5, BOB);
    assert_eq!(rig.turns(), [5], "the slot is another user's");
    rig.take_up(5).unwrap();
    rig.over(5);
    rig.cancel(4);
    assert_eq!(rig.turns(), [4], "what is to be ended is taken up");
    rig.take_up(4).unwrap();
    rig.end(4);
    assert_eq!(rig.turns(), Vec::<u128>::new());

    // A credential is back: what has begun goes on, and the rest once there is room.
    rig.owner.usable(UserKey::of(&identity(ANN)), &[], &mut rig.users);
    assert_eq!(rig.turns(), [1]);
    rig.take_up(1).unwrap();
    rig.gives(1, 5_000);
    rig.over(1);
    assert_eq!(rig.turns(), [2]);
    rig.take_up(2).unwrap();
    rig.over(2);
    assert_eq!(rig.turns(), [3]);
}

#[test]
fn all_that_stands_apart_comes_to_its_turn_also_where_what_was_let_go_ends_before_it_begins() {
    let mut rig = Rig::new(1);
    (1..=200).for_each(|number| rig.accept(number, ANN));
    rig.begins_and_waits(1, 1_000);
    assert_eq!(rig.turns(), [1]);
    rig.end(1);
    for number in 2..=200 {
        assert_eq!(rig.turns(), [number]);
        rig.take_up(number).unwrap();
        rig.over(number);
    }
    assert_eq!(rig.owner.live(), 0);
}

#[test]
fn what_begins_and_waits_lets_in_the_rest_and_no_user_of_a_customer_waits_for_another() {
    let mut rig = Rig::new(300);
    rig.accept(1, ANN);
    rig.begins_and_waits(1, 900);
    rig.gives(1, 2_000);
    rig.turns();
    (2..=200).for_each(|number| rig.accept(number, ANN));
    rig.accept(201, BOB);
    assert_eq!(rig.turns(), Vec::<u128>::new(), "the customer's share is taken");
    rig.end(1);
    let mut all = rig.turns();
    assert!(all.len() < 200 && all.contains(&201), "of each user some: {all:?}");
    // Nothing ends any more: what has begun waits.
    let mut begun = 0;
    while begun < all.len() && begun < 20 {
        let turn = rig.users.last[&id(all[begun])];
        rig.owner.take_up(&turn).unwrap();
        rig.start(all[begun], 0);
        rig.parks(&turn, &format!("account {begun}"));
        all.extend(rig.turns());
        begun += 1;
    }
    all.sort_unstable();
    assert_eq!(all, (2..=201).collect::<Vec<_>>());
}

#[test]
fn one_queue_of_a_person_or_of_a_customer_does_not_wait_for_another_of_theirs() {
    let elsewhere = InstanceId(Uuid::from_u128(2));
    let of_ann = identity(ANN);
    let config = UserConfigId(Uuid::from_u128(77));
    let anns = Identity {
        instance: elsewhere,
        user: of_ann.user.map(|bound| BoundUser { config, ..bound }),
        ..of_ann
    };
    let of_nobody = Identity { user: None, ..of_ann };
    let nobodys = Identity {
        instance: elsewhere,
        ..of_nobody
    };
    for (one, other) in [(of_ann, anns), (of_nobody, nobodys)] {
        let mut rig = Rig::new(300);
        rig.accept_for(1, one);
        rig.begins_and_waits(1, 5_000);
        rig.turns();
        (2..=200).for_each(|number| rig.accept_for(number, one));
        rig.accept_for(201, other);
        assert_eq!((rig.turns(), rig.owner.apart_now()), (Vec::new(), 200), "the share is taken");
        rig.cancel(200);
        rig.end(1);
        let turns = rig.turns();
        assert_eq!(rig.owner.apart_now(), 200 - turns.len());
        assert!(turns.len() < 200 && turns.contains(&201), "of each queue some: {turns:?}");
        rig.accept_for(202, other);
        assert!(rig.turns().contains(&202), "nothing of its queue is older and waits");
    }
}

#[test]
fn what_stands_apart_is_not_taken_for_served() {
    const CAROL: u128 = 99;
    let mut rig = Rig::new(2);
    let costs = |rig: &mut Rig, number, seconds| {
        let turn = rig.users.last[&id(number)];
        rig.owner.take_up(&turn).unwrap();
        rig.start(number, 0);
        rig.end(number);
        let slot = Duration::from_secs(seconds);
        rig.owner.over(&turn, Some(Cost { slot, ..Cost::default() }));
        rig.owner.grant(&mut rig.users);
    };
    for (number, user) in [(1, ANN), (2, BOB), (3, CAROL), (4, ANN), (5, BOB)] {
        rig.accept(number, user);
    }
    costs(&mut rig, 1, 100);
    assert_eq!(rig.turns(), [1, 2, 3]);
    rig.take_up(3).unwrap();
    rig.start(3, 0);
    rig.gives(3, 2_000);
    costs(&mut rig, 2, 1);
    assert_eq!(
        (rig.turns(), rig.owner.apart_now()),
        (Vec::new(), 2),
        "the customer's share is taken"
    );
    rig.end(3);
    assert_eq!(rig.turns(), [5], "the other has cost more");
}

#[test]
fn what_comes_later_does_not_begin_before_what_stands_apart() {
    let mut rig = Rig::new(100);
    rig.accept(1, ANN);
    rig.begins_and_waits(1, 1_000);
    (2..=70).for_each(|number| rig.accept(number, ANN));
    rig.turns();
    rig.end(1);
    let let_in = rig.turns();
    assert!(let_in.len() < 69, "not all at once");
    rig.accept(71, ANN);
    let all: Vec<u128> = let_in.into_iter().chain(rig.turns()).collect();
    assert_eq!(all, (2..=71).collect::<Vec<_>>());
}

#[test]
fn memory_goes_to_nothing_more_of_a_user_whose_share_is_taken() {
    let mut rig = Rig::new(3);
    (1..=3).for_each(|number| rig.accept(number, ANN));
    assert_eq!(rig.turns(), [1, 2, 3]);
    for number in [2, 3] {
        let turn = rig.users.last[&id(number)];
        rig.owner.take_up(&turn).unwrap();
        rig.owner.gave_back(&turn, &mut rig.users);
    }
    rig.begins_and_waits(1, 1_000);
    rig.accept(4, ANN);
    assert_eq!(rig.turns(), Vec::<u128>::new());
    assert!(!rig.owner.room_came(id(3)), "it is for others");
    rig.owner.grant(&mut rig.users);
    assert_eq!(rig.turns(), Vec::<u128>::new());
    rig.end(1);
    assert_eq!(rig.turns(), [3, 4], "there is room, and the second waits for memory");
    assert!(rig.owner.room_came(id(2)));
    rig.owner.has_room(id(2));
    rig.owner.grant(&mut rig.users);
    assert_eq!(rig.turns(), [2]);
}

#[test]
fn a_customers_share_holds_up_all_of_its_users_and_after_a_restart_too() {
    let mut rig = Rig::new(1);
    rig.accept(1, ANN);
    rig.begins_and_waits(1, 100);
    rig.gives(1, 1_900);
    rig.turns();
    rig.accept(2, BOB);
    assert_eq!(rig.turns(), Vec::<u128>::new());
    rig.owner.died(|_| true);
    rig.back();
    assert_eq!(rig.turns(), [1], "it looks for its credential");
    rig.take_up(1).unwrap();
    rig.over(1);
    assert_eq!(rig.turns(), [2]);

    let mut rig = Rig::new(1);
    let has_begun = recovered(vec![EntryRef {
        position: 1,
        entries: 3,
        bytes: 2_000,
    }]);
    let wait = Wait {
        connection: "account".into(),
        until: Timestamp(1_000),
        again: None,
    };
    let parked = Recovered {
        parked: Some(wait),
        ..has_begun
    };
    rig.owner.recover(parked, &mut rig.users);
    rig.accept(2, BOB);
    assert_eq!(rig.turns(), Vec::<u128>::new());
    rig.end(1);
    assert_eq!(rig.turns(), [2]);
}
