//! Looking at the folder without writing to it: each file against its record, each name against what may be there.

use super::room::{Ledger, Room};
use super::{MediaFiles, PART, head};
use crate::error::StoreError;
use crate::seal::{DataKey, OVERHEAD, RecordKind};
use perseat_domain::id::MediaId;
use perseat_domain::model::{Media, Sealed};
use std::fs;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Mutex;
use uuid::Uuid;

/// What is wrong with a file that a record names.
#[derive(Debug, thiserror::Error)]
pub enum MediaFault {
    /// There is none.
    #[error("it is missing")]
    Missing,
    /// It has more or fewer bytes than its record says.
    #[error("it does not have the length that its record says")]
    Length,
    /// It opens, and is another one.
    #[error("it was uploaded as another file than its record says")]
    Another,
    /// It is not what was written, or cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a name in the folder is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A file.
    File(MediaId),
    /// One that was being written; the next start removes it.
    Part,
    /// Nothing of this program's.
    Stray(String),
}

impl MediaFiles {
    /// The folder for reading alone: nothing is made or removed, and nothing can be written.
    #[must_use]
    pub fn look(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            ledger: Mutex::new(Ledger::new(Room {
                budget: 0,
                customer: 0,
                untaken: 0,
            })),
            alone: Mutex::default(),
        }
    }

    /// Holds a file against its record; opens it if a key is given.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, record: &Media, key: Option<&DataKey>) -> Result<(), MediaFault> {
        let mut file = self.opened(record.id)?.ok_or(MediaFault::Missing)?;
        head(&mut file)?;
        let mut body = Vec::new();
        file.read_to_end(&mut body).map_err(StoreError::from_io)?;
        let whole = record.bytes + OVERHEAD as u64;
        let fits = match body.first() {
            Some(1) => body.len() as u64 == whole,
            // Compressed.
            _ => (OVERHEAD as u64..whole).contains(&(body.len() as u64)),
        };
        if !fits {
            return Err(MediaFault::Length);
        }
        let Some(key) = key else { return Ok(()) };
        let uploaded = self.record(record.id, key)?.ok_or(MediaFault::Missing)?;
        // A document may have got another name since.
        if (uploaded.id, uploaded.owner, uploaded.kind) != (record.id, record.owner, record.kind) {
            return Err(MediaFault::Another);
        }
        let content = key.unseal(RecordKind::Media, record.id.0.as_bytes(), &Sealed(body));
        match content.map_err(StoreError::from)?.len() as u64 == record.bytes {
            true => Ok(()),
            false => Err(MediaFault::Length),
        }
    }

    /// Everything that is in the folder.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn found(&self) -> Result<Vec<Found>, StoreError> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(StoreError::from_io(error)),
        };
        let found = |entry: io::Result<fs::DirEntry>| -> io::Result<Found> {
            let entry = entry?;
            let name = entry.file_name();
            let id = |name: &str| Uuid::try_parse(name).ok().map(MediaId).filter(|id| self.path(*id) == entry.path());
            let path = entry.path();
            let is_part = path.extension().is_some_and(|extension| extension == PART);
            Ok(match name.to_str().and_then(id) {
                Some(id) if entry.file_type()?.is_file() => Found::File(id),
                _ if is_part => Found::Part,
                _ => Found::Stray(name.to_string_lossy().into_owned()),
            })
        };
        entries.map(found).collect::<Result<_, _>>().map_err(StoreError::from_io)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{fresh, record, room};
    use super::*;
    use crate::seal::KEY_LEN;
    use perseat_domain::model::MediaKind;

    #[test]
    fn a_file_is_held_against_its_record_and_the_folder_against_its_names() {
        let folder = tempfile::tempdir().unwrap();
        let files = MediaFiles::open(folder.path(), room(1 << 20)).unwrap();
        let key = DataKey::new(&[1; KEY_LEN], 1);
        let long = Media { bytes: 9_000, ..record(8) };
        files.write(&record(7), None, &key, b"hello", &fresh).unwrap();
        files.write(&long, None, &key, &[7; 9_000], &fresh).unwrap();
        for record in [record(7), long.clone()] {
            assert!(files.check(&record, None).is_ok() && files.check(&record, Some(&key)).is_ok());
            let renamed = Media {
                name: "other".into(),
                ..record.clone()
            };
            assert!(files.check(&renamed, Some(&key)).is_ok());
            let avatar = Media {
                kind: MediaKind::Avatar,
                ..record.clone()
            };
            assert!(matches!(files.check(&avatar, Some(&key)), Err(MediaFault::Another)));
            let longer = Media {
                bytes: record.bytes + 1,
                ..record
            };
            assert!(matches!(files.check(&longer, Some(&key)), Err(MediaFault::Length)));
        }
        assert!(matches!(
            files.check(&Media { bytes: 4, ..record(7) }, None),
            Err(MediaFault::Length)
        ));
        assert!(matches!(files.check(&record(9), None), Err(MediaFault::Missing)));
        let path = files.path(record(7).id);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(files.check(&record(7), None).is_ok());
        assert!(matches!(files.check(&record(7), Some(&key)), Err(MediaFault::Store(_))));
        for name in ["note.txt", "x.part"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let mut found = files.found().unwrap();
        found.sort_by_key(|found| format!("{found:?}"));
        let stray = Found::Stray("note.txt".to_owned());
        assert_eq!(found, [Found::File(record(7).id), Found::File(long.id), Found::Part, stray]);
        assert_eq!(MediaFiles::look(&folder.path().join("none")).found().unwrap(), []);
    }
}
