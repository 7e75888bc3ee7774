//! What an owner does before it says that the daemon may end.

use tokio::sync::oneshot::error::TryRecvError;

use super::*;

/// After so long what could not be written is tried again.
#[cfg(feature = "faults")]
const FULL_RETRY: Duration = Duration::from_millis(500);

/// For a page, which holds no slot.
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_is_through_once_no_renewal_is_under_way() {
    let plan = Plan {
        users: &["ann"],
        manner: Manner {
            stalls: Some(Stall::Meanwhile),
            ..Manner::default()
        },
        ..Plan::default()
    };
    let owned = Owned::start(&plan).await;
    let identity = owned.identity("ann");
    let sources = Sources::new(vec![owned.supervisor.clone()]);
    let asked = sources.ask(question(&identity));
    let concluded = async {
        owned.provider.until("/token", 1).await;
        let mut concluded = owned.conclude().await;
        // Answered after it.
        owned.hold(true).await;
        assert_eq!(concluded.try_recv(), Err(TryRecvError::Empty));
        owned.provider.change(|manner| manner.stalls = None);
        within("the owner to be through", concluded).await.unwrap();
    };
    let (_, ()) = tokio::join!(asked, concluded);
    let holder = Holder::UserConfig(identity.user.unwrap().config);
    let row = owned.custody.catalog().grants_of(holder).unwrap().remove("account").unwrap();
    assert_eq!((row.grant.status, row.grant.is_unsettled()), (Status::Active, false));
}

/// It is said not to be written, and is: nobody was asked.
#[cfg(feature = "faults")]
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_is_through_once_what_became_of_a_renewal_is_written_down() {
    let plan = Plan {
        users: &["ann"],
        ..Plan::default()
    };
    let owned = Owned::start(&plan).await;
    let holder = Holder::UserConfig(owned.identity("ann").user.unwrap().config);
    owned.faults.deny_commit("catalog.redb", false);
    owned.send_and_cancel("ann").await;
    owned
        .clock
        .until("the renewal to be put off", |waits| waits.contains(&BACK_OFF.0))
        .await;
    let is_unsettled = || owned.custody.catalog().grants_of(holder).unwrap()["account"].grant.is_unsettled();
    assert!(is_unsettled());
    owned.faults.break_down("catalog.redb");
    let tries = |waits: &[Duration]| waits.iter().filter(|wait| **wait == FULL_RETRY).count();
    let before = tries(&owned.clock.waits.borrow());
    let mut concluded = owned.conclude().await;
    owned.clock.until("it to be tried in vain", |waits| tries(waits) > before).await;
    assert_eq!(concluded.try_recv(), Err(TryRecvError::Empty));
    owned.faults.heal("catalog.redb");
    owned.clock.clock.advance(FULL_RETRY);
    within("the owner to be through", concluded).await.unwrap();
    assert!(!is_unsettled() && owned.provider.calls("/token").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_an_owner_is_drained_no_data_source_is_run() {
    let plan = Plan {
        users: &["ann", "bob"],
        manner: Manner {
            holds: true,
            ..Manner::default()
        },
        ..Plan::default()
    };
    let owned = Owned::start(&plan).await;
    owned.send("ann").await;
    owned.provider.until("/work", 1).await;
    let drained = owned.drain();
    let sources = Sources::new(vec![owned.supervisor.clone()]);
    let unanswered = Err(Unanswered(ErrorCode::NotReady));
    assert_eq!(sources.ask(question(&owned.identity("bob"))).await, unanswered);
    assert_eq!(owned.provider.calls("/token").len(), 1, "ann's");
    owned.provider.change(|manner| manner.holds = false);
    within("the owner to be drained", drained).await.unwrap();
}

/// What runs at another owner may have borrowed it.
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_at_which_nothing_runs_renews_until_nothing_runs_anywhere() {
    let plan = Plan {
        users: &["ann", "bob"],
        ..Plan::default()
    };
    let owned = Owned::start(&plan).await;
    within("the owner to be drained", owned.drain()).await.unwrap();
    owned.send_and_cancel("ann").await;
    owned.provider.until("/token", 1).await;
    within("the owner to be through", owned.conclude().await).await.unwrap();
    owned.send_and_cancel("bob").await;
    owned.until_due().await;
    assert_eq!(owned.provider.calls("/token").len(), 1);
}
