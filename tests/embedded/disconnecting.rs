//! Giving an account up on the pages: who may, what is said of it, and what is left.

use crate::harness::daemon::Setup;
use crate::harness::oauth::{Manner, Oauth};
use crate::harness::within;
use crate::story::{CLOUD, connect_link, consent};
use crate::world::World;
use std::time::Duration;

const LIST: &str = "/embedded/view/connections";

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_an_account_gives_it_up_after_a_question_and_nobody_else_does() {
    let provider = Oauth::start(Manner::default()).await;
    let world = World::start_as(Setup::new().allow(&[provider.address()])).await;
    let cloud = world.offer(&CLOUD.replace("PROVIDER", &provider.url(""))).await;
    let (admin, bob) = (world.person("globex", "ada", "admin"), world.person("globex", "bob", "user"));
    assert_eq!(admin.activate(&cloud, &[("name", "Cloud")]).await.status, 200);
    let instance = format!("/embedded/view/instance/{}", world.instance("Cloud").await);
    let (mine, give_up) = (format!("{instance}/mine"), format!("{instance}/mine/disconnect?connection=account"));
    let saved = bob.send(&mine, &[]).await;
    assert!(!saved.html.contains("disconnect"), "nothing is held yet: {}", saved.html);
    let early = bob.get(&give_up).await;
    assert!(early.status == 200 && early.html.contains("data-wizard=\"user\""), "{}", early.html);
    consent(&provider, &connect_link(&saved.html), "bob").await;
    for page in [&mine, LIST] {
        assert!(
            bob.get(page).await.html.contains("mine&#x2f;disconnect?connection=account"),
            "{page}"
        );
    }

    // Neither by another person, nor on another level, nor of another name.
    for (who, path) in [
        (&world.person("globex", "carl", "user"), &give_up),
        (&admin, &give_up),
        (&world.person("initech", "bob", "admin"), &give_up),
        (&admin, &format!("{instance}/disconnect?connection=account")),
        (&bob, &format!("{instance}/disconnect?connection=account")),
        (&bob, &format!("{instance}/mine/disconnect?connection=other")),
        (&bob, &format!("{instance}/mine/disconnect")),
    ] {
        assert_eq!(who.get(path).await.status, 404, "{path}");
        assert_eq!(who.send(path, &[]).await.status, 404, "{path}");
    }

    let question = bob.get(&give_up).await;
    assert!(
        question.html.contains("Are you sure?") && question.html.contains("Cloud: Account"),
        "{}",
        question.html
    );
    assert!(
        bob.get(&mine).await.html.contains("data-status=\"ACTIVE\""),
        "a question gives nothing up"
    );
    let done = bob
        .send(&question.target("action", "/mine/disconnect?connection=account"), &[])
        .await;
    for part in [
        "Disconnected here.",
        "data-status=\"PENDING\"",
        "data-connect",
        "data-wizard=\"user\"",
        "data-what=\"DISCONNECTED\"",
    ] {
        assert!(done.html.contains(part), "{part}: {}", done.html);
    }
    let again = bob.send(&give_up, &[]).await;
    assert_eq!(again.html.matches("data-what=\"DISCONNECTED\"").count(), 1, "{}", again.html);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_takes_access_back_is_told_and_the_list_offers_to_connect_again() {
    let provider = Oauth::start(Manner::default()).await;
    let world = World::start_as(Setup::new().allow(&[provider.address()])).await;
    let (admin, bob) = (world.person("globex", "ada", "admin"), world.person("globex", "bob", "user"));
    let revocable = CLOUD.replace(
        "      clientId:",
        "      revokeUrl: {type: value, value: 'PROVIDER/revoke'}\n      clientId:",
    );
    let cloud = world.offer(&revocable.replace("PROVIDER", &provider.url(""))).await;
    assert_eq!(admin.activate(&cloud, &[("name", "Cloud")]).await.status, 200);
    let mine = format!("/embedded/view/instance/{}/mine", world.instance("Cloud").await);
    let saved = bob.send(&mine, &[]).await;
    consent(&provider, &connect_link(&saved.html), "bob").await;
    let listed = bob.get(LIST).await;
    let question = bob.get(&listed.target("href", "from=connections")).await;
    assert!(!provider.chain("bob").is_revoked, "a question gives nothing up");
    let done = bob.send(&question.target("action", "from=connections"), &[]).await;
    for part in [
        "The provider will be told.",
        "data-place=",
        "data-status=\"PENDING\"",
        "data-connect",
    ] {
        assert!(done.html.contains(part), "{part}: {}", done.html);
    }
    assert!(!done.html.contains("from=connections"), "{}", done.html);
    let mut look = tokio::time::interval(Duration::from_millis(20));
    within("the provider was told", async {
        while !provider.chain("bob").is_revoked {
            look.tick().await;
        }
    })
    .await;
}
