//! Renewing what is due: the intent is durable before the provider is asked, and the outcome before it is used.

use super::load::{Grants, Item};
use crate::execution::{ExecutionEnv, LoadError, off_arbiter};
use crate::telemetry;
use perseat_domain::grant::{Need, Next, Outcome, Status};
use perseat_flow::oauth::{Exchange, Flow, Owed, Provider, Token};
use perseat_store::catalog::{Lookup, Owing, Stored, StoredGrant};
use perseat_store::error::StoreError;
use perseat_store::seal::RecordKind;
use serde_json::Value;
use zeroize::Zeroizing;

/// How a write went that a call depends on.
enum Wrote {
    /// It is durable.
    Yes,
    /// There is no room.
    NoRoom,
    /// Somebody else wrote, or the holder is gone: what was held is not the truth any more.
    Stale,
}

impl Grants {
    /// Settles what was interrupted and renews what is due, one after another. Tells whether a credential changed.
    ///
    /// To be awaited by the one actor that holds these grants, and by nobody else.
    ///
    /// # Errors
    /// If the store fails otherwise than for want of room.
    pub(crate) async fn tend(&mut self, env: &ExecutionEnv) -> Result<bool, LoadError> {
        let mut changed = false;
        let keys: Vec<String> = self.items.keys().cloned().collect();
        for key in keys {
            changed |= self.tend_one(env, &key).await?;
        }
        Ok(changed)
    }

    async fn tend_one(&mut self, env: &ExecutionEnv, key: &str) -> Result<bool, LoadError> {
        let before = match self.items.get(key) {
            Some(item) => (item.now.grant.generation, item.now.grant.status),
            None => return Ok(false),
        };
        // A consent that comes in between is read and looked at once more; a grant has few of those.
        for _ in 0..8 {
            if self.once(env, key).await? {
                break;
            }
            self.read_again(env, key).await?;
        }
        let Some(item) = self.items.get_mut(key) else { return Ok(true) };
        let is_otherwise = item.look(env.clock.now(), &env.oauth.rules);
        let after = (item.now.grant.generation, item.now.grant.status);
        if before.1 != after.1 {
            tell(item, env);
        }
        Ok(is_otherwise || before != after)
    }

    /// Does what is to be done; `false` where somebody else was faster.
    async fn once(&mut self, env: &ExecutionEnv, key: &str) -> Result<bool, LoadError> {
        let Some(item) = self.items.get_mut(key) else { return Ok(true) };
        let rules = item.rules(&env.oauth.rules);
        let now = env.clock.now();
        let grant = &mut item.now.grant;
        if std::mem::take(&mut item.is_moved) {
            grant.moved(now, &rules);
        }
        let mut next = grant.settle(now, &rules);
        match grant.need(now, &rules) {
            _ if next == Next::Again => {}
            Need::Renewal => next = Next::Again,
            Need::Consent if matches!(grant.status, Status::Active | Status::Error) => grant.expired(now, &rules),
            Need::Consent | Need::Nothing | Need::Patience => {}
        }
        if next == Next::Done {
            // What was only taken over from the configuration is written down with the first thing that happens to it.
            let differs = match &item.on_disk {
                Some(row) => row.grant != item.now.grant,
                None => matches!(item.now.grant.status, Status::Failed | Status::Uncertain),
            };
            return if differs { self.write_until_done(env, key).await } else { Ok(true) };
        }
        while next == Next::Again {
            let Some(item) = self.items.get_mut(key) else { return Ok(true) };
            let now = env.clock.now();
            let provider = match &item.provider {
                Ok(provider) => provider.clone(),
                Err(error) => {
                    tracing::warn!(holder = ?item.id.holder, connection = %item.id.variable, %error, "a grant cannot be renewed");
                    item.now.grant.learn(passing("connection_incomplete"), now, &rules);
                    return self.write_until_done(env, key).await;
                }
            };
            let held = item.now.clone();
            item.now.grant.intend(now);
            match self.write(env, key).await? {
                Wrote::Yes => {}
                Wrote::Stale => return Ok(false),
                Wrote::NoRoom => {
                    // Nothing was spent, and nothing can be written down: what is held stays.
                    let Some(item) = self.items.get_mut(key) else { return Ok(true) };
                    item.now = held;
                    if item.now.grant.intent.is_none() {
                        item.now.grant.learn(passing("storage_full"), now, &rules);
                    }
                    return Ok(true);
                }
            }
            reach("grant-intended");
            let exchange = self.ask(env, key, &provider).await;
            reach("grant-answered");
            let Some(item) = self.items.get_mut(key) else { return Ok(true) };
            let outcome = exchange.outcome(&provider, item.token.as_ref());
            telemetry::renewed(&outcome);
            let now = env.clock.now();
            next = item.now.grant.learn(outcome, now, &rules);
            if let Exchange::Token(token) = &exchange {
                item.token = Some(token.stored(item.token.as_ref()));
            }
            self.seal(key);
            if !self.write_until_done(env, key).await? {
                if let Exchange::Token(token) = &exchange {
                    self.give_back(env, key, &provider, token).await;
                }
                return Ok(false);
            }
            reach("grant-stored");
        }
        Ok(true)
    }

    async fn ask(&self, env: &ExecutionEnv, key: &str, provider: &Provider) -> Exchange {
        if provider.flow == Flow::ClientCredentials {
            return env.oauth.client.own_token(provider).await;
        }
        let token = self.items.get(key).and_then(|item| item.token.as_ref());
        match token.and_then(|token| token.get("refresh_token")).and_then(Value::as_str) {
            Some(refresh) => {
                let refresh = Zeroizing::new(refresh.to_owned());
                env.oauth.client.refresh(provider, &refresh).await
            }
            None => Exchange::Not(Outcome::Over("no_refresh_token".into())),
        }
    }

    /// What came for a grant that was given up meanwhile, or whose holder is gone, is owed to its provider. What came for one that
    /// somebody consented to anew is not: the provider may count the new token by the same grant.
    async fn give_back(&self, env: &ExecutionEnv, key: &str, provider: &Provider, token: &Token) {
        let Some(item) = self.items.get(key).filter(|_| provider.flow == Flow::AuthorizationCode) else {
            return;
        };
        let Some(owed) = Owed::of(provider, &token.stored(item.token.as_ref())) else {
            return;
        };
        let owing = Owing {
            of: item.id.clone(),
            host: owed.host(),
            plain: owed.to_bytes(),
        };
        let (custody, now) = (env.custody.clone(), env.clock.now());
        if let Err(error) = off_arbiter(move || custody.owe(&owing, now)).await {
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
            return Ok(Wrote::Stale);
        };
        let (custody, id, expected, stored) = (env.custody.clone(), item.id.clone(), item.on_disk.clone(), item.now.clone());
        let written = off_arbiter(move || custody.catalog().store_grant(&id, expected.as_ref(), &stored)).await;
        Ok(match written {
            Ok(Stored::Written) => {
                item.on_disk = Some(item.now.clone());
                Wrote::Yes
            }
            Ok(Stored::Overtaken | Stored::Gone) => Wrote::Stale,
            Err(StoreError::Full(_)) => Wrote::NoRoom,
            Err(error) => return Err(error.into()),
        })
    }

    /// The same for an outcome, which must not be lost: it waits for room.
    async fn write_until_done(&mut self, env: &ExecutionEnv, key: &str) -> Result<bool, LoadError> {
        loop {
            match self.write(env, key).await? {
                Wrote::Yes => return Ok(true),
                Wrote::Stale => return Ok(false),
                Wrote::NoRoom => env.clock.sleep(env.limits.full_retry).await,
            }
        }
    }

    /// What is on disk takes the place of what was held.
    async fn read_again(&mut self, env: &ExecutionEnv, key: &str) -> Result<(), LoadError> {
        let (custody, holder) = (env.custody.clone(), self.holder);
        let mut rows = off_arbiter(move || custody.catalog().grants_of(holder)).await?;
        let found: Option<StoredGrant> = rows.remove(key);
        let Some(row) = found else {
            self.items.remove(key);
            return Ok(());
        };
        if let Some(item) = self.items.get_mut(key) {
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

fn passing(reason: &str) -> Outcome {
    Outcome::Passing {
        reason: reason.into(),
        retry_after: None,
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
