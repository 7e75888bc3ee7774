//! Names of environment variables for secrets: from what a person calls the secret, each used once.

use crate::manifest::{SecretText, ValueFrom};
use std::collections::HashSet;

/// The names given so far.
#[derive(Debug, Default)]
pub(super) struct Variables {
    names: Vec<String>,
    taken: HashSet<String>,
}

impl Variables {
    /// A place for the secret at the end of `path`: `["globex", "File Sync", "token"]` is `GLOBEX_FILE_SYNC_TOKEN`.
    pub(super) fn place(&mut self, path: &[&str]) -> SecretText {
        let words = path
            .iter()
            .flat_map(|part| part.split(|letter: char| !letter.is_ascii_alphanumeric()));
        let words: Vec<String> = words.filter(|word| !word.is_empty()).map(str::to_ascii_uppercase).collect();
        let mut base = words.join("_");
        if !base.starts_with(|letter: char| letter.is_ascii_alphabetic()) {
            base.insert_str(0, "SECRET_");
        }
        let mut name = base.clone();
        for number in 2.. {
            if self.taken.insert(name.clone()) {
                break;
            }
            name = format!("{base}_{number}");
        }
        self.names.push(name.clone());
        SecretText::From {
            value_from: ValueFrom::Env(name),
        }
    }

    pub(super) fn into_names(self) -> Vec<String> {
        self.names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_in_capitals_and_never_the_same() {
        let mut variables = Variables::default();
        for path in [["globex", "File Sync", "token"], ["globex", "File-Sync", "Token"], ["1", "é", ""]] {
            variables.place(&path);
        }
        assert_eq!(
            variables.into_names(),
            ["GLOBEX_FILE_SYNC_TOKEN", "GLOBEX_FILE_SYNC_TOKEN_2", "SECRET_1"]
        );
    }
}
