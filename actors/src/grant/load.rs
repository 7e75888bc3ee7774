//! The grants of one holder, as the catalog has them and as the configuration supplies them.

use super::lend::{Borrower, Lent};
use crate::execution::{ExecutionEnv, LoadError};
use perseat_domain::definition::{ConfigVar, Definition};
use perseat_domain::grant::{Grant, Holder, Obstacle, Party, Renewal, Renewed, Rules, Status};
use perseat_domain::id::{CustomerId, UserId};
use perseat_domain::model::{ConfigValue, ConnectionValue, KeyDigest, Sealed};
use perseat_domain::time::Timestamp;
use perseat_flow::oauth::{Flow, Provider, ProviderError, Token, is_oauth, reach_of, read_token, registration};
use perseat_store::catalog::{GrantId, Lookup, StoredGrant, SuppliedToken};
use perseat_store::custody::Custody;
use perseat_store::seal::{DataKey, RecordKind};
use perseat_store::sharing::{Supplied, sharing_party};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroize;

/// Credentials are looked at no more often.
const SOONEST: Duration = Duration::from_millis(200);
/// And at least so often while somebody runs with them.
const LATEST: Duration = Duration::from_hours(24);

/// A grant with its token in the clear.
pub(super) struct Item {
    pub(super) id: GrantId,
    pub(super) provider: Result<Provider, ProviderError>,
    /// As it is on disk; `None` where it is not there yet.
    pub(super) on_disk: Option<StoredGrant>,
    /// As it is held.
    pub(super) now: StoredGrant,
    pub(super) token: Option<Value>,
    /// Whether it was given to another registration, and its end is not written down yet.
    pub(super) is_moved: bool,
    /// Whether what is held could not be written down, and can be used as it is.
    pub(super) is_put_off: bool,
    /// Why it cannot be used, as of the last look.
    pub(super) obstacle: Option<Obstacle>,
}

impl Drop for Item {
    fn drop(&mut self) {
        if let Some(Value::Object(members)) = &mut self.token {
            for (_, member) in members {
                if let Value::String(text) = member {
                    text.zeroize();
                }
            }
        }
    }
}

/// What a connection of a step is made with.
#[derive(Debug)]
pub(crate) struct Credential<'g> {
    /// The token, if it can be used.
    pub(crate) token: Option<&'g Value>,
    /// Recorded with each use.
    pub(crate) version: u64,
    /// To which registration it was given.
    pub(crate) registration: Option<KeyDigest>,
    /// Why there is none.
    pub(crate) obstacle: Option<Obstacle>,
}

/// A shared connection that a variable names.
struct Borrowed {
    id: GrantId,
    /// What was lent; none where it is not there, or before it was asked for.
    lent: Option<Arc<Lent>>,
    /// The version that a third party refused.
    refused: Option<u64>,
}

/// For whom grants are loaded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whose {
    /// The holder of those that belong to the configuration itself.
    pub(crate) holder: Holder,
    /// The customer.
    pub(crate) customer: CustomerId,
    /// The user, where it is a user's configuration.
    pub(crate) user: Option<UserId>,
}

/// All grants of one holder, and what its connections borrow of others.
pub(crate) struct Grants {
    pub(super) holder: Holder,
    /// Who allows them.
    pub(super) party: Party,
    pub(super) key: Arc<DataKey>,
    pub(super) items: BTreeMap<String, Item>,
    /// Shared connections by the stable key of the variable that names them.
    borrowed: BTreeMap<String, Borrowed>,
}

impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grants")
            .field("holder", &self.holder)
            .field("count", &self.items.len())
            .field("borrowed", &self.borrowed.len())
            .finish_non_exhaustive()
    }
}

impl Grants {
    /// Reads the grants of a holder's connections. `supplied` opens what the configuration gives for a variable. Reads
    /// files: call it off the arbiter.
    pub(crate) fn load(
        custody: &Custody,
        whose: Whose,
        key: Arc<DataKey>,
        definition: &Definition,
        values: &BTreeMap<String, ConfigValue>,
        supplied: impl Fn(&ConfigVar) -> Result<ConnectionValue, LoadError>,
    ) -> Result<Self, LoadError> {
        let holder = whose.holder;
        let is_user_level = matches!(holder, Holder::UserConfig(_));
        let mut grants = Self {
            holder,
            party: Party {
                customer: Some(whose.customer),
                user: whose.user,
            },
            key,
            items: BTreeMap::new(),
            borrowed: BTreeMap::new(),
        };
        let variables = definition
            .config_vars
            .iter()
            .filter(|variable| variable.user_level == is_user_level);
        for variable in variables.clone() {
            if let Some((id, _)) = custody.catalog().shared_grant(variable, whose.customer, whose.user)? {
                let borrowed = Borrowed {
                    id,
                    lent: None,
                    refused: None,
                };
                grants.borrowed.insert(variable.stable_key.clone(), borrowed);
            }
        }
        let oauth = variables.filter_map(|variable| Some((variable, is_oauth(variable.connection.as_ref()?)?)));
        let oauth: Vec<(&ConfigVar, Flow)> = oauth.collect();
        if oauth.is_empty() {
            return Ok(grants);
        }
        let mut rows = custody.catalog().grants_of(holder)?;
        for (variable, flow) in oauth {
            let stable_key = &variable.stable_key;
            let version = match values.get(stable_key) {
                Some(ConfigValue::Connection { version, .. }) => *version,
                _ => 0,
            };
            let id = GrantId {
                holder,
                variable: stable_key.clone(),
            };
            let mut supplied = supplied(variable)?;
            let item = grants.item(id, flow, &supplied, version, true, rows.remove(stable_key));
            supplied.fields.values_mut().for_each(Zeroize::zeroize);
            grants.items.insert(stable_key.clone(), item?);
        }
        Ok(grants)
    }

    /// Reads the grant of a shared connection; there is none to read where it is no OAuth 2.0.
    pub(super) fn of_shared(custody: &Custody, id: &GrantId, flow: Option<Flow>, supplied: &Supplied) -> Result<Self, LoadError> {
        let mut grants = Self {
            holder: id.holder,
            party: sharing_party(custody.catalog().as_ref(), id.holder)?.unwrap_or_default(),
            key: supplied.key.clone(),
            items: BTreeMap::new(),
            borrowed: BTreeMap::new(),
        };
        if let Some(flow) = flow {
            let row = custody.catalog().grants_of(id.holder)?.remove(&id.variable);
            let item = grants.item(id.clone(), flow, &supplied.value, supplied.version, supplied.is_given, row)?;
            grants.items.insert(id.variable.clone(), item);
        }
        Ok(grants)
    }

    /// Asks for what is shared, and waits for it. For the actor alone that `borrower` names. Tells whether there is any.
    pub(crate) async fn borrow(&mut self, env: &ExecutionEnv, borrower: &Borrower) -> bool {
        for borrowed in self.borrowed.values_mut() {
            let refused = borrowed.refused.take();
            #[cfg(feature = "faults")]
            let id = &env.faults.lender(&borrowed.id);
            #[cfg(not(feature = "faults"))]
            let id = &borrowed.id;
            borrowed.lent = Box::pin(env.sharers.ask(env, id, refused, borrower.clone())).await;
        }
        !self.borrowed.is_empty()
    }

    /// What was lent for the variable of this stable key.
    pub(crate) fn lent(&self, stable_key: &str) -> Option<&Arc<Lent>> {
        self.lent_by(stable_key).map(|(_, lent)| lent)
    }

    /// The same with the grant that it was lent of.
    pub(crate) fn lent_by(&self, stable_key: &str) -> Option<(&GrantId, &Arc<Lent>)> {
        let borrowed = self.borrowed.get(stable_key)?;
        Some((&borrowed.id, borrowed.lent.as_ref()?))
    }

    /// Where the grant of this connection stands, its own or a borrowed one: version and obstacle.
    pub(crate) fn standing(&self, stable_key: &str) -> Option<(Option<u64>, Option<Obstacle>)> {
        match self.credential(stable_key) {
            Some(credential) => Some((Some(credential.version), credential.obstacle)),
            None => {
                let lent = self.lent(stable_key)?;
                Some((lent.is_grant.then_some(lent.version), lent.obstacle))
            }
        }
    }

    fn item(
        &self,
        id: GrantId,
        flow: Flow,
        supplied: &ConnectionValue,
        version: u64,
        is_given: bool,
        on_disk: Option<StoredGrant>,
    ) -> Result<Item, LoadError> {
        let provider = Provider::read(flow, &supplied.fields);
        let registration = Some(registration(flow, &supplied.fields));
        let known = supplied.token.as_ref().map(SuppliedToken::of);
        let is_current = on_disk.as_ref().is_some_and(|row| {
            let is_over = match row.grant.status {
                Status::Active | Status::Error => false,
                Status::Failed | Status::Uncertain => true,
                // Its holder disconnected it, until they give something again.
                Status::Pending => is_given,
            };
            row.is_of(known.as_ref())
                && row.registration == registration
                // Nobody consents to that of a registration which acts for itself: it begins anew.
                && !(flow == Flow::ClientCredentials && is_over)
        });
        let mut item = Item {
            id,
            provider,
            now: on_disk.clone().unwrap_or_default(),
            on_disk,
            token: None,
            is_moved: false,
            is_put_off: false,
            obstacle: None,
        };
        if is_current {
            item.token = self.open(&item)?;
            item.await_account();
            return Ok(item);
        }
        // What there was belongs to another registration, or was replaced by hand.
        let is_moved = item.on_disk.as_ref().is_some_and(|row| row.registration != registration);
        let gives_way = item.on_disk.as_ref().is_none_or(|row| row.gives_way_to(known.as_ref()));
        let generation = item.now.grant.generation.max(version.saturating_sub(1));
        item.now.is_supplied(known.as_ref());
        let before = std::mem::take(&mut item.now.grant);
        item.now = StoredGrant {
            grant: Grant {
                generation,
                timeline: before.timeline.clone(),
                ..Grant::default()
            },
            token: None,
            registration,
            is_consented: false,
            ..std::mem::take(&mut item.now)
        };
        if flow == Flow::ClientCredentials {
            item.now.grant = Grant {
                timeline: std::mem::take(&mut item.now.grant.timeline),
                ..Grant::of_credentials(generation + 1)
            };
        } else if let Some(token) = supplied.token.as_ref().filter(|_| gives_way).and_then(normal) {
            let always = item.provider.as_ref().is_ok_and(Provider::reuses_always);
            take_over(&mut item.now.grant, &token, always);
            item.token = Some(token.stored(None));
        } else if is_moved {
            item.now.grant = Grant { generation, ..before };
            item.is_moved = true;
        }
        item.await_account();
        Ok(item)
    }

    pub(super) fn open(&self, item: &Item) -> Result<Option<Value>, LoadError> {
        let Some(sealed) = &item.now.token else { return Ok(None) };
        open(&self.key, &item.id, sealed).map(Some)
    }

    /// What the connection of this stable key is made with; `None` where it is no grant's.
    pub(crate) fn credential(&self, stable_key: &str) -> Option<Credential<'_>> {
        let item = self.items.get(stable_key)?;
        Some(Credential {
            token: item.token.as_ref().filter(|_| item.obstacle.is_none()),
            version: item.now.grant.generation,
            registration: item.now.registration,
            obstacle: item.obstacle,
        })
    }

    /// Until when nobody's refusal of this connection's token counts: it was given so lately that another one would fare no better.
    pub(crate) fn fresh_until(&self, stable_key: &str, env: &ExecutionEnv) -> Option<Timestamp> {
        let (now, rules) = (env.clock.now(), &env.oauth.rules);
        match self.items.get(stable_key) {
            Some(item) => item.now.grant.fresh_until(now, rules),
            None => self.lent(stable_key)?.fresh_until,
        }
    }

    /// What is known of grants and could not be written down takes the place of what is on disk.
    pub(super) fn recall(&mut self, env: &ExecutionEnv) {
        for item in self.items.values_mut() {
            let Some(row) = &item.on_disk else { continue };
            let Some(held) = env.oauth.unwritten.recall(&item.id, &row.grant) else {
                continue;
            };
            if (item.now.supplied, item.now.registration) == (row.supplied, row.registration) {
                item.now.grant = held;
                item.await_account();
            }
        }
    }

    /// Third parties refused the tokens of these versions.
    pub(super) fn refused(&mut self, env: &ExecutionEnv, refused: &[(String, u64)]) {
        for (key, version) in refused {
            if let Some(item) = self.items.get_mut(key) {
                let rules = item.rules(&env.oauth.rules);
                item.now.grant.refused(*version, env.clock.now(), &rules);
            }
            if let Some(borrowed) = self.borrowed.get_mut(key) {
                borrowed.refused = Some(*version);
            }
        }
    }

    /// The stable keys of those that cannot be used.
    pub(crate) fn lacking(&self) -> impl Iterator<Item = &String> {
        let own = self.items.iter().filter(|(_, item)| item.obstacle.is_some()).map(|(key, _)| key);
        let is_lacking = |borrowed: &Borrowed| borrowed.lent.as_ref().is_some_and(|lent| lent.obstacle.is_some());
        own.chain(
            self.borrowed
                .iter()
                .filter(move |(_, borrowed)| is_lacking(borrowed))
                .map(|(key, _)| key),
        )
    }

    /// In how long they are to be looked at again.
    pub(crate) fn due_in(&self, env: &ExecutionEnv) -> Option<Duration> {
        let (now, rules) = (env.clock.now(), &env.oauth.rules);
        let own = self.items.values().filter_map(|item| match item.is_put_off {
            true => Some(now.after(env.limits.full_retry)),
            false => item.now.grant.look_again(now, &item.rules(rules)),
        });
        let lent = self.borrowed.values().filter_map(|borrowed| borrowed.lent.as_ref()?.look_again);
        let due = own.chain(lent).min()?;
        // One whose intent could not be written down is due already.
        Some(due.since(now).clamp(SOONEST, LATEST))
    }
}

impl Item {
    /// Looks whether it can be used; tells whether that is otherwise than before.
    pub(super) fn look(&mut self, now: Timestamp, rules: &Rules) -> bool {
        let obstacle = self.now.grant.obstacle(self.token.is_some(), now, &self.rules(rules));
        std::mem::replace(&mut self.obstacle, obstacle) != obstacle
    }

    /// A provider that lists accounts gives no credential before one of them is chosen; one that does not waits for none.
    pub(super) fn await_account(&mut self) {
        let Ok(provider) = &self.provider else { return };
        let is_chosen = || {
            self.token
                .as_ref()
                .and_then(reach_of)
                .is_some_and(|reach| reach.account().is_some())
        };
        let is_lacking = provider.lists_accounts() && !is_chosen();
        self.now.grant.await_account(is_lacking);
    }

    /// The rules with what the provider declares.
    pub(super) fn rules(&self, rules: &Rules) -> Rules {
        Rules {
            grace: self.provider.as_ref().ok().and_then(Provider::grace),
            ..*rules
        }
    }
}

/// The token of a grant, as it is sealed in its row.
pub(super) fn open(key: &DataKey, id: &GrantId, sealed: &Sealed) -> Result<Value, LoadError> {
    let variable = &id.variable;
    let plain = key.unseal(RecordKind::Grant, &id.to_key(), sealed);
    let plain = plain.map_err(|source| LoadError::Connection {
        variable: variable.clone(),
        source,
    })?;
    serde_json::from_slice(&plain).map_err(|_| LoadError::Malformed {
        variable: variable.clone(),
    })
}

/// A supplied token as a provider would have given it.
fn normal(supplied: &Value) -> Option<Token> {
    read_token("application/json", supplied.to_string().as_bytes(), &[]).ok()
}

/// Nobody knows how old a supplied token is: one that can be renewed and has an end is renewed before its first use.
fn take_over(grant: &mut Grant, token: &Token, reuses_always: bool) {
    let renewal = match token.refresh_token() {
        None => Renewal::None,
        Some(_) if reuses_always => Renewal::Refresh { rotates: Some(false) },
        Some(_) => Renewal::Refresh { rotates: None },
    };
    let renewed = Renewed {
        lifetime: token.lifetime().filter(|_| renewal != Renewal::None),
        renewal,
    };
    grant.supplied(renewed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use perseat_domain::grant::{Held, Need};
    use perseat_domain::id::UserConfigId;
    use serde_json::json;
    use uuid::Uuid;

    #[test]
    fn a_supplied_token_that_has_an_end_is_renewed_before_its_first_use() {
        let rules = Rules::default();
        let now = Timestamp(1_700_000_000_000);
        for (supplied, need) in [
            (
                json!({ "access_token": "a", "refresh_token": "r", "expires_in": "3600" }),
                Need::Renewal,
            ),
            (json!({ "access_token": "a", "refresh_token": "r" }), Need::Nothing),
            (json!({ "access_token": "a", "expires_in": "3600" }), Need::Nothing),
        ] {
            let mut grant = Grant::default();
            take_over(&mut grant, &normal(&supplied).unwrap(), false);
            assert_eq!(grant.need(now, &rules), need, "{supplied}");
        }
        assert!(normal(&json!({ "password": "x" })).is_none());
    }

    #[test]
    fn what_acts_for_itself_begins_anew_wherever_it_ended() {
        let holder = Holder::UserConfig(UserConfigId(Uuid::from_u128(1)));
        let grants = Grants {
            holder,
            party: Party::default(),
            key: Arc::new(DataKey::new(&[7; 32], 1)),
            items: BTreeMap::new(),
            borrowed: BTreeMap::new(),
        };
        let fields = [
            ("tokenUrl", "https://provider.example"),
            ("clientId", "id"),
            ("clientSecret", "secret"),
        ];
        let supplied = ConnectionValue {
            fields: fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            token: None,
        };
        for (status, is_given, need) in [
            (Status::Failed, true, Need::Renewal),
            (Status::Failed, false, Need::Renewal),
            (Status::Pending, true, Need::Renewal),
            // It was disconnected, and stands as it stood.
            (Status::Pending, false, Need::Patience),
            (Status::Error, true, Need::Patience),
        ] {
            let row = StoredGrant {
                grant: Grant {
                    status,
                    retry_at: Some(Timestamp(9)),
                    ..Grant::of_credentials(4)
                },
                registration: Some(registration(Flow::ClientCredentials, &supplied.fields)),
                ..StoredGrant::default()
            };
            let id = GrantId {
                holder,
                variable: "account".into(),
            };
            let item = grants.item(id, Flow::ClientCredentials, &supplied, 0, is_given, Some(row)).unwrap();
            assert_eq!(item.now.grant.need(Timestamp(1), &Rules::default()), need, "{status:?}");
            assert_eq!(item.now.grant.generation, 4 + u64::from(need == Need::Renewal));
        }
    }

    #[test]
    fn held_of_credentials_is_due_at_once() {
        let grant = Grant::of_credentials(1);
        assert_eq!(grant.need(Timestamp(1), &Rules::default()), Need::Renewal);
        assert!(matches!(
            grant.held,
            Some(Held {
                renewal: Renewal::Credentials,
                ..
            })
        ));
    }
}
