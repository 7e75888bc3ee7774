//! Shared connections as manifests.

use super::{ExportError, Exporter, damaged};
use crate::manifest::{Manifest, SharedConnection, SharedConnectionValue, SharingWord};
use perseat_domain::grant::Holder;
use perseat_domain::model::{self, Membership};
use perseat_domain::sharing::{self, SharedValue, Sharing};
use perseat_store::catalog::Lookup;
use perseat_store::keyring::Owner;
use perseat_store::sharing::{open, owner_of};

impl Exporter<'_> {
    pub(super) fn shared(&mut self) -> Result<(), ExportError> {
        let (mut connections, mut values) = (Vec::new(), Vec::new());
        self.view.for_each(|connection: sharing::SharedConnection| {
            connections.push(connection);
            self.within_limit(connections.len())
        })?;
        connections.sort_by(|a, b| a.stable_key.cmp(&b.stable_key));
        for connection in connections {
            self.shared_connection(connection)?;
        }
        self.view.for_each(|value: SharedValue| {
            values.push(value);
            self.within_limit(values.len())
        })?;
        let manifests = values.iter().map(|value| self.shared_value(value)).collect::<Result<Vec<_>, _>>()?;
        let mut manifests: Vec<SharedConnectionValue> = manifests;
        manifests.sort_by(|a, b| (&a.connection, &a.customer, &a.user).cmp(&(&b.connection, &b.customer, &b.user)));
        for manifest in manifests {
            let shown = format!("what is given to the shared connection `{}`", manifest.connection);
            self.add(|| shown, &Manifest::SharedConnectionValue(manifest))?;
        }
        Ok(())
    }

    fn shared_connection(&mut self, connection: sharing::SharedConnection) -> Result<(), ExportError> {
        let shown = format!("the shared connection `{}`", connection.stable_key);
        let given = match &connection.value {
            Some(value) => {
                let key = self.keyring.data_key(Owner::Organization)?;
                let value = open(&key, connection.id.0, &connection.stable_key, value).map_err(|_| damaged(shown.clone()))?;
                self.connection(&connection.stable_key, &value, &["shared"])
            }
            None => crate::manifest::ConnectionFields::default(),
        };
        let manifest = SharedConnection {
            name: connection.key,
            stable_key: connection.stable_key,
            description: connection.description,
            sharing: match connection.sharing {
                Sharing::Organization => SharingWord::Organization,
                Sharing::CustomerByOrganization => SharingWord::CustomerByOrganization,
                Sharing::Customer => SharingWord::Customer,
                Sharing::User => SharingWord::User,
            },
            component: connection.connection.component,
            connection: connection.connection.action,
            fields: given.fields,
            token: given.token,
        };
        self.add(|| shown, &Manifest::SharedConnection(manifest))
    }

    fn shared_value(&mut self, value: &SharedValue) -> Result<SharedConnectionValue, ExportError> {
        let connection = self.view.require::<sharing::SharedConnection>(value.connection)?.stable_key;
        let shown = || format!("what is given to the shared connection `{connection}`");
        let (customer, user) = match value.holder {
            Holder::Customer(customer) => (customer, None),
            Holder::User(user) => {
                let user = self.view.require::<model::User>(user)?;
                match user.membership {
                    Membership::Customer(customer) => (customer, self.users.get(&user.id).cloned()),
                    Membership::Organization => return Err(damaged(shown())),
                }
            }
            Holder::Organization(_) | Holder::Instance(_) | Holder::UserConfig(_) => return Err(damaged(shown())),
        };
        let customer = self.customers.iter().find(|(_, id)| *id == customer).map(|(name, _)| name.clone());
        let customer = customer.ok_or_else(|| damaged(shown()))?;
        let owner = owner_of(value.holder).ok_or_else(|| damaged(shown()))?;
        let key = self.keyring.data_key(owner)?;
        let opened = open(&key, value.id.0, "", &value.value).map_err(|_| damaged(shown()))?;
        let path: Vec<&str> = std::iter::once(customer.as_str()).chain(user.as_deref()).collect();
        let given = self.connection(&connection, &opened, &path);
        Ok(SharedConnectionValue {
            connection: connection.clone(),
            customer,
            user,
            fields: given.fields,
            token: given.token,
        })
    }
}
