//! What people give to connections that are shared, where they configure what uses them.

use crate::edit::Edit;
use crate::fault::Fault;
use crate::grants::may_connect;
use crate::manifest::{ConfigVarValue, ConnectionFields, SecretText};
use perseat_domain::definition::{ConfigVar, Definition};
use perseat_domain::grant::Holder;
use perseat_domain::id::CustomerId;
use perseat_domain::model::User;
use perseat_domain::sharing::SharedConnection;
use perseat_flow::sharing::asked_of_holder;
use perseat_store::catalog::Lookup as _;
use perseat_store::keyring::NewKey;
use perseat_store::sharing::{given_by_organization, open};
use serde_json::Value;
use std::collections::BTreeMap;

impl Edit<'_, '_> {
    /// Takes out of these values what is given for connections that a customer or user shares, and gives it to those: it counts
    /// wherever they are used. What can be given nowhere stays, to be refused with the rest.
    ///
    /// # Errors
    /// The connection is not for whoever acts to give, or an input is not; see [`Fault`].
    pub(super) fn give_shared(
        &mut self,
        definition: &Definition,
        values: &mut BTreeMap<String, ConfigVarValue>,
        customer: CustomerId,
        user: Option<&User>,
    ) -> Result<(), Fault> {
        let is_of_page = |variable: &&ConfigVar| {
            let is_theirs = !variable.org_only || self.actor.customer().is_none();
            variable.shared.is_some() && variable.user_level == user.is_some() && is_theirs
        };
        for variable in definition.config_vars.iter().filter(is_of_page) {
            let found = self.mutation.shared_grant(variable, customer, user.map(|user| user.id))?;
            let Some((id, connection)) = found else { continue };
            let key = match (id.holder, user) {
                (Holder::User(_), Some(user)) => Self::key_of(user),
                (Holder::Customer(customer), _) => NewKey::Customer(customer),
                // What all customers share is given where it is declared.
                _ => continue,
            };
            let is_connection = |value: &mut ConfigVarValue| matches!(value, ConfigVarValue::Connection(_));
            let taken = values.extract_if(.., |name, value| *name == variable.key && is_connection(value));
            let Some((_, ConfigVarValue::Connection(mut given))) = taken.last() else {
                continue;
            };
            let refused = |message: String| Err(Fault::field("configVariables", message));
            if !may_connect(&*self.mutation, self.actor, &id)? {
                return refused(format!("`{}` is not yours to give", variable.key));
            }
            let by_organization = given_by_organization(self.keyring, &connection)?;
            let asked = asked_of_holder(self.definitions.components, &connection.connection, &by_organization);
            let is_asked = |name: &String| asked.contains(&name.as_str());
            if let Some(name) = given.fields.keys().find(|name| self.actor.customer().is_some() && !is_asked(name)) {
                return refused(format!("`{name}` of `{}` is for the organization to give", variable.key));
            }
            if self.actor.customer().is_some() && !given.token.is_empty() {
                return refused(format!("a token of `{}` is for the organization to give", variable.key));
            }
            if given.fields.is_empty() && given.token.is_empty() {
                continue;
            }
            self.keep_besides(&connection, id.holder, key, &asked, &mut given)?;
            self.save_shared_value(&connection, id.holder, key, &given)?;
        }
        Ok(())
    }

    /// What is stored and is not asked for on pages stays beside what is given.
    fn keep_besides(
        &self,
        connection: &SharedConnection,
        holder: Holder,
        key: NewKey,
        asked: &[&str],
        given: &mut ConnectionFields,
    ) -> Result<(), Fault> {
        let Some(stored) = self.mutation.shared_value(connection.id, holder)? else {
            return Ok(());
        };
        let mut value = open(&*self.keyring.data_key(key.owner())?, stored.id.0, "", &stored.value)?;
        for (name, text) in std::mem::take(&mut value.fields) {
            if !asked.contains(&name.as_str()) {
                given.fields.entry(name).or_insert(SecretText::Text(text));
            }
        }
        let token = value.token.as_ref().and_then(Value::as_object);
        for (name, text) in token.into_iter().flatten() {
            if let Some(text) = text.as_str() {
                given.token.entry(name.clone()).or_insert_with(|| SecretText::Text(text.to_owned()));
            }
        }
        Ok(())
    }
}
