//! The grants of one holder, as the catalog has them and as the configuration supplies them.

use crate::execution::{ExecutionEnv, LoadError};
use perseat_domain::definition::{ConfigVar, Definition};
use perseat_domain::grant::{Grant, Holder, Need, Renewal, Renewed, Rules};
use perseat_domain::model::{ConfigValue, ConnectionValue};
use perseat_domain::time::Timestamp;
use perseat_flow::expression::Obstacle;
use perseat_flow::oauth::{Flow, Provider, ProviderError, Token, is_oauth, read_token, registration};
use perseat_store::catalog::{GrantId, Lookup, StoredGrant};
use perseat_store::custody::Custody;
use perseat_store::seal::{DataKey, RecordKind, key_digest};
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
    /// Why there is none.
    pub(crate) obstacle: Option<Obstacle>,
}

/// All grants of one holder.
pub(crate) struct Grants {
    pub(super) holder: Holder,
    pub(super) key: Arc<DataKey>,
    pub(super) items: BTreeMap<String, Item>,
}

impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grants")
            .field("holder", &self.holder)
            .field("count", &self.items.len())
            .finish_non_exhaustive()
    }
}

impl Grants {
    /// Reads the grants of a holder's connections. `supplied` opens what the configuration gives for a variable. Reads
    /// files: call it off the arbiter.
    pub(crate) fn load(
        custody: &Custody,
        holder: Holder,
        key: Arc<DataKey>,
        definition: &Definition,
        values: &BTreeMap<String, ConfigValue>,
        supplied: impl Fn(&ConfigVar) -> Result<ConnectionValue, LoadError>,
    ) -> Result<Self, LoadError> {
        let is_user_level = matches!(holder, Holder::UserConfig(_));
        let mut grants = Self {
            holder,
            key,
            items: BTreeMap::new(),
        };
        let variables = definition
            .config_vars
            .iter()
            .filter(|variable| variable.user_level == is_user_level);
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
            let item = grants.item(id, flow, &supplied, version, rows.remove(stable_key));
            supplied.fields.values_mut().for_each(Zeroize::zeroize);
            grants.items.insert(stable_key.clone(), item?);
        }
        Ok(grants)
    }

    fn item(
        &self,
        id: GrantId,
        flow: Flow,
        supplied: &ConnectionValue,
        version: u64,
        on_disk: Option<StoredGrant>,
    ) -> Result<Item, LoadError> {
        let provider = Provider::read(flow, &supplied.fields);
        let registration = Some(registration(&supplied.fields));
        let supplied_digest = supplied.token.as_ref().map(|token| key_digest(&token.to_string()));
        let is_current = on_disk
            .as_ref()
            .is_some_and(|row| (supplied_digest.is_none() || row.supplied == supplied_digest) && row.registration == registration);
        let mut item = Item {
            id,
            provider,
            now: on_disk.clone().unwrap_or_default(),
            on_disk,
            token: None,
            obstacle: None,
        };
        if is_current {
            item.token = self.open(&item)?;
            return Ok(item);
        }
        // What there was belongs to another registration, or was replaced by hand.
        let generation = item.now.grant.generation.max(version.saturating_sub(1));
        item.now = StoredGrant {
            grant: Grant {
                generation,
                timeline: std::mem::take(&mut item.now.grant.timeline),
                ..Grant::default()
            },
            token: None,
            supplied: supplied_digest,
            registration,
        };
        if flow == Flow::ClientCredentials {
            item.now.grant = Grant {
                timeline: std::mem::take(&mut item.now.grant.timeline),
                ..Grant::of_credentials(generation + 1)
            };
        } else if let Some(token) = supplied.token.as_ref().and_then(normal) {
            let always = item.provider.as_ref().is_ok_and(Provider::reuses_always);
            take_over(&mut item.now.grant, &token, always);
            item.token = Some(token.stored(None));
        }
        Ok(item)
    }

    pub(super) fn open(&self, item: &Item) -> Result<Option<Value>, LoadError> {
        let Some(sealed) = &item.now.token else { return Ok(None) };
        let variable = &item.id.variable;
        let plain = self.key.unseal(RecordKind::Grant, &item.id.to_key(), sealed);
        let plain = plain.map_err(|source| LoadError::Connection {
            variable: variable.clone(),
            source,
        })?;
        serde_json::from_slice(&plain).map(Some).map_err(|_| LoadError::Malformed {
            variable: variable.clone(),
        })
    }

    /// What the connection of this stable key is made with; `None` where it is no grant's.
    pub(crate) fn credential(&self, stable_key: &str) -> Option<Credential<'_>> {
        let item = self.items.get(stable_key)?;
        Some(Credential {
            token: item.token.as_ref().filter(|_| item.obstacle.is_none()),
            version: item.now.grant.generation,
            obstacle: item.obstacle,
        })
    }

    /// Third parties refused the tokens of these versions.
    pub(crate) fn refused(&mut self, env: &ExecutionEnv, refused: &[(String, u64)]) {
        for (key, version) in refused {
            if let Some(item) = self.items.get_mut(key) {
                let rules = item.rules(&env.oauth.rules);
                item.now.grant.refused(*version, env.clock.now(), &rules);
            }
        }
    }

    /// The stable keys of those that cannot be used.
    pub(crate) fn lacking(&self) -> impl Iterator<Item = &String> {
        self.items.iter().filter(|(_, item)| item.obstacle.is_some()).map(|(key, _)| key)
    }

    /// In how long they are to be looked at again.
    pub(crate) fn due_in(&self, env: &ExecutionEnv) -> Option<Duration> {
        let rules = &env.oauth.rules;
        let due = self
            .items
            .values()
            .filter_map(|item| item.now.grant.look_again(&item.rules(rules)))
            .min()?;
        // One that could not be written down for want of room is due already.
        Some(due.since(env.clock.now()).clamp(SOONEST, LATEST))
    }
}

impl Item {
    /// Looks whether it can be used; tells whether that is otherwise than before.
    pub(super) fn look(&mut self, now: Timestamp, rules: &Rules) -> bool {
        let obstacle = match self.now.grant.need(now, &self.rules(rules)) {
            Need::Consent => Some(Obstacle::Consent),
            Need::Patience => Some(Obstacle::Patience),
            // What is due and was not renewed had no room to be written down.
            Need::Renewal if self.token.is_none() => Some(Obstacle::Patience),
            Need::Renewal | Need::Nothing => None,
        };
        std::mem::replace(&mut self.obstacle, obstacle) != obstacle
    }

    /// The rules with what the provider declares.
    pub(super) fn rules(&self, rules: &Rules) -> Rules {
        Rules {
            grace: self.provider.as_ref().ok().and_then(Provider::grace),
            ..*rules
        }
    }
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
    grant.consented(renewed, Timestamp(0), &Rules::default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use perseat_domain::grant::Held;
    use serde_json::json;

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
