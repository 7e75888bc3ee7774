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
        let found = before
            .view()
            .and_then(|view| Connection::given_to(&view, self.keyring, id, stored, &mut self.givers));
        let connection = match found {
            Ok(Some(connection)) => connection,
            Ok(None) => {
                tracing::warn!(holder = ?id.holder, connection = %id.variable, "a token cannot be given back: nothing says to whom any more");
                return;
            }
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
            self.owe(connection, &provider, token);
        }
    }

    /// Owes a token; tells whether its provider takes any back.
    pub(crate) fn owe(&mut self, connection: &Connection, provider: &Provider, token: &Value) -> bool {
        let Some(owed) = Owed::of(provider, token, connection.party()) else {
            return false;
        };
        self.mutation.owe(Owing {
            of: connection.id.clone(),
            host: owed.host(),
            plain: owed.to_bytes(),
        });
        true
    }
}
