//! What becomes of renewals where an execution outlives the drain of a stop.

use rustix::process::Signal;

#[cfg(feature = "faults")]
use crate::consent::account;
#[cfg(feature = "faults")]
use crate::harness::api::Api;
use crate::harness::oauth::{Manner, Stall};
use crate::world::{Plan, World};

/// A world in which bob's execution hangs at the third party, past the end of any drain.
async fn start() -> World {
    let world = World::start(&Plan {
        manner: Manner {
            holds: true,
            ..Manner::default()
        },
        keys: &[
            ("drain.deadline", "1s"),
            ("drain.thread-timeout", "60s"),
            ("oauth.back-off", "1h"),
            ("oauth.back-off-max", "1h"),
            ("execution.full-retry", "1h"),
        ],
        ..Plan::default()
    })
    .await;
    world.send("bob", 1).await;
    world.provider.until("/work", 1).await;
    world
}

fn outlive_the_drain(world: &World) {
    world.daemon.signal(Signal::TERM);
    world.daemon.log_line(&["executions were still running at the drain deadline"]);
}

async fn restart(world: &mut World) {
    let status = world.daemon.until_ended();
    assert!(status.success(), "{status}: {}", world.daemon.log());
    world.provider.change(|manner| manner.holds = false);
    world.daemon.restart();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_that_outlives_the_drain_cuts_off_nobodys_renewal() {
    let mut world = start().await;
    world.provider.change(|manner| manner.stalls = Some(Stall::Meanwhile));
    let sent = world.send("ann", 1).await;
    world.provider.until("/token", 2).await;
    outlive_the_drain(&world);
    world.provider.change(|manner| manner.stalls = None);
    restart(&mut world).await;
    assert_eq!(world.ended(&sent[0]).await["status"], "succeeded");
    let calls = world.provider.calls("/token");
    let spent: Vec<&str> = calls.iter().map(|call| call.form["refresh_token"].as_str()).collect();
    assert_eq!(spent, ["refresh-bob-1", "refresh-ann-1"]);
}

/// An intent is said not to be written, and is: nobody was asked.
#[cfg(feature = "faults")]
#[tokio::test(flavor = "multi_thread")]
async fn an_execution_that_outlives_the_drain_keeps_no_renewals_outcome_from_the_disk() {
    let mut world = start().await;
    world.daemon.switch("deny-catalog-commit", true).await;
    let sent = world.send("ann", 1).await;
    world.daemon.log_line(&["a grant cannot be written down now", "the disk failed"]);
    world.stands(&sent[0], "parked").await;
    outlive_the_drain(&world);
    restart(&mut world).await;
    let api = Api::program(&world.daemon, "owner").await;
    let grant = account(&api, "ann").await["grant"].clone();
    assert_eq!(grant["status"], "ERROR", "{grant}");
    assert_eq!(world.provider.calls("/token").len(), 1, "bob's");
}
