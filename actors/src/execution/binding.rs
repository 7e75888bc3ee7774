//! What an execution runs with: definition, settings, unsealed connections, keys.
//!
//! Loaded from catalog and keyring when an instance's or user's actor first needs it, dropped (and zeroed) when the
//! configuration changes or the actor is put away. Loading reads files: call it off the arbiter.

use super::ExecutionEnv;
use super::plans::{FlowPlans, Plans};
use super::vault::{Registered, Vault, settings};
use crate::grant::{Borrower, Grants, Whose};
use perseat_domain::definition::EndpointSecurity;
use perseat_domain::execution::Plan;
use perseat_domain::grant::{Holder, Obstacle};
use perseat_domain::id::{EndpointId, FlowNumber, InstanceId, UserConfigId};
use perseat_domain::model::{ApiKey, ConfigValue, Customer, Instance, IntegrationVersion, Membership, User, api_key_record_id};
use perseat_domain::registration::Traits;
use perseat_domain::time::Timestamp;
use perseat_flow::expression::{Level, Setting, Settings};
use perseat_flow::mask::Masker;
use perseat_flow::payload::{ApiKeys, CustomerInfo, FlowContext, FlowInfo, FlowNames, InstanceInfo, IntegrationInfo, UserInfo};
use perseat_store::catalog::{InstanceBundle, Lookup, UserBundle};
use perseat_store::custody::Custody;
use perseat_store::error::StoreError;
use perseat_store::keyring::Owner;
use perseat_store::presets::Presets;
use perseat_store::seal::{DataKey, RecordKind, SealError};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use uuid::Uuid;
use zeroize::Zeroizing;

/// Why configuration cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A connection does not open.
    #[error("the connection `{variable}` cannot be unsealed")]
    Connection {
        /// The variable's stable key.
        variable: String,
        /// Why.
        source: SealError,
    },
    /// An API key does not open.
    #[error("an API key of the flow `{flow}` cannot be unsealed")]
    ApiKey {
        /// The flow's name.
        flow: String,
        /// Why.
        source: SealError,
    },
    /// A test asked for it.
    #[cfg(feature = "faults")]
    #[error("reading fails on purpose")]
    OnPurpose,
    /// Reading ended before its time.
    #[error("reading was interrupted")]
    Interrupted(#[from] crate::kit::Failed),
    /// A connection opens to something that is no connection.
    #[error("the connection `{variable}` does not decode")]
    Malformed {
        /// The variable's stable key.
        variable: String,
    },
    /// A connection was given another registration while it was read.
    #[error("the connection `{variable}` was given another registration meanwhile")]
    Moved {
        /// The variable's stable key.
        variable: String,
    },
}

impl LoadError {
    /// Whether it may be loaded a while later.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Store(error) => error.is_passing(),
            Self::Moved { .. } => true,
            #[cfg(feature = "faults")]
            Self::OnPurpose => true,
            Self::Connection { .. } | Self::ApiKey { .. } | Self::Interrupted(_) | Self::Malformed { .. } => false,
        }
    }
}

/// An instance ready to run.
#[derive(Debug)]
pub struct LoadedInstance {
    bundle: InstanceBundle,
    plans: Arc<FlowPlans>,
    settings: Level,
    /// Finds its secrets, API keys among them.
    masker: Masker,
    /// API keys by flow name; shared with every execution.
    api_keys: Arc<ApiKeys>,
    grants: Grants,
    /// What opens the secret inputs of its version.
    pub(super) presets: Presets,
    key: Arc<DataKey>,
}

impl LoadedInstance {
    /// Loads an instance; `None` if it does not exist.
    ///
    /// # Errors
    /// If the store fails or a connection does not open.
    pub fn load(custody: &Custody, plans: &Plans, id: InstanceId) -> Result<Option<Self>, LoadError> {
        let Some(bundle) = custody.catalog().instance_bundle(id)? else {
            return Ok(None);
        };
        let key = custody.keyring().data_key(Owner::Customer(bundle.customer.id))?;
        let definition = &bundle.version.definition;
        let config = bundle.instance.deployed.as_ref().unwrap_or(&bundle.instance.config);
        let presets = Presets::of(custody.keyring(), bundle.version.clone())?;
        let registered = Registered::of(&bundle.instance, &key, Traits::default());
        let vault = Vault::new(id.0, &key, &presets, registered);
        let whose = Whose {
            holder: Holder::Instance(id),
            customer: bundle.customer.id,
            user: None,
        };
        let grants = vault.grants(custody, whose, definition, &config.values)?;
        let settings = settings(definition, false, &config.values, vault.with(&grants))?;
        let plans = plans.of(&bundle.version);
        let api_keys = Arc::new(api_keys(custody, &bundle, &key)?);
        let masker = masker_of_instance(&settings, &api_keys);
        Ok(Some(Self {
            plans,
            settings,
            masker,
            api_keys,
            grants,
            presets,
            key,
            bundle,
        }))
    }

    /// Renews the credentials that are due, and those that third parties refused. For the instance's actor alone.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) async fn tend(&mut self, env: &ExecutionEnv, refused: &[(String, u64)], borrower: &Borrower) -> Result<(), LoadError> {
        let is_changed = self.grants.tend(env, refused).await?;
        if self.grants.borrow(env, borrower).await || is_changed {
            let registered = Registered::of(&self.bundle.instance, &self.key, Traits::default());
            let vault = Vault::new(self.bundle.instance.id.0, &self.key, &self.presets, registered).with(&self.grants);
            self.settings = settings(&self.bundle.version.definition, false, self.values(), vault)?;
            self.masker = masker_of_instance(&self.settings, &self.api_keys);
        }
        Ok(())
    }

    pub(crate) fn grants(&self) -> &Grants {
        &self.grants
    }

    /// The records.
    #[must_use]
    pub fn bundle(&self) -> &InstanceBundle {
        &self.bundle
    }

    #[cfg(feature = "faults")]
    pub(super) fn settings(&self) -> &Level {
        &self.settings
    }

    /// The customer's key.
    #[must_use]
    pub fn key(&self) -> &Arc<DataKey> {
        &self.key
    }

    /// The app registrations, as somebody with these traits has them.
    pub(super) fn registered<'i>(&'i self, traits: Traits<'i>) -> Registered<'i> {
        Registered::of(&self.bundle.instance, &self.key, traits)
    }

    /// The values that run: those of the last deploy.
    pub(super) fn values(&self) -> &BTreeMap<String, ConfigValue> {
        let instance = &self.bundle.instance;
        &instance.deployed.as_ref().unwrap_or(&instance.config).values
    }
}

/// A user's configuration ready to run.
#[derive(Debug)]
pub struct LoadedUser {
    user: User,
    config: UserConfigId,
    revision: u64,
    /// By stable key. No map, whose nodes have room for eleven, because there is one for each user that is active.
    values: Box<[(String, ConfigValue)]>,
    settings: Level,
    /// Finds its secrets.
    masker: Masker,
    grants: Grants,
    key: Arc<DataKey>,
}

impl LoadedUser {
    /// Loads a user's configuration of `instance`; `None` if it does not exist or was removed.
    ///
    /// # Errors
    /// If the store fails or a connection does not open.
    pub fn load(custody: &Custody, instance: &LoadedInstance, id: UserConfigId) -> Result<Option<Self>, LoadError> {
        let Some(UserBundle { user, config }) = custody
            .catalog()
            .user_bundle(id)?
            .filter(|bundle| bundle.config.removed_at.is_none())
        else {
            return Ok(None);
        };
        let key = match custody.keyring().data_key(Owner::User(user.id)) {
            Ok(key) => key,
            Err(StoreError::NoKey { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let definition = &instance.bundle.version.definition;
        let registered = instance.registered(Traits::of(&user));
        let vault = Vault::new(id.0, &key, &instance.presets, registered);
        let whose = Whose {
            holder: Holder::UserConfig(id),
            customer: instance.bundle.customer.id,
            user: Some(user.id),
        };
        let grants = vault.grants(custody, whose, definition, &config.values)?;
        let settings = settings(definition, true, &config.values, vault.with(&grants))?;
        Ok(Some(Self {
            user,
            config: id,
            revision: config.config_revision,
            values: config.values.into_iter().collect(),
            masker: masker(settings.iter().map(|(_, setting)| setting)),
            settings,
            grants,
            key,
        }))
    }

    /// Renews the credentials that are due, and those that third parties refused. For the user's actor alone.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) async fn tend(
        &mut self,
        env: &ExecutionEnv,
        instance: &LoadedInstance,
        refused: &[(String, u64)],
        borrower: &Borrower,
    ) -> Result<(), LoadError> {
        let is_changed = self.grants.tend(env, refused).await?;
        if self.grants.borrow(env, borrower).await || is_changed {
            let registered = instance.registered(Traits::of(&self.user));
            let vault = Vault::new(self.config.0, &self.key, &instance.presets, registered).with(&self.grants);
            self.settings = settings(&instance.bundle.version.definition, true, &self.values(), vault)?;
            self.masker = masker(self.settings.iter().map(|(_, setting)| setting));
        }
        Ok(())
    }

    pub(crate) fn grants(&self) -> &Grants {
        &self.grants
    }

    /// Who it is.
    #[must_use]
    pub fn user(&self) -> &User {
        &self.user
    }

    /// Their configuration's id.
    pub(super) fn config(&self) -> UserConfigId {
        self.config
    }

    /// The revision of their configuration.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// What was configured, by stable key; a copy.
    pub(super) fn values(&self) -> BTreeMap<String, ConfigValue> {
        self.values.iter().cloned().collect()
    }

    /// The user's key.
    pub(super) fn key(&self) -> &Arc<DataKey> {
        &self.key
    }
}

/// Instance and user together: what the executions of one user actor run with.
#[derive(Debug)]
pub struct Binding {
    /// The instance.
    pub instance: Arc<LoadedInstance>,
    /// The user; `None` where the integration has no user-level configuration.
    pub user: Option<Arc<LoadedUser>>,
    /// The user's over the instance's.
    pub(super) settings: Settings,
    /// Finds their secrets.
    pub masker: Masker,
    /// Shared with every execution that asks for them.
    webhook_urls: OnceLock<Arc<BTreeMap<String, String>>>,
    flow_names: Mutex<BTreeMap<FlowNumber, Arc<FlowNames>>>,
    public_url: Arc<str>,
}

impl Binding {
    /// Joins the two.
    #[must_use]
    pub fn new(instance: Arc<LoadedInstance>, user: Option<Arc<LoadedUser>>, env: &ExecutionEnv) -> Self {
        let own = user.as_ref().map(|user| user.settings.clone()).unwrap_or_default();
        let settings = Settings::new(instance.settings.clone(), own);
        #[cfg(feature = "faults")]
        let settings = env.faults.complete(settings, &instance);
        let mut masker = instance.masker.clone();
        if let Some(user) = &user {
            masker.add(&user.masker);
        }
        Self {
            instance,
            user,
            settings,
            masker,
            webhook_urls: OnceLock::new(),
            flow_names: Mutex::default(),
            public_url: env.public_url.clone(),
        }
    }

    fn webhook_urls(&self) -> &Arc<BTreeMap<String, String>> {
        self.webhook_urls
            .get_or_init(|| Arc::new(webhook_urls(&self.instance, self.user.as_deref(), &self.public_url)))
    }

    fn all_grants(&self) -> impl Iterator<Item = &Grants> {
        let user = self.user.as_ref().map(|user| &user.grants);
        user.into_iter().chain(std::iter::once(&self.instance.grants))
    }

    /// The stable keys of connections whose grant cannot be used.
    pub(crate) fn lacking(&self) -> Vec<String> {
        self.all_grants().flat_map(Grants::lacking).cloned().collect()
    }

    /// The version of the grant that this connection holds; `None` where it holds none.
    pub(crate) fn grant_version(&self, stable_key: &str) -> Option<u64> {
        self.all_grants().find_map(|grants| grants.standing(stable_key)?.0)
    }

    /// Until when nobody's refusal of this connection's token counts.
    pub(crate) fn fresh_until(&self, stable_key: &str, env: &ExecutionEnv) -> Option<Timestamp> {
        self.all_grants().find_map(|grants| grants.fresh_until(stable_key, env))
    }

    /// That this connection's grant cannot be used, and when that may be otherwise by itself.
    pub(crate) fn lack_of(&self, stable_key: &str, env: &ExecutionEnv) -> Option<Lack> {
        let found = self.all_grants().find_map(|grants| Some((grants, grants.standing(stable_key)?.1)));
        let (grants, obstacle) = found?;
        Some(match obstacle? {
            Obstacle::Consent | Obstacle::Moved => Lack { again: None },
            Obstacle::Patience => Lack {
                again: grants.due_in(env).map(|due| env.clock.now().after(due)),
            },
        })
    }

    /// The key that seals the execution's payload and results.
    #[must_use]
    pub fn key(&self) -> &Arc<DataKey> {
        self.user.as_ref().map_or(&self.instance.key, |user| &user.key)
    }

    /// The compiled flow.
    #[must_use]
    pub fn plan(&self, flow: FlowNumber) -> Option<&Arc<Plan>> {
        self.instance.plans.get(&flow)
    }

    /// What its data sources see of it.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The names that data sources see: whose page it is.
    pub(crate) fn names(&self) -> FlowContext {
        let InstanceBundle { customer, instance, .. } = &self.instance.bundle;
        let names = FlowNames {
            customer: customer_info(customer),
            instance: instance_info(instance),
            user: self.user.as_ref().map(|loaded| user_info(&loaded.user)),
            ..FlowNames::default()
        };
        FlowContext::new(String::new(), String::new(), String::new(), Arc::new(names))
    }

    /// Names and addresses for payload and scripts of a run of `version`: those of today's version are made once.
    #[must_use]
    pub(super) fn flow_names(&self, version: &IntegrationVersion, flow: FlowNumber) -> Arc<FlowNames> {
        if version.version != self.instance.bundle.version.version {
            return Arc::new(self.make_flow_names(version, flow));
        }
        // Nothing panics while it holds the lock.
        let mut all = self.flow_names.lock().unwrap_or_else(PoisonError::into_inner);
        let names = all.entry(flow).or_insert_with(|| Arc::new(self.make_flow_names(version, flow)));
        names.clone()
    }

    fn make_flow_names(&self, version: &IntegrationVersion, flow: FlowNumber) -> FlowNames {
        let InstanceBundle {
            customer,
            instance,
            integration,
            ..
        } = &self.instance.bundle;
        let flow = version.definition.flow(flow);
        let flow = flow.map(|flow| FlowInfo {
            id: EndpointId::InstanceFlow(instance.id, flow.number).global(),
            name: flow.name.clone(),
            stable_id: flow.stable_key.clone(),
        });
        FlowNames {
            webhook_urls: self.webhook_urls().clone(),
            webhook_api_keys: self.instance.api_keys.clone(),
            customer: customer_info(customer),
            instance: instance_info(instance),
            user: self.user.as_ref().map(|loaded| user_info(&loaded.user)),
            integration: IntegrationInfo {
                id: integration.id.global(),
                name: integration.name.clone(),
                version_sequence_id: version.version.to_string(),
                external_version: String::new(),
            },
            flow: flow.unwrap_or_default(),
            ..FlowNames::default()
        }
    }
}

/// A grant that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lack {
    /// When that may be otherwise without anybody's doing.
    pub(crate) again: Option<Timestamp>,
}

/// Finds the secrets of these settings.
pub(super) fn masker<'s>(settings: impl IntoIterator<Item = &'s Setting>) -> Masker {
    Masker::of_connections(settings.into_iter().filter_map(|setting| match setting {
        Setting::Connection(connection) => Some(&**connection),
        Setting::Plain(_) => None,
    }))
}

fn masker_of_instance(settings: &Level, api_keys: &ApiKeys) -> Masker {
    let mut masker = masker(settings.iter().map(|(_, setting)| setting));
    masker.add(&Masker::new(api_keys.iter()));
    masker
}

fn customer_info(customer: &Customer) -> CustomerInfo {
    CustomerInfo {
        id: customer.id.global(),
        external_id: customer.external_id.clone(),
        name: customer.name.clone(),
    }
}

fn instance_info(instance: &Instance) -> InstanceInfo {
    InstanceInfo {
        id: instance.id.global(),
        name: instance.name.clone(),
    }
}

/// `results.user`: the address falls back to the subject of the user's tokens, then to the external id.
fn user_info(user: &User) -> UserInfo {
    let email = user.email.as_ref().or(user.subject.as_ref()).or(user.external_id.as_ref());
    UserInfo {
        id: user.id.global(),
        email: email.cloned().unwrap_or_else(|| user.id.to_string()),
        name: user.name.clone(),
        // An organization user's external id is no customer user's: it stays out of payloads.
        external_id: match user.membership {
            Membership::Customer(_) => user.external_id.clone(),
            Membership::Organization => None,
        },
    }
}

/// The keys that senders to each flow may show, opened: the customer's or the organization's, as the flow's security says.
fn api_keys(custody: &Custody, bundle: &InstanceBundle, customer_key: &DataKey) -> Result<ApiKeys, LoadError> {
    let InstanceBundle { instance, version, .. } = bundle;
    let config = instance.deployed.as_ref().unwrap_or(&instance.config);
    let mut all = BTreeMap::new();
    for flow in &version.definition.flows {
        let open = |keys: &[ApiKey], owner: Uuid, key: &DataKey| -> Result<Vec<Zeroizing<String>>, LoadError> {
            let open = |stored: &ApiKey| {
                let id = api_key_record_id(owner, &stored.digest);
                let text = key.unseal(RecordKind::ApiKey, &id, &stored.sealed);
                let text = text.and_then(|mut text| opened(&mut text));
                text.map_err(|source| LoadError::ApiKey {
                    flow: flow.name.clone(),
                    source,
                })
            };
            keys.iter().map(open).collect()
        };
        let keys = match flow.security {
            EndpointSecurity::Unsecured => continue,
            EndpointSecurity::CustomerOptional | EndpointSecurity::CustomerRequired => match config.api_keys.get(&flow.number) {
                Some(keys) => open(keys, instance.id.0, customer_key)?,
                None => continue,
            },
            EndpointSecurity::Organization => match version.organization_keys.get(&flow.number) {
                Some(keys) => {
                    let key = custody.keyring().data_key(Owner::Organization)?;
                    open(keys, version.integration.0, &key)?
                }
                None => continue,
            },
        };
        all.insert(flow.name.clone(), keys);
    }
    Ok(ApiKeys::new(all))
}

/// The text itself, not a copy; zeroed even where it is none.
fn opened(text: &mut Vec<u8>) -> Result<Zeroizing<String>, SealError> {
    String::from_utf8(std::mem::take(text)).map(Zeroizing::new).map_err(|error| {
        drop(Zeroizing::new(error.into_bytes()));
        SealError::Malformed
    })
}

fn webhook_urls(instance: &LoadedInstance, user: Option<&LoadedUser>, public_url: &str) -> BTreeMap<String, String> {
    use perseat_domain::definition::EndpointType;
    let InstanceBundle {
        instance: record,
        version,
        integration,
        ..
    } = &instance.bundle;
    let definition = &version.definition;
    let endpoint = |flow: FlowNumber| match (definition.endpoint_type, user) {
        (EndpointType::FlowSpecific, Some(user)) => EndpointId::UserFlow(user.config, flow),
        (EndpointType::FlowSpecific, None) => EndpointId::InstanceFlow(record.id, flow),
        (EndpointType::InstanceSpecific, _) => EndpointId::Instance(record.id),
        (EndpointType::SharedInstance, _) => EndpointId::Integration(integration.id),
    };
    definition
        .flows
        .iter()
        .map(|flow| {
            (
                flow.name.clone(),
                format!("{public_url}/trigger/{}", endpoint(flow.number).global()),
            )
        })
        .collect()
}
