//! People choose among what data sources offer, in a browser.

use crate::browser::Walk;
use crate::harness::daemon::Setup;
use crate::sources::Shop;
use crate::world::now;
use perseat_admin::identity::embedded::Claims;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_real_sdk_shows_each_person_what_their_own_account_offers() {
    let (walk, addresses) = Walk::start("sources.mjs");
    let shop = Shop::shown_by(addresses["host"].as_str().unwrap(), Setup::new()).await;
    let token = |user: &str| shop.world.walker("globex", user, "user");
    let anew = shop.world.signed(&Claims {
        exp: now() + 3 * 3_600,
        ..shop.world.claims("globex", "emil", "user")
    });
    let given = json!({
        "url": shop.world.url(""),
        "bob": token("bob"),
        "cleo": token("cleo"),
        "dina": token("dina"),
        "emil": token("emil"),
        "emilAnew": anew,
        "instance": shop.world.instance("Chat").await,
    });
    tokio::task::spawn_blocking(move || walk.go(&given)).await.unwrap();
    assert!(!shop.world.daemon.log().contains("token-of-"), "a token is in the log");
}
