//! Connections that more than one configuration uses: their declaration, and what customers and users give to them.

use super::records::every;
use super::values::{Scope, check_pair};
use super::{Definitions, Edit};
use crate::fault::Fault;
use crate::grants::Connection;
use crate::manifest::{ConnectionFields, SecretText};
use perseat_domain::definition::{ActionRef, Definition};
use perseat_domain::grant::{Holder, Rules};
use perseat_domain::id::{SharedConnectionId, SharedValueId};
use perseat_domain::model::{ConfigValue, Instance, User};
use perseat_domain::sharing::{SharedConnection, SharedValue, Sharing};
use perseat_flow::definition::Inputs;
use perseat_flow::http::is_mutual_tls;
use perseat_flow::oauth::is_destination;
use perseat_store::catalog::{GrantId, Lookup};
use perseat_store::keyring::{NewKey, Owner};
use perseat_store::sharing::open;
use std::collections::BTreeSet;

const PAGE: usize = 1_000;

/// A shared connection, as it is declared.
#[derive(Debug)]
pub(crate) struct SharedDraft<'d> {
    pub(crate) stable_key: &'d str,
    pub(crate) key: &'d str,
    pub(crate) description: &'d str,
    pub(crate) sharing: Sharing,
    pub(crate) connection: ActionRef,
    /// What the organization gives.
    pub(crate) given: &'d ConnectionFields,
}

/// A shared connection that a definition names and cannot have.
#[derive(Debug)]
pub(crate) struct Unshared {
    /// A stable word.
    pub(crate) code: &'static str,
    /// A sentence.
    pub(crate) message: String,
}

impl Edit<'_, '_> {
    /// Declares a shared connection. Whether it is new, and whether anything changed.
    pub(crate) fn save_shared(&mut self, draft: &SharedDraft<'_>) -> Result<(SharedConnection, bool, bool), Fault> {
        self.check_inputs(&draft.connection, draft.given)?;
        if draft.sharing != Sharing::Organization && !draft.given.token.is_empty() {
            return Err(Fault::field(
                "token",
                "a token is everybody's where the organization shares the connection, and nobody's else",
            ));
        }
        if draft.sharing == Sharing::Organization {
            self.check_shared_certificate(draft.stable_key, &draft.connection, draft.given, None)?;
        }
        let before = self.mutation.shared_connection(draft.stable_key)?;
        let id = match &before {
            Some(before) => before.id,
            None => SharedConnectionId(self.random_id()),
        };
        let stored = before.as_ref().and_then(|before| before.value.as_ref());
        let is_given = !draft.given.fields.is_empty() || !draft.given.token.is_empty();
        let value = match is_given {
            true => Some(self.shared_value(draft.stable_key, draft.given, stored, (id.0, NewKey::Organization))?),
            false => None,
        };
        let record = SharedConnection {
            id,
            stable_key: draft.stable_key.to_owned(),
            key: draft.key.to_owned(),
            description: draft.description.to_owned(),
            sharing: draft.sharing,
            connection: draft.connection.clone(),
            value,
        };
        let changed = self.mutation.put(&record)?;
        // Anybody may use it, and have asked for it before it was there.
        self.effects.is_everywhere |= changed;
        if before
            .as_ref()
            .is_some_and(|before| (&before.connection, &before.value) != (&record.connection, &record.value))
        {
            self.end_moved_grants_of_shared(draft.stable_key)?;
        }
        Ok((record, before.is_none(), changed))
    }

    /// What a customer or user gives to a shared connection. Whether it is new, and whether anything changed.
    pub(crate) fn save_shared_value(
        &mut self,
        connection: &SharedConnection,
        holder: Holder,
        key: NewKey,
        given: &ConnectionFields,
    ) -> Result<(SharedValue, bool, bool), Fault> {
        if !connection.sharing.fits(holder) {
            let who = match connection.sharing {
                Sharing::Organization => "the organization, where it is declared",
                Sharing::CustomerByOrganization | Sharing::Customer => "a customer",
                Sharing::User => "a user",
            };
            let message = format!("`{}` takes values of {who} alone", connection.stable_key);
            return Err(Fault::field("connection", message));
        }
        self.check_inputs(&connection.connection, given)?;
        // Else what the organization keeps secret could be sent elsewhere.
        if let Some(name) = given.fields.keys().find(|name| is_destination(name)) {
            return Err(Fault::field("fields", format!("`{name}` is for the organization to give")));
        }
        let by_organization = connection.value.as_ref().map(|value| (connection, value));
        self.check_shared_certificate(&connection.stable_key, &connection.connection, given, by_organization)?;
        let before = self.mutation.shared_value(connection.id, holder)?;
        let id = match &before {
            Some(before) => before.id,
            None => SharedValueId(self.random_id()),
        };
        let stored = before.as_ref().map(|before| &before.value);
        let record = SharedValue {
            id,
            connection: connection.id,
            holder,
            value: self.shared_value("", given, stored, (id.0, key))?,
        };
        let changed = self.mutation.put(&record)?;
        if changed {
            self.note_shared(holder)?;
            self.end_moved_grants_of(holder)?;
        }
        Ok((record, before.is_none(), changed))
    }

    fn shared_value(
        &mut self,
        name: &str,
        given: &ConnectionFields,
        stored: Option<&ConfigValue>,
        (record, key): (uuid::Uuid, NewKey),
    ) -> Result<ConfigValue, Fault> {
        let scope = Scope {
            is_user_level: false,
            record,
            key,
            registrations: None,
        };
        self.connection(name, given, stored, scope)
    }

    fn check_inputs(&self, kind: &ActionRef, given: &ConnectionFields) -> Result<(), Fault> {
        let Definitions { components, .. } = self.definitions;
        let Some(inputs) = components.connection(&kind.component, &kind.action) else {
            let message = format!("the component `{}` has no connection `{}`", kind.component, kind.action);
            return Err(Fault::field("connection", message));
        };
        let Inputs::Named(names) = inputs else { return Ok(()) };
        match given.fields.keys().find(|name| !names.contains(&name.as_str())) {
            Some(name) => Err(Fault::field("fields", format!("the connection does not know the input `{name}`"))),
            None => Ok(()),
        }
    }

    /// Whether a client certificate that is given can be used, with what the organization gives for it.
    fn check_shared_certificate(
        &self,
        key: &str,
        kind: &ActionRef,
        given: &ConnectionFields,
        by_organization: Option<(&SharedConnection, &ConfigValue)>,
    ) -> Result<(), Fault> {
        if !is_mutual_tls(kind) || given.fields.is_empty() {
            return Ok(());
        }
        let common = match by_organization {
            // What is not sealed yet cannot be opened.
            Some(_) if self.is_rehearsal => return Ok(()),
            Some((connection, value)) => {
                let organization = self.keyring.data_key(Owner::Organization)?;
                Some(open(&organization, connection.id.0, &connection.stable_key, value)?)
            }
            None => None,
        };
        let of_organization = |name: &str| common.as_ref().and_then(|common| common.fields.get(name).map(String::as_str));
        let field = |name: &str| of_organization(name).or_else(|| given.fields.get(name).and_then(SecretText::text));
        check_pair(key, "fields", field)
    }

    /// Makes everybody who uses what this holder shares read it again.
    pub(crate) fn note_shared(&mut self, holder: Holder) -> Result<(), Fault> {
        self.effects.holders.insert(holder);
        match holder {
            Holder::Organization(_) => self.effects.is_everywhere = true,
            Holder::Customer(customer) => {
                let instances = every(|after| self.mutation.instances_of_customer(customer, after, PAGE))?;
                self.effects.instances.extend(instances.iter().map(|instance| instance.id));
            }
            Holder::User(user) => {
                let configs = every(|after| self.mutation.user_configs_of_user(user, after, PAGE))?;
                self.effects.users.extend(configs.iter().map(|config| (config.instance, config.id)));
            }
            Holder::Instance(_) | Holder::UserConfig(_) => {}
        }
        Ok(())
    }

    /// Deletes a shared connection that no instance uses.
    pub(crate) fn delete_shared(&mut self, connection: &SharedConnection) -> Result<(), Fault> {
        let mut seen = BTreeSet::new();
        for instance in every(|after| self.mutation.page::<Instance>(after, PAGE))? {
            for config in std::iter::once(&instance.config).chain(&instance.deployed) {
                if !seen.insert((instance.integration, config.version)) {
                    continue;
                }
                let version = self.version_of(instance.integration, config.version)?;
                let mut variables = version.definition.config_vars.iter();
                if variables.any(|variable| variable.shared.as_ref() == Some(&connection.stable_key)) {
                    return Err(Fault::wrong(format!(
                        "the shared connection `{}` cannot be deleted: the instance `{}` uses it",
                        connection.stable_key, instance.name
                    )));
                }
            }
        }
        for id in self.mutation.grants_of_shared(&connection.stable_key)? {
            if let Some(stored) = self.mutation.grants_of(id.holder)?.remove(&id.variable) {
                self.owe_held(&id, &stored);
            }
        }
        self.mutation.delete_shared_connection(connection.id)?;
        self.effects.is_everywhere = true;
        Ok(())
    }

    /// Deletes what a customer or user gave to a shared connection, and gives up what is used by that and by no consent.
    pub(crate) fn delete_shared_value(&mut self, value: &SharedValue, rules: &Rules) -> Result<(), Fault> {
        if let Some(connection) = self.mutation.get::<SharedConnection>(value.connection)? {
            let id = GrantId {
                holder: value.holder,
                variable: connection.stable_key,
            };
            self.give_up_given(&id, rules)?;
        }
        if self.mutation.delete_shared_value(value.id)? {
            self.note_shared(value.holder)?;
        }
        Ok(())
    }

    /// Gives up a grant that is used by what was given for it, before that goes; one that is used by a consent stays.
    fn give_up_given(&mut self, id: &GrantId, rules: &Rules) -> Result<(), Fault> {
        // A rehearsal sealed nothing that could be opened.
        if self.is_rehearsal {
            return Ok(());
        }
        let connection = Connection::find(&*self.mutation, self.keyring, id)?;
        let mut stored = match (&connection, self.mutation.grants_of(id.holder)?.remove(&id.variable)) {
            (Some(connection), _) if !connection.needs_no_consent() => return Ok(()),
            (None, None) => return Ok(()),
            (_, Some(row)) if row.is_consented => return Ok(()),
            // A renewal that is under way finds it, too.
            (_, row) => row.unwrap_or_default(),
        };
        self.owe_held(id, &stored);
        stored.grant.disconnected(self.at, rules);
        stored.token = None;
        if let Some(connection) = connection {
            stored.is_supplied(connection.supplied_token().as_ref());
            stored.registration = Some(connection.registration());
        }
        self.mutation.put_grant(id, &stored)?;
        Ok(())
    }

    /// What is wrong with the shared connections that a definition names: those that are not there, or on the wrong pages.
    pub(crate) fn unshared(&self, definition: &Definition) -> Result<Vec<Unshared>, Fault> {
        let mut wrong = Vec::new();
        for variable in &definition.config_vars {
            let Some(stable_key) = &variable.shared else { continue };
            let key = &variable.key;
            match self.mutation.shared_connection(stable_key)? {
                None => wrong.push(Unshared {
                    code: "shared_connection_missing",
                    message: format!("`{key}` is the shared connection `{stable_key}`, which is not declared"),
                }),
                Some(found) if found.sharing.is_user_level() != variable.user_level => {
                    let pages = if found.sharing.is_user_level() { "user-level" } else { "instance" };
                    wrong.push(Unshared {
                        code: "shared_connection_misplaced",
                        message: format!("the shared connection `{stable_key}` (`{key}`) belongs on {pages} pages"),
                    });
                }
                Some(_) => {}
            }
        }
        Ok(wrong)
    }

    /// Refuses what names shared connections that cannot be had.
    pub(super) fn check_shared(&self, definition: &Definition) -> Result<(), Fault> {
        let wrong = self.unshared(definition)?;
        let Some(first) = wrong.first() else { return Ok(()) };
        let all: Vec<&str> = wrong.iter().map(|one| one.message.as_str()).collect();
        Err(Fault::coded(
            first.code,
            "configVariables",
            format!("cannot be deployed: {}", all.join("; ")),
        ))
    }

    /// The key under which what a user gives is sealed.
    pub(crate) fn key_of(user: &User) -> NewKey {
        NewKey::User(user.id, user.membership)
    }
}
