//! Tokens that providers have to be told of, because here they are given up.
//!
//! What a person supplied is not given back when its holder goes: whoever supplied it has it, too, and may have moved it to another
//! daemon. What came by consent or renewal is nobody's else.

use super::Edit;
use crate::fault::Fault;
use crate::grants::Connection;
use perseat_domain::grant::Holder;
use perseat_flow::oauth::{Flow, Owed, Provider};
use perseat_store::catalog::{GrantId, Lookup, Owing, StoredGrant};
use perseat_store::error::StoreError;
use serde_json::Value;

impl Edit<'_, '_> {
    /// Owes the tokens of a holder that goes.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn owe_all_of(&mut self, holder: Holder) -> Result<(), Fault> {
        if self.is_rehearsal {
            return Ok(());
        }
        for (variable, stored) in self.mutation.grants_of(holder)? {
            self.owe_held(&GrantId { holder, variable }, &stored);
        }
        Ok(())
    }

    /// Owes what a grant holds, to whom it was given: as its connection was before this change. Nothing that is wrong with it keeps the
    /// change from being made.
    pub(crate) fn owe_held(&mut self, id: &GrantId, stored: &StoredGrant) {
        let Some(sealed) = stored.token.as_ref().filter(|_| !self.is_rehearsal) else {
            return;
        };
        let before = self.before;
        let found = before.view().and_then(|view| Connection::find(&view, self.keyring, id));
        let connection = match found {
            Ok(Some(connection)) if stored.registration.is_none_or(|given_to| given_to == connection.registration()) => connection,
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(%error, holder = ?id.holder, connection = %id.variable, "a token cannot be given back");
                return;
            }
        };
        if let Some(token) = connection.open(sealed).filter(|token| !connection.is_as_supplied(token)) {
            self.owe_of(&connection, &token);
        }
    }

    /// Owes a token of a connection.
    pub(crate) fn owe_of(&mut self, connection: &Connection, token: &Value) {
        if connection.flow == Flow::AuthorizationCode
            && let Ok(provider) = connection.provider()
        {
            self.owe(&connection.id, &provider, token);
        }
    }

    /// Owes a token; tells whether its provider takes any back.
    pub(crate) fn owe(&mut self, id: &GrantId, provider: &Provider, token: &Value) -> bool {
        let Some(owed) = Owed::of(provider, token) else {
            return false;
        };
        self.mutation.owe(Owing {
            of: id.clone(),
            host: owed.host(),
            plain: owed.to_bytes(),
        });
        true
    }

    /// Somebody consented anew to a connection: what is owed of it and may end the new consent is given back no more. Gives how many.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn forgive_for(&mut self, connection: &Connection, token: &Value) -> Result<usize, Fault> {
        let Ok(provider) = connection.provider() else { return Ok(0) };
        let mut count = 0;
        for (id, owed) in self.mutation.owed_of(&connection.id)? {
            let plain = match owed.open(id, self.keyring) {
                Err(StoreError::Sealed(_)) => None,
                opened => opened?,
            };
            let owed = plain.and_then(|plain| Owed::from_bytes(&plain));
            if owed.is_none_or(|owed| owed.may_end(&provider, token)) {
                self.mutation.forgive(id)?;
                count += 1;
            }
        }
        if count > 0 {
            tracing::info!(holder = ?connection.id.holder, connection = %connection.id.variable, count, "tokens are not given back: the connection was consented to anew");
        }
        Ok(count)
    }
}
