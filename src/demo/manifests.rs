//! The manifests of `config/demo`, part of the binary so that the demo runs from any folder, and the secrets they ask for.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/config/demo/", $name)))),*]
    };
}

const FILES: &[(&str, &str)] = files![
    "organization.yml",
    "customers.yml",
    "integrations.yml",
    "instances.yml",
    "user-configs.yml",
    "integrations/file-sync.yml",
    "integrations/team-calendar.yml",
    "integrations/chat-notices.yml",
    "integrations/audit-export.yml",
    "integrations/room-booking.yml",
    "integrations/ticket-sync.yml",
    "integrations/mail-notices.yml",
    "integrations/form-intake.yml",
];

/// Writes the manifests below `directory`, for the demo and for whoever wants to change them; gives their folder.
pub(super) fn write(directory: &Path) -> io::Result<PathBuf> {
    let folder = directory.join("manifests");
    fs::create_dir_all(folder.join("integrations"))?;
    for (name, text) in FILES {
        fs::write(folder.join(name), text)?;
    }
    Ok(folder)
}

/// The customers and those of their users who have connected an account.
pub(super) const CUSTOMERS: [&str; 2] = ["globex", "initech"];
/// See [`CUSTOMERS`].
pub(super) const CONNECTED: [&str; 2] = ["jane", "bob"];

/// The tokens and the key that the manifests take from the environment; made anew for each demo.
#[derive(Debug)]
pub(super) struct Secrets {
    api_key: String,
    /// Tokens by the account they open: `globex` or `globex/jane`.
    tokens: BTreeMap<String, String>,
}

impl Secrets {
    pub(super) fn new() -> Self {
        let random = || uuid::Uuid::new_v4().simple().to_string();
        let users = CUSTOMERS
            .iter()
            .flat_map(|customer| CONNECTED.map(|user| format!("{customer}/{user}")));
        let accounts = CUSTOMERS.iter().map(|customer| (*customer).to_owned()).chain(users);
        Self {
            api_key: random(),
            tokens: accounts.map(|account| (account, random())).collect(),
        }
    }

    pub(super) fn api_key(&self) -> &str {
        &self.api_key
    }

    /// The account that each token opens. With `swapped`, two users of one customer have each other's.
    pub(super) fn accounts(&self, swapped: bool) -> BTreeMap<String, String> {
        let other = |account: &str| match account {
            "globex/jane" if swapped => "globex/bob".to_owned(),
            "globex/bob" if swapped => "globex/jane".to_owned(),
            account => account.to_owned(),
        };
        self.tokens.iter().map(|(account, token)| (token.clone(), other(account))).collect()
    }

    /// What stands for an environment variable of the manifests.
    pub(super) fn variable(&self, name: &str, storage_url: &str) -> Option<String> {
        match name.strip_prefix("PERSEAT_DEMO_")? {
            "STORAGE_URL" => Some(storage_url.to_owned()),
            "API_KEY" => Some(self.api_key.clone()),
            token => {
                let account = token.strip_prefix("TOKEN_")?.to_lowercase().replacen('_', "/", 1);
                self.tokens.get(&account).cloned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_that_the_manifests_name_has_a_value_of_its_account() {
        let secrets = Secrets::new();
        let asked = FILES
            .iter()
            .flat_map(|(_, text)| text.split("env: ").skip(1).filter_map(|rest| rest.split('}').next()));
        for name in asked {
            assert!(secrets.variable(name, "http://x").is_some(), "{name}");
        }
        let token = secrets.variable("PERSEAT_DEMO_TOKEN_GLOBEX_JANE", "").unwrap();
        assert_eq!(secrets.accounts(false)[&token], "globex/jane");
        assert_eq!(secrets.accounts(true)[&token], "globex/bob");
    }
}
