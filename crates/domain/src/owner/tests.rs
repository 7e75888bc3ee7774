mod parked;
mod shares;

use super::*;
use crate::entry::{Accepted, Cancelled, Carried, EndStatus, Ended, Entry, EntryRef, Origin, Started};
use crate::fair::{Cost, FairOptions};
use crate::id::{CustomerId, UserId};
use crate::identity::BoundUser;
use crate::model::Sealed;
use crate::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

const ANN: u128 = 1;
const BOB: u128 = 2;

fn identity(user: u128) -> Identity {
    Identity {
        customer: CustomerId(Uuid::from_u128(1)),
        instance: InstanceId(Uuid::from_u128(1)),
        flow: FlowNumber(1),
        user: Some(BoundUser {
            user: UserId(Uuid::from_u128(user)),
            config: UserConfigId(Uuid::from_u128(user)),
        }),
    }
}

fn id(number: u128) -> ExecutionId {
    ExecutionId(Uuid::from_u128(number))
}

/// An owner whose users note what they are told.
struct Rig {
    owner: Owner,
    users: Told,
    position: u64,
}

#[derive(Default)]
struct Told {
    turns: Vec<Turn>,
    /// The last one of each execution.
    last: BTreeMap<ExecutionId, Turn>,
    cancelled: Vec<ExecutionId>,
    refusal: Option<Refusal>,
}

impl Users for Told {
    fn start(&mut self, turn: &Turn) -> Reached {
        self.refusal.map_or(Ok(()), Err)?;
        self.turns.push(*turn);
        self.last.insert(turn.execution, *turn);
        Ok(())
    }

    fn cancel(&mut self, _: UserKey, execution: ExecutionId) -> Reached {
        self.refusal.map_or(Ok(()), Err)?;
        self.cancelled.push(execution);
        Ok(())
    }
}

impl Rig {
    fn new(slots: u32) -> Self {
        let options = OwnerOptions {
            fair: FairOptions {
                slots,
                user_divisor: 1,
                reserve_divisor: u32::MAX,
                ..FairOptions::default()
            },
            cache_bytes: 1 << 20,
            shares: Shares {
                user: 1_000,
                customer: 2_000,
            },
        };
        Self {
            owner: Owner::new(options),
            users: Told::default(),
            position: 0,
        }
    }

    fn commit(&mut self, entry: impl Into<Entry>) -> Note {
        self.position += 1;
        let payload = entry.into().encode().into();
        let commit = Commit {
            position: self.position,
            payload: &payload,
        };
        let note = self.owner.committed(commit, &mut self.users).unwrap();
        self.owner.grant(&mut self.users);
        note
    }

    fn accept(&mut self, number: u128, user: u128) {
        self.accept_for(number, identity(user));
    }

    fn accept_for(&mut self, number: u128, identity: Identity) {
        let accepted = Accepted {
            execution: id(number),
            identity: Some(identity),
            origin: Origin::Webhook,
            received_at: Timestamp(1),
            dedupe_id: None,
            unique_request_id: None,
            catalog_revision: 1,
            sync_deadline: None,
            refusal: None,
            request: Sealed(Vec::new()),
        };
        assert_eq!(self.commit(accepted), Note::Accepted);
    }

    fn start(&mut self, number: u128, deaths: u32) {
        self.commit(Started {
            execution: id(number),
            attempt: 1,
            activation: 1,
            deaths,
            definition_version: 1,
            instance_revision: 1,
            user_revision: 1,
            at: Timestamp(1),
        });
    }

    fn cancel(&mut self, number: u128) {
        self.commit(Cancelled {
            execution: id(number),
            at: Timestamp(1),
            by: "local:0".into(),
        });
    }

    fn end(&mut self, number: u128) -> Note {
        self.commit(Ended {
            execution: id(number),
            attempt: 1,
            status: EndStatus::Succeeded,
            code: None,
            failed_step: None,
            message: None,
            response: None,
            cost: (0, 0),
            at: Timestamp(1),
        })
    }

    /// It ends, and its turn with it.
    fn over(&mut self, number: u128) {
        let turn = self.users.last[&id(number)];
        self.end(number);
        self.owner.over(&turn, Some(Cost::default()));
        self.owner.grant(&mut self.users);
    }

    /// The executions whose turn came since the last call.
    fn turns(&mut self) -> Vec<u128> {
        let numbers = self.users.turns.iter().map(|turn| turn.execution.0.as_u128()).collect();
        self.users.turns.clear();
        numbers
    }

    /// By the last turn that it was given.
    fn take_up(&mut self, number: u128) -> Option<TakenUp> {
        let turn = self.users.last.get(&id(number))?;
        self.owner.take_up(turn)
    }

    fn back(&mut self) {
        self.owner.back(|_| true, &mut self.users);
    }
}

#[test]
fn a_cancelled_execution_that_waits_ends_outside_its_turn_and_the_rest_keeps_its_order() {
    let mut rig = Rig::new(1);
    (1..=4).for_each(|number| rig.accept(number, ANN));
    rig.cancel(3);
    assert_eq!(
        rig.users.turns.iter().map(|turn| turn.slot.is_some()).collect::<Vec<_>>(),
        [true, false]
    );
    let first = rig.users.turns[0];
    assert_eq!(rig.turns(), [1, 3]);
    assert_eq!(rig.take_up(3).map(|taken| taken.entries.len()), Some(2), "its end is known to it");
    rig.owner.over(&first, Some(Cost::default()));
    rig.owner.grant(&mut rig.users);
    assert_eq!(rig.turns(), [2]);
}

#[test]
fn a_person_with_configurations_of_two_instances_has_a_queue_in_each() {
    let mut rig = Rig::new(1);
    let elsewhere = Identity {
        instance: InstanceId(Uuid::from_u128(2)),
        user: identity(ANN).user.map(|bound| BoundUser {
            config: UserConfigId(Uuid::from_u128(20)),
            ..bound
        }),
        ..identity(ANN)
    };
    (1..=3).for_each(|number| rig.accept(number, ANN));
    rig.accept_for(4, elsewhere);
    let first = rig.users.turns[0];
    assert_eq!(rig.turns(), [1]);
    assert!(rig.take_up(1).is_some());
    let cost = Cost {
        slot: Duration::from_secs(1),
        cpu: Duration::from_secs(1),
    };
    rig.owner.over(&first, Some(cost));
    rig.owner.grant(&mut rig.users);
    assert_eq!(rig.turns(), [4], "one queue has no more than its share, whoever it is of");
}

#[test]
fn what_a_dead_user_ran_is_first_again_and_its_slots_are_free_at_once() {
    let mut rig = Rig::new(2);
    (1..=4).for_each(|number| rig.accept(number, ANN));
    let old = rig.users.turns.clone();
    assert_eq!(rig.turns(), [1, 2]);
    assert!(rig.take_up(1).is_some());
    rig.owner.died(|_| true);
    assert_eq!(rig.owner.running(), 0);
    rig.accept(5, BOB);
    rig.accept(6, ANN);
    assert_eq!(rig.turns(), [5], "a dead user's work waits, another's does not");
    rig.back();
    assert_eq!(rig.turns(), [1]);
    assert_eq!(rig.take_up(1).map(|taken| taken.deaths), Some(Deaths::All(1)));
    rig.owner.over(&old[1], Some(Cost::default()));
    assert_eq!(rig.owner.running(), 2, "a turn from before the death frees nothing");
}

#[test]
fn a_turn_from_before_a_death_takes_nothing_up_that_was_granted_anew() {
    let mut rig = Rig::new(2);
    rig.accept(1, ANN);
    let old = rig.users.turns.remove(0);
    rig.owner.died(|_| true);
    rig.back();
    let new = rig.users.turns.remove(0);
    assert!(rig.owner.take_up(&old).is_none());
    assert!(rig.owner.take_up(&new).is_some());
    rig.owner.fell(&new);
    rig.owner.grant(&mut rig.users);
    assert_eq!(rig.turns(), [1], "its turn is counted, so that it is taken up again");
}

#[test]
fn what_finds_its_user_busy_keeps_its_place() {
    let mut rig = Rig::new(4);
    rig.users.refusal = Some(Refusal::Busy);
    rig.accept(1, ANN);
    rig.users.refusal = None;
    rig.accept(2, ANN);
    assert_eq!(rig.turns(), [] as [u128; 0]);
    rig.owner.catch_up(&mut rig.users);
    assert_eq!(rig.turns(), [1, 2]);
    assert_eq!(rig.owner.behind(), 0);
}

#[test]
fn a_cancellation_that_found_its_user_busy_is_told_again() {
    let mut rig = Rig::new(4);
    rig.accept(1, ANN);
    rig.take_up(1).unwrap();
    rig.users.refusal = Some(Refusal::Busy);
    rig.cancel(1);
    rig.users.refusal = None;
    rig.owner.catch_up(&mut rig.users);
    assert_eq!(rig.users.cancelled, [id(1)]);
    rig.owner.catch_up(&mut rig.users);
    assert_eq!(rig.users.cancelled, [id(1)], "once heard it is not repeated");
}

#[test]
fn an_execution_that_is_through_is_not_taken_up_again_whatever_becomes_of_its_user() {
    let mut rig = Rig::new(1);
    rig.accept(1, ANN);
    rig.take_up(1).unwrap();
    rig.start(1, 0);
    let turn = rig.users.turns[0];
    // Its end is on the way to the disk; the user's actor dies now, and its next one could begin.
    assert!(rig.owner.ending(id(1)));
    rig.owner.died(|_| true);
    rig.back();
    rig.cancel(1);
    assert_eq!(rig.turns(), [1]);
    assert!(rig.users.cancelled.is_empty(), "there is nothing left to cancel");
    rig.accept(2, BOB);
    assert_eq!(rig.turns(), [2], "the death has freed its slot");
    rig.owner.over(&turn, Some(Cost::default()));
    assert_eq!(rig.owner.running(), 1, "which the end does not free once more");
    assert!(matches!(rig.end(1), Note::Ended(claim) if claim.user == Some(UserId(Uuid::from_u128(ANN)))));
    assert_eq!(rig.owner.live(), 1);
}

#[test]
fn what_comes_to_its_end_after_the_death_of_its_actor_was_taken_in_does_not_end_it() {
    let mut rig = Rig::new(1);
    rig.accept(1, ANN);
    rig.take_up(1).unwrap();
    rig.owner.died(|_| true);
    assert!(!rig.owner.ending(id(1)));
    rig.back();
    assert_eq!(rig.turns(), [1, 1]);
    assert!(rig.take_up(1).is_some() && rig.owner.ending(id(1)), "its next activation does");
}

#[test]
fn what_falls_after_it_was_through_keeps_its_slot_until_its_end_is_durable() {
    let mut rig = Rig::new(1);
    rig.accept(1, ANN);
    rig.take_up(1).unwrap();
    let turn = rig.users.turns[0];
    assert!(rig.owner.ending(id(1)));
    rig.owner.fell(&turn);
    assert_eq!((rig.owner.running(), rig.turns()), (1, vec![1]));
    rig.end(1);
    rig.owner.over(&turn, Some(Cost::default()));
    assert_eq!((rig.owner.running(), rig.owner.live()), (0, 0));
}

#[test]
fn what_is_through_keeps_its_slot_until_its_turn_is_over() {
    let mut rig = Rig::new(1);
    rig.accept(1, ANN);
    rig.accept(2, ANN);
    rig.take_up(1).unwrap();
    let turn = rig.users.turns[0];
    assert!(rig.owner.ending(id(1)));
    rig.end(1);
    assert_eq!(rig.turns(), [1]);
    rig.owner.over(&turn, Some(Cost::default()));
    rig.owner.grant(&mut rig.users);
    assert_eq!(rig.turns(), [2]);
}

/// Dies under its user, and has its turn again.
fn falls(rig: &mut Rig) {
    let turn = rig.users.turns.pop().unwrap();
    rig.owner.fell(&turn);
    rig.owner.grant(&mut rig.users);
}

#[test]
fn deaths_are_counted_whether_they_are_written_yet_or_not() {
    let mut rig = Rig::new(1);
    rig.accept(1, ANN);
    for count in 0..3 {
        assert_eq!(rig.take_up(1).unwrap().deaths.total(0), count);
        falls(&mut rig);
        // What the first activation wrote is heard of only now.
        rig.start(1, 0);
    }
    rig.start(1, 3);
    assert_eq!(rig.take_up(1).unwrap().deaths.total(3), 3);
}

fn recovered(entries: Vec<EntryRef>) -> Recovered {
    Recovered {
        execution: id(1),
        identity: identity(ANN),
        order: 1,
        entries,
        cancel_requested: false,
        parked: None,
    }
}

#[test]
fn after_a_restart_an_execution_takes_up_what_its_entries_do_however_many_stand_in_one_place() {
    let mut rig = Rig::new(1);
    let at = |position, entries, bytes| EntryRef { position, entries, bytes };
    let found = recovered(vec![at(7, 3, 1_000), at(8, 1, 200)]);
    let claim = rig.owner.recover(found, &mut rig.users);
    assert_eq!(claim, Claim::of(Some(&identity(ANN)), 1_200));
    assert_eq!(rig.end(1), Note::Ended(claim));
}

#[test]
fn deaths_from_before_a_restart_are_counted_once() {
    let mut rig = Rig::new(1);
    rig.owner.recover(recovered(Vec::new()), &mut rig.users);
    rig.owner.grant(&mut rig.users);
    assert_eq!(rig.take_up(1).unwrap().deaths.total(1), 1, "its entries say one");
    falls(&mut rig);
    assert_eq!(rig.take_up(1).unwrap().deaths.total(1), 2);
    rig.start(1, 2);
    falls(&mut rig);
    assert_eq!(rig.take_up(1).unwrap().deaths.total(2), 3);
}

#[test]
fn an_execution_that_died_is_first_in_its_users_queue_again() {
    let mut rig = Rig::new(1);
    (1..=3).for_each(|number| rig.accept(number, ANN));
    rig.take_up(1).unwrap();
    falls(&mut rig);
    assert_eq!(rig.turns(), [1]);
}

#[test]
fn an_execution_that_gave_its_turn_back_leaves_its_slot_and_lines_up_in_its_place_once_there_is_room() {
    let mut rig = Rig::new(1);
    (1..=3).for_each(|number| rig.accept(number, ANN));
    let gives_back = |rig: &mut Rig, number| {
        rig.take_up(number).unwrap();
        let turn = rig.users.last[&id(number)];
        rig.owner.gave_back(&turn, &mut rig.users);
        rig.owner.grant(&mut rig.users);
    };
    assert_eq!(rig.turns(), [1]);
    gives_back(&mut rig, 1);
    assert_eq!(rig.turns(), [2], "it stands apart");
    rig.owner.has_room(id(2));
    assert_eq!(rig.owner.running(), 1, "it has its turn and needs none");
    gives_back(&mut rig, 2);
    assert_eq!(rig.turns(), [3]);
    rig.owner.has_room(id(2));
    rig.owner.has_room(id(1));
    gives_back(&mut rig, 3);
    assert_eq!(rig.turns(), [1], "in the order of acceptance");
    assert_eq!(rig.take_up(1).unwrap().deaths.total(0), 0);
}

#[test]
fn an_execution_without_room_ends_outside_its_turn_whenever_that_is_asked_for() {
    let mut rig = Rig::new(1);
    (1..=2).for_each(|number| rig.accept(number, ANN));
    rig.take_up(1).unwrap();
    rig.turns();
    rig.cancel(1);
    let turn = rig.users.last[&id(1)];
    rig.owner.gave_back(&turn, &mut rig.users);
    let ending = rig.users.last[&id(1)];
    assert!(ending.slot.is_none(), "it was asked for before");
    rig.owner.grant(&mut rig.users);
    rig.take_up(2).unwrap();
    let turn = rig.users.last[&id(2)];
    rig.owner.gave_back(&turn, &mut rig.users);
    rig.cancel(2);
    assert!(rig.users.last[&id(2)].slot.is_none() && rig.take_up(2).is_some());
}

#[test]
fn an_execution_without_room_lines_up_when_its_user_is_back() {
    let mut rig = Rig::new(1);
    rig.accept(1, ANN);
    rig.take_up(1).unwrap();
    rig.turns();
    let turn = rig.users.last[&id(1)];
    rig.owner.gave_back(&turn, &mut rig.users);
    rig.owner.died(|_| true);
    rig.back();
    assert_eq!(rig.turns(), [1]);
}

#[test]
fn a_user_is_back_once_it_is_known_what_its_dead_actor_wrote() {
    let mut rig = Rig::new(2);
    rig.accept(1, ANN);
    rig.accept(2, BOB);
    let user = rig.users.turns[0].user;
    rig.take_up(1).unwrap();
    rig.turns();
    rig.owner.unsettled(id(1));
    rig.owner.died(|other| *other == user);
    rig.back();
    rig.accept(3, ANN);
    assert_eq!(rig.turns(), [] as [u128; 0], "the last append may still become durable");
    rig.start(1, 0);
    rig.owner.settled(user, id(1), &mut rig.users);
    assert_eq!(rig.turns(), [1]);
    assert_eq!(rig.take_up(1).unwrap().entries.len(), 2, "it is known by then");
}

#[test]
fn a_user_that_dies_again_is_not_back_when_its_old_appends_are_settled() {
    let mut rig = Rig::new(1);
    rig.accept(1, ANN);
    let user = rig.users.turns[0].user;
    rig.take_up(1).unwrap();
    rig.turns();
    rig.owner.unsettled(id(1));
    rig.owner.died(|_| true);
    rig.back();
    rig.owner.died(|_| true);
    rig.owner.settled(user, id(1), &mut rig.users);
    assert_eq!(rig.turns(), [] as [u128; 0], "its second actor is down");
    rig.back();
    assert_eq!(rig.turns(), [1]);
}

#[test]
fn what_was_carried_on_the_way_to_its_user_is_read_whole() {
    let mut rig = Rig::new(1);
    rig.accept(1, ANN);
    rig.cancel(1);
    // Its turn has come and its user has not taken it up; both entries stand in one place now.
    rig.commit(Carried {
        execution: id(1),
        first: 0,
        entries: vec![vec![0].into(), vec![0].into()],
    });
    let taken = rig.take_up(1).unwrap();
    assert_eq!((taken.entries.len(), taken.entries[0].entries), (1, 2));
    assert_eq!(taken.accepted, None, "the entry in memory is not the only one");
}

#[test]
fn an_actor_that_dies_after_the_end_was_taken_in_frees_its_slot() {
    let mut rig = Rig::new(1);
    rig.accept(1, ANN);
    rig.take_up(1).unwrap();
    rig.end(1);
    rig.owner.died(|_| true);
    rig.accept(2, BOB);
    assert_eq!(rig.turns(), [1, 2]);
}

#[test]
fn a_turn_is_taken_up_once() {
    let mut rig = Rig::new(1);
    rig.accept(1, ANN);
    assert!(rig.take_up(1).is_some());
    assert!(rig.take_up(1).is_none());
}

#[test]
fn what_is_held_waits_and_a_cancelled_one_ends_meanwhile() {
    let mut rig = Rig::new(2);
    rig.owner.hold(true);
    (1..=3).for_each(|number| rig.accept(number, ANN));
    assert_eq!(rig.turns(), [] as [u128; 0]);
    rig.cancel(2);
    assert_eq!(rig.turns(), [2], "outside its turn, to its end");
    rig.owner.hold(false);
    rig.owner.grant(&mut rig.users);
    assert_eq!(rig.turns(), [1, 3]);
}
