//! What providers ask for is heeded: by the account that they asked, by nobody else, and after a crash, too.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

use harness::daemon::{Daemon, Setup};
use harness::manifests::{Integration, code, flow, people, post, token};
use harness::provider::Provider;
use harness::within;
use http::Method;
use serde_json::Value;
use std::time::Duration;

const RETRY: &str = "        errorConfig: {errorHandlerType: retry, maxAttempts: 3, delaySeconds: 0}\n";

struct World {
    daemon: Daemon,
    provider: Provider,
}

fn ann() -> String {
    token("globex", "ann")
}

fn bob() -> String {
    token("globex", "bob")
}

impl World {
    async fn start(settings: impl FnOnce(Setup, &Provider) -> Setup) -> Self {
        let provider = Provider::start().await;
        let setup = Setup::new()
            .allow(&[provider.address()])
            .set("code.children", 1)
            .set("code.spares", 1);
        let daemon = Daemon::start(settings(setup, &provider));
        let script = "module.exports = async (context) => {\n\
                      \x20 const { Account, Provider } = context.configVars;\n\
                      \x20 const headers = { authorization: \"Bearer \" + Account.fields.token };\n\
                      \x20 const first = await fetch(Provider + \"/first\", { method: \"POST\", headers });\n\
                      \x20 const second = await fetch(Provider + \"/second\", { method: \"POST\", headers });\n\
                      \x20 return { data: [first.status, second.status] };\n\
                      };";
        let flows = [
            flow("Once", "", &[post("Send", "/once", "onEvent.results.body.data")]),
            flow("Again", "", &[post("Send", "/again", "onEvent.results.body.data") + RETRY]),
            flow("Script", "", &[code("Ask", script)]),
        ];
        let files = Integration {
            name: "Files",
            endpoint_type: "flow_specific",
            is_user_level: true,
            keys: "",
            flows: flows.concat(),
        };
        let mut yaml = people(&[("globex", &["ann", "bob"])]) + &files.manifest() + &files.instance("globex", &provider.url(""), "");
        yaml += &files.user("globex", "ann");
        yaml += &files.user("globex", "bob");
        daemon.apply(&yaml).await;
        Self { daemon, provider }
    }

    /// The trigger URL of a user's flow.
    async fn hook(&self, user: &str, flow: &str) -> String {
        let endpoints = self.daemon.endpoints(&format!("user={user}")).await;
        let endpoint = endpoints.into_iter().find(|one| one.flow.as_deref() == Some(flow));
        endpoint.unwrap().url
    }

    /// Sends one event; its execution.
    async fn trigger(&self, url: &str) -> String {
        let answer = self.daemon.post(url, &[], "{}").await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        answer.json()["executionId"].as_str().unwrap().to_owned()
    }

    /// Sends so many events one after another; their executions.
    async fn send(&self, user: &str, flow: &str, count: usize) -> Vec<String> {
        let url = self.hook(user, flow).await;
        let mut executions = Vec::new();
        for _ in 0..count {
            executions.push(self.trigger(&url).await);
        }
        executions
    }

    /// Sends so many events at once; their executions.
    async fn send_at_once(&self, user: &str, flow: &str, count: usize) -> Vec<String> {
        let url = self.hook(user, flow).await;
        futures_util::future::join_all((0..count).map(|_| self.trigger(&url))).await
    }

    /// How an execution ended: status, code and results.
    async fn ended(&self, execution: &str) -> (String, String, Value) {
        let target = format!("/executions/{execution}");
        let mut look = tokio::time::interval(Duration::from_millis(20));
        let ended = async {
            loop {
                look.tick().await;
                if let Ok(shown) = self.daemon.local(Method::GET, &target, None).await
                    && !matches!(shown["status"].as_str(), Some("queued" | "running") | None)
                {
                    return shown;
                }
            }
        };
        let shown = within(&format!("the end of {execution}"), ended).await;
        let text = |name: &str| shown[name].as_str().unwrap_or_default().to_owned();
        (text("status"), text("code"), shown)
    }

    async fn all_succeed(&self, executions: &[String]) {
        for execution in executions {
            let (status, _, shown) = self.ended(execution).await;
            assert_eq!(status, "succeeded", "{shown}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_user_whom_a_provider_refuses_waits_and_goes_on_when_it_may() {
    let world = World::start(|setup, _| setup).await;
    world.provider.limit(&ann(), 2);
    let anns = world.send("ann", "Again", 5).await;
    let bobs = world.send("bob", "Again", 5).await;
    world.all_succeed(&bobs).await;
    world.all_succeed(&anns).await;
    assert_eq!(world.provider.records_of(&bob()).len(), 5);
    let first = world.provider.records_of(&ann());
    let early = world.provider.early(&ann());
    // Those that were on their way together could not know.
    assert!(early < 5 && first.len() == 6 + early, "{early} early of {}", first.len());

    // Nobody comes too early who could know.
    world.provider.limit(&ann(), 2);
    let (status, code, _) = world.ended(&world.send("ann", "Once", 1).await[0]).await;
    assert_eq!((status.as_str(), code.as_str()), ("failed", "step_failed"));
    let later = world.send("ann", "Once", 5).await;
    world.all_succeed(&later).await;
    assert_eq!(world.provider.early(&ann()), 0);
    assert_eq!(world.provider.records_of(&ann()).len(), first.len() + 6);
    assert!(world.daemon.metric("perseat_outbound_refusals_total").await >= 2.0);
    assert_eq!(world.daemon.metric("perseat_outbound_waiting").await, 0.0);
    let line = world.daemon.log_line(&["a provider takes no more calls for now", "\"account\""]);
    assert!(line.contains(&world.provider.address().to_string()), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_is_too_long_fails_the_attempt_and_a_crash_does_not_forget_it() {
    let mut world = World::start(|setup, _| setup.set("governor.max-wait", "500ms")).await;
    world.provider.limit(&ann(), 3_000);
    let (status, code, _) = world.ended(&world.send("ann", "Once", 1).await[0]).await;
    assert_eq!((status.as_str(), code.as_str()), ("failed", "step_failed"));
    for is_restarted in [false, true] {
        if is_restarted {
            world.daemon.kill();
            world.daemon.restart();
        }
        for flow in ["Once", "Again", "Script"] {
            let (status, code, shown) = world.ended(&world.send("ann", flow, 1).await[0]).await;
            assert_eq!(
                (status.as_str(), code.as_str()),
                ("failed", "outbound_rate_limited"),
                "{flow}: {shown}"
            );
        }
        world.all_succeed(&world.send("bob", "Once", 1).await).await;
        world.all_succeed(&world.send("bob", "Script", 1).await).await;
        assert_eq!(world.provider.records_of(&ann()).len(), 1, "nothing more was sent");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_that_waits_goes_on_waiting_after_a_crash() {
    let mut world = World::start(|setup, _| setup).await;
    // The pause outlasts the kill, on a slow machine, too.
    world.provider.limit(&ann(), 15);
    world.ended(&world.send("ann", "Once", 1).await[0]).await;
    let (once, script) = tokio::join!(world.send_at_once("ann", "Once", 2), world.send_at_once("ann", "Script", 2));
    let waiting = [once, script].concat();
    let all_wait = async {
        let mut look = tokio::time::interval(Duration::from_millis(20));
        while world.daemon.metric("perseat_outbound_waiting").await < 4.0 {
            look.tick().await;
        }
    };
    within("all four to wait", all_wait).await;
    world.daemon.kill();
    assert_eq!(world.provider.records_of(&ann()).len(), 1, "none of them was sent before");
    world.daemon.restart();
    world.all_succeed(&waiting).await;
    assert_eq!(world.provider.early(&ann()), 0);
    assert_eq!(world.provider.records_of(&ann()).len(), 1 + 2 + 2 * 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_waits_holds_no_process_and_sends_nothing_twice() {
    let world = World::start(|setup, _| setup.set("governor.max-wait", "10m")).await;
    world.provider.limit(&ann(), 200);
    world.ended(&world.send("ann", "Once", 1).await[0]).await;
    let held = world.send("ann", "Script", 4).await;
    // There is one process, and it serves everybody else.
    let bobs = world.send("bob", "Script", 4).await;
    world.all_succeed(&bobs).await;
    assert_eq!(world.provider.records_of(&ann()).len(), 1);
    let shown = world
        .daemon
        .local(Method::GET, &format!("/executions/{}", held[0]), None)
        .await
        .unwrap();
    assert_eq!(shown["status"], "running");
    let mut keys: Vec<String> = world.provider.records_of(&bob()).into_iter().map(|record| record.key).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 8, "each request was sent once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_one_user_leaves_another_every_other_turn_at_the_same_host() {
    // Ten go at once, and the next ten so much later that whoever was sent by then stands in the line, on a slow machine, too.
    let world = World::start(|setup, provider| setup.set("governor.hosts", vec![format!("{}=10/4s", provider.address())])).await;
    let flood = world.send_at_once("ann", "Once", 20).await;
    let bobs = world.send_at_once("bob", "Once", 5).await;
    world.all_succeed(&bobs).await;
    world.all_succeed(&flood).await;
    let order: Vec<String> = world.provider.records().into_iter().map(|record| record.token).collect();
    assert_eq!(order.len(), 25);
    // Every other one of the second ten is bob's. Those that go together may arrive in any order.
    let last = order.iter().rposition(|token| *token == bob()).unwrap();
    assert!(last < 20, "the last of five came after {last} of twenty-five: {order:?}");
    let waits = world.daemon.metric("perseat_outbound_waits_total").await;
    assert!(waits >= 15.0, "{waits}");
}
