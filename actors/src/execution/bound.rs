//! What an attempt binds at its first start, for all of its activations: the version and the plain values.
//!
//! `Started` names their revisions. An attempt that is taken up again finds the values in the catalog, which keeps
//! what was superseded while an execution may ask for it; nothing is added to what a start writes. Credentials are
//! never bound: every step uses today's.

use super::ExecutionEnv;
use super::binding::{Binding, LoadError};
use super::run::off_arbiter;
use super::vault::{Vault, settings};
use perseat_domain::code::ErrorCode;
use perseat_domain::definition::{ConfigVar, DataType, Definition};
use perseat_domain::entry::Started;
use perseat_domain::id::ExecutionId;
use perseat_domain::model::{ConfigValue, Instance, IntegrationVersion, UserConfig};
use perseat_domain::registration::Traits;
use perseat_flow::expression::{Level, Settings};
use perseat_store::catalog::{Lookup, PlainValues, plain_values};
use perseat_store::custody::Custody;
use perseat_store::error::StoreError;
use perseat_store::presets::Presets;
use std::collections::BTreeMap;
use std::sync::Arc;

/// See the module.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) version: Arc<IntegrationVersion>,
    presets: Presets,
    instance: PlainValues,
    user: PlainValues,
}

/// Why what an attempt bound cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unbound {
    /// Its version is not there any more.
    #[error("the version that the execution was started with is gone")]
    Gone,
    /// It cannot be read.
    #[error("cannot read the configuration that the execution was started with")]
    Load(#[from] LoadError),
}

impl From<StoreError> for Unbound {
    fn from(error: StoreError) -> Self {
        Self::Load(error.into())
    }
}

impl Unbound {
    /// Whether it may be had a while later.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Gone => false,
            Self::Load(error) => error.is_passing(),
        }
    }
}

/// The revisions of the instance's configuration and of the user's, 0 without a user.
pub(super) fn revisions(binding: &Binding) -> (u64, u64) {
    let user = binding.user.as_ref().map_or(0, |user| user.revision());
    (binding.instance.bundle().instance.config_revision, user)
}

impl Bound {
    /// What an attempt binds that starts with this.
    pub(super) fn of(binding: &Binding) -> Self {
        let user = binding.user.as_ref().map(|user| plain_values(&user.values()));
        Self {
            version: binding.instance.bundle().version.clone(),
            presets: binding.instance.presets.clone(),
            instance: plain_values(binding.instance.values()),
            user: user.unwrap_or_default(),
        }
    }

    /// Whether an attempt bound what this holds.
    fn is(binding: &Binding, started: &Started) -> bool {
        binding.instance.bundle().version.version == started.definition_version
            && revisions(binding) == (started.instance_revision, started.user_revision)
    }

    /// What the attempt bound at its first start; none where that is what `binding` holds.
    pub(super) async fn find(env: &ExecutionEnv, binding: &Arc<Binding>, started: &Started) -> Result<Option<Self>, Unbound> {
        if Self::is(binding, started) {
            return Ok(None);
        }
        #[cfg(feature = "faults")]
        env.faults.may_read(super::Reading::Bound)?;
        let (custody, today, started) = (env.custody.clone(), binding.clone(), started.clone());
        off_arbiter(move || Self::read(&custody, &today, &started)).await.map(Some)
    }

    /// Reads what an attempt bound. Values that are not kept any more are today's. Reads files: call it off the arbiter.
    fn read(custody: &Custody, today: &Binding, started: &Started) -> Result<Self, Unbound> {
        let (catalog, instance) = (custody.catalog(), &today.instance.bundle().instance);
        let version = catalog.integration_version(instance.integration, started.definition_version)?;
        let version = version.ok_or(Unbound::Gone)?;
        let mut bound = Self {
            presets: Presets::of(custody.keyring(), version.clone())?,
            version,
            ..Self::of(today)
        };
        if let Some(values) = catalog.values_in::<Instance>(instance.id, started.instance_revision)? {
            bound.instance = values;
        }
        if let Some(user) = &today.user
            && let Some(values) = catalog.values_in::<UserConfig>(user.config(), started.user_revision)?
        {
            bound.user = values;
        }
        Ok(bound)
    }

    /// These values with today's credentials.
    pub(super) fn open(&self, execution: ExecutionId, today: &Binding) -> Result<Settings, ErrorCode> {
        self.settings(today).map_err(|error| {
            tracing::error!(%execution, error = &error as &dyn std::error::Error, "a connection does not open");
            ErrorCode::Internal
        })
    }

    fn settings(&self, today: &Binding) -> Result<Settings, LoadError> {
        let definition = &self.version.definition;
        let record = today.instance.bundle().instance.id.0;
        let vault = Vault::new(
            record,
            today.instance.key(),
            &self.presets,
            today.instance.registered(Traits::default()),
        )
        .with(today.instance.grants());
        let common = settings(
            definition,
            false,
            &joined(definition, &self.instance, today.instance.values()),
            vault,
        )?;
        let mut own = Level::default();
        if let Some(user) = &today.user {
            let registered = today.instance.registered(Traits::of(user.user()));
            let vault = Vault::new(user.config().0, user.key(), &self.presets, registered).with(user.grants());
            own = settings(definition, true, &joined(definition, &self.user, &user.values()), vault)?;
        }
        Ok(Settings::new(common, own))
    }
}

/// Plain values of one time and connections of another, each where the definition has one.
fn joined(definition: &Definition, plain: &PlainValues, today: &BTreeMap<String, ConfigValue>) -> BTreeMap<String, ConfigValue> {
    let value = |variable: &ConfigVar| match variable.data_type {
        DataType::Connection => today.get(&variable.stable_key).cloned(),
        _ => plain.get(&variable.stable_key).cloned().map(ConfigValue::Plain),
    };
    let variables = definition.config_vars.iter();
    variables
        .filter_map(|variable| Some((variable.stable_key.clone(), value(variable)?)))
        .collect()
}
