//! What a shared connection is made of for one holder: what the organization gives, and what the holder does.

use crate::catalog::{GrantId, Lookup};
use crate::error::StoreError;
use crate::keyring::{Keyring, Owner};
use crate::seal::{DataKey, RecordKind};
use perseat_domain::grant::{Holder, Party};
use perseat_domain::model::{ConfigValue, ConnectionValue, Membership, User, connection_record_id};
use perseat_domain::sharing::SharedConnection;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use uuid::Uuid;
use zeroize::Zeroize as _;

/// Under whose key the grants and values of a holder that shares a connection are sealed.
#[must_use]
pub fn owner_of(holder: Holder) -> Option<Owner> {
    match holder {
        Holder::Organization(_) => Some(Owner::Organization),
        Holder::Customer(customer) => Some(Owner::Customer(customer)),
        Holder::User(user) => Some(Owner::User(user)),
        Holder::Instance(_) | Holder::UserConfig(_) => None,
    }
}

/// Who allows what the grants of a holder that shares connections allow; none where that is a user who is gone.
///
/// # Errors
/// If the disk fails.
pub fn sharing_party(at: &impl Lookup, holder: Holder) -> Result<Option<Party>, StoreError> {
    Ok(match holder {
        Holder::Customer(customer) => Some(Party {
            customer: Some(customer),
            user: None,
        }),
        Holder::User(id) => at.get::<User>(id)?.map(|user| Party {
            customer: match user.membership {
                Membership::Customer(customer) => Some(customer),
                Membership::Organization => None,
            },
            user: Some(id),
        }),
        Holder::Organization(_) | Holder::Instance(_) | Holder::UserConfig(_) => Some(Party::default()),
    })
}

/// A shared connection as one holder has it. Holds secrets.
pub struct Supplied {
    /// The connection.
    pub connection: SharedConnection,
    /// Both together: what the organization gives stands, whatever the holder gives.
    pub value: ConnectionValue,
    /// Raised by every change of either.
    pub version: u64,
    /// Whether everything that is asked for without a consent was given.
    pub is_given: bool,
    /// The holder's key.
    pub key: Arc<DataKey>,
}

impl fmt::Debug for Supplied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supplied")
            .field("connection", &self.connection.stable_key)
            .finish_non_exhaustive()
    }
}

impl Drop for Supplied {
    fn drop(&mut self) {
        self.value.fields.values_mut().for_each(|text| text.zeroize());
    }
}

impl Supplied {
    /// What the grant's holder has; none where the connection is not there, is not shared so, or the holder is gone. Reads files.
    ///
    /// # Errors
    /// If the disk fails, or something does not open.
    pub fn find(at: &impl Lookup, keyring: &Keyring, id: &GrantId) -> Result<Option<Self>, StoreError> {
        let Some(connection) = at.shared_connection(&id.variable)?.filter(|found| found.sharing.fits(id.holder)) else {
            return Ok(None);
        };
        let Some(owner) = owner_of(id.holder) else { return Ok(None) };
        let key = match keyring.data_key(owner) {
            Ok(key) => key,
            Err(StoreError::NoKey { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let by_organization = match &connection.value {
            Some(given) => Some(open(
                &*keyring.data_key(Owner::Organization)?,
                connection.id.0,
                &connection.stable_key,
                given,
            )?),
            None => None,
        };
        let own = at.shared_value(connection.id, id.holder)?;
        let by_holder = own.as_ref().map(|own| open(&key, own.id.0, "", &own.value)).transpose()?;
        let is_given = match id.holder {
            Holder::Organization(_) => by_organization.is_some(),
            _ => by_holder.is_some(),
        };
        let version = |given: Option<&ConfigValue>| match given {
            Some(ConfigValue::Connection { version, .. }) => *version,
            Some(ConfigValue::Plain(_)) | None => 0,
        };
        let version = version(connection.value.as_ref()) + version(own.as_ref().map(|own| &own.value));
        Ok(Some(Self {
            value: joined(by_organization, by_holder),
            connection,
            version,
            is_given,
            key,
        }))
    }
}

/// The inputs that the organization gives to a shared connection.
///
/// # Errors
/// If the keyring cannot be read, or they do not open.
pub fn given_by_organization(keyring: &Keyring, connection: &SharedConnection) -> Result<BTreeSet<String>, StoreError> {
    let Some(given) = &connection.value else {
        return Ok(BTreeSet::new());
    };
    let key = keyring.data_key(Owner::Organization)?;
    let mut value = open(&key, connection.id.0, &connection.stable_key, given)?;
    value.fields.values_mut().for_each(|text| text.zeroize());
    Ok(std::mem::take(&mut value.fields).into_keys().collect())
}

/// The holder's inputs never take the place of the organization's: else a secret of the organization's could be sent elsewhere.
fn joined(by_organization: Option<ConnectionValue>, by_holder: Option<ConnectionValue>) -> ConnectionValue {
    let mut value = ConnectionValue {
        fields: BTreeMap::new(),
        token: None,
    };
    for given in [by_holder, by_organization].into_iter().flatten() {
        value.fields.extend(given.fields);
        value.token = value.token.or(given.token);
    }
    value
}

/// Opens what was given for `record`.
///
/// # Errors
/// If it does not open.
pub fn open(key: &DataKey, record: Uuid, name: &str, given: &ConfigValue) -> Result<ConnectionValue, StoreError> {
    let ConfigValue::Connection { sealed, .. } = given else {
        return Err(StoreError::corrupt("value of a shared connection"));
    };
    let plain = key.unseal(RecordKind::Connection, &connection_record_id(record, name), sealed)?;
    serde_json::from_slice(&plain).map_err(|_| StoreError::corrupt("value of a shared connection"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_holder_gives_takes_the_place_of_nothing_that_the_organization_gave() {
        let value = |fields: &[(&str, &str)], token: Option<&str>| ConnectionValue {
            fields: fields.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect(),
            token: token.map(|text| serde_json::json!({ "access_token": text })),
        };
        let given = joined(
            Some(value(&[("tokenUrl", "https://good"), ("clientSecret", "s")], Some("everybody's"))),
            Some(value(&[("tokenUrl", "https://evil"), ("tenant", "t")], Some("own"))),
        );
        let expected = value(&[("clientSecret", "s"), ("tenant", "t"), ("tokenUrl", "https://good")], Some("own"));
        assert!(given == expected);
    }
}
