//! Renewing what is due: the intent is durable before the provider is asked, and the outcome before it is used.
//!
//! What comes next is decided by [`Tending`]; here it is done.

use super::load::{Grants, Item, open};
use crate::execution::{ExecutionEnv, LoadError, off_arbiter};
use crate::telemetry;
use perseat_domain::grant::{Grant, Outcome, Rules, Sight, Status, Task, Tending, Wrote};
use perseat_domain::time::Timestamp;
use perseat_flow::oauth::{Exchange, Flow, Owed, Provider, Token, Turn, Whose};
use perseat_store::catalog::{Lookup, Owing, Stored, StoredGrant};
use perseat_store::seal::RecordKind;
use serde_json::Value;
use zeroize::Zeroizing;

impl Grants {
    /// Settles what was interrupted and renews what is due and what third parties refused, one after another. Tells whether a
    /// credential changed. While everything is [held](crate::supervisor::Hold) nothing is asked and nothing written.
    ///
    /// To be awaited by the one actor that holds these grants, and by nobody else.
    ///
    /// # Errors
    /// If what the store holds cannot be read.
    pub(crate) async fn tend(&mut self, env: &ExecutionEnv, refused: &[(String, u64)]) -> Result<bool, LoadError> {
        self.recall(env);
        self.refused(env, refused);
        if env.oauth.is_held() {
            let now = env.clock.now();
            for item in self.items.values_mut() {
                item.look(now, &env.oauth.rules);
            }
            return Ok(true);
        }
        let mut changed = false;
        let keys: Vec<String> = self.items.keys().cloned().collect();
        for key in keys {
            // Most have nothing to tend: the actor that reads them does not carry the room for it.
            changed |= Box::pin(self.tend_one(env, &key)).await?;
        }
        Ok(changed)
    }

    async fn tend_one(&mut self, env: &ExecutionEnv, key: &str) -> Result<bool, LoadError> {
        let before = match self.items.get(key) {
            Some(item) => (item.now.grant.generation, item.now.grant.status),
            None => return Ok(false),
        };
        self.perform(env, key).await?;
        let Some(item) = self.items.get_mut(key) else { return Ok(true) };
        let is_otherwise = item.look(env.clock.now(), &env.oauth.rules);
        let after = (item.now.grant.generation, item.now.grant.status);
        if before.1 != after.1 {
            tell(item, env);
        }
        Ok(is_otherwise || before != after)
    }

    /// Performs one task after another.
    async fn perform(&mut self, env: &ExecutionEnv, key: &str) -> Result<(), LoadError> {
        let mut tending = Tending::default();
        let mut task = self.look(env, key, &mut tending);
        let mut is_answered = false;
        let mut given = None;
        let mut turn = None;
        let mut in_flight = None;
        loop {
            if tending.is_intending() && turn.is_none() {
                match self.turn(env, key).await {
                    Ok(come) => {
                        turn = Some(come);
                        in_flight = in_flight.or_else(|| env.oauth.begin());
                        if in_flight.is_none() {
                            self.call_off(key, &mut tending);
                            return Ok(());
                        }
                    }
                    Err(outcome) => {
                        telemetry::renewed(&outcome);
                        task = self.go_on(env, key, |item, now, rules| {
                            tending.held_back(&mut item.now.grant, outcome, now, rules)
                        });
                    }
                }
            }
            task = match task {
                Task::Done => return Ok(()),
                Task::PutOff if self.put_off(env, key) => return Ok(()),
                Task::Read => {
                    self.read_again(env, key).await?;
                    self.look(env, key, &mut tending)
                }
                Task::Store | Task::StoreLater | Task::PutOff => {
                    if task != Task::Store {
                        env.clock.sleep(env.limits.full_retry).await;
                    } else if !is_answered {
                        reach("grant-due");
                    }
                    let intended = self
                        .items
                        .get(key)
                        .filter(|_| tending.is_intending())
                        .map(|item| item.now.grant.clone());
                    let wrote = self.write(env, key).await?;
                    if std::mem::take(&mut is_answered) && wrote == Wrote::Durable {
                        reach("grant-stored");
                    }
                    if let (Wrote::Overtaken, Some((provider, token))) = (wrote, &given) {
                        self.give_back(env, key, provider, token).await;
                    }
                    if wrote != Wrote::Failed {
                        given = None;
                    }
                    let next = self.go_on(env, key, |item, now, rules| tending.stored(&mut item.now.grant, wrote, now, rules));
                    if let (Wrote::Failed, Some(intended)) = (wrote, intended) {
                        self.spent_nothing(env, key, intended);
                    }
                    next
                }
                Task::Ask { until } => {
                    reach("grant-intended");
                    let outcome;
                    (outcome, given) = self.ask(env, key, until, turn.take().unwrap_or_default()).await;
                    reach("grant-answered");
                    is_answered = true;
                    telemetry::renewed(&outcome);
                    self.go_on(env, key, |item, now, rules| {
                        tending.answered(&mut item.now.grant, outcome, now, rules)
                    })
                }
            };
        }
    }

    /// Everything is held by now.
    fn call_off(&mut self, key: &str, tending: &mut Tending) {
        if let Some(item) = self.items.get_mut(key) {
            tending.called_off(&mut item.now.grant);
        }
    }

    fn look(&mut self, env: &ExecutionEnv, key: &str, tending: &mut Tending) -> Task {
        self.go_on(env, key, |item, now, rules| {
            let sight = Sight {
                on_disk: item.on_disk.as_ref().map(|row| &row.grant),
                is_moved: std::mem::take(&mut item.is_moved),
                can_ask: item.provider.is_ok(),
                now,
                rules,
            };
            let task = tending.look(&mut item.now.grant, &sight);
            if let (Err(error), Task::Store) = (&item.provider, task) {
                tracing::warn!(holder = ?item.id.holder, connection = %item.id.variable, %error, "a grant cannot be renewed");
            }
            task
        })
    }

    /// Takes one step with the grant; there is none to take where it is gone.
    fn go_on(&mut self, env: &ExecutionEnv, key: &str, step: impl FnOnce(&mut Item, Timestamp, &Rules) -> Task) -> Task {
        let Some(item) = self.items.get_mut(key) else { return Task::Done };
        let rules = item.rules(&env.oauth.rules);
        step(item, env.clock.now(), &rules)
    }

    /// Leaves it to the next look to write it down. Tells whether that is as good: what became of a renewal is kept in mind till then.
    fn put_off(&mut self, env: &ExecutionEnv, key: &str) -> bool {
        let Some(item) = self.items.get_mut(key) else { return true };
        let keep = |on_disk: &Grant| env.oauth.unwritten.keep(&item.id, vec![on_disk.clone()], item.now.clone());
        item.is_put_off = match &item.on_disk {
            Some(row) if row.grant.is_unsettled() => keep(&row.grant),
            Some(row) => {
                // Somebody's refusal is told once.
                if row.token == item.now.token {
                    keep(&row.grant);
                }
                true
            }
            None => true,
        };
        item.is_put_off
    }

    /// An intent that could not be written may be there all the same, and nobody was asked.
    fn spent_nothing(&self, env: &ExecutionEnv, key: &str, intended: Grant) {
        let Some(item) = self.items.get(key).filter(|_| intended.is_unsettled()) else {
            return;
        };
        let mut on_disk = vec![intended];
        on_disk.extend(item.on_disk.as_ref().map(|row| row.grant.clone()).filter(Grant::is_unsettled));
        if !env.oauth.unwritten.keep(&item.id, on_disk, item.now.clone()) {
            tracing::warn!(holder = ?item.id.holder, connection = %item.id.variable, "a renewal that was not begun may seem to be cut off");
        }
    }

    /// Waits until the provider may be asked; before the intent is durable, so that whoever dies meanwhile has spent nothing.
    async fn turn(&self, env: &ExecutionEnv, key: &str) -> Result<Turn, Outcome> {
        let Some((item, provider)) = self.items.get(key).and_then(|item| Some((item, item.provider.as_ref().ok()?))) else {
            return Ok(Turn::default());
        };
        // A second use is not worth waiting for beyond its grace.
        let now = env.clock.now();
        let last = item.now.grant.last_moment(now, &item.rules(&env.oauth.rules));
        let within = last.map(|last| last.since(now));
        let whose = Whose {
            customer: self.party.customer,
            grant: &item.id.to_key(),
        };
        env.oauth.client.turn(provider, whose, within).await
    }

    /// Asks the provider, and takes the token that it gave.
    async fn ask(&mut self, env: &ExecutionEnv, key: &str, until: Option<Timestamp>, turn: Turn) -> (Outcome, Option<(Provider, Token)>) {
        let Some((provider, token)) = self
            .items
            .get(key)
            .and_then(|item| Some((item.provider.as_ref().ok()?.clone(), item.token.as_ref())))
        else {
            return (Outcome::Unknown("connection_incomplete".into()), None);
        };
        let refresh = token.and_then(|token| token.get("refresh_token")).and_then(Value::as_str);
        let exchange = if provider.flow == Flow::ClientCredentials {
            env.oauth.client.own_token(&provider, turn).await
        } else if let Some(refresh) = refresh {
            let refresh = Zeroizing::new(refresh.to_owned());
            let within = until.map(|until| until.since(env.clock.now()));
            env.oauth.client.refresh(&provider, &refresh, within, turn).await
        } else {
            Exchange::Not(Outcome::Over("no_refresh_token".into()))
        };
        let outcome = exchange.outcome(&provider, token);
        if let (Exchange::Token(given), Some(item)) = (&exchange, self.items.get_mut(key)) {
            item.token = Some(given.stored(item.token.as_ref()));
        }
        self.seal(key);
        match exchange {
            Exchange::Token(token) => (outcome, Some((provider, token))),
            Exchange::Not(_) => (outcome, None),
        }
    }

    /// What came for a grant that was given up meanwhile, or whose holder is gone, is owed to its provider. What came for one that
    /// somebody consented to anew is where that is known to be another account or client: else the provider may count the new token by
    /// the same grant.
    async fn give_back(&self, env: &ExecutionEnv, key: &str, provider: &Provider, token: &Token) {
        let Some(item) = self.items.get(key).filter(|_| provider.flow == Flow::AuthorizationCode) else {
            return;
        };
        let Some(owed) = Owed::of(provider, &token.stored(item.token.as_ref()), self.party) else {
            return;
        };
        let owing = Owing {
            of: item.id.clone(),
            host: owed.host(),
            plain: owed.to_bytes(),
        };
        let (custody, now) = (env.custody.clone(), env.clock.now());
        let (key, registration, provider) = (self.key.clone(), item.now.registration, provider.clone());
        let owe = move || {
            let is_apart = |row: &StoredGrant| {
                let held = || open(&key, &owing.of, row.token.as_ref()?).ok();
                row.registration != registration || held().is_some_and(|held| !owed.may_end(&provider, &held))
            };
            custody.owe(&owing, now, is_apart)
        };
        if let Err(error) = off_arbiter(owe).await {
            tracing::warn!(%error, holder = ?item.id.holder, connection = %item.id.variable, "a token that nobody has any use for cannot be given back");
        }
    }

    /// The token as it is stored.
    fn seal(&mut self, key: &str) {
        let Some(item) = self.items.get_mut(key) else { return };
        item.now.token = item.token.as_ref().map(|token| {
            let plain = Zeroizing::new(token.to_string().into_bytes());
            self.key.seal(RecordKind::Grant, &item.id.to_key(), &plain)
        });
    }

    /// Makes what is held durable. What takes the place of nothing on disk is sealed with it.
    async fn write(&mut self, env: &ExecutionEnv, key: &str) -> Result<Wrote, LoadError> {
        if self
            .items
            .get(key)
            .is_some_and(|item| item.now.token.is_none() && item.token.is_some())
        {
            self.seal(key);
        }
        let Some(item) = self.items.get_mut(key) else {
            return Ok(Wrote::Overtaken);
        };
        let (custody, id, expected, stored) = (env.custody.clone(), item.id.clone(), item.on_disk.clone(), item.now.clone());
        let written = off_arbiter(move || custody.catalog().store_grant(&id, expected.as_ref(), &stored)).await;
        if written.is_ok() {
            env.oauth.unwritten.forget(&item.id);
        }
        Ok(match written {
            Ok(Stored::Written) => {
                item.on_disk = Some(item.now.clone());
                Wrote::Durable
            }
            Ok(Stored::Overtaken | Stored::Gone) => Wrote::Overtaken,
            Err(error) if error.is_passing() => {
                tracing::warn!(%error, holder = ?item.id.holder, connection = %item.id.variable, "a grant cannot be written down now");
                Wrote::Failed
            }
            Err(error) => return Err(error.into()),
        })
    }

    /// What is on disk takes the place of what was held, but for what was given to another registration meanwhile: its provider
    /// is not the one that was read.
    async fn read_again(&mut self, env: &ExecutionEnv, key: &str) -> Result<(), LoadError> {
        let (custody, holder) = (env.custody.clone(), self.holder);
        let mut rows = off_arbiter(move || custody.catalog().grants_of(holder)).await?;
        let found: Option<StoredGrant> = rows.remove(key);
        let Some(row) = found else {
            self.items.remove(key);
            return Ok(());
        };
        if let Some(item) = self.items.get_mut(key) {
            if row.registration != item.now.registration {
                return Err(LoadError::Moved { variable: key.to_owned() });
            }
            item.now = row.clone();
            item.is_moved = false;
            item.on_disk = Some(row);
        }
        let token = match self.items.get(key) {
            Some(item) => self.open(item)?,
            None => None,
        };
        if let Some(item) = self.items.get_mut(key) {
            item.token = token;
            item.await_account();
        }
        Ok(())
    }
}

/// A line for whoever looks for the reason; it names ids and words, never a token.
fn tell(item: &Item, env: &ExecutionEnv) {
    let grant = &item.now.grant;
    let (holder, connection, reason) = (item.id.holder, &item.id.variable, grant.reason.as_deref().unwrap_or_default());
    let host = item.provider.as_ref().map(Provider::host).unwrap_or_default();
    match grant.status {
        Status::Active => tracing::info!(?holder, %connection, host, "a grant is active"),
        Status::Error => {
            let wait = grant.retry_at.map(|retry| retry.since(env.clock.now()));
            tracing::warn!(?holder, %connection, host, reason, ?wait, "a grant could not be renewed; it is tried again");
        }
        Status::Failed => tracing::warn!(?holder, %connection, host, reason, "a grant is over; somebody must consent again"),
        Status::Uncertain => {
            tracing::warn!(?holder, %connection, host, reason, "whether a grant still holds is not known; somebody must consent again");
        }
        Status::Pending => tracing::info!(?holder, %connection, "a grant waits for consent"),
    }
}

#[cfg(feature = "faults")]
fn reach(point: &str) {
    perseat_journal::kill_point::reach(point);
}

#[cfg(not(feature = "faults"))]
fn reach(_: &str) {}
