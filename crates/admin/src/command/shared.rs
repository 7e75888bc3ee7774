//! What people give to connections that are shared, where they configure what uses them.

use crate::edit::Edit;
use crate::fault::Fault;
use crate::grants::may_connect;
use crate::manifest::ConfigVarValue;
use perseat_domain::definition::{ConfigVar, Definition};
use perseat_domain::grant::Holder;
use perseat_domain::id::CustomerId;
use perseat_domain::model::User;
use perseat_flow::oauth::shapes_requests;
use perseat_store::catalog::Lookup as _;
use perseat_store::keyring::NewKey;
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
        let is_of_page = |variable: &&ConfigVar| variable.shared.is_some() && variable.user_level == user.is_some();
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
            let Some((_, ConfigVarValue::Connection(given))) = taken.last() else {
                continue;
            };
            let refused = |message: String| Err(Fault::field("configVariables", message));
            if !may_connect(&*self.mutation, self.actor, &id)? {
                return refused(format!("`{}` is given by the organization", variable.key));
            }
            let is_kept_from_them = |name: &&String| self.actor.customer().is_some() && shapes_requests(name);
            if let Some(name) = given.fields.keys().find(is_kept_from_them) {
                return refused(format!("`{name}` of `{}` is for the organization to give", variable.key));
            }
            if !given.fields.is_empty() || !given.token.is_empty() {
                self.save_shared_value(&connection, id.holder, key, &given)?;
            }
        }
        Ok(())
    }
}
