//! A data directory without a daemon: held by this command while it works on it.

use super::client::ClientError;
use crate::boot::data::DataDirectory;
use crate::boot::{master_key, stores};
use crate::config::Config;
use perseat_store::custody::Custody;
use perseat_store::keyring::MasterKey;
use std::path::PathBuf;

/// The catalog and keys of a directory that no daemon uses.
#[derive(Debug)]
pub(crate) struct Offline {
    pub(crate) custody: Custody,
    /// The master key that was made, where there was none.
    pub(crate) made_key: Option<PathBuf>,
    /// Released after the stores are closed.
    _directory: DataDirectory,
}

impl Offline {
    /// Takes the directory and opens it for a command that only reads: where there is no catalog, nothing is made.
    ///
    /// # Errors
    /// There is none, or as of [`Offline::open`].
    pub(crate) fn existing(config: &Config) -> anyhow::Result<Self> {
        DataDirectory::is_no_backup(&config.data.dir)?;
        drop(DataDirectory::look(&config.data.dir)?);
        if !config.data.dir.join("catalog.redb").exists() {
            return Err(ClientError::NotRunning(config.socket()).into());
        }
        Self::open(config)
    }

    /// Takes the directory and opens it; makes what is missing, as the first start of the daemon would.
    ///
    /// # Errors
    /// Another process has it, or it cannot be opened.
    pub(crate) fn open(config: &Config) -> anyhow::Result<Self> {
        let directory = DataDirectory::take(&config.data.dir)?;
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
        let key = master_key::find(config.keys.master_key.as_deref(), credentials, directory.path())?;
        let custody = stores::open_custody(config, directory.path(), MasterKey::new(&key.bytes))?;
        Ok(Self {
            custody,
            made_key: key.created.then(|| key.path.clone()),
            _directory: directory,
        })
    }
}
