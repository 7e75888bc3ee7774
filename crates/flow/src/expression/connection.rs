//! A credential as a step sees it: readable only inside the step that uses it, zeroed when dropped.

use perseat_domain::definition::ActionRef;
use perseat_domain::grant::Obstacle;
use perseat_domain::id::RegistrationId;
use perseat_domain::model::ConnectionValue;
use perseat_domain::reach::ProviderAccount;
use perseat_domain::usage::Through;
use serde_json::{Value, json};
use std::fmt;
use zeroize::Zeroize;

/// The account at its provider in which a connection acts. What people call it is not printed.
#[derive(Clone)]
pub struct ChosenAccount {
    /// `id`, `name` and `baseUrl`, as expressions and scripts see them.
    value: Value,
    /// What calls with it are counted as.
    counted_as: String,
}

impl fmt::Debug for ChosenAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChosenAccount")
            .field("counted_as", &self.counted_as)
            .finish_non_exhaustive()
    }
}

impl From<&ProviderAccount> for ChosenAccount {
    fn from(account: &ProviderAccount) -> Self {
        Self {
            value: json!({ "id": account.id, "name": account.name, "baseUrl": account.base_url }),
            counted_as: account.counted_as.clone(),
        }
    }
}

/// What `Variable.account.id` names, and `.name` and `.baseUrl`: the variable, and the part of its account.
#[must_use]
pub fn account_part(name: &str) -> Option<(&str, &str)> {
    let (variable, part) = name.rsplit_once(".account.")?;
    ["id", "name", "baseUrl"].contains(&part).then_some((variable, part))
}

/// An unsealed connection with what the definition gives for it.
pub struct Connection {
    /// Names the account: who shares it shares what its provider limits.
    pub account: Vec<u8>,
    /// The variable's stable key.
    pub variable: String,
    /// Component and connection key (`http`, `apiKey`).
    pub kind: ActionRef,
    /// The stored version; recorded with each use.
    pub version: u64,
    /// Inputs and token.
    pub value: ConnectionValue,
    /// The customer's app registration that it has, where that is not the integration's own.
    pub registration: Option<RegistrationId>,
    /// The account that was chosen, where its provider has several.
    pub chosen: Option<ChosenAccount>,
    /// Why there is no credential in it, if there is none that can be used.
    pub obstacle: Option<Obstacle>,
}

impl Connection {
    /// An input (`username`, `apiKey`, …).
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.value.fields.get(name).map(String::as_str)
    }

    /// Through what calls with it are counted.
    #[must_use]
    pub fn through(&self) -> Through {
        Through {
            connection: self.variable.clone(),
            registration: self.registration,
            account: self.chosen.as_ref().map(|chosen| chosen.counted_as.clone()),
        }
    }

    /// The account that was chosen, as a script sees it.
    #[must_use]
    pub fn chosen(&self) -> Option<&Value> {
        self.chosen.as_ref().map(|chosen| &chosen.value)
    }

    /// A text property of the stored OAuth 2.0 token answer (`access_token`).
    #[must_use]
    pub fn token(&self, name: &str) -> Option<&str> {
        self.value.token.as_ref()?.get(name)?.as_str()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("variable", &self.variable)
            .field("kind", &self.kind)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.value.fields.values_mut().for_each(Zeroize::zeroize);
        if let Some(token) = &mut self.value.token {
            wipe(token);
        }
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(members) => members.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
