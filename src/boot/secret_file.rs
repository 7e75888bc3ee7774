//! A file that holds a secret which the daemon shows to another server.

use secrecy::SecretString;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Why it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// The file cannot be read.
    #[error("{key} {path}: {source}")]
    File {
        /// The configuration key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read the file.
    #[error("{key} {path} may be read by other users: chmod 600 it")]
    Readable {
        /// The configuration key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
}

/// Reads the secret; line breaks at its end are none of it.
///
/// # Errors
/// The file cannot be read, or others may read it, too.
pub(crate) fn read(key: &'static str, path: &Path) -> Result<SecretString, SecretFileError> {
    let failed = |source| SecretFileError::File {
        key,
        path: path.to_owned(),
        source,
    };
    let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        let path = path.to_owned();
        return Err(SecretFileError::Readable { key, path });
    }
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(failed)?);
    Ok(SecretString::from(text.trim_end_matches(['\r', '\n']).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    #[test]
    fn a_secret_is_read_from_a_file_that_is_its_owners_alone() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "pass word\r\n").unwrap();
        let with_mode = |mode| {
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            read("mail.password", file.path())
        };
        assert_eq!(with_mode(0o600).unwrap().expose_secret(), "pass word");
        let refused = with_mode(0o640).unwrap_err().to_string();
        assert!(refused.starts_with("mail.password ") && refused.contains("chmod 600"), "{refused}");
        let absent = read("mail.password", Path::new("/nowhere/at/all")).unwrap_err().to_string();
        assert!(absent.contains("mail.password /nowhere/at/all"), "{absent}");
    }
}
