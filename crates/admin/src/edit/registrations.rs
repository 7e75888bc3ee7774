//! A customer's app registrations with the providers of an instance's connections.

use super::{Edit, every};
use crate::fault::Fault;
use crate::manifest::SecretText;
use perseat_domain::definition::{ConfigVar, Definition};
use perseat_domain::id::RegistrationId;
use perseat_domain::model::{Instance, Sealed};
use perseat_domain::registration::{AppRegistration, registration_record_id};
use perseat_flow::oauth::{is_oauth, token_host};
use perseat_store::catalog::Lookup;
use perseat_store::keyring::{NewKey, Owner};
use perseat_store::seal::RecordKind;

const PAGE: usize = 1_000;
/// Domains of one registration. No key: a list that a person writes.
const MAX_DOMAINS: usize = 100;

/// An app registration, as it is given.
#[derive(Debug)]
pub(crate) struct RegistrationDraft {
    /// What was there.
    pub(crate) before: Option<RegistrationId>,
    /// The connection's display name.
    pub(crate) connection: String,
    /// Unique among those of the connection.
    pub(crate) name: String,
    /// What the provider calls it.
    pub(crate) client_id: String,
    /// Its secret; `None`: as it is.
    pub(crate) client_secret: Option<SecretText>,
    /// What is asked for in place of what the integration asks for.
    pub(crate) scopes: Option<String>,
    /// Who has it without choosing it.
    pub(crate) email_domains: Vec<String>,
    /// The same.
    pub(crate) labels: Vec<String>,
}

impl Edit<'_, '_> {
    /// Saves an app registration of an instance. Whether anything changed.
    pub(crate) fn save_registration(&mut self, instance: &Instance, draft: RegistrationDraft) -> Result<(AppRegistration, bool), Fault> {
        let mut instance = instance.clone();
        let version = self.running_version(&instance)?;
        let variable = self.oauth_variable(&version.definition, &draft.connection)?;
        let host = token_host(variable).ok_or_else(|| {
            Fault::field(
                "connection",
                format!(
                    "the integration must say where tokens of `{}` come from (`tokenUrl`): a registration's secret goes nowhere else",
                    variable.key
                ),
            )
        })?;
        let before = draft
            .before
            .and_then(|id| instance.registrations.iter().position(|known| known.id == id));
        let email_domains = domains(&draft.email_domains)?;
        let labels = crate::command::labels(&draft.labels);
        let others = instance
            .registrations
            .iter()
            .enumerate()
            .filter(|(place, known)| Some(*place) != before && known.connection == variable.stable_key);
        for (_, other) in others {
            if other.name == draft.name {
                return Err(Fault::field(
                    "name",
                    format!("`{}` has an app registration of this name already", variable.key),
                ));
            }
            if let Some(domain) = email_domains.iter().find(|domain| other.email_domains.contains(domain)) {
                return Err(Fault::field(
                    "emailDomains",
                    format!("`{domain}` is for the app registration `{}` already", other.name),
                ));
            }
            if let Some(label) = labels.iter().find(|label| other.labels.contains(label)) {
                return Err(Fault::field(
                    "labels",
                    format!("`{label}` is for the app registration `{}` already", other.name),
                ));
            }
        }
        if before.is_none() {
            self.check_room(&instance, &host)?;
        }
        let known = before.and_then(|place| instance.registrations.get(place));
        let id = known.map_or_else(|| RegistrationId(self.random_id()), |known| known.id);
        let client_secret = self.registration_secret(&instance, id, known, draft.client_secret.as_ref())?;
        let registration = AppRegistration {
            id,
            connection: variable.stable_key.clone(),
            name: draft.name,
            client_id: draft.client_id,
            client_secret,
            scopes: draft.scopes.filter(|scopes| !scopes.trim().is_empty()),
            email_domains,
            labels,
        };
        let moves = known.is_none_or(|known| known.moves_to(&registration));
        match before {
            Some(place) if instance.registrations[place] == registration => return Ok((registration, false)),
            Some(place) => instance.registrations[place] = registration.clone(),
            None => instance.registrations.push(registration.clone()),
        }
        self.put_registrations(&instance)?;
        if moves {
            self.end_grants_moved_by_registrations(&instance, &registration.connection)?;
        }
        Ok((registration, true))
    }

    /// Removes an app registration: whoever has it has to choose another one, or consents to the integration's.
    pub(crate) fn remove_registration(&mut self, instance: &Instance, id: RegistrationId) -> Result<AppRegistration, Fault> {
        let mut instance = instance.clone();
        let place = instance.registrations.iter().position(|known| known.id == id);
        let removed = instance
            .registrations
            .remove(place.ok_or_else(|| Fault::wrong("this app registration is gone"))?);
        self.put_registrations(&instance)?;
        self.end_grants_moved_by_registrations(&instance, &removed.connection)?;
        Ok(removed)
    }

    /// The connection by OAuth 2.0 of this display name.
    fn oauth_variable<'d>(&self, definition: &'d Definition, key: &str) -> Result<&'d ConfigVar, Fault> {
        let variable = definition.config_var(key);
        let variable = variable.filter(|variable| !self.is_withheld(definition, &variable.stable_key));
        let variable = variable.ok_or_else(|| Fault::field("connection", format!("there is no configuration variable `{key}`")))?;
        match variable.connection.as_ref().and_then(is_oauth) {
            Some(_) => Ok(variable),
            None => Err(Fault::field("connection", format!("`{key}` is not a connection by OAuth 2.0"))),
        }
    }

    fn put_registrations(&mut self, instance: &Instance) -> Result<(), Fault> {
        self.mutation.put(instance)?;
        self.effects.instances.insert(instance.id);
        Ok(())
    }

    /// A provider has a limit on the registrations of one account, and counts what the customer has everywhere.
    fn check_room(&self, instance: &Instance, host: &str) -> Result<(), Fault> {
        let most = self.definitions.limits.registrations;
        let mut count = 0;
        for other in every(|after| self.mutation.instances_of_customer(instance.customer, after, PAGE))? {
            if other.registrations.is_empty() {
                continue;
            }
            let running = other.deployed.as_ref().unwrap_or(&other.config).version;
            let version = self.version_of(other.integration, running)?;
            let is_there = |registration: &&AppRegistration| {
                let mut variables = version.definition.config_vars.iter();
                let variable = variables.find(|variable| variable.stable_key == registration.connection);
                variable.and_then(token_host).as_deref() == Some(host)
            };
            count += other.registrations.iter().filter(is_there).count();
        }
        if count < most {
            return Ok(());
        }
        Err(Fault::field(
            "name",
            format!(
                "app_registration_limit: the customer has {count} app registrations with {host} already, and `registrations.per-provider` \
                 allows {most}"
            ),
        ))
    }

    fn registration_secret(
        &self,
        instance: &Instance,
        id: RegistrationId,
        known: Option<&AppRegistration>,
        given: Option<&SecretText>,
    ) -> Result<Sealed, Fault> {
        let record = registration_record_id(instance.id, id);
        let owner = Owner::Customer(instance.customer);
        let given = match (given, known) {
            (None, Some(known)) => return Ok(known.client_secret.clone()),
            (given, _) => given.and_then(SecretText::text).unwrap_or_default(),
        };
        if let Some(known) = known {
            let plain = self
                .keyring
                .data_key(owner)?
                .unseal(RecordKind::Connection, &record, &known.client_secret);
            if plain.is_ok_and(|plain| *plain == *given.as_bytes()) {
                return Ok(known.client_secret.clone());
            }
        }
        if self.is_rehearsal {
            return Ok(Sealed(Vec::new()));
        }
        // Made now, as for a connection; a key whose record never comes is nobody's.
        self.keyring.create_many([NewKey::Customer(instance.customer)])?;
        Ok(self
            .keyring
            .data_key(owner)?
            .seal(RecordKind::Connection, &record, given.as_bytes()))
    }
}

fn domains(given: &[String]) -> Result<Vec<String>, Fault> {
    let mut domains: Vec<String> = given.iter().map(|domain| domain.trim().to_lowercase()).collect();
    domains.sort();
    domains.dedup();
    let is_one = |domain: &String| !domain.is_empty() && domain.len() <= 253 && !domain.contains(['@', ' ', '*', '/']);
    if domains.len() > MAX_DOMAINS || !domains.iter().all(is_one) {
        return Err(Fault::field(
            "emailDomains",
            format!("give at most {MAX_DOMAINS} domains such as `globex.example`"),
        ));
    }
    Ok(domains)
}
