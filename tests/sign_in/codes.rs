//! Codes and tokens: exchanged once, by whom they are for, ended when they are shown twice.

use crate::world::{APP, CLI, PASSWORD, Tokens, VERIFIER, World, refused, setup};
use http::Method;

#[tokio::test]
async fn somebody_signs_in_and_acts_with_their_own_role_until_they_sign_out() {
    let mut world = World::start(setup()).await;
    let meta = world.daemon.send(Method::GET, &world.url("/auth/meta"), &[], "").await.json();
    let domain = world.daemon.address("api").to_string();
    assert_eq!(
        (meta["domain"].as_str(), meta["clientId"].as_str()),
        (Some(domain.as_str()), Some("perseat-cli"))
    );
    let tokens = world.tokens(CLI).await;
    let who = world.who(&tokens.access).await;
    assert_eq!(
        (who["email"].as_str(), who["role"]["name"].as_str()),
        (Some("ann@acme.example"), Some("Owner"))
    );
    assert_eq!(tokens.access.split('.').count(), 3, "clients read its end");

    world.daemon.kill();
    world.daemon.restart();
    assert_eq!(
        world.who(&tokens.access).await["email"],
        "ann@acme.example",
        "a restart signs nobody out"
    );
    let again = Tokens::of(&world.refresh(CLI, &tokens.refresh).await);
    assert_eq!(again.refresh, "", "the CLI keeps the refresh token of its sign-in");
    let once_more = Tokens::of(&world.refresh(CLI, &tokens.refresh).await);
    assert_eq!(world.who(&once_more.access).await["email"], "ann@acme.example");
    assert_eq!(refused(&world.refresh(APP, &tokens.refresh).await), "invalid_grant");

    world.revoke(&tokens.refresh).await;
    for access in [&tokens.access, &again.access, &once_more.access] {
        assert!(world.who(access).await.is_null(), "a revoked session's tokens are refused at once");
    }
    assert_eq!(refused(&world.refresh(CLI, &tokens.refresh).await), "invalid_grant");
    world.revoke(&tokens.refresh).await;
    let acts = world.acts().await;
    for act in ["createOwner", "setPassword", "signIn", "signOut"] {
        assert!(acts.iter().any(|known| known == act), "{act} is not in {acts:?}");
    }
}

#[tokio::test]
async fn a_code_is_worth_nothing_without_what_it_was_asked_for_with_and_only_once() {
    let world = World::start(setup()).await;
    let code = world.code(CLI).await;
    assert_eq!(refused(&world.exchange(CLI, &code, &"x".repeat(43)).await), "invalid_grant");
    assert_eq!(
        refused(&world.exchange(CLI, &code, VERIFIER).await),
        "invalid_grant",
        "the first try used it up"
    );

    let code = world.code(CLI).await;
    let elsewhere = [
        ("grant_type", "authorization_code"),
        ("client_id", CLI.client),
        ("code", &code),
        ("code_verifier", VERIFIER),
        ("redirect_uri", "http://localhost:59401/"),
    ];
    assert_eq!(refused(&world.token(&elsewhere).await), "invalid_grant");
    let code = world.code(APP).await;
    assert_eq!(
        refused(&world.exchange(CLI, &code, VERIFIER).await),
        "invalid_grant",
        "another client's"
    );
    assert_eq!(refused(&world.exchange(CLI, "none", VERIFIER).await), "invalid_grant");
    assert_eq!(
        refused(&world.token(&[("grant_type", "password"), ("client_id", CLI.client)]).await),
        "unsupported_grant_type"
    );
    assert_eq!(
        refused(&world.token(&[("grant_type", "refresh_token"), ("client_id", "x")]).await),
        "invalid_client"
    );

    let code = world.code(CLI).await;
    let tokens = Tokens::of(&world.exchange(CLI, &code, VERIFIER).await);
    assert!(!world.who(&tokens.access).await.is_null());
    assert_eq!(refused(&world.exchange(CLI, &code, VERIFIER).await), "invalid_grant");
    assert!(
        world.who(&tokens.access).await.is_null(),
        "a code that is shown twice ends what it was exchanged for"
    );
    assert_eq!(refused(&world.refresh(CLI, &tokens.refresh).await), "invalid_grant");
}

#[tokio::test]
async fn a_replaced_refresh_token_that_comes_again_ends_the_session() {
    let world = World::start(setup()).await;
    let (first, other) = (world.tokens(APP).await, world.tokens(APP).await);
    let second = Tokens::of(&world.refresh(APP, &first.refresh).await);
    assert_ne!(second.refresh, first.refresh);
    let third = Tokens::of(&world.refresh(APP, &second.refresh).await);
    assert_eq!(refused(&world.refresh(APP, &first.refresh).await), "invalid_grant");
    assert_eq!(
        refused(&world.refresh(APP, &third.refresh).await),
        "invalid_grant",
        "whoever has the newest is out, too"
    );
    assert!(world.who(&third.access).await.is_null());
    assert!(!world.who(&other.access).await.is_null(), "other sessions go on");
    world.daemon.log_line(&["a replaced refresh token was shown"]);
}

#[tokio::test]
async fn access_ends_with_its_time_and_the_oldest_session_with_too_many() {
    let world = World::start(setup().set("sign-in.access-lifetime", "1s").set("sign-in.sessions", 1)).await;
    let (first, second) = (world.tokens(APP).await, world.tokens(APP).await);
    assert_eq!(
        refused(&world.refresh(APP, &first.refresh).await),
        "invalid_grant",
        "beyond the limit the oldest session ends"
    );
    crate::harness::within("the end of the access token", async {
        while !world.who(&second.access).await.is_null() {}
    })
    .await;
    let third = Tokens::of(&world.refresh(APP, &second.refresh).await);
    assert_ne!(third.access, second.access, "the session goes on with another");
}

#[tokio::test]
async fn neither_passwords_nor_tokens_nor_links_are_kept_or_logged() {
    let mut world = World::start(setup().set("log.level", "trace")).await;
    let link = world.owner("bob@acme.example").await;
    let secret = link.split("token=").nth(1).unwrap().to_owned();
    let code = world.code(APP).await;
    let tokens = Tokens::of(&world.exchange(APP, &code, VERIFIER).await);
    let fresh = Tokens::of(&world.refresh(APP, &tokens.refresh).await);
    world.sign_in(CLI, "ann@acme.example", "canary-of-a-wrong-password").await;
    refused(&world.refresh(APP, &tokens.refresh).await);
    world.revoke(&fresh.refresh).await;
    let audit = world.daemon.local(Method::GET, "/audit?after=0", None).await.unwrap().to_string();
    let log = world.daemon.log();
    assert!(log.contains("\"level\":\"DEBUG\""), "it logs in detail");
    world.daemon.terminate();
    // The journal holds executions alone, and is large.
    let files = walk(&world.daemon.data())
        .into_iter()
        .filter(|path| !path.components().any(|part| part.as_os_str() == "journal"));
    let kept: Vec<String> = files
        .map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned())
        .collect();
    assert!(
        kept.iter().any(|file| file.contains("ann@acme.example")),
        "the catalog is looked into"
    );
    for canary in [
        PASSWORD,
        "canary-of-a-wrong-password",
        &secret,
        &code,
        VERIFIER,
        &tokens.access,
        &tokens.refresh,
        &fresh.refresh,
    ] {
        assert!(!log.contains(canary), "the log holds {canary}");
        assert!(!audit.contains(canary), "the audit holds {canary}");
        assert!(!kept.iter().any(|file| file.contains(canary)), "the data directory holds {canary}");
    }
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] })
        .filter(|path| path.is_file())
        .collect()
}
