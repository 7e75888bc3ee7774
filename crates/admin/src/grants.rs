//! Connections by OAuth 2.0 as people deal with them: where they stand, where somebody consents, what is kept and given up.
//!
//! Renewing is not done here: the data plane's actors do it, and write what became of it beside the catalog's mutations.
//! What somebody does here is a mutation, audited, and makes those actors read again.

mod givers;

pub(crate) use givers::Givers;

use crate::access::Operation;
use crate::actor::Actor;
use crate::edit::Edit;
use crate::fault::Fault;
use crate::query::Reader;
use crate::routing::user_config_route;
use perseat_domain::definition::ConfigVar;
use perseat_domain::grant::{Holder, Party, Renewed, Rules, Status};
use perseat_domain::id::UserId;
use perseat_domain::model::{
    ConfigValue, ConnectionValue, Customer, Instance, InstanceConfig, Integration, IntegrationVersion, KeyDigest, Organization, Sealed,
    User, UserConfig, connection_record_id,
};
use perseat_domain::reach::{ProviderAccount, Reach};
use perseat_domain::registration::{Chosen, Traits};
use perseat_domain::route::RouteChange;
use perseat_domain::sharing::Sharing;
use perseat_flow::oauth::{
    Flow, Provider, ProviderError, Token, chosen, fill_from_definition, is_as_supplied, is_oauth, is_of_somebody_else, put_reach, reach_of,
    register, registration, unregister,
};
use perseat_store::catalog::{GrantId, Lookup, StoredGrant, SuppliedToken};
use perseat_store::error::StoreError;
use perseat_store::keyring::{Keyring, Owner};
use perseat_store::presets::{Presets, registration_secret};
use perseat_store::seal::{DataKey, RecordKind};
use perseat_store::sharing::{Supplied, sharing_party};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use zeroize::{Zeroize as _, Zeroizing};

/// One connection by OAuth 2.0, with all that a consent needs. Holds secrets.
pub struct Connection {
    /// Which.
    pub id: GrantId,
    /// What people call it.
    pub name: String,
    /// Which grant of OAuth 2.0.
    pub flow: Flow,
    /// To what it belongs.
    pub of: Of,
    /// What is known of the grant.
    pub stored: Option<StoredGrant>,
    /// Who allows it.
    party: Party,
    supplied: ConnectionValue,
    key: Arc<DataKey>,
}

/// To what a connection belongs.
#[derive(Debug)]
pub enum Of {
    /// To an instance's or user's configuration.
    Configuration(Box<Configured>),
    /// To nobody's: it is shared by those who are named.
    Shared {
        /// The organization, customer or user.
        name: String,
    },
}

/// The configuration of a connection.
#[derive(Debug)]
pub struct Configured {
    /// Of which instance.
    pub instance: Instance,
    /// Of what.
    pub integration: Integration,
    /// The version that runs.
    pub version: Arc<IntegrationVersion>,
    /// Whose, where it is a user's own.
    pub user: Option<User>,
    config: Option<UserConfig>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        wipe(&mut self.supplied);
    }
}

fn wipe(supplied: &mut ConnectionValue) {
    supplied.fields.values_mut().for_each(|text| text.zeroize());
}

impl Connection {
    /// The connection, if it exists and is one by OAuth 2.0. Whoever asks must have been let in before.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn find(at: &impl Lookup, keyring: &Keyring, id: &GrantId) -> Result<Option<Self>, StoreError> {
        if id.holder.is_shared() {
            return Self::shared(at, keyring, id);
        }
        let Some(site) = Site::find(at, id.holder)? else { return Ok(None) };
        let version = at.integration_version(site.instance.integration, site.running().version)?;
        let version = version.ok_or_else(|| corrupt("an instance without its version"))?;
        Self::in_version(at, keyring, (id, None), &site, version)
    }

    /// The connection as a version has it, if it does, and with this registration, if one is given.
    fn in_version(
        at: &impl Lookup,
        keyring: &Keyring,
        (id, given_to): (&GrantId, Option<KeyDigest>),
        site: &Site,
        version: Arc<IntegrationVersion>,
    ) -> Result<Option<Self>, StoreError> {
        let is_user_level = site.config.is_some();
        let found = version
            .definition
            .config_vars
            .iter()
            .find(|variable| variable.stable_key == id.variable && variable.user_level == is_user_level);
        let Some((variable, flow)) = found.and_then(|variable| Some((variable.clone(), is_oauth(variable.connection.as_ref()?)?))) else {
            return Ok(None);
        };
        let Site { instance, config, user } = site;
        let values = config.as_ref().map_or(&site.running().values, |config| &config.values);
        let owner = user.as_ref().map(|user| Owner::User(user.id));
        let key = keyring.data_key(owner.unwrap_or(Owner::Customer(instance.customer)))?;
        let mut supplied = open(&key, id, values.get(&id.variable))?;
        let secrets = Presets::of(keyring, version.clone())?.open(&id.variable)?;
        fill_from_definition(&mut supplied, &variable, &secrets);
        register_chosen(keyring, instance, (&variable, &secrets), &mut supplied, user.as_ref())?;
        if given_to.is_some_and(|given_to| given_to != registration(flow, &supplied.fields)) {
            wipe(&mut supplied);
            return Ok(None);
        }
        Ok(Some(Self {
            id: id.clone(),
            name: variable.key,
            flow,
            stored: at.grants_of(id.holder)?.remove(&id.variable),
            party: Party {
                customer: Some(instance.customer),
                user: user.as_ref().map(|user| user.id),
            },
            of: Of::Configuration(Box::new(Configured {
                integration: at.require(instance.integration)?,
                instance: instance.clone(),
                version,
                user: user.clone(),
                config: config.clone(),
            })),
            supplied,
            key,
        }))
    }

    fn shared(at: &impl Lookup, keyring: &Keyring, id: &GrantId) -> Result<Option<Self>, StoreError> {
        let (Some(name), Some(party)) = (sharer(at, id.holder)?, sharing_party(at, id.holder)?) else {
            return Ok(None);
        };
        let Some(supplied) = Supplied::find(at, keyring, id)? else {
            return Ok(None);
        };
        let Some(flow) = is_oauth(&supplied.connection.connection) else {
            return Ok(None);
        };
        Ok(Some(Self {
            id: id.clone(),
            name: supplied.connection.key.clone(),
            flow,
            stored: at.grants_of(id.holder)?.remove(&id.variable),
            party,
            of: Of::Shared { name },
            supplied: supplied.value.clone(),
            key: supplied.key.clone(),
        }))
    }

    /// The configuration that it belongs to, where it is not shared.
    #[must_use]
    pub fn configured(&self) -> Option<&Configured> {
        match &self.of {
            Of::Configuration(configured) => Some(configured),
            Of::Shared { .. } => None,
        }
    }

    /// What it is a connection of, as pages name it.
    #[must_use]
    pub fn title(&self) -> &str {
        self.configured().map_or(&self.name, |configured| &configured.integration.name)
    }

    /// Who allows it.
    #[must_use]
    pub fn party(&self) -> Party {
        self.party
    }

    /// The provider that the connection's inputs name.
    ///
    /// # Errors
    /// If they name none.
    pub fn provider(&self) -> Result<Provider, ProviderError> {
        Provider::read(self.flow, &self.supplied.fields)
    }

    /// The registration that they name.
    #[must_use]
    pub fn registration(&self) -> KeyDigest {
        registration(self.flow, &self.supplied.fields)
    }

    /// Whose it is, as pages name it.
    #[must_use]
    pub fn whose(&self) -> &str {
        match &self.of {
            Of::Configuration(configured) => configured.user.as_ref().map_or(&configured.instance.name, |user| &user.name),
            Of::Shared { name } => name,
        }
    }

    /// The accounts that the grant reaches; none where there is nothing to choose from.
    #[must_use]
    pub fn reach(&self) -> Option<Reach> {
        let token = self.token()?;
        reach_of(&serde_json::from_str(&token).ok()?)
    }

    /// A token as it is stored.
    pub(crate) fn seal(&self, plain: &[u8]) -> Sealed {
        self.key.seal(RecordKind::Grant, &self.id.to_key(), plain)
    }

    /// The token that is held.
    pub(crate) fn token(&self) -> Option<Zeroizing<String>> {
        let sealed = self.stored.as_ref()?.token.as_ref()?;
        let plain = self.key.unseal(RecordKind::Grant, &self.id.to_key(), sealed).ok()?;
        String::from_utf8(plain.to_vec()).ok().map(Zeroizing::new)
    }

    /// The same, read; none where it was given to another registration, whose provider alone may see it.
    fn held(&self) -> Option<Value> {
        let given_to = self.stored.as_ref()?.registration;
        let is_todays = given_to.is_none_or(|given_to| given_to == self.registration());
        serde_json::from_str(&self.token().filter(|_| is_todays)?).ok()
    }

    /// A token of this grant as it is stored, opened.
    pub(crate) fn open(&self, sealed: &Sealed) -> Option<Value> {
        let plain = self.key.unseal(RecordKind::Grant, &self.id.to_key(), sealed).ok()?;
        serde_json::from_slice(&plain).ok()
    }

    /// The token that it is used with: what is held, or what the configuration supplied in its place. None where somebody has to
    /// consent first.
    pub(crate) fn in_use(&self) -> Option<Value> {
        let (supplied, registration) = (self.supplied_token(), Some(self.registration()));
        let is_todays = |row: &&StoredGrant| row.is_of(supplied.as_ref()) && row.registration == registration;
        match self.stored.as_ref().filter(is_todays) {
            Some(row) if matches!(row.grant.status, Status::Failed | Status::Uncertain) => None,
            Some(row) => self.open(row.token.as_ref()?),
            None if self.stored.as_ref().is_some_and(|row| !row.gives_way_to(supplied.as_ref())) => None,
            None => self.supplied.token.clone(),
        }
    }

    /// Whether what is given for it is enough.
    pub(crate) fn needs_no_consent(&self) -> bool {
        self.flow == Flow::ClientCredentials || self.supplied.token.is_some()
    }

    /// Whether a token is the one that the configuration supplied: whoever gave it has it, too.
    pub(crate) fn is_as_supplied(&self, token: &Value) -> bool {
        self.supplied.token.as_ref().is_some_and(|supplied| is_as_supplied(token, supplied))
    }

    pub(crate) fn supplied_token(&self) -> Option<SuppliedToken> {
        self.supplied.token.as_ref().map(SuppliedToken::of)
    }
}

/// Where the connections of a holder are configured that are not shared.
struct Site {
    instance: Instance,
    /// A user's, with whose it is.
    config: Option<UserConfig>,
    user: Option<User>,
}

impl Site {
    fn find(at: &impl Lookup, holder: Holder) -> Result<Option<Self>, StoreError> {
        let (instance, config) = match holder {
            Holder::Organization(_) | Holder::Customer(_) | Holder::User(_) => return Ok(None),
            Holder::Instance(instance) => (instance, None),
            Holder::UserConfig(config) => match at.get::<UserConfig>(config)?.filter(|config| config.removed_at.is_none()) {
                Some(config) => (config.instance, Some(config)),
                None => return Ok(None),
            },
        };
        let Some(instance) = at.get::<Instance>(instance)? else {
            return Ok(None);
        };
        let user = config.as_ref().map(|config| at.require::<User>(config.user)).transpose()?;
        Ok(Some(Self { instance, config, user }))
    }

    fn running(&self) -> &InstanceConfig {
        self.instance.deployed.as_ref().unwrap_or(&self.instance.config)
    }
}

/// Puts the registration on a connection that it has.
fn register_chosen(
    keyring: &Keyring,
    instance: &Instance,
    (variable, secrets): (&ConfigVar, &BTreeMap<String, Zeroizing<String>>),
    supplied: &mut ConnectionValue,
    user: Option<&User>,
) -> Result<(), StoreError> {
    let traits = user.map(Traits::of).unwrap_or_default();
    match chosen(&instance.registrations, variable, supplied, traits) {
        Chosen::Own => {}
        Chosen::Missing => unregister(supplied),
        Chosen::One(registration) => {
            let key = keyring.data_key(Owner::Customer(instance.customer))?;
            let secret = registration_secret(&key, instance.id, registration)?;
            register(supplied, variable, secrets, registration, &secret);
        }
    }
    Ok(())
}

fn open(key: &DataKey, id: &GrantId, value: Option<&ConfigValue>) -> Result<ConnectionValue, StoreError> {
    let Some(ConfigValue::Connection { sealed, .. }) = value else {
        return Ok(ConnectionValue {
            fields: BTreeMap::new(),
            token: None,
        });
    };
    let record = connection_record_id(id.holder.uuid(), &id.variable);
    let plain = key.unseal(RecordKind::Connection, &record, sealed);
    let plain = plain.map_err(|error| corrupt(&format!("a connection: {error}")))?;
    serde_json::from_slice(&plain).map_err(|_| corrupt("a connection"))
}

fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt { what: what.to_owned() }
}

/// The name of whoever shares connections; none where they are gone, or share none.
fn sharer(at: &impl Lookup, holder: Holder) -> Result<Option<String>, StoreError> {
    Ok(match holder {
        Holder::Organization(id) => at.get::<Organization>(id)?.map(|organization| organization.name),
        Holder::Customer(id) => at.get::<Customer>(id)?.map(|customer| customer.name),
        Holder::User(id) => at.get::<User>(id)?.map(|user| user.name),
        Holder::Instance(_) | Holder::UserConfig(_) => None,
    })
}

/// The variable of a connection that is not shared, as the version says that runs.
pub(crate) fn variable_of(at: &impl Lookup, instance: &Instance, id: &GrantId) -> Result<Option<ConfigVar>, StoreError> {
    let running = instance.deployed.as_ref().unwrap_or(&instance.config).version;
    let version = at.integration_version(instance.integration, running)?;
    let is_user_level = matches!(id.holder, Holder::UserConfig(_));
    let mut variables = version.iter().flat_map(|version| &version.definition.config_vars);
    let found = variables.find(|variable| variable.stable_key == id.variable && variable.user_level == is_user_level);
    Ok(found.cloned())
}

/// Whether `actor` may consent for this grant: for oneself, or as whoever manages it.
pub(crate) fn may_connect(at: &impl Lookup, actor: &Actor, id: &GrantId) -> Result<bool, StoreError> {
    // A customer's people act for themselves alone.
    let for_user = |user: UserId| {
        let is_own = actor.user() == Some(user);
        (is_own && actor.may(Operation::ConfigureUserLevel)) || (actor.customer().is_none() && actor.may(Operation::ManageUserConfigs))
    };
    // Nor do they know of what the organization alone sets.
    let is_in_sight = |instance: &Instance| -> Result<bool, StoreError> {
        Ok(actor.customer().is_none() || !variable_of(at, instance, id)?.is_some_and(|variable| variable.org_only))
    };
    Ok(match id.holder {
        Holder::Instance(holder) => match at.get::<Instance>(holder)? {
            Some(instance) => actor.may_for(Operation::ConfigureInstances, instance.customer) && is_in_sight(&instance)?,
            None => false,
        },
        Holder::UserConfig(holder) => match at.get::<UserConfig>(holder)?.filter(|config| config.removed_at.is_none()) {
            Some(config) => for_user(config.user) && is_in_sight(&at.require(config.instance)?)?,
            None => false,
        },
        Holder::Organization(_) => actor.customer().is_none() && actor.may(Operation::ManageIntegrations),
        Holder::Customer(customer) => {
            let shared = at.shared_connection(&id.variable)?;
            let is_theirs = shared.is_some_and(|shared| shared.sharing == Sharing::Customer);
            actor.may_for(Operation::ConfigureInstances, customer) && (is_theirs || actor.customer().is_none())
        }
        Holder::User(user) => for_user(user),
    })
}

impl Reader<'_> {
    /// What is known of the grants of an instance or a user's configuration that was read here, by stable key.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn grants(&self, holder: Holder) -> Result<BTreeMap<String, StoredGrant>, Fault> {
        Ok(self.view().grants_of(holder)?)
    }

    /// Whether whoever asks may consent for it.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn may_connect(&self, id: &GrantId) -> Result<bool, Fault> {
        Ok(may_connect(self.view(), self.actor(), id)?)
    }
}

/// What a provider gave after somebody consented.
#[derive(Debug)]
pub struct Consent<'t> {
    /// The token.
    pub token: &'t Token,
    /// What is known of it.
    pub renewed: Renewed,
    /// To which registration it was given.
    pub registration: KeyDigest,
    /// The accounts that it reaches, where the provider lists them.
    pub accounts: Option<&'t [ProviderAccount]>,
}

/// What was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// Whether there was a token that the provider takes back: it is told, soon and however often the daemon dies.
    pub is_owed: bool,
}

impl Edit<'_, '_> {
    /// Keeps what a provider gave after somebody consented, and tells whether an account has to be chosen before it is used. Whoever
    /// asks must have been let in before.
    ///
    /// # Errors
    /// The connection is gone or has another registration by now, or the store fails.
    pub fn keep_consent(&mut self, id: &GrantId, consent: &Consent<'_>, rules: &Rules) -> Result<bool, Fault> {
        let connection = self.oauth_connection(id)?;
        if connection.registration() != consent.registration {
            return Err(Fault::Stale);
        }
        let mut stored = connection.stored.clone().unwrap_or_default();
        stored.grant.consented(consent.renewed, self.at, rules);
        let mut token = consent.token.stored(None);
        let held = connection.held();
        let mut is_anothers = held.as_ref().is_some_and(|held| is_of_somebody_else(held, &token));
        if let Some(accounts) = consent.accounts {
            let before = held.as_ref().and_then(reach_of);
            let reach = self.reached(&connection, accounts.to_vec(), before.as_ref())?;
            is_anothers |= before.as_ref().is_some_and(|before| before.is_apart_from(&reach));
            stored.grant.await_account(reach.account().is_none());
            let used = before.and_then(|before| before.chosen);
            if reach.chosen.is_some() && reach.chosen != used {
                stored.grant.account_chosen(used.is_some(), self.at, rules);
            }
            put_reach(&mut token, &reach);
        }
        // One of the same account may be what the provider counts the new one by.
        if let Some(held) = held.filter(|_| is_anothers) {
            self.owe_of(&connection, &held);
        }
        let plain = Zeroizing::new(token.to_string().into_bytes());
        stored.token = Some(connection.seal(&plain));
        let awaits_account = stored.grant.awaits_account();
        stored.is_supplied(connection.supplied_token().as_ref());
        stored.is_consented = true;
        stored.registration = Some(connection.registration());
        self.mutation.put_grant(id, &stored)?;
        self.count_as_given(&connection)?;
        self.read_again(&connection)?;
        Ok(awaits_account)
    }

    /// Gives a grant up: nothing is held any more. Its provider is told once this is durable.
    ///
    /// # Errors
    /// A refusal; see [`Fault`].
    pub fn disconnect(&mut self, id: &GrantId, rules: &Rules) -> Result<GivenUp, Fault> {
        if !may_connect(&*self.mutation, self.actor, id)? {
            return Err(Fault::Absent("connection"));
        }
        let Some(connection) = Connection::find(&*self.mutation, self.keyring, id)? else {
            return self.take_back(id, rules);
        };
        if connection.flow == Flow::ClientCredentials && id.holder.is_shared() {
            return self.take_back(id, rules);
        }
        if connection.flow == Flow::ClientCredentials {
            return Err(Fault::wrong(
                "This connection acts for itself: take its client id and secret out of the configuration instead.",
            ));
        }
        let provider = connection
            .provider()
            .map_err(|error| Fault::wrong(format!("The connection cannot be disconnected: {error}.")))?;
        let supplied = connection.supplied_token();
        // One that was spent is nobody's, and one that another registration's provider took is no secret of this one.
        let is_unused = |row: &StoredGrant| row.gives_way_to(supplied.as_ref());
        let is_unused = connection.stored.as_ref().is_none_or(is_unused);
        let held = connection
            .held()
            .or_else(|| connection.supplied.token.clone().filter(|_| is_unused))
            .unwrap_or_default();
        let mut stored = connection.stored.clone().unwrap_or_default();
        stored.grant.disconnected(self.at, rules);
        stored.token = None;
        // A supplied token is given up with it.
        stored.is_supplied(supplied.as_ref());
        stored.registration = Some(connection.registration());
        self.mutation.put_grant(id, &stored)?;
        self.read_again(&connection)?;
        let is_owed = self.owe(&connection, &provider, &held);
        Ok(GivenUp { is_owed })
    }

    /// Takes back what was given to a shared connection that knows no consent.
    fn take_back(&mut self, id: &GrantId, rules: &Rules) -> Result<GivenUp, Fault> {
        let given = match self.mutation.shared_connection(&id.variable)? {
            Some(connection) if id.holder.is_shared() => self.mutation.shared_value(connection.id, id.holder)?,
            _ => None,
        };
        let given = given.ok_or_else(|| Fault::field("id", "This variable is not a connection by OAuth 2.0."))?;
        self.delete_shared_value(&given, rules)?;
        Ok(GivenUp { is_owed: false })
    }

    /// Makes everybody who uses a connection read it again.
    pub(crate) fn read_again(&mut self, connection: &Connection) -> Result<(), Fault> {
        match connection.configured() {
            Some(configured) => {
                let instance = configured.instance.id;
                match &configured.config {
                    Some(config) => self.effects.users.insert((instance, config.id)),
                    None => self.effects.instances.insert(instance),
                };
                Ok(())
            }
            None => self.note_shared(connection.id.holder),
        }
    }

    fn oauth_connection(&self, id: &GrantId) -> Result<Connection, Fault> {
        Connection::find(&*self.mutation, self.keyring, id)?.ok_or(Fault::Absent("connection"))
    }

    /// A user who has consented has given the connection, even where nothing else had to be given for it.
    fn count_as_given(&mut self, connection: &Connection) -> Result<(), Fault> {
        let Some(configured) = connection.configured() else { return Ok(()) };
        let (Some(config), Some(user)) = (&configured.config, &configured.user) else {
            return Ok(());
        };
        // Text is left of a variable that was none.
        if matches!(config.values.get(&connection.id.variable), Some(ConfigValue::Connection { .. })) {
            return Ok(());
        }
        let record = connection_record_id(config.id.0, &connection.id.variable);
        let sealed = connection.key.seal(RecordKind::Connection, &record, b"{}");
        let mut config = config.clone();
        config
            .values
            .insert(connection.id.variable.clone(), ConfigValue::Connection { sealed, version: 1 });
        config.config_revision += 1;
        self.mutation.put(&config)?;
        let route = user_config_route(&config, user, &configured.version.definition);
        self.effects.routes.push(RouteChange::UserConfig(route));
        Ok(())
    }
}
