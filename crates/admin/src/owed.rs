//! Whether giving a token back would end another grant.

use crate::edit::every;
use crate::grants::Connection;
use perseat_domain::grant::{Holder, Party};
use perseat_domain::model::{Instance, UserConfig};
use perseat_domain::sharing::SharedConnection;
use perseat_flow::oauth::{Flow, Owed};
use perseat_store::catalog::{GrantId, Lookup};
use perseat_store::error::StoreError;
use perseat_store::keyring::Keyring;
use std::collections::BTreeSet;

/// Records that are read at once.
const PAGE: usize = 256;

/// A grant that is used and may end with a token that is given back: one of whoever allowed that one, too, to the same client at the
/// same provider. `of` is the grant that the token was of; one that was consented to anew is such a grant itself. Reads files.
///
/// # Errors
/// If the disk fails, or something does not open.
pub fn ends_with(at: &impl Lookup, keyring: &Keyring, of: &GrantId, owed: &Owed) -> Result<Option<GrantId>, StoreError> {
    for holder in holders(at, of.holder, owed.party())? {
        for variable in variables(at, holder)? {
            let Some(connection) = Connection::find(at, keyring, &GrantId { holder, variable })? else {
                continue;
            };
            let provider = connection.provider().ok().filter(|_| connection.flow == Flow::AuthorizationCode);
            if let (Some(provider), Some(token)) = (provider, connection.in_use())
                && owed.may_end(&provider, &token)
            {
                return Ok(Some(connection.id.clone()));
            }
        }
    }
    Ok(None)
}

/// All whose grants a party allows. Where it is not known, the holder alone.
fn holders(at: &impl Lookup, own: Holder, party: Option<Party>) -> Result<Vec<Holder>, StoreError> {
    let Some(Party { customer, user }) = party else {
        return Ok(vec![own]);
    };
    Ok(match (user, customer) {
        (Some(user), _) => {
            let configs = every(|after| at.user_configs_of_user(user, after, PAGE))?;
            let configs = configs.iter().map(|config| Holder::UserConfig(config.id));
            configs.chain([Holder::User(user)]).collect()
        }
        (None, Some(customer)) => {
            let instances = every(|after| at.instances_of_customer(customer, after, PAGE))?;
            let instances = instances.iter().map(|instance| Holder::Instance(instance.id));
            instances.chain([Holder::Customer(customer)]).collect()
        }
        (None, None) => at
            .organization()?
            .map(|organization| Holder::Organization(organization.id))
            .into_iter()
            .collect(),
    })
}

/// The stable keys under which a holder may have grants.
fn variables(at: &impl Lookup, holder: Holder) -> Result<BTreeSet<String>, StoreError> {
    let mut found: BTreeSet<String> = at.grants_of(holder)?.into_keys().collect();
    match holder {
        Holder::Instance(id) => {
            let values = at
                .get::<Instance>(id)?
                .map(|instance| instance.deployed.unwrap_or(instance.config).values);
            found.extend(values.unwrap_or_default().into_keys());
        }
        Holder::UserConfig(id) => {
            let values = at.get::<UserConfig>(id)?.map(|config| config.values);
            found.extend(values.unwrap_or_default().into_keys());
        }
        Holder::Organization(_) | Holder::Customer(_) | Holder::User(_) => {
            let shared = every(|after| at.page::<SharedConnection>(after, PAGE))?;
            let fitting = shared.into_iter().filter(|shared| shared.sharing.fits(holder));
            found.extend(fitting.map(|shared| shared.stable_key));
        }
    }
    Ok(found)
}
