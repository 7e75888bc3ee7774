//! Where the master key comes from: a configured file, a systemd credential, a file made on first start, or the file that the unit
//! takes its credential from.
//!
//! It is read once, never logged, and zeroed when dropped. A file that others may read is refused, because then the key has
//! to be taken for known. While it is replaced there is a next one beside it: the one that the keyring is under counts.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use perseat_store::{StoreError, keyring};
use zeroize::Zeroizing;

use crate::config::Config;

/// The name of the credential, and of the file in the data directory.
pub const NAME: &str = "master-key";

/// The file in the data directory that holds the next one while the master key is replaced; afterwards, until its predecessor is
/// gone from where it was configured.
pub const NEXT: &str = "master-key.next";

/// What `systemd/perseat.service` says: whoever works on its directory without it, as root, finds the key that it would be passed.
const UNIT: Unit<'static> = Unit {
    data: "/var/lib/perseat",
    credential: "/etc/credstore/perseat.master-key",
};

#[derive(Clone, Copy, Debug)]
struct Unit<'a> {
    data: &'a str,
    credential: &'a str,
}

impl<'a> Unit<'a> {
    /// The file that the credential comes from, where this is the unit's directory.
    fn credential_of(self, data: &Path) -> Option<&'a Path> {
        Some(Path::new(self.credential)).filter(|path| data == Path::new(self.data) && path.exists())
    }
}

/// The key, and where it came from.
pub struct MasterKey {
    /// The 256 bits.
    pub bytes: Zeroizing<[u8; 32]>,
    /// The file that holds it, or held its predecessor: where the daemon looks first, or where the unit has its credential from.
    pub path: PathBuf,
    /// Whether this start made it.
    pub created: bool,
    /// Whether it is the next one, read from [`NEXT`]: the keyring is under it, and at `path` is its predecessor.
    pub is_next: bool,
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("MasterKey")
            .field("path", &self.path)
            .field("created", &self.created)
            .field("is_next", &self.is_next)
            .finish_non_exhaustive()
    }
}

/// Why there is no master key.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// The file cannot be read or written.
    #[error("master key {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read the file.
    #[error("master key {0} may be read by other users: chmod 600 it, and think about who has read it")]
    Readable(PathBuf),
    /// The file holds something else.
    #[error("master key {0} must hold 64 hexadecimal digits, or exactly 32 bytes")]
    Form(PathBuf),
    /// The data directory holds sealed data, but its key is gone.
    #[error(
        "{0} is missing, but the data directory holds data sealed by it: say where the master key is (keys.master-key), or put it back \
         from its backup; a new one could not read anything"
    )]
    Lost(PathBuf),
    /// There is none where the daemon would look.
    #[error(
        "there is no master key, and what belongs to users is sealed by their keys in a backup: put it where the daemon looks for it \
         (keys.master-key, or {NAME} in the data directory), or give it with --master-key FILE"
    )]
    Missing,
}

impl MasterKeyError {
    /// The file that should be there.
    fn missing(&self) -> Option<&Path> {
        match self {
            Self::File { path, source } if source.kind() == io::ErrorKind::NotFound => Some(path),
            Self::Lost(path) => Some(path),
            _ => None,
        }
    }
}

/// Finds or makes the master key.
///
/// `configured` is `keys.master-key`, `credentials` the value of `CREDENTIALS_DIRECTORY`. A new key is made only in a data
/// directory that holds no keyring yet.
///
/// # Errors
/// A key that cannot be read, is readable by others, has another form, or was lost.
pub fn find(configured: Option<&Path>, credentials: Option<OsString>, data: &Path) -> Result<MasterKey, MasterKeyError> {
    let found = first(configured, credentials, data, UNIT);
    let next = data.join(NEXT);
    if !next.exists() {
        return found;
    }
    let is_under = |bytes| fits(data, bytes).unwrap_or_default();
    let path = match &found {
        Ok(found) if found.created || is_under(&found.bytes) => None,
        Ok(found) => Some(found.path.clone()),
        // Whoever configured it may have taken it away already.
        Err(error) => error.missing().map(Path::to_owned),
    };
    let Some(path) = path else { return found };
    // One that was cut off while it was written is no key, and nothing is under it.
    match read(&next, true) {
        Ok(next) if is_under(&next.bytes) => Ok(MasterKey {
            is_next: true,
            path,
            ..next
        }),
        Ok(_) | Err(MasterKeyError::Form(_)) => found,
        // It may be the one in force.
        Err(error) => Err(error),
    }
}

/// The master key for a command that reads what is in `directory`: that of `file`, else the one that the daemon would find. Never
/// makes one.
///
/// # Errors
/// As of [`find`].
pub fn given(config: &Config, file: Option<&Path>, directory: &Path) -> Result<Option<keyring::MasterKey>, MasterKeyError> {
    let configured = file.or(config.keys.master_key.as_deref());
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
    let passed = credentials.as_ref().is_some_and(|folder| Path::new(folder).join(NAME).exists());
    let is_next = is_in_force(directory, &directory.join(NEXT)).unwrap_or_default();
    let is_there = is_next || directory.join(NAME).exists() || UNIT.credential_of(directory).is_some();
    if configured.is_none() && !passed && !is_there {
        return Ok(None);
    }
    let key = find(configured, credentials, directory)?;
    Ok(Some(keyring::MasterKey::new(&key.bytes)))
}

/// Whether the data directory's keyring is under the key of this file; not where that is not there, or was cut off while it was written.
///
/// # Errors
/// If one of them cannot be read.
pub fn is_in_force(data: &Path, file: &Path) -> anyhow::Result<bool> {
    match read(file, false) {
        Ok(key) => Ok(fits(data, &key.bytes)?),
        Err(MasterKeyError::Form(_)) => Ok(false),
        Err(MasterKeyError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether the data directory's keyring is under this key.
fn fits(data: &Path, bytes: &[u8; 32]) -> Result<bool, StoreError> {
    keyring::fits(&data.join("keyring"), &keyring::MasterKey::new(bytes))
}

fn first(configured: Option<&Path>, credentials: Option<OsString>, data: &Path, unit: Unit<'_>) -> Result<MasterKey, MasterKeyError> {
    if let Some(path) = configured {
        return read(path, true);
    }
    if let Some(path) = credentials.map(|dir| Path::new(&dir).join(NAME)).filter(|path| path.exists()) {
        // The service manager makes that file anew at each start.
        return Ok(MasterKey {
            path: unit.credential.into(),
            ..read(&path, false)?
        });
    }
    let path = data.join(NAME);
    if path.exists() {
        return read(&path, true);
    }
    match unit.credential_of(data) {
        Some(path) => read(path, true),
        None => create(path, data),
    }
}

/// Reads a key from a file.
pub(crate) fn read(path: &Path, check_mode: bool) -> Result<MasterKey, MasterKeyError> {
    let failed = |source| MasterKeyError::File {
        path: path.to_owned(),
        source,
    };
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
    if check_mode && mode & 0o077 != 0 {
        return Err(MasterKeyError::Readable(path.to_owned()));
    }
    let text = Zeroizing::new(fs::read(path).map_err(failed)?);
    let bytes = decode(&text).ok_or_else(|| MasterKeyError::Form(path.to_owned()))?;
    Ok(MasterKey {
        bytes,
        path: path.to_owned(),
        created: false,
        is_next: false,
    })
}

/// 32 bytes, or 64 hexadecimal digits.
pub(crate) fn decode(text: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    if text.len() == bytes.len() {
        bytes.copy_from_slice(text);
        return Some(bytes);
    }
    let digits = text.trim_ascii();
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        let digit = |letter: &u8| char::from(*letter).to_digit(16);
        *byte = u8::try_from(digit(high)? * 16 + digit(low)?).ok()?;
    }
    Some(bytes)
}

fn create(path: PathBuf, data: &Path) -> Result<MasterKey, MasterKeyError> {
    if data.join("keyring").exists() {
        return Err(MasterKeyError::Lost(path));
    }
    let bytes = write_new(&path)?;
    Ok(MasterKey {
        bytes,
        path,
        created: true,
        is_next: false,
    })
}

/// Draws a key and writes it to a file of mode 0600 that is not there yet. It gets its name once it is whole and on disk: whoever dies before
/// that leaves a draft, which the next one takes away.
///
/// # Errors
/// If the file is there, or cannot be written.
pub fn write_new(path: &Path) -> Result<Zeroizing<[u8; 32]>, MasterKeyError> {
    let failed = |source| MasterKeyError::File {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(&mut *bytes).map_err(|_| failed(io::Error::other("no random bytes")))?;
    let digits = Zeroizing::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    let draft = path.with_added_extension("draft");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .map_err(failed)?;
    file.write_all(digits.as_bytes())
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all())
        // Not a rename: a key that is there is never replaced.
        .and_then(|()| fs::hard_link(&draft, path))
        .and_then(|()| fs::remove_file(&draft))
        .map_err(failed)?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::File::open(folder).and_then(|dir| dir.sync_all()).map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_start_makes_a_private_key_and_the_next_reads_it() {
        let data = tempfile::tempdir().unwrap();
        let made = find(None, None, data.path()).unwrap();
        assert!(made.created);
        assert_eq!(fs::metadata(&made.path).unwrap().permissions().mode() & 0o777, 0o600);
        let found = find(None, None, data.path()).unwrap();
        assert!(!found.created && found.bytes == made.bytes);
        assert!(!format!("{found:?}").contains(&format!("{:02x}{:02x}", found.bytes[0], found.bytes[1])));
    }

    #[test]
    fn a_key_has_its_name_once_it_is_whole_and_takes_no_others_place() {
        let data = tempfile::tempdir().unwrap();
        let (path, draft) = (data.path().join("master-key"), data.path().join("master-key.draft"));
        // Somebody died as it was written.
        fs::write(&draft, "12").unwrap();
        let made = find(None, None, data.path()).unwrap();
        assert!(made.created && !draft.exists());
        let before = fs::read(&path).unwrap();
        let refused = write_new(&path).unwrap_err();
        assert!(matches!(refused, MasterKeyError::File { source, .. } if source.kind() == io::ErrorKind::AlreadyExists));
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_configured_file_wins_over_a_credential_and_that_over_the_data_directory() {
        let (data, credentials) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let configured = data.path().join("other");
        for (path, byte) in [(&configured, 1), (&credentials.path().join(NAME), 2), (&data.path().join(NAME), 3)] {
            fs::write(path, [byte; 32]).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let passed = || Some(credentials.path().as_os_str().to_owned());
        assert_eq!(find(Some(&configured), passed(), data.path()).unwrap().bytes[0], 1);
        assert_eq!(find(None, passed(), data.path()).unwrap().bytes[0], 2);
        assert_eq!(find(None, None, data.path()).unwrap().bytes[0], 3);
    }

    #[test]
    fn without_the_unit_its_directory_has_the_key_that_the_unit_passes() {
        let (data, etc) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = etc.path().join("perseat.master-key");
        let unit = Unit {
            data: data.path().to_str().unwrap(),
            credential: path.to_str().unwrap(),
        };
        fs::write(&path, [4; 32]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let found = first(None, None, data.path(), unit).unwrap();
        assert_eq!((found.created, found.bytes[0]), (false, 4));
        assert!(!data.path().join(NAME).exists(), "another one was drawn");
        let (service, of_service) = (include_str!("../../systemd/perseat.service"), UNIT);
        for line in [
            format!("Environment=PERSEAT_DATA__DIR={}", of_service.data),
            format!("LoadCredential={NAME}:{}", of_service.credential.rsplit('/').next().unwrap()),
        ] {
            assert!(service.lines().any(|found| found == line), "{line}");
        }
        let other = tempfile::tempdir().unwrap();
        assert!(
            first(None, None, other.path(), unit).unwrap().created,
            "that of a directory which is not the unit's"
        );
        fs::write(data.path().join(NAME), [3; 32]).unwrap();
        fs::set_permissions(data.path().join(NAME), fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(first(None, None, data.path(), unit).unwrap().bytes[0], 3);
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_no_key_is_refused() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join(NAME);
        fs::write(&path, "short").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(find(None, None, data.path()), Err(MasterKeyError::Readable(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(find(None, None, data.path()), Err(MasterKeyError::Form(_))));
    }

    #[test]
    fn a_lost_key_is_not_replaced_where_data_was_sealed_by_it() {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join("keyring"), b"").unwrap();
        assert!(matches!(find(None, None, data.path()), Err(MasterKeyError::Lost(_))));
    }
}
