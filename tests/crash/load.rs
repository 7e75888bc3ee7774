//! Events, posted over several connections until the daemon is killed.

use std::str::FromStr as _;
use std::sync::Arc;

use perseat_domain::id::ExecutionId;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::harness::daemon::Daemon;
use crate::harness::manifests::token;
use crate::harness::within;

pub(crate) const CONNECTIONS: u64 = 6;
/// Letters of an event, at most.
pub(crate) const LETTERS: u64 = 5_000;

/// SplitMix64: a schedule of kills that a seed repeats.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    pub(crate) fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }

    /// Letters that do not compress much.
    pub(crate) fn letters(&mut self, most: u64) -> String {
        let alphabet = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
        (0..self.below(most)).map(|_| char::from(*self.of(alphabet))).collect()
    }
}

/// A URL and whose it is.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) url: String,
    pub(crate) token: String,
}

pub(crate) async fn targets(daemon: &Daemon) -> Arc<Vec<Target>> {
    let found = daemon.endpoints("").await;
    let target = |endpoint: perseat_admin::endpoints::Endpoint| Target {
        url: daemon.hook(&endpoint.url),
        token: token(&endpoint.customer.unwrap(), &endpoint.user.unwrap()),
    };
    Arc::new(found.into_iter().map(target).collect())
}

/// The receipt of one event, or none where it was refused; an error where the connection broke.
pub(crate) async fn post_event(client: &reqwest::Client, target: &Target, body: &Value) -> reqwest::Result<Option<ExecutionId>> {
    let sent = client
        .post(&target.url)
        .header("content-type", "application/json")
        .body(body.to_string());
    let response = sent.send().await?;
    let status = response.status().as_u16();
    let body = response.bytes().await?;
    if status == 200 {
        let body: Value = serde_json::from_slice(&body).unwrap();
        return Ok(Some(ExecutionId::from_str(body["executionId"].as_str().unwrap()).unwrap()));
    }
    let text = String::from_utf8_lossy(&body);
    assert!(
        status == 429 || text.contains("storage_budget"),
        "only a full queue may refuse: {status} {text}"
    );
    Ok(None)
}

/// Connections that post until they break; each 2xx is a receipt.
pub(crate) struct Load {
    tasks: Vec<JoinHandle<()>>,
    receipts: mpsc::UnboundedReceiver<ExecutionId>,
    pub(crate) served: watch::Sender<u64>,
}

impl Load {
    pub(crate) fn start(targets: &Arc<Vec<Target>>, random: &mut Random) -> Self {
        let (send, receipts) = mpsc::unbounded_channel();
        let served = watch::Sender::new(0);
        let one = |mut random: Random| {
            let (targets, send, served) = (targets.clone(), send.clone(), served.clone());
            tokio::spawn(async move {
                let client = reqwest::Client::builder().no_proxy().build().unwrap();
                loop {
                    let target = random.of(&targets).clone();
                    let body = json!({ "token": target.token, "filler": random.letters(LETTERS) });
                    let Ok(receipt) = post_event(&client, &target, &body).await else {
                        return;
                    };
                    if let Some(receipt) = receipt {
                        send.send(receipt).unwrap();
                        served.send_modify(|count| *count += 1);
                    }
                }
            })
        };
        let tasks = (0..CONNECTIONS).map(|_| one(Random(random.below(u64::MAX)))).collect();
        Self { tasks, receipts, served }
    }

    /// Waits for this many receipts in all.
    pub(crate) async fn until_served(&self, count: u64) {
        within(
            "the receipts of a round",
            self.served.subscribe().wait_for(|served| *served >= count),
        )
        .await
        .unwrap();
    }

    /// Takes up what came so far.
    pub(crate) fn receive(&mut self, into: &mut Vec<ExecutionId>) {
        while let Ok(receipt) = self.receipts.try_recv() {
            into.push(receipt);
        }
    }

    /// After the kill: all receipts.
    pub(crate) async fn end(mut self, into: &mut Vec<ExecutionId>) {
        for task in self.tasks.drain(..) {
            task.await.unwrap();
        }
        self.receive(into);
    }
}
