//! The master key: 32 bytes from a credential or a file that only the daemon's user can read.

use crate::error::StoreError;
use crate::seal::{DataKey, KEY_LEN};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use zeroize::Zeroizing;

/// The key that wraps the organization's and all customers' keys.
#[derive(Debug)]
pub struct MasterKey(pub(super) DataKey);

impl MasterKey {
    /// Makes the key ready. The caller wipes `bytes`.
    #[must_use]
    pub fn new(bytes: &[u8; KEY_LEN]) -> Self {
        Self(DataKey::new(bytes, 0))
    }

    /// Reads the key from a file or a systemd credential.
    ///
    /// # Errors
    /// If the file cannot be read, has another length, or others may read it.
    pub fn load(path: &Path) -> Result<Self, StoreError> {
        let mut file = File::open(path)?;
        let mode = file.metadata()?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let path = path.display().to_string();
            return Err(StoreError::KeyExposed { path, mode });
        }
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        let corrupt = || StoreError::corrupt(format!("master key {} (expected {KEY_LEN} bytes)", path.display()));
        file.read_exact(bytes.as_mut_slice()).map_err(|_| corrupt())?;
        if file.read(&mut [0])? != 0 {
            return Err(corrupt());
        }
        Ok(Self::new(&bytes))
    }

    /// Reads the key, or draws one and writes it with mode 0600. Tells whether it was created.
    ///
    /// # Errors
    /// As [`MasterKey::load`], or if it cannot be written.
    pub fn load_or_create(path: &Path) -> Result<(Self, bool), StoreError> {
        match fs::metadata(path) {
            Ok(_) => return Ok((Self::load(path)?, false)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        let bytes = random_key();
        let draft = path.with_extension("new");
        let _ = fs::remove_file(&draft);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)
            .map_err(StoreError::from_io)?;
        file.write_all(bytes.as_slice())
            .and_then(|()| file.sync_all())
            .map_err(StoreError::from_io)?;
        // A link, unlike a rename, never replaces a key that appeared meanwhile.
        fs::hard_link(&draft, path)?;
        fs::remove_file(&draft)?;
        super::file::sync_parent(path)?;
        Ok((Self::new(&bytes), true))
    }
}

/// Draws the process's first random bytes. Before it gives any, the library tries out how much this machine's clock wavers, which takes a
/// tenth of a second or two: whoever draws first waits for it, and that should not be who sent the first event.
pub fn gather_randomness() {
    drop(random_key());
}

/// A new key's bytes.
pub(super) fn random_key() -> Zeroizing<[u8; KEY_LEN]> {
    let mut bytes = Zeroizing::new([0; KEY_LEN]);
    match aws_lc_rs::rand::fill(bytes.as_mut_slice()) {
        Ok(()) => bytes,
        // The library ends the process before it would return without randomness.
        Err(_) => unreachable!("the system gives randomness"),
    }
}
