use super::*;

fn cost(slot_ms: u64) -> Cost {
    Cost {
        slot: Duration::from_millis(slot_ms),
        cpu: Duration::ZERO,
    }
}

#[test]
fn one_slot_alternates_between_two_users_that_cost_the_same() {
    let mut queue = FairQueue::new(FairOptions {
        slots: 1,
        ..FairOptions::default()
    });
    for _ in 0..3 {
        queue.ready('a', 1, 'f');
        queue.ready('b', 1, 'f');
    }
    let order: String = (0..6)
        .map(|_| {
            let grant = queue.grant().unwrap();
            assert_eq!(queue.grant(), None, "one slot");
            queue.ended(grant, cost(10));
            grant.user
        })
        .collect();
    assert_eq!(order, "ababab");
    assert_eq!((queue.users(), queue.waiting(), queue.running()), (0, 0, 0));
}
