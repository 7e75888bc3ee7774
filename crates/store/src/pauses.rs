//! `limits`: until when calls to third parties pause, so that a restart does not forget what a provider asked for.
//!
//! `PSL1`, the number of rows (u32), the rows (scope 16 bytes, milliseconds since 1970 u64), CRC32C of all that (u32); all
//! little-endian but the scope. Scopes are digests: the file names nobody. It is written whole under another name and renamed;
//! one that is damaged says nothing, because what it says is learnt again at the price of one refused call.

use perseat_domain::rate::ScopeId;
use perseat_domain::time::Timestamp;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 4] = b"PSL1";
const NAME: &str = "limits";
const DRAFT: &str = "limits.new";
const HEAD: usize = 8;
const ROW: usize = 24;
const SUM: usize = 4;

/// See the module.
#[derive(Clone, Debug)]
pub struct PauseFile {
    directory: PathBuf,
}

impl PauseFile {
    /// The file in a data directory.
    #[must_use]
    pub fn in_directory(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    /// What was written last; at most `most` rows.
    ///
    /// # Errors
    /// If it is there and cannot be read, or is damaged.
    pub fn read(&self, most: usize) -> io::Result<Vec<(ScopeId, Timestamp)>> {
        let path = self.directory.join(NAME);
        let bytes = match fs::metadata(&path) {
            Ok(meta) if meta.len() > (HEAD + ROW * most + SUM) as u64 => None,
            Ok(_) => Some(fs::read(&path)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let rows = bytes.as_deref().and_then(decode);
        rows.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the file `limits` is damaged"))
    }

    /// Puts these in the place of what was there, durably.
    ///
    /// # Errors
    /// If the disk is full or fails; then what was there stays.
    pub fn write(&self, paused: &[(ScopeId, Timestamp)]) -> io::Result<()> {
        let draft = self.directory.join(DRAFT);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(&encode(paused))?;
        file.sync_all()?;
        fs::rename(&draft, self.directory.join(NAME))?;
        File::open(&self.directory)?.sync_all()
    }
}

fn encode(paused: &[(ScopeId, Timestamp)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + ROW * paused.len() + SUM);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&u32::try_from(paused.len()).unwrap_or(u32::MAX).to_le_bytes());
    for (scope, until) in paused {
        bytes.extend_from_slice(&scope.0.to_be_bytes());
        bytes.extend_from_slice(&until.0.to_le_bytes());
    }
    let sum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Vec<(ScopeId, Timestamp)>> {
    let (bytes, sum) = bytes.split_last_chunk::<SUM>()?;
    let (head, rows) = bytes.split_first_chunk::<HEAD>()?;
    let count = u32::from_le_bytes(*head.last_chunk()?) as usize;
    let is_whole = crc32c::crc32c(bytes) == u32::from_le_bytes(*sum);
    if !is_whole || head.first_chunk() != Some(MAGIC) || rows.len() != count * ROW {
        return None;
    }
    let row = |row: &[u8]| {
        Some((
            ScopeId(u128::from_be_bytes(*row.first_chunk()?)),
            Timestamp(u64::from_le_bytes(*row.last_chunk()?)),
        ))
    };
    rows.chunks_exact(ROW).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_damaged_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = PauseFile::in_directory(folder.path());
        assert_eq!(file.read(10).unwrap(), []);
        let paused = [(ScopeId(u128::MAX - 7), Timestamp(1)), (ScopeId(3), Timestamp(u64::MAX))];
        for rows in [&paused[..], &paused[..1], &[]] {
            file.write(rows).unwrap();
            assert_eq!(file.read(2).unwrap(), rows);
        }
        file.write(&paused).unwrap();
        assert_eq!(
            file.read(1).unwrap_err().kind(),
            io::ErrorKind::InvalidData,
            "more than there can be"
        );
        let path = folder.path().join(NAME);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            assert!(file.read(10).is_err(), "byte {at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert!(file.read(10).is_err(), "cut at {at}");
        }
    }
}
