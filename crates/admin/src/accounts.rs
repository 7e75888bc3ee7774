//! Accounts at providers: which one a grant is used in, and switching to another without a new consent.

use crate::edit::Edit;
use crate::fault::Fault;
use crate::grants::{Connection, Of};
use perseat_domain::grant::{Holder, Rules};
use perseat_domain::id::CustomerId;
use perseat_domain::model::{Customer, Instance, Membership, User, UserConfig};
use perseat_domain::reach::{Choice, ProviderAccount, Reach};
use perseat_flow::oauth::{put_reach, reach_of, take_reach};
use perseat_store::catalog::{GrantId, Lookup, StoredGrant};
use perseat_store::error::StoreError;
use perseat_store::keyring::{Keyring, Owner};
use perseat_store::seal::RecordKind;
use perseat_store::sharing::owner_of;
use serde_json::Value;
use zeroize::Zeroizing;

/// What a choice of an account came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// It is used from now on, or was used already.
    Done,
    /// The grant does not reach it.
    Unknown,
    /// There is nothing to choose from: nobody has consented, or the provider lists no accounts.
    Nothing,
    /// Its token is being renewed: what is written now would take the new one's place.
    Busy,
}

/// The accounts that a grant reaches; none where its provider lists none, or its holder is gone.
///
/// # Errors
/// If the disk fails.
pub fn reach(at: &impl Lookup, keyring: &Keyring, id: &GrantId, stored: &StoredGrant) -> Result<Option<Reach>, StoreError> {
    let Some(sealed) = &stored.token else { return Ok(None) };
    let owner = match id.holder {
        Holder::Instance(instance) => at.get::<Instance>(instance)?.map(|instance| Owner::Customer(instance.customer)),
        Holder::UserConfig(config) => at.get::<UserConfig>(config)?.map(|config| Owner::User(config.user)),
        holder => owner_of(holder),
    };
    let Some(owner) = owner else { return Ok(None) };
    let key = match keyring.data_key(owner) {
        Ok(key) => key,
        Err(StoreError::NoKey { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let plain = key.unseal(RecordKind::Grant, &id.to_key(), sealed)?;
    let token: Value = serde_json::from_slice(&plain).map_err(|_| corrupt())?;
    Ok(reach_of(&token))
}

fn corrupt() -> StoreError {
    StoreError::Corrupt {
        what: "a grant's token".to_owned(),
    }
}

/// The name of the customer whose connection it is; none where all customers share it.
///
/// # Errors
/// If the disk fails.
pub fn customer_name(at: &impl Lookup, connection: &Connection) -> Result<Option<String>, StoreError> {
    let Some(id) = customer(at, connection)? else { return Ok(None) };
    Ok(at.get::<Customer>(id)?.map(|customer| customer.name))
}

/// The customer whose accounts they are; none where all customers share the grant.
fn customer(at: &impl Lookup, connection: &Connection) -> Result<Option<CustomerId>, StoreError> {
    if let Of::Configuration(configured) = &connection.of {
        return Ok(Some(configured.instance.customer));
    }
    Ok(match connection.id.holder {
        Holder::Customer(customer) => Some(customer),
        Holder::User(user) => match at.get::<User>(user)?.map(|user| user.membership) {
            Some(Membership::Customer(customer)) => Some(customer),
            _ => None,
        },
        Holder::Organization(_) | Holder::Instance(_) | Holder::UserConfig(_) => None,
    })
}

impl Edit<'_, '_> {
    /// What a consent reaches: each account with what it is counted as, and the one that is used if nothing is left to choose.
    pub(crate) fn reached(
        &self,
        connection: &Connection,
        mut accounts: Vec<ProviderAccount>,
        before: Option<&Reach>,
    ) -> Result<Reach, Fault> {
        let provider = connection.provider().map_err(|error| Fault::wrong(error.to_string()))?;
        let whose = customer(&*self.mutation, connection)?
            .map(|customer| customer.0)
            .unwrap_or_default();
        // Its key is never another one, so that an account is counted as the same for good.
        let key = self.keyring.data_key(Owner::Organization)?;
        for account in &mut accounts {
            let text = [
                whose.as_bytes().as_slice(),
                provider.host().as_bytes(),
                b"\n",
                account.id.as_bytes(),
            ]
            .concat();
            account.counted_as = key.pseudonym(&text);
        }
        let before = before.and_then(|before| before.chosen.as_deref());
        Ok(Reach::of_consent(accounts, before, provider.takes_default_account()))
    }

    /// Uses a grant in another account that it reaches. Whoever asks must have been let in before.
    ///
    /// # Errors
    /// The connection is gone or has another registration by now, or the store fails.
    pub fn choose_account(&mut self, id: &GrantId, account: &str, rules: &Rules) -> Result<Chosen, Fault> {
        let connection = Connection::find(&*self.mutation, self.keyring, id)?.ok_or(Fault::Absent("connection"))?;
        let (Some(mut stored), Some(held)) = (connection.stored.clone(), connection.token()) else {
            return Ok(Chosen::Nothing);
        };
        if stored.registration != Some(connection.registration()) {
            return Err(Fault::Stale);
        }
        let mut token: Value = serde_json::from_str(&held).map_err(|_| corrupt())?;
        let Some(mut reach) = take_reach(&mut token) else {
            return Ok(Chosen::Nothing);
        };
        let choice = match reach.choose(account) {
            Choice::Unknown => return Ok(Chosen::Unknown),
            Choice::Same if !stored.grant.awaits_account() => return Ok(Chosen::Done),
            choice => choice,
        };
        if stored.grant.intent.is_some() {
            return Ok(Chosen::Busy);
        }
        put_reach(&mut token, &reach);
        let plain = Zeroizing::new(token.to_string().into_bytes());
        stored.token = Some(connection.seal(&plain));
        stored.grant.account_chosen(choice == Choice::Switch, self.at, rules);
        self.mutation.put_grant(id, &stored)?;
        self.read_again(&connection)?;
        Ok(Chosen::Done)
    }
}
