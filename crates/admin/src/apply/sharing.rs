//! Shared connections, and what customers and users give to them.

use super::{Action, Session, action, name_once};
use crate::command::Checked;
use crate::edit::{Edit, SharedDraft, every};
use crate::fault::Fault;
use crate::manifest::{ConnectionFields, SharedConnection, SharedConnectionValue, SharingWord};
use perseat_domain::definition::ActionRef;
use perseat_domain::grant::{Holder, Rules};
use perseat_domain::model::Membership;
use perseat_domain::sharing::{self, SharedValue, Sharing};
use perseat_store::catalog::Lookup;
use perseat_store::keyring::NewKey;

const PAGE: usize = 1_000;

impl Session<'_, '_, '_> {
    pub(super) fn shared_connection(&mut self, manifest: &SharedConnection) -> Result<(), Fault> {
        let mut checked = Checked::default();
        checked.name("name", Some(&manifest.name));
        checked.name("stableKey", Some(&manifest.stable_key));
        checked.text("description", Some(&manifest.description));
        checked.done_by_name()?;
        let given = ConnectionFields {
            fields: manifest.fields.clone(),
            token: manifest.token.clone(),
        };
        let draft = SharedDraft {
            stable_key: &manifest.stable_key,
            key: &manifest.name,
            description: &manifest.description,
            sharing: match manifest.sharing {
                SharingWord::Organization => Sharing::Organization,
                SharingWord::CustomerByOrganization => Sharing::CustomerByOrganization,
                SharingWord::Customer => Sharing::Customer,
                SharingWord::User => Sharing::User,
            },
            connection: ActionRef {
                component: manifest.component.clone(),
                action: manifest.connection.clone(),
            },
            given: &given,
        };
        let (record, is_new, changed) = self.edit.save_shared(&draft)?;
        name_once(&mut self.named.shared, record.id, &self.place)?;
        self.note(action(is_new, changed), "SharedConnection", &manifest.stable_key);
        Ok(())
    }

    pub(super) fn shared_value(&mut self, manifest: &SharedConnectionValue) -> Result<(), Fault> {
        let customer = self.customer_named(&manifest.customer)?;
        let connection = self.edit.mutation.shared_connection(&manifest.connection)?;
        let connection = connection.ok_or_else(|| Fault::wrong(format!("there is no shared connection `{}`", manifest.connection)))?;
        let (holder, key, who) = match &manifest.user {
            Some(name) => {
                let user = self.user_named(Membership::Customer(customer.id), name)?;
                (Holder::User(user.id), Edit::key_of(&user), user.name)
            }
            None => (Holder::Customer(customer.id), NewKey::Customer(customer.id), customer.name),
        };
        let given = ConnectionFields {
            fields: manifest.fields.clone(),
            token: manifest.token.clone(),
        };
        let (record, is_new, changed) = self.edit.save_shared_value(&connection, holder, key, &given)?;
        name_once(&mut self.named.shared_values, record.id, &self.place)?;
        let shown = format!("{} / {who}", manifest.connection);
        self.note(action(is_new, changed), "SharedConnectionValue", shown);
        Ok(())
    }

    pub(super) fn prune_shared_values(&mut self) -> Result<(), Fault> {
        for value in every(|after| self.edit.mutation.page::<SharedValue>(after, PAGE))? {
            if !self.named.shared_values.contains_key(&value.id) {
                let connection = self.edit.mutation.get::<sharing::SharedConnection>(value.connection)?;
                self.edit.delete_shared_value(&value, &Rules::default())?;
                let name = connection.map_or_else(|| value.id.to_string(), |connection| connection.stable_key);
                self.note(Action::Pruned, "SharedConnectionValue", name);
            }
        }
        Ok(())
    }

    pub(super) fn prune_shared(&mut self) -> Result<(), Fault> {
        for connection in every(|after| self.edit.mutation.page::<sharing::SharedConnection>(after, PAGE))? {
            if !self.named.shared.contains_key(&connection.id) {
                self.edit.delete_shared(&connection)?;
                self.note(Action::Pruned, "SharedConnection", connection.stable_key);
            }
        }
        Ok(())
    }
}
