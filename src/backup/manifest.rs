//! `manifest.json`: what a backup holds. Written last; a directory without a whole one is no backup.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use perseat_domain::time::Timestamp;
use perseat_store::keyring::Mark;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Hasher, hex};

/// The file's name.
pub const NAME: &str = "manifest.json";
/// Stands in a directory from the beginning of a backup until its manifest is durable.
pub const INCOMPLETE: &str = "INCOMPLETE";
/// What every backup holds.
const DATABASES: [&str; 2] = ["catalog.redb", "state.redb"];
/// Where the other files of a backup are.
const FOLDERS: [&str; 3] = ["journal", "history", "media"];
/// The format that this version writes. It reads format 1, too, in which keyrings have no generation.
pub const FORMAT: u32 = 2;

/// One file of the backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Its path below the backup's directory, with slashes.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256, in hexadecimal digits.
    pub sha256: String,
}

/// Which keyring goes with it, and how often that had been changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyringMark {
    /// The id of the keyring file, in hexadecimal digits.
    pub id: String,
    /// Raised whenever keys are made or destroyed; an older copy has a lower one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub generation: u64,
    /// Its slots. They never become fewer, so an older copy has at most as many.
    pub slots: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl KeyringMark {
    /// Whether a copy of the same keyring with this mark was made before `other`.
    #[must_use]
    pub fn is_older_than(&self, other: &Self) -> bool {
        self.generation < other.generation || self.slots < other.slots
    }
}

impl From<Mark> for KeyringMark {
    fn from(mark: Mark) -> Self {
        Self {
            id: hex(&mark.id),
            generation: mark.generation,
            slots: mark.slots,
        }
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Manifest {
    /// The format of the manifest.
    pub format: u32,
    /// The version that wrote it.
    pub perseat: String,
    /// Random: names this backup.
    pub id: Uuid,
    /// When its moment was.
    pub taken_at: Timestamp,
    /// The epoch of the directory that it was taken from.
    pub epoch: u64,
    /// The catalog's revision.
    pub revision: u64,
    /// The bits of the position up to which the state is true.
    pub watermark: Option<u64>,
    /// The bits of the position at which the journal ends.
    pub head: u64,
    /// Executions that were live at the watermark.
    pub live: u64,
    /// Whether all segments are in it, not only those of live executions.
    pub with_history: bool,
    /// The keyring that goes with it.
    pub keyring: KeyringMark,
    /// Everything else in the directory.
    pub files: Vec<FileEntry>,
    /// SHA-256 of this document with an empty digest.
    pub digest: String,
}

/// Why a directory is no backup.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The manifest is not there: the backup was cut off, or this is none.
    #[error("{0} is no backup, or one that was cut off: it has no {NAME}")]
    Missing(PathBuf),
    /// It cannot be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// The manifest.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what was written.
    #[error("{0} is damaged: its digest does not fit")]
    Damaged(PathBuf),
    /// It names what no backup holds, something twice, or not all there must be. Whoever can write a manifest can write its
    /// digest, too, so names are never trusted.
    #[error("{path} is no manifest of this program: {what}")]
    Names {
        /// The manifest.
        path: PathBuf,
        /// Which name, and why not.
        what: String,
    },
    /// A newer version wrote it.
    #[error("{path} has format {found}; this version reads up to {FORMAT}")]
    Format {
        /// The manifest.
        path: PathBuf,
        /// The format found.
        found: u64,
    },
}

impl Manifest {
    /// The document as it is stored, with its digest.
    #[must_use]
    pub fn sealed(mut self) -> (Self, String) {
        self.digest = String::new();
        self.digest = digest(&self.text());
        let text = self.text();
        (self, text)
    }

    fn text(&self) -> String {
        // A struct of texts and numbers has no failing case.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Reads the manifest of a backup's directory and checks that not one byte of it changed.
    ///
    /// # Errors
    /// If there is none, or it is not whole.
    pub fn read(backup: &Path) -> Result<Self, ManifestError> {
        let path = backup.join(NAME);
        let text = fs::read_to_string(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => ManifestError::Missing(backup.to_owned()),
            io::ErrorKind::InvalidData => ManifestError::Damaged(path.clone()),
            _ => ManifestError::Unreadable {
                path: path.clone(),
                source,
            },
        })?;
        let found = serde_json::from_str::<serde_json::Value>(&text).ok();
        if let Some(found) = found.as_ref().and_then(|value| value["format"].as_u64())
            && !(1..=u64::from(FORMAT)).contains(&found)
        {
            return Err(ManifestError::Format { path, found });
        }
        let manifest: Self = serde_json::from_str(&text).map_err(|_| ManifestError::Damaged(path.clone()))?;
        let (again, written) = manifest.clone().sealed();
        if again != manifest || written != text {
            return Err(ManifestError::Damaged(path));
        }
        match manifest.wrong_names() {
            Some(what) => Err(ManifestError::Names { path, what }),
            None => Ok(manifest),
        }
    }

    fn wrong_names(&self) -> Option<String> {
        let mut names = BTreeSet::new();
        for FileEntry { name, .. } in &self.files {
            if !is_of_backup(name) {
                return Some(format!("{name:?} is no file of a data directory"));
            }
            if !names.insert(name.as_str()) {
                return Some(format!("{name:?} stands there twice"));
            }
        }
        let lacking = DATABASES.into_iter().find(|database| !names.contains(database));
        lacking.map(|database| format!("{database:?} is not in it"))
    }

    /// Whether it names this file.
    #[must_use]
    pub fn names(&self, name: &str) -> bool {
        self.files.iter().any(|file| file.name == name)
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// Whether a backup may hold a file of this name: a database, or a plain file within one of the folders.
fn is_of_backup(name: &str) -> bool {
    let is_plain = |name: &str| {
        !name.starts_with('.')
            && !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
    };
    match name.split_once('/') {
        None => DATABASES.contains(&name),
        Some((folder, file)) => FOLDERS.contains(&folder) && is_plain(file),
    }
}

fn digest(text: &str) -> String {
    let mut hasher = Hasher::default();
    hasher.update(text.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            format: FORMAT,
            perseat: "0.1.0".into(),
            id: Uuid::from_u128(7),
            taken_at: Timestamp(5),
            epoch: 1,
            revision: 3,
            watermark: Some(9),
            head: 11,
            live: 2,
            with_history: false,
            keyring: KeyringMark {
                id: "00".into(),
                generation: 9,
                slots: 4,
            },
            files: ["catalog.redb", "state.redb", "journal/0000000001.seg"].map(entry).into(),
            digest: String::new(),
        }
    }

    fn entry(name: &str) -> FileEntry {
        FileEntry {
            name: name.into(),
            bytes: 10,
            sha256: "ab".into(),
        }
    }

    #[test]
    fn a_manifest_names_files_of_a_data_directory_once_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let read = |names: &[&str]| {
            let files = names.iter().map(|name| entry(name)).collect();
            let (_, text) = Manifest { files, ..manifest() }.sealed();
            fs::write(folder.path().join(NAME), text).unwrap();
            Manifest::read(folder.path())
        };
        let databases = ["catalog.redb", "state.redb"];
        assert!(read(&databases).is_ok());
        for name in [
            "/etc/cron.d/job",
            "../outside",
            "journal/../../outside",
            "journal/a/b",
            "journal/..",
            "journal/",
            "journal\\..\\x",
            "journal/.hidden",
            "etc/passwd",
            "keyring",
            "master-key",
            "",
            "catalog.redb",
        ] {
            let refused = read(&[databases[0], databases[1], name]);
            assert!(matches!(refused, Err(ManifestError::Names { .. })), "{name:?}: {refused:?}");
        }
        assert!(matches!(read(&["catalog.redb"]), Err(ManifestError::Names { .. })), "without state");
    }

    #[test]
    fn no_byte_of_a_manifest_can_change_unnoticed() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Manifest::read(folder.path()), Err(ManifestError::Missing(_))));
        let (written, text) = manifest().sealed();
        let path = folder.path().join(NAME);
        fs::write(&path, &text).unwrap();
        assert_eq!(Manifest::read(folder.path()).unwrap(), written);
        for at in 0..text.len() {
            for bit in [1, 32] {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= bit;
                fs::write(&path, &bytes).unwrap();
                assert!(Manifest::read(folder.path()).is_err(), "byte {at} ^ {bit}");
            }
        }
        fs::write(&path, &text[..text.len() - 1]).unwrap();
        assert!(matches!(Manifest::read(folder.path()), Err(ManifestError::Damaged(_))));
        fs::write(&path, r#"{"format":3}"#).unwrap();
        assert!(matches!(Manifest::read(folder.path()), Err(ManifestError::Format { found: 3, .. })));
    }

    #[test]
    fn a_manifest_of_the_first_format_is_read_and_has_no_generation() {
        let folder = tempfile::tempdir().unwrap();
        let keyring = KeyringMark {
            generation: 0,
            ..manifest().keyring
        };
        let (written, text) = Manifest {
            format: 1,
            keyring,
            ..manifest()
        }
        .sealed();
        assert!(!text.contains("generation"));
        fs::write(folder.path().join(NAME), text).unwrap();
        assert_eq!(Manifest::read(folder.path()).unwrap(), written);
        assert!(!manifest().keyring.is_older_than(&written.keyring) && written.keyring.is_older_than(&manifest().keyring));
    }
}
