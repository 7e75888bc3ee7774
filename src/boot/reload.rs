//! Reading the configuration: at start, and again on SIGHUP.
//!
//! A reload that finds a problem changes nothing. Otherwise the log names every key that changed; those that the running
//! daemon cannot take up keep their old effect until a restart, and are named as such.

use std::path::PathBuf;

use crate::config::source::Sources;
use crate::config::{Config, Problems, changes};

/// Where this process's configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// `--set`, and the flags that stand for a key.
    pub flags: Vec<(String, String)>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration {path} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It can be read, and is wrong.
    #[error(transparent)]
    Wrong(#[from] Problems),
}

impl Given {
    /// Reads the file and the environment, and checks everything.
    ///
    /// # Errors
    /// An unreadable file, or every problem found.
    pub fn load(&self) -> Result<Config, ConfigError> {
        let read = |path: &PathBuf| match std::fs::read_to_string(path) {
            Ok(text) => Ok((path.clone(), text)),
            Err(source) => Err(ConfigError::Unreadable {
                path: path.clone(),
                source,
            }),
        };
        let file = self.file.as_ref().map(read).transpose()?;
        let environment = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let sources = Sources {
            file,
            environment: environment.collect(),
            flags: self.flags.clone(),
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Config::load(&sources, cores)?)
    }

    /// Reads everything again, logs what changed since `before`, and returns the new configuration. `started` is the one that
    /// the daemon was started with.
    ///
    /// # Errors
    /// As [`Given::load`]; the caller keeps what it has.
    pub fn reload(&self, started: &Config, before: &Config) -> Result<Config, ConfigError> {
        let now = self.load()?;
        let changes = changes::changes(started, before, &now);
        if changes.is_empty() {
            tracing::info!("configuration read again: nothing changed");
        }
        for change in changes {
            let (key, before, now) = (&change.key, &change.before, &change.now);
            if change.reloads {
                tracing::info!(key, before, now, "configuration changed");
            } else {
                tracing::warn!(key, before, now, "configuration changed; this key takes effect at the next start");
            }
        }
        Ok(now)
    }
}
