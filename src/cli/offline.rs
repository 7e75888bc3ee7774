//! A data directory without a daemon: held by this command while it works on it.

use crate::boot::data::DataDirectory;
use crate::boot::{master_key, stores};
use crate::config::Config;
use perseat_store::custody::Custody;
use perseat_store::keyring::MasterKey;

/// The catalog and keys of a directory that no daemon uses.
#[derive(Debug)]
pub(crate) struct Offline {
    pub(crate) custody: Custody,
    /// Released after the stores are closed.
    _directory: DataDirectory,
}

impl Offline {
    /// Takes the directory and opens it; makes what is missing, as the first start of the daemon would.
    ///
    /// # Errors
    /// Another process has it, or it cannot be opened.
    pub(crate) fn open(config: &Config) -> anyhow::Result<Self> {
        let directory = DataDirectory::take(&config.data.dir)?;
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
        let key = master_key::find(config.keys.master_key.as_deref(), credentials, directory.path())?;
        if key.created {
            let path = key.path.display();
            eprintln!(
                "a master key was made at {path}: copy it to a safe place apart from the data; without it nothing sealed can be read"
            );
        }
        let custody = stores::open_custody(config, directory.path(), MasterKey::new(&key.bytes))?;
        Ok(Self {
            custody,
            _directory: directory,
        })
    }
}
