//! Tells providers of tokens that were given up (RFC 7009), and does not forget one over a crash: what is to be told stands in the
//! catalog from the transaction that gave it up until the provider took it back, said that it will not, or was asked for long enough.
//! What would end a grant that is used by then is not told of: which those are is looked at when its turn has come.

use super::Door;
use crate::control::Desk;
use futures_util::future::join_all;
use perseat_admin::owed::ends_with;
use perseat_domain::grant::Patience;
use perseat_domain::time::Timestamp;
use perseat_flow::oauth::{GivenBack, Owed};
use perseat_store::catalog::{Change, Fate, GrantId, OwedId, Settled, StoredOwed};
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
    pub(crate) calls_per_host: usize,
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

/// One of those that wait.
type Waiting = (OwedId, StoredOwed);

/// How telling of one went.
enum Told {
    /// Its provider was told.
    Answered(GivenBack),
    /// It was not: this grant would have ended with it.
    Spared(GrantId),
    /// There is nothing to tell: its key is gone.
    KeyGone,
}

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
        let (desk, paused, options) = (Arc::clone(&self.desk), self.paused.clone(), self.options.clone());
        let (due, too_old) = blocking(move || look(&desk, &paused, &options)).await?;
        self.settle(too_old.iter().map(too_old_for).collect()).await?;
        too_old.iter().for_each(tell_too_old);
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
        self.settle(settled).await?;
        Ok(some)
    }

    /// Takes out those that are done with.
    async fn settle(&self, settled: Vec<Settled>) -> Result<(), StoreError> {
        if settled.is_empty() {
            return Ok(());
        }
        let (desk, timeline) = (Arc::clone(&self.desk), self.options.timeline);
        blocking(move || settle(&desk, &settled, timeline)).await
    }

    /// Takes in how it went; what is done with is returned.
    async fn learn(&mut self, id: OwedId, owed: StoredOwed, told: Told) -> Result<Option<Settled>, StoreError> {
        let (holder, connection, host) = (owed.holder, owed.variable.clone(), owed.host.clone());
        let settled = |fate| {
            Some(Settled {
                id,
                of: owed.grant(),
                fate,
            })
        };
        let (outcome, settled) = match told {
            // It was settled before the copy was made that this directory comes from.
            Told::KeyGone => return Ok(settled(Fate::Refused("key_gone".to_owned()))),
            Told::Spared(other) => {
                tracing::info!(?holder, %connection, host, other = ?other.holder, other_connection = %other.variable,
                    "a token is not given back: another grant of whoever allowed it would end with it");
                ("spared", settled(Fate::Spared))
            }
            Told::Answered(GivenBack::Done) => {
                tracing::info!(?holder, %connection, host, "a token was given back");
                ("done", settled(Fate::GivenBack))
            }
            Told::Answered(GivenBack::Refused(reason)) => {
                tracing::warn!(?holder, %connection, host, reason, "a token that was given up is not taken back and may still be valid");
                ("refused", settled(Fate::Refused(reason)))
            }
            Told::Answered(GivenBack::Later { reason, retry_after }) => {
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
                    ("given-up", settled(Fate::Refused(reason)))
                }
            }
        };
        count(outcome);
        Ok(settled)
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("perseat_tokens_given_back_total", "outcome" => outcome).increment(1);
}

/// One that was kept for as long as one is: it is tried no more.
fn too_old_for((id, owed): &Waiting) -> Settled {
    Settled {
        id: *id,
        of: owed.grant(),
        fate: Fate::Refused("too_old".to_owned()),
    }
}

fn tell_too_old((_, owed): &Waiting) {
    tracing::warn!(holder = ?owed.holder, connection = %owed.variable, host = %owed.host, "a token that was given up is too old to be given back, and may still be valid");
    count("given-up");
}

/// Those that are due, as many as are told of at once, and those that are too old.
fn look(desk: &Desk, paused: &BTreeMap<String, Timestamp>, options: &OwedOptions) -> Result<(Vec<Waiting>, Vec<Waiting>), StoreError> {
    let now = desk.now();
    let mut due = Picking::of(options);
    let (mut too_old, mut after) = (Vec::new(), None);
    loop {
        let page = desk.catalog().owed(after, PAGE)?;
        let is_last = page.len() < PAGE;
        after = page.last().map(|(id, _)| *id);
        for (id, owed) in page {
            if owed.debt.is_too_old(now, &options.patience) {
                too_old.push((id, owed));
            } else if owed.debt.due_at <= now && !paused.contains_key(&owed.host) {
                due.add((id, owed));
            }
        }
        if is_last {
            return Ok((due.picked(), too_old));
        }
    }
}

/// Picks in turn of the hosts, each host's longest owed first.
struct Picking {
    most: usize,
    per_host: usize,
    by_host: BTreeMap<String, Vec<Waiting>>,
}

impl Picking {
    fn of(options: &OwedOptions) -> Self {
        let most = options.calls.max(1);
        Self {
            most,
            per_host: options.calls_per_host.clamp(1, most),
            by_host: BTreeMap::new(),
        }
    }

    fn add(&mut self, (id, owed): Waiting) {
        let of_host = self.by_host.entry(owed.host.clone()).or_default();
        of_host.push((id, owed));
        of_host.sort_by_key(|(_, owed)| owed.debt.since);
        of_host.truncate(self.per_host);
    }

    fn picked(self) -> Vec<Waiting> {
        let mut hosts: Vec<_> = self.by_host.into_values().map(Vec::into_iter).collect();
        let mut picked = Vec::new();
        while picked.len() < self.most && !hosts.is_empty() {
            hosts.retain_mut(|host| match host.next() {
                Some(one) => {
                    picked.push(one);
                    true
                }
                None => false,
            });
        }
        picked.truncate(self.most);
        picked
    }
}

/// Tells of one.
async fn tell(desk: &Arc<Desk>, door: &Door, (id, owed): Waiting) -> (OwedId, StoredOwed, Result<Told, StoreError>) {
    let told = ask(desk, door, id, &owed).await;
    (id, owed, told)
}

async fn ask(desk: &Arc<Desk>, door: &Door, id: OwedId, owed: &StoredOwed) -> Result<Told, StoreError> {
    let (opening, row) = (Arc::clone(desk), owed.clone());
    let opened = blocking(move || match opening.custody().open_owed(id, &row) {
        Err(StoreError::Sealed(_)) => Ok(Some(None)),
        opened => Ok(opened?.map(|plain| Owed::from_bytes(&plain))),
    });
    let token = match opened.await? {
        None => return Ok(Told::KeyGone),
        Some(None) => return Ok(Told::Answered(GivenBack::Refused("unreadable".to_owned()))),
        Some(Some(token)) => Arc::new(token),
    };
    let turn = match door.client.turn_of(&token, &owed.grant().to_key()).await {
        Ok(turn) => turn,
        Err(given_back) => return Ok(Told::Answered(given_back)),
    };
    // From here until the answer nobody consents.
    let _crossing = door.crossings.give_back(token.place()).await;
    let (looking, of, given_up) = (Arc::clone(desk), owed.grant(), Arc::clone(&token));
    let other = blocking(move || {
        let view = looking.catalog().view()?;
        ends_with(&view, looking.custody().keyring(), &of, &given_up)
    });
    Ok(match other.await? {
        Some(other) => Told::Spared(other),
        None => Told::Answered(door.client.give_back(&token, turn).await),
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use perseat_domain::grant::{Debt, Holder};
    use perseat_domain::id::UserId;
    use perseat_domain::model::Sealed;
    use uuid::Uuid;

    #[test]
    fn one_host_is_told_of_few_at_once_and_the_longest_owed_of_those() {
        let options = OwedOptions {
            look: Duration::ZERO,
            calls: 5,
            calls_per_host: 2,
            timeline: 8,
            patience: Patience {
                attempts: 1,
                age: Duration::from_secs(1),
                back_off: Duration::from_secs(1),
                back_off_max: Duration::from_secs(1),
            },
        };
        let waiting = |host: &str, since: u64| {
            let owed = StoredOwed {
                holder: Holder::User(UserId(Uuid::from_u128(1))),
                variable: "crm".into(),
                host: host.into(),
                debt: Debt::begun(Timestamp(since)),
                sealed: Sealed(Vec::new()),
            };
            (OwedId(Uuid::from_u128(since.into())), owed)
        };
        let picked = |rows: &[(&str, u64)]| {
            let mut picking = Picking::of(&options);
            rows.iter().for_each(|(host, since)| picking.add(waiting(host, *since)));
            let picked = picking.picked().into_iter();
            picked.map(|(_, owed)| (owed.host, owed.debt.since.0)).collect::<Vec<_>>()
        };
        let of = |host: &str, since: u64| (host.to_owned(), since);
        assert_eq!(picked(&[("a", 4), ("a", 2), ("a", 3), ("a", 1)]), [of("a", 1), of("a", 2)]);
        let many = [("a", 1), ("a", 2), ("b", 3), ("c", 4), ("c", 5), ("d", 6), ("e", 7), ("f", 8)];
        assert_eq!(picked(&many), [of("a", 1), of("b", 3), of("c", 4), of("d", 6), of("e", 7)]);
    }
}
