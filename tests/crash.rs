//! SIGKILL at any moment: nothing acknowledged is lost, and no outbound step that was recorded as done is repeated.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

use harness::daemon::{Daemon, Setup};
use harness::manifests::{Integration, code, flow, people, post, token};
use harness::provider::Provider;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_posted_event_reaches_the_provider_with_its_users_token() {
    let provider = Provider::start().await;
    let daemon = Daemon::start(Setup::new().allow(&[provider.address()]));
    assert_eq!(daemon.admin("/readyz").await.status, 200);
    let files = Integration {
        name: "Files",
        endpoint_type: "flow_specific",
        is_user_level: true,
        keys: "",
        flows: flow(
            "Store",
            "",
            &[
                code(
                    "Work",
                    "module.exports = async (context, { onEvent }) => ({ data: onEvent.results.body.data });",
                ),
                post("Send", "/one", "work.results"),
            ],
        ),
    };
    daemon
        .apply(
            &[
                people(&[("globex", &["jane"])]),
                files.manifest(),
                files.instance("globex", &provider.url(""), ""),
                files.user("globex", "jane"),
            ]
            .concat(),
        )
        .await;
    let endpoints = daemon.endpoints("").await;
    let answer = daemon
        .post(&endpoints[0].url, &[("content-type", "application/json")], "{\"a\":1}")
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let records = provider.until(1).await;
    assert_eq!(records[0].token, token("globex", "jane"));
}
