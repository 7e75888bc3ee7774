//! What an owner does before it says that the daemon may end.

use tokio::sync::oneshot::error::TryRecvError;

use super::*;

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
