//! Uploaded files, sealed, one file each in a folder beside the catalog.
//!
//! A file is durable before a record names it, and goes after the record is gone; what a crash leaves between the two is
//! named by no record and is swept. Once its owner's key is destroyed, what is left of a file says nothing.
//!
//! Stored form: `PSM1 ‖ length of the sealed record (4, little-endian) ‖ sealed record ‖ sealed content`. The record says
//! whose file it is and what for, so that an upload cannot be taken for anybody else's.

use crate::catalog::{Catalog, Lookup};
use crate::error::StoreError;
use crate::keyring::Owner;
use crate::seal::{self, DataKey, RecordKind};
use perseat_domain::id::{CustomerId, MediaId};
use perseat_domain::model::{Media, MediaOwner, Membership, Sealed, User};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use zeroize::Zeroizing;

mod inspect;
mod room;

pub use inspect::{Found, MediaFault};
pub use room::Room;

use room::{Item, Ledger};

const MAGIC: &[u8; 4] = b"PSM1";
/// The longest sealed record: a name and ids.
const MAX_RECORD: usize = 16 * 1024;
/// What a file that is being written is called besides.
const PART: &str = "part";

/// The folder of one data directory.
#[derive(Debug)]
pub struct MediaFiles {
    folder: PathBuf,
    ledger: Mutex<Ledger>,
    /// Held by whoever writes a file anew or removes one.
    alone: Mutex<()>,
}

/// Why a file is not kept.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// There is one of this id already.
    #[error("it was uploaded already")]
    Exists,
    /// All files together would exceed the limit.
    #[error("the files together would exceed their limit")]
    Budget,
    /// The files of the customer would exceed its limit.
    #[error("the files of the customer would exceed its limit")]
    CustomerBudget,
    /// The owner has too many uploads that nothing has taken up.
    #[error("too many uploads wait to be taken up")]
    Untaken,
    /// The disk failed, or a file is not what was written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<io::Error> for MediaError {
    fn from(error: io::Error) -> Self {
        Self::Store(StoreError::from_io(error))
    }
}

/// Whose key seals the files of an owner: they are unreadable once it is destroyed.
#[must_use]
pub fn key_of(owner: MediaOwner) -> Owner {
    match owner {
        MediaOwner::Organization(_) | MediaOwner::Integration(_) => Owner::Organization,
        MediaOwner::Customer(id) => Owner::Customer(id),
        MediaOwner::User(id) => Owner::User(id),
    }
}

/// The customer whose file it is, or whose user's; none for the organization's.
///
/// # Errors
/// If the catalog cannot be read.
pub fn customer_of(at: &impl Lookup, owner: MediaOwner) -> Result<Option<CustomerId>, StoreError> {
    Ok(match owner {
        MediaOwner::Customer(id) => Some(id),
        MediaOwner::User(id) => match at.get::<User>(id)?.map(|user| user.membership) {
            Some(Membership::Customer(id)) => Some(id),
            _ => None,
        },
        MediaOwner::Organization(_) | MediaOwner::Integration(_) => None,
    })
}

/// A file that no record names any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unnamed {
    /// Its id.
    pub id: MediaId,
    /// The customer whose file it was, or whose user's.
    pub customer: Option<CustomerId>,
}

impl MediaFiles {
    /// Opens or makes the folder, and removes what was being written when the process ended.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn open(folder: &Path, room: Room) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut ledger = Ledger::new(room);
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|extension| extension == PART) {
                fs::remove_file(entry.path())?;
            } else {
                ledger.found(entry.metadata()?.len());
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
            ledger: Mutex::new(ledger),
            alone: Mutex::default(),
        })
    }

    /// Counts what is there for the customers whose it is, as the catalog says.
    ///
    /// # Errors
    /// If the catalog cannot be read.
    pub fn charge(&self, catalog: &Catalog) -> Result<(), StoreError> {
        let view = catalog.view()?;
        view.for_each(|record: Media| {
            if let Some(customer) = customer_of(&view, record.owner)?
                && let Ok(metadata) = fs::metadata(self.path(record.id))
            {
                self.ledger().charge(customer, metadata.len());
            }
            Ok::<_, StoreError>(())
        })
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alone(&self) -> MutexGuard<'_, ()> {
        self.alone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a file of this id.
    #[must_use]
    pub fn is_there(&self, id: MediaId) -> bool {
        self.path(id).is_file()
    }

    fn path(&self, id: MediaId) -> PathBuf {
        self.folder.join(id.0.simple().to_string())
    }

    /// Keeps a file, durable once this returns. `customer` is whose it is, or whose user's; `is_named` tells whether something
    /// has taken an earlier upload up.
    ///
    /// # Errors
    /// There is one of this id, there is no room, or the disk fails.
    pub fn write(
        &self,
        record: &Media,
        customer: Option<CustomerId>,
        key: &DataKey,
        content: &[u8],
        is_named: &dyn Fn(MediaId) -> Result<bool, StoreError>,
    ) -> Result<(), MediaError> {
        let id = record.id.0.as_bytes();
        let named = postcard::to_stdvec(record).map_err(|error| StoreError::corrupt(format!("a file's record: {error}")))?;
        let head = key.seal(RecordKind::MediaRecord, id, &named).0;
        let body = key.seal(RecordKind::Media, id, content).0;
        let length = u32::try_from(head.len()).map_err(|_| StoreError::corrupt("a file's record"))?;
        let bytes = (MAGIC.len() + 4 + head.len() + body.len()) as u64;
        if self.is_there(record.id) {
            return Err(MediaError::Exists);
        }
        let item = Item {
            id: record.id,
            owner: record.owner,
            customer,
            bytes,
        };
        self.ledger().reserve(item, is_named)?;
        let written = self.put(record.id, &[MAGIC, &length.to_le_bytes(), &head, &body]);
        if written.is_err() {
            self.ledger().release(record.id, customer, bytes);
        }
        written
    }

    /// Whether an older version of this key sealed a file. `false`, too, where there is no such file, and where the newest version has the
    /// number of the one that sealed it, whoever's it is.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] if another owner's key sealed it, or a version that is not there any more; it is damaged, or the disk
    /// fails.
    pub fn is_stale(&self, id: MediaId, key: &DataKey) -> Result<bool, StoreError> {
        let Some(mut file) = self.opened(id)? else { return Ok(false) };
        let head = head(&mut file)?;
        if seal::version_of(&head) == Some(key.version()) {
            return Ok(false);
        }
        key.unseal(RecordKind::MediaRecord, id.0.as_bytes(), &head)?;
        Ok(true)
    }

    /// Seals a file with the newest version of its owner's key, where an older one sealed it; tells whether it did. One that is
    /// removed meanwhile does not come back.
    ///
    /// # Errors
    /// It does not open, or the disk is full or fails: then it is as it was.
    pub fn reseal(&self, id: MediaId, key: &DataKey) -> Result<bool, StoreError> {
        let _alone = self.alone();
        let Some(mut file) = self.opened(id)? else { return Ok(false) };
        let record_id = id.0.as_bytes();
        let before = head(&mut file)?;
        let written_at = file
            .metadata()
            .and_then(|metadata| metadata.modified())
            .map_err(StoreError::from_io)?;
        let mut body = Vec::new();
        file.read_to_end(&mut body).map_err(StoreError::from_io)?;
        let head = key.reseal(RecordKind::MediaRecord, record_id, &before)?;
        let body = Sealed(body);
        let sealed = key.reseal(RecordKind::Media, record_id, &body)?;
        if head.is_none() && sealed.is_none() {
            return Ok(false);
        }
        let (head, body) = (head.unwrap_or(before), sealed.unwrap_or(body));
        let length = u32::try_from(head.0.len()).map_err(|_| StoreError::corrupt("a file's record"))?;
        let (path, part) = (self.path(id), self.path(id).with_extension(PART));
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
            for bytes in [MAGIC.as_slice(), &length.to_le_bytes(), &head.0, &body.0] {
                file.write_all(bytes)?;
            }
            // What nothing takes up is swept as soon as without this.
            file.set_modified(written_at)?;
            file.sync_all()?;
            fs::rename(&part, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        let written = write();
        if written.is_err() {
            // What is left of it is removed on the next start otherwise.
            drop(fs::remove_file(&part));
        }
        written.map(|()| true).map_err(StoreError::from_io)
    }

    fn put(&self, id: MediaId, parts: &[&[u8]]) -> Result<(), MediaError> {
        let (path, part) = (self.path(id), self.path(id).with_extension(PART));
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part);
        let mut file = opened.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => MediaError::Exists,
            _ => error.into(),
        })?;
        let mut put = || -> Result<(), MediaError> {
            if path.exists() {
                return Err(MediaError::Exists);
            }
            for bytes in parts {
                file.write_all(bytes)?;
            }
            file.sync_all()?;
            fs::rename(&part, &path)?;
            Ok(File::open(&self.folder)?.sync_all()?)
        };
        let put = put();
        if put.is_err() {
            // What is left of it is removed on the next start otherwise.
            drop(fs::remove_file(&part));
        }
        put
    }

    /// The record that a file was uploaded as; `None` if there is no such file.
    ///
    /// # Errors
    /// It is another owner's, it is damaged, or the disk fails.
    pub fn record(&self, id: MediaId, key: &DataKey) -> Result<Option<Media>, StoreError> {
        let Some(mut file) = self.opened(id)? else { return Ok(None) };
        let head = head(&mut file)?;
        let named = key.unseal(RecordKind::MediaRecord, id.0.as_bytes(), &head)?;
        postcard::from_bytes(&named)
            .map(Some)
            .map_err(|_| StoreError::corrupt("a file's record"))
    }

    /// The content of a file; `None` if there is no such file.
    ///
    /// # Errors
    /// It is another owner's, it is damaged, or the disk fails.
    pub fn content(&self, id: MediaId, key: &DataKey) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let Some(mut file) = self.opened(id)? else { return Ok(None) };
        head(&mut file)?;
        let mut body = Vec::new();
        file.read_to_end(&mut body).map_err(StoreError::from_io)?;
        Ok(Some(key.unseal(RecordKind::Media, id.0.as_bytes(), &Sealed(body))?))
    }

    fn opened(&self, id: MediaId) -> Result<Option<File>, StoreError> {
        match File::open(self.path(id)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::from_io(error)),
        }
    }

    /// Something has taken an upload up.
    pub fn is_taken(&self, id: MediaId) {
        self.ledger().is_taken(id);
    }

    /// Removes a file, if it is there. `customer` is whose it was, or whose user's; it is known of uploads.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn remove(&self, id: MediaId, customer: Option<CustomerId>) -> io::Result<()> {
        let _alone = self.alone();
        let path = self.path(id);
        let bytes = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        fs::remove_file(&path)?;
        self.ledger().release(id, customer, bytes);
        Ok(())
    }

    /// The files that were written before a time.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn written_before(&self, time: SystemTime) -> io::Result<Vec<MediaId>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let id = entry.file_name().to_str().and_then(|name| uuid::Uuid::try_parse(name).ok());
            if let Some(id) = id
                && entry.metadata()?.modified()? < time
            {
                found.push(MediaId(id));
            }
        }
        Ok(found)
    }
}

fn head(file: &mut File) -> Result<Sealed, StoreError> {
    let corrupt = || StoreError::corrupt("a file");
    // What a disk does not give now it may give later.
    let cut = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => corrupt(),
        _ => StoreError::from_io(error),
    };
    let mut start = [0; 8];
    file.read_exact(&mut start).map_err(cut)?;
    let length = u32::from_le_bytes([start[4], start[5], start[6], start[7]]) as usize;
    if start[..4] != *MAGIC || length > MAX_RECORD {
        return Err(corrupt());
    }
    let mut head = vec![0; length];
    file.read_exact(&mut head).map_err(cut)?;
    Ok(Sealed(head))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::KEY_LEN;
    use perseat_domain::id::CustomerId;
    use perseat_domain::model::{MediaKind, MediaOwner};
    use uuid::Uuid;

    pub(super) fn room(budget: u64) -> Room {
        Room {
            budget,
            customer: budget,
            untaken: 8,
        }
    }

    pub(super) fn fresh(_: MediaId) -> Result<bool, StoreError> {
        Ok(false)
    }

    pub(super) fn record(id: u128) -> Media {
        Media {
            id: MediaId(Uuid::from_u128(id)),
            owner: MediaOwner::Customer(CustomerId(Uuid::from_u128(1))),
            kind: MediaKind::Attachment,
            name: "contract.pdf".to_owned(),
            bytes: 5,
        }
    }

    #[test]
    fn a_file_opens_with_its_owners_key_alone_and_says_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let files = MediaFiles::open(folder.path(), room(1 << 20)).unwrap();
        let (own, other) = (DataKey::new(&[1; KEY_LEN], 1), DataKey::new(&[2; KEY_LEN], 1));
        files.write(&record(7), None, &own, b"hello", &fresh).unwrap();
        assert_eq!(files.record(record(7).id, &own).unwrap(), Some(record(7)));
        assert_eq!(files.content(record(7).id, &own).unwrap().unwrap().as_slice(), b"hello");
        assert!(files.content(record(7).id, &other).is_err());
        assert!(files.record(record(7).id, &other).is_err());
        let stored = fs::read(files.path(record(7).id)).unwrap();
        let contains = |text: &[u8]| stored.windows(text.len()).any(|part| part == text);
        assert!(!contains(b"hello") && !contains(b"contract"));
        fs::rename(files.path(record(7).id), files.path(record(8).id)).unwrap();
        assert!(files.content(record(8).id, &own).is_err(), "a file that was moved is none");
    }

    #[test]
    fn a_file_is_stale_that_an_older_version_of_the_key_sealed_and_nobody_elses_is() {
        let folder = tempfile::tempdir().unwrap();
        let files = MediaFiles::open(folder.path(), room(1 << 20)).unwrap();
        let (own, other) = (DataKey::new(&[1; KEY_LEN], 1), DataKey::new(&[2; KEY_LEN], 1));
        files.write(&record(1), None, &own, b"own", &fresh).unwrap();
        files.write(&record(2), None, &other, b"another's", &fresh).unwrap();
        assert!(!files.is_stale(record(1).id, &own).unwrap());
        own.advance(&[3; KEY_LEN], 2);
        let before = fs::read(files.path(record(2).id)).unwrap();
        assert!(files.is_stale(record(1).id, &own).unwrap());
        assert!(matches!(files.is_stale(record(2).id, &own), Err(StoreError::Sealed(_))));
        assert!(matches!(files.reseal(record(2).id, &own), Err(StoreError::Sealed(_))));
        assert_eq!(fs::read(files.path(record(2).id)).unwrap(), before);
        assert!(!files.is_stale(record(3).id, &own).unwrap(), "there is none");
        let old = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(60);
        File::options()
            .write(true)
            .open(files.path(record(1).id))
            .unwrap()
            .set_modified(old)
            .unwrap();
        assert!(files.reseal(record(1).id, &own).unwrap() && !files.reseal(record(1).id, &own).unwrap());
        let later = old + std::time::Duration::from_secs(1);
        assert_eq!(files.written_before(later).unwrap(), [record(1).id], "it is as old as it was");
        own.forget(1);
        assert!(!files.is_stale(record(1).id, &own).unwrap());
        assert_eq!(files.content(record(1).id, &own).unwrap().unwrap().as_slice(), b"own");
    }

    #[test]
    fn a_file_that_is_removed_while_it_is_sealed_anew_does_not_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let files = MediaFiles::open(folder.path(), room(1 << 20)).unwrap();
        let key = DataKey::new(&[1; KEY_LEN], 1);
        for version in 1..200 {
            files.write(&record(1), None, &key, &[7; 10_000], &fresh).unwrap();
            key.advance(&[1; KEY_LEN], version + 1);
            std::thread::scope(|scope| {
                scope.spawn(|| files.reseal(record(1).id, &key).unwrap());
                files.remove(record(1).id, None).unwrap();
            });
            assert!(!files.is_there(record(1).id), "at version {version}");
        }
    }

    #[test]
    fn a_file_is_never_written_twice_and_all_together_stay_within_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let key = DataKey::new(&[1; KEY_LEN], 1);
        let files = MediaFiles::open(folder.path(), room(2_000)).unwrap();
        files.write(&record(1), None, &key, &[7; 1_000], &fresh).unwrap();
        assert!(matches!(
            files.write(&record(1), None, &key, b"other", &fresh),
            Err(MediaError::Exists)
        ));
        assert!(matches!(
            files.write(&record(2), None, &key, &[7; 1_000], &fresh),
            Err(MediaError::Budget)
        ));
        let files = MediaFiles::open(folder.path(), room(2_000)).unwrap();
        assert!(matches!(
            files.write(&record(2), None, &key, &[7; 1_000], &fresh),
            Err(MediaError::Budget)
        ));
        files.remove(record(1).id, None).unwrap();
        files.remove(record(1).id, None).unwrap();
        files.write(&record(2), None, &key, &[7; 1_000], &fresh).unwrap();
        assert_eq!(files.written_before(SystemTime::UNIX_EPOCH).unwrap(), []);
        let later = SystemTime::now() + std::time::Duration::from_secs(60);
        assert_eq!(files.written_before(later).unwrap(), [record(2).id]);
    }
}
