//! App registrations of an instance's connections: created, changed, removed by whoever configures the instance.

use super::Checked;
use crate::edit::{Edit, RegistrationDraft};
use crate::fault::Fault;
use crate::manifest::SecretText;
use perseat_domain::id::{InstanceId, RegistrationId};
use perseat_domain::model::Instance;
use perseat_domain::registration::AppRegistration;
use std::fmt;

/// A new app registration, or what changes about one; what is `None` stays.
#[derive(Clone, Default)]
pub struct SaveRegistration {
    /// The connection's display name; a registration stays with its connection.
    pub connection: Option<String>,
    /// Unique among those of the connection.
    pub name: Option<String>,
    /// What the provider calls it.
    pub client_id: Option<String>,
    /// Its secret.
    pub client_secret: Option<String>,
    /// What is asked for in place of what the integration asks for; empty: the same.
    pub scopes: Option<String>,
    /// Domains of the e-mail addresses of those who have it without choosing it.
    pub email_domains: Option<Vec<String>>,
    /// Labels of those who have it without choosing it.
    pub labels: Option<Vec<String>>,
}

impl fmt::Debug for SaveRegistration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaveRegistration").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Edit<'_, '_> {
    /// Creates an app registration of an instance.
    ///
    /// # Errors
    /// A refusal; see [`Fault`].
    pub fn create_registration(&mut self, instance: InstanceId, input: &SaveRegistration) -> Result<(Instance, AppRegistration), Fault> {
        let instance = self.instance_to_configure(instance)?;
        self.registration_of(&instance, None, input)
    }

    /// Changes an app registration of an instance. Grants that were given to another client id have to be given anew.
    ///
    /// # Errors
    /// A refusal; see [`Fault`].
    pub fn update_registration(
        &mut self,
        instance: InstanceId,
        id: Option<RegistrationId>,
        input: &SaveRegistration,
    ) -> Result<(Instance, AppRegistration), Fault> {
        let instance = self.instance_to_configure(instance)?;
        let known = self.known_registration(&instance, id)?.clone();
        self.registration_of(&instance, Some(known), input)
    }

    /// Removes an app registration of an instance.
    ///
    /// # Errors
    /// A refusal; see [`Fault`].
    pub fn delete_registration(&mut self, instance: InstanceId, id: Option<RegistrationId>) -> Result<(Instance, AppRegistration), Fault> {
        let instance = self.instance_to_configure(instance)?;
        let id = self.known_registration(&instance, id)?.id;
        let removed = self.remove_registration(&instance, id)?;
        Ok((self.existing::<Instance>(instance.id)?, removed))
    }

    fn registration_of(
        &mut self,
        instance: &Instance,
        known: Option<AppRegistration>,
        input: &SaveRegistration,
    ) -> Result<(Instance, AppRegistration), Fault> {
        let kept = |given: &Option<String>, known: Option<&String>| given.clone().or_else(|| known.cloned()).unwrap_or_default();
        let name = kept(&input.name, known.as_ref().map(|known| &known.name));
        let client_id = kept(&input.client_id, known.as_ref().map(|known| &known.client_id));
        check_registration(&name, &client_id, input.scopes.as_deref(), input.labels.as_deref())?;
        let connection = match (&known, &input.connection) {
            (None, Some(connection)) => connection.clone(),
            (None, None) => return Err(Fault::field("connection", "This field is required.")),
            (Some(known), _) => self.connection_named(instance, &known.connection)?,
        };
        let draft = RegistrationDraft {
            before: known.as_ref().map(|known| known.id),
            connection,
            name,
            client_id,
            client_secret: input.client_secret.clone().map(SecretText::Text),
            scopes: input
                .scopes
                .clone()
                .or_else(|| known.as_ref().and_then(|known| known.scopes.clone())),
            email_domains: input
                .email_domains
                .clone()
                .or_else(|| known.as_ref().map(|known| known.email_domains.clone()))
                .unwrap_or_default(),
            labels: input.labels.clone().or_else(|| known.map(|known| known.labels)).unwrap_or_default(),
        };
        let (saved, _) = self.save_registration(instance, draft)?;
        Ok((self.existing::<Instance>(instance.id)?, saved))
    }

    /// Of a connection that the organization alone sets there is none for a customer's people.
    fn known_registration<'i>(&self, instance: &'i Instance, id: Option<RegistrationId>) -> Result<&'i AppRegistration, Fault> {
        let version = self.running_version(instance)?;
        let mut registrations = instance.registrations.iter();
        let found = registrations.find(|known| Some(known.id) == id && !self.is_withheld(&version.definition, &known.connection));
        found.ok_or_else(|| Fault::field("id", "No app registration of this instance has this id."))
    }

    /// The display name of a connection that is known by its stable key.
    fn connection_named(&self, instance: &Instance, stable_key: &str) -> Result<String, Fault> {
        let version = self.running_version(instance)?;
        let mut variables = version.definition.config_vars.iter();
        let found = variables.find(|variable| variable.stable_key == stable_key);
        let gone = || Fault::field("connection", "The version that runs does not have this connection any more.");
        Ok(found.ok_or_else(gone)?.key.clone())
    }
}

/// What any way of writing one down must hold to.
pub(crate) fn check_registration(name: &str, client_id: &str, scopes: Option<&str>, labels: Option<&[String]>) -> Result<(), Fault> {
    let mut checked = Checked::default();
    checked.name("name", Some(name));
    checked.name("clientId", Some(client_id));
    checked.text("scopes", scopes);
    checked.labels(labels);
    checked.done()
}
