//! Text that may be a secret: written in place, or taken from the environment or a file of whoever applies.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a value comes from. Exactly one of the two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ValueFrom {
    /// An environment variable.
    Env(String),
    /// A file, relative to the manifest; one trailing line break is dropped.
    File(PathBuf),
}

/// Text in a manifest. Never shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum SecretText {
    /// The text itself.
    Text(String),
    /// Where to find it.
    From {
        /// The place.
        #[serde(rename = "valueFrom")]
        value_from: ValueFrom,
    },
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("SecretText(redacted)"),
            Self::From { value_from } => value_from.fmt(f),
        }
    }
}

impl SecretText {
    /// The text, once [`SecretText::resolve`] has run; `None` for an unresolved place.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::From { .. } => None,
        }
    }

    /// Replaces a place by what stands there. `folder` is where relative files are looked for.
    ///
    /// # Errors
    /// A sentence, if the variable is not set or the file cannot be read.
    pub fn resolve(&mut self, folder: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
        let Self::From { value_from } = self else {
            return Ok(());
        };
        let text = match value_from {
            ValueFrom::Env(name) => env(name).ok_or_else(|| format!("the environment variable `{name}` is not set"))?,
            ValueFrom::File(path) => {
                let path = folder.join(path);
                let text = std::fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
                text.strip_suffix('\n').map(str::to_owned).unwrap_or(text)
            }
        };
        *self = Self::Text(text);
        Ok(())
    }
}
