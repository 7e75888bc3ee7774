//! SIGKILL at a moment of a renewal that a seed chooses: what becomes of the grant is held against what the provider counted.
//!
//! `KILL_ROUNDS` says how often the daemon is killed, `KILL_SEED` where the choices begin.

use std::time::Duration;

use crate::consent::{account, connect};
use crate::harness::api::Api;
use crate::harness::oauth::{Call, Manner, Stall};
use crate::parking::worked;
use crate::world::{Plan, World};

/// Where the daemon is killed.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// At a point of its code.
    At(&'static str),
    /// While the provider, which was asked, is silent.
    While(Stall),
}

/// Each place, how often the token was spent by then, and whether what is durable by then says so.
const PLACES: [(Place, usize, bool); 7] = [
    (Place::At("grant-due"), 0, true),
    (Place::At("grant-intended"), 0, false),
    (Place::While(Stall::Before), 0, false),
    (Place::While(Stall::After), 1, false),
    (Place::At("grant-answered"), 1, false),
    (Place::At("grant-stored"), 1, true),
    (Place::At("grant-told"), 1, true),
];

/// What a provider does with refresh tokens: its name, whether it exchanges them, for how many seconds it forgives, and what the
/// connection declares of that.
type Kind = (&'static str, bool, Option<u64>, &'static [(&'static str, &'static str)]);

const KINDS: [Kind; 3] = [
    ("strict", true, None, &[]),
    ("forgiving", true, Some(600), &[("refreshReuse", "600")]),
    ("steady", false, None, &[("refreshReuse", "always")]),
];

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }
}

/// Has the user's first renewal begin, and kills the daemon there.
async fn kill(world: &mut World, user: &str, place: Place) -> Vec<String> {
    let spent = format!("refresh-{user}-1");
    let sent = match place {
        Place::At(point) => {
            // Held there first, so that whoever sends is answered whatever comes sooner.
            world.daemon.switch(&format!("hold:{point}:1"), true).await;
            let sent = world.send(user, 1).await;
            world.daemon.log_line(&["held", point]);
            world.daemon.kill();
            sent
        }
        Place::While(stall) => {
            world.provider.change(|manner| manner.stalls = Some(stall));
            let sent = world.send(user, 1).await;
            let is_asked = |call: &Call| call.form.get("refresh_token") == Some(&spent);
            world.provider.until_like("/token", 1, is_asked).await;
            world.daemon.kill();
            world.provider.change(|manner| manner.stalls = None);
            sent
        }
    };
    world.daemon.restart();
    sent
}

/// One user's renewal, cut off at a place, and what follows.
async fn round(world: &mut World, user: &str, (place, spent_before, is_known): (Place, usize, bool), forgives: bool, more: usize) {
    let mut all = kill(world, user, place).await;
    for _ in 0..more {
        all.extend(world.send(user, 1).await);
    }
    let goes_on = is_known || forgives;
    if !goes_on {
        for execution in &all {
            world.stands(execution, "parked").await;
        }
        let shown = account(&Api::program(&world.daemon, "owner").await, user).await;
        let (status, reason) = (shown["grant"]["status"].as_str(), shown["grant"]["reason"].as_str());
        assert_eq!((status, reason), (Some("UNCERTAIN"), Some("renewal_interrupted")));
    }
    let first = format!("refresh-{user}-1");
    let is_spent = |call: &Call| call.status == 200 && call.form.get("refresh_token") == Some(&first);
    let spent = world.provider.calls("/token").into_iter().filter(is_spent).count();
    if !goes_on {
        assert_eq!(spent, spent_before, "nothing is guessed");
        connect(world, user).await;
    }
    for execution in &all {
        assert_eq!(world.ended(execution).await["status"], "succeeded");
    }
    let spent = world.provider.calls("/token").into_iter().filter(is_spent).count();
    let expected = match (goes_on, is_known) {
        (false, _) => spent_before,
        (true, true) => 1,
        (true, false) => spent_before + 1,
    };
    assert_eq!(spent, expected, "so often it was spent");
    let order: Vec<String> = worked(world).into_iter().filter(|execution| all.contains(execution)).collect();
    let mut once = order.clone();
    once.dedup();
    assert_eq!(once, all, "in the order of their acceptance");
    let chain = world.provider.chain(user);
    assert!(!chain.was_reused && !chain.is_revoked, "{chain:?}");
    let shown = account(&Api::program(&world.daemon, "owner").await, user).await;
    assert_eq!(shown["status"], "ACTIVE");
    assert!(!world.daemon.log().contains("a grant is over"), "nobody said so");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_moment_of_a_renewal_ends_as_the_provider_allows_by_seed() {
    let (rounds, seed) = (number("KILL_ROUNDS", 21), number("KILL_SEED", 20_261_126));
    println!("KILL_ROUNDS={rounds} KILL_SEED={seed}");
    let mut random = Random(seed);
    let users: Vec<String> = (0..rounds).map(|number| format!("u{number}x")).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    // Each kind comes to each place before chance chooses.
    let of_kind = |kind: usize| users.iter().copied().skip(kind).step_by(KINDS.len());
    for (kind, (name, rotates, grace, inputs)) in KINDS.into_iter().enumerate() {
        let own: Vec<&str> = of_kind(kind).collect();
        if own.is_empty() {
            continue;
        }
        let plan = Plan {
            manner: Manner {
                rotates,
                grace: grace.map(Duration::from_secs),
                ..Manner::default()
            },
            inputs,
            users: &own,
            // Nobody gives up before the kill, and what runs is seen in order.
            keys: &[("oauth.timeout", "60s"), ("execution.slots", "1")],
            ..Plan::default()
        };
        let mut world = World::start(&plan).await;
        for (index, user) in own.iter().enumerate() {
            let place = match PLACES.get(index) {
                Some(place) => *place,
                None => PLACES[random.below(PLACES.len())],
            };
            let more = random.below(4);
            println!("{name}: {user} {:?}, {more} more", place.0);
            round(&mut world, user, place, grace.is_some() || !rotates, more).await;
        }
    }
}
