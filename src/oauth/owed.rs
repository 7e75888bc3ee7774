//! Tells providers of tokens that were given up (RFC 7009), and does not forget one over a crash: what is to be told stands in the
//! catalog from the transaction that gave it up until the provider took it back, said that it will not, or was asked for long enough.

use super::Door;
use crate::control::Desk;
use futures_util::future::join_all;
use perseat_domain::grant::Patience;
use perseat_domain::time::Timestamp;
use perseat_flow::oauth::{GivenBack, Owed};
use perseat_store::catalog::{Change, OwedId, Settled, StoredOwed};
use perseat_store::error::StoreError;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Rows that are read at once.
const PAGE: usize = 256;

/// How tokens are given back; the keys of `[owed]`.
#[derive(Clone, Debug)]
pub(crate) struct OwedOptions {
    pub(crate) look: Duration,
    pub(crate) calls: usize,
    /// Events that a grant keeps.
    pub(crate) timeline: usize,
    pub(crate) patience: Patience,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct GivingBack {
    desk: Arc<Desk>,
    options: OwedOptions,
    /// Hosts that did not take one a moment ago, and until when they are left alone.
    paused: BTreeMap<String, Timestamp>,
}

/// One that is due.
type Due = (OwedId, StoredOwed);

impl GivingBack {
    pub(crate) fn new(desk: Arc<Desk>, options: OwedOptions) -> Self {
        Self {
            desk,
            options,
            paused: BTreeMap::new(),
        }
    }

    /// Tells until `stop`. A call that is under way then is made again after the start.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            let round = tokio::select! {
                round = self.round() => round,
                () = stop.cancelled() => return,
            };
            match round {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "tokens cannot be given back now"),
            }
            tokio::select! {
                () = self.desk.sleep(self.options.look) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Tells of some that are due; whether there were any.
    async fn round(&mut self) -> Result<bool, StoreError> {
        let now = self.desk.now();
        self.paused.retain(|_, until| now < *until);
        let (desk, paused, most) = (Arc::clone(&self.desk), self.paused.clone(), self.options.calls.max(1));
        let due = blocking(move || due(&desk, &paused, most)).await?;
        let some = !due.is_empty();
        let door = Arc::clone(self.desk.oauth());
        let told = join_all(due.into_iter().map(|one| tell(&self.desk, &door, one))).await;
        let mut settled = Vec::new();
        for (id, owed, outcome) in told {
            let (holder, connection, host) = (owed.holder, owed.variable.clone(), owed.host.clone());
            let learnt = match outcome {
                Ok(outcome) => self.learn(id, owed, outcome).await,
                Err(error) => Err(error),
            };
            match learnt {
                Ok(done) => settled.extend(done),
                // The others are not held up by it.
                Err(error) => {
                    tracing::error!(?holder, %connection, host, error = &error as &dyn std::error::Error, "a token cannot be given back now");
                    self.paused.insert(host, now.after(self.options.patience.back_off));
                }
            }
        }
        if !settled.is_empty() {
            let (desk, timeline) = (Arc::clone(&self.desk), self.options.timeline);
            blocking(move || settle(&desk, &settled, timeline)).await?;
        }
        Ok(some)
    }

    /// Takes in how it went; what is done with is returned.
    async fn learn(&mut self, id: OwedId, owed: StoredOwed, outcome: Option<GivenBack>) -> Result<Option<Settled>, StoreError> {
        let (holder, connection, host) = (owed.holder, owed.variable.clone(), owed.host.clone());
        let settled = |refusal| {
            Some(Settled {
                id,
                of: owed.grant(),
                refusal,
            })
        };
        let (count, settled) = match outcome {
            // Its key is gone: it was settled before the copy was made that this directory comes from.
            None => return Ok(settled(Some("key_gone".to_owned()))),
            Some(GivenBack::Done) => {
                tracing::info!(?holder, %connection, host, "a token was given back");
                ("done", settled(None))
            }
            Some(GivenBack::Refused(reason)) => {
                tracing::warn!(?holder, %connection, host, reason, "a token that was given up is not taken back and may still be valid");
                ("refused", settled(Some(reason)))
            }
            Some(GivenBack::Later { reason, retry_after }) => {
                let mut debt = owed.debt;
                let now = self.desk.now();
                if debt.put_off(retry_after, now, &self.options.patience) {
                    let pause = self.options.patience.back_off.max(retry_after.unwrap_or_default());
                    self.paused.insert(host, now.after(pause.min(debt.due_at.since(now))));
                    let desk = Arc::clone(&self.desk);
                    blocking(move || desk.catalog().put_owed_off(id, debt)).await?;
                    ("put-off", None)
                } else {
                    tracing::warn!(?holder, %connection, host, reason, "a token that was given up was not taken back for long, and may still be valid");
                    ("given-up", settled(Some(reason)))
                }
            }
        };
        metrics::counter!("perseat_tokens_given_back_total", "outcome" => count).increment(1);
        Ok(settled)
    }
}

/// Those that are due, at most `most`: in turn of the hosts, each host's longest owed first.
fn due(desk: &Desk, paused: &BTreeMap<String, Timestamp>, most: usize) -> Result<Vec<Due>, StoreError> {
    let now = desk.now();
    let mut by_host: BTreeMap<String, Vec<Due>> = BTreeMap::new();
    let mut after = None;
    loop {
        let page = desk.catalog().owed(after, PAGE)?;
        let is_last = page.len() < PAGE;
        after = page.last().map(|(id, _)| *id);
        for (id, owed) in page {
            if owed.debt.due_at <= now && !paused.contains_key(&owed.host) {
                let of_host = by_host.entry(owed.host.clone()).or_default();
                of_host.push((id, owed));
                of_host.sort_by_key(|(_, owed)| owed.debt.since);
                of_host.truncate(most);
            }
        }
        if is_last {
            break;
        }
    }
    let mut hosts: Vec<_> = by_host.into_values().map(Vec::into_iter).collect();
    let mut picked = Vec::new();
    while picked.len() < most && !hosts.is_empty() {
        hosts.retain_mut(|host| match host.next() {
            Some(one) => {
                picked.push(one);
                true
            }
            None => false,
        });
    }
    picked.truncate(most);
    Ok(picked)
}

/// What its provider says of one; `None` where its key is gone.
async fn tell(desk: &Arc<Desk>, door: &Door, (id, owed): Due) -> (OwedId, StoredOwed, Result<Option<GivenBack>, StoreError>) {
    let (opening, row) = (Arc::clone(desk), owed.clone());
    let opened = blocking(move || match opening.custody().open_owed(id, &row) {
        Err(StoreError::Sealed(_)) => Ok(Some(None)),
        opened => Ok(opened?.map(|plain| Owed::from_bytes(&plain))),
    });
    let outcome = match opened.await {
        Ok(None) => Ok(None),
        Ok(Some(Some(token))) => Ok(Some(door.client.give_back(&token).await)),
        Ok(Some(None)) => Ok(Some(GivenBack::Refused("unreadable".to_owned()))),
        Err(error) => Err(error),
    };
    (id, owed, outcome)
}

/// Takes them out. What its provider does not take back is in the audit, too.
fn settle(desk: &Desk, settled: &[Settled], timeline: usize) -> Result<(), StoreError> {
    let now = desk.now();
    if desk.custody().settle_owed(settled, now, timeline)? {
        desk.catalog().note(Change {
            by: "local:oauth2",
            at: now,
            action: "oauth2.notGivenBack",
        })?;
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, StoreError> + Send + 'static) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(StoreError::Io(std::io::Error::other(error))),
    }
}
