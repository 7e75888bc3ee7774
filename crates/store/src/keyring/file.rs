//! The keyring file: a header page, then slots.
//!
//! | offset | bytes | header field |
//! |---|---|---|
//! | 0 | 8 | `PERSKEYS` |
//! | 8 | 4 | format, 1, little-endian |
//! | 12 | 4 | bytes of a slot, little-endian |
//! | 16 | 16 | random id of the file |
//! | 32 | 65 | 32 zero bytes sealed by the master key: tells whether a master key fits |
//! | 2048 | 12 | generation, see below |
//! | 3072 | 12 | generation |
//! | 4092 | 4 | CRC32C of the bytes before, the generations taken as zeros, little-endian |
//!
//! A generation is a number (8) and the CRC32C of the file's id and the number (4), or zeros. Both stand in sectors of their own
//! and are written in turn, so that one of them is whole whatever becomes of the other; the higher one counts. Every change of
//! the slots raises it within the same sync.

use super::export::Mark;
use super::master::{MasterKey, random_key};
use super::slot::SLOT;
use crate::error::StoreError;
use crate::seal::{KEY_LEN, OVERHEAD, RecordKind};
use perseat_domain::model::Sealed;
use rustix::io::{ReadWriteFlags, preadv2};
use std::fmt::Debug;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, IoSliceMut};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"PERSKEYS";
const FORMAT: u32 = 1;
pub(super) const HEADER: usize = 4096;
const CHECK: std::ops::Range<usize> = 32..32 + KEY_LEN + OVERHEAD;
const CRC: std::ops::Range<usize> = HEADER - 4..HEADER;
const ID: std::ops::Range<usize> = 16..32;
/// Where the two generations stand.
const GENERATIONS: [usize; 2] = [2048, 3072];
/// Bytes of a generation with its checksum.
const GENERATION: usize = 12;
/// Slots read or written at once.
pub(super) const CHUNK: usize = 8 * 1024;

/// What the slots are written to: a file, or its deterministic twin.
pub(super) trait Medium: Debug + Send + Sync {
    /// Its length.
    fn length(&self) -> io::Result<u64>;
    /// Reads up to `buffer.len()` bytes at `offset`; fewer only at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Fills the buffer where nobody waits for the disk; `false` where that is not so, or there are fewer bytes.
    fn read_at_once(&self, buffer: &mut [u8], offset: u64) -> bool;
    /// Writes all of `bytes`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes what was written durable.
    fn sync(&self) -> io::Result<()>;
    /// Makes its name durable.
    fn sync_name(&self) -> io::Result<()>;
}

/// A file, locked against other processes.
#[derive(Debug)]
struct LockedFile {
    file: File,
    path: PathBuf,
}

impl LockedFile {
    fn open(path: &Path) -> Result<Self, StoreError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => StoreError::Locked {
                path: path.display().to_string(),
            },
            TryLockError::Error(error) => error.into(),
        })?;
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }
}

impl Medium for LockedFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match self.file.read_at(&mut buffer[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn read_at_once(&self, buffer: &mut [u8], offset: u64) -> bool {
        let whole = buffer.len();
        // Whatever it fails of: a file system that cannot tell, too, is asked again with the time it takes.
        preadv2(&self.file, &mut [IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT).is_ok_and(|read| read == whole)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn sync_name(&self) -> io::Result<()> {
        sync_parent(&self.path)
    }
}

/// The open file.
#[derive(Debug)]
pub(super) struct KeyringFile {
    medium: Box<dyn Medium>,
}

impl KeyringFile {
    pub(super) fn open(path: &Path, master: &MasterKey) -> Result<Self, StoreError> {
        Self::on(Box::new(LockedFile::open(path)?), master)
    }

    pub(super) fn on(medium: Box<dyn Medium>, master: &MasterKey) -> Result<Self, StoreError> {
        let mut header = [0; HEADER];
        let length = medium.length()?;
        let is_whole = medium.read_at(&mut header, 0)? == HEADER && is_whole(&header);
        if is_whole {
            check(&header, master)?;
        } else if length <= HEADER as u64 {
            header = new_header(master);
        } else {
            return Err(StoreError::corrupt("keyring header"));
        }
        if length <= HEADER as u64 {
            // There are no slots, so nothing to lose: creation never began, or was cut off, perhaps by a sync that failed.
            // Then a header that is seen may not be on disk.
            medium.write_at(&header, 0).map_err(StoreError::from_io)?;
            medium.sync().map_err(StoreError::from_io)?;
            medium.sync_name()?;
        }
        Ok(Self { medium })
    }

    /// Whether the file at `path` is under this master key.
    ///
    /// # Errors
    /// [`StoreError::WrongMasterKey`] if not; if it is no keyring, or the disk fails.
    pub(super) fn is_under(path: &Path, master: &MasterKey) -> Result<(), StoreError> {
        let mut header = [0; HEADER];
        let read = File::open(path)?.read_at(&mut header, 0)?;
        if read < HEADER || !is_whole(&header) {
            return Err(StoreError::corrupt("keyring header"));
        }
        check(&header, master)
    }

    /// Begins a new file beside this one: its header under another master key, and no slots yet.
    pub(super) fn draft(&self, path: &Path, master: &MasterKey, generation: Generation) -> Result<Self, StoreError> {
        let mut header = self.header()?;
        put_check(&mut header, master);
        let at = GENERATIONS[usize::from(generation.is_second)];
        let bytes = generation_bytes(&header[ID], generation.number);
        header[at..at + GENERATION].copy_from_slice(&bytes);
        let medium = LockedFile::open(path)?;
        medium.write_at(&header, 0).map_err(StoreError::from_io)?;
        Ok(Self { medium: Box::new(medium) })
    }

    /// Overwrites all of it, header included, with zeros and syncs.
    pub(super) fn overwrite(&self) -> Result<(), StoreError> {
        let (zeros, end) = (vec![0; CHUNK * SLOT], self.medium.length().map_err(StoreError::from_io)?);
        let mut at = 0;
        while at < end {
            let step = (end - at).min(zeros.len() as u64);
            self.medium.write_at(&zeros[..step as usize], at).map_err(StoreError::from_io)?;
            at += step;
        }
        self.sync()
    }

    /// A file whose header is not looked at.
    pub(super) fn unchecked(medium: Box<dyn Medium>) -> Self {
        Self { medium }
    }

    /// How many slots the file holds; a torn last one counts.
    pub(super) fn slots(&self) -> Result<u32, StoreError> {
        let bytes = self.medium.length()?.saturating_sub(HEADER as u64);
        u32::try_from(bytes.div_ceil(SLOT as u64)).map_err(|_| StoreError::corrupt("keyring length"))
    }

    /// Gives every slot to `visit`.
    pub(super) fn scan(&self, slots: u32, mut visit: impl FnMut(u32, &[u8; SLOT])) -> Result<(), StoreError> {
        let mut buffer = vec![0; CHUNK * SLOT];
        let mut number = 0;
        while number < slots {
            let count = CHUNK.min((slots - number) as usize);
            let chunk = &mut buffer[..count * SLOT];
            self.read_padded(chunk, offset(number))?;
            for bytes in chunk.as_chunks::<SLOT>().0 {
                visit(number, bytes);
                number += 1;
            }
        }
        Ok(())
    }

    /// Reads; what lies beyond the end is zero.
    fn read_padded(&self, chunk: &mut [u8], at: u64) -> Result<(), StoreError> {
        let read = self.medium.read_at(chunk, at)?;
        chunk[read..].fill(0);
        Ok(())
    }

    pub(super) fn read(&self, slot: u32) -> Result<[u8; SLOT], StoreError> {
        let mut bytes = [0; SLOT];
        self.read_padded(&mut bytes, offset(slot))?;
        Ok(bytes)
    }

    /// Whether it can be read without waiting for the disk: the header was just read.
    pub(super) fn reads_at_once(&self) -> bool {
        self.medium.read_at_once(&mut [0; HEADER], 0)
    }

    /// The slot, where nobody waits for the disk.
    pub(super) fn read_at_once(&self, slot: u32) -> Option<[u8; SLOT]> {
        let mut bytes = [0; SLOT];
        self.medium.read_at_once(&mut bytes, offset(slot)).then_some(bytes)
    }

    /// The header as it stands in the file.
    pub(super) fn header(&self) -> Result<[u8; HEADER], StoreError> {
        let mut header = [0; HEADER];
        self.read_padded(&mut header, 0)?;
        Ok(header)
    }

    /// How often the slots were changed, as the file says.
    pub(super) fn generation(&self) -> Result<Generation, StoreError> {
        Ok(generation_of(&self.header()?))
    }

    /// Writes a generation; the caller syncs. What stood in its place is not needed any more.
    pub(super) fn write_generation(&self, generation: Generation) -> Result<(), StoreError> {
        let bytes = generation_bytes(&self.header()?[ID], generation.number);
        let at = GENERATIONS[usize::from(generation.is_second)] as u64;
        self.medium.write_at(&bytes, at).map_err(StoreError::from_io)
    }

    /// Bytes from any offset on; what lies beyond the end is zero.
    pub(super) fn raw(&self, at: u64, bytes: &mut [u8]) -> Result<(), StoreError> {
        self.read_padded(bytes, at)
    }

    /// Writes whole slots from `first` on.
    pub(super) fn write(&self, first: u32, bytes: &[u8]) -> Result<(), StoreError> {
        self.medium.write_at(bytes, offset(first)).map_err(StoreError::from_io)
    }

    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.medium.sync().map_err(StoreError::from_io)
    }
}

/// Writes new slots: free ones in place, the rest at the end, gathered into few writes.
pub(super) struct Appender<'a> {
    file: &'a KeyringFile,
    first: u32,
    buffer: Vec<u8>,
}

impl<'a> Appender<'a> {
    pub(super) fn new(file: &'a KeyringFile, end: u32) -> Self {
        Self {
            file,
            first: end,
            buffer: Vec::new(),
        }
    }

    /// Puts a slot at the end; gives its number.
    pub(super) fn push(&mut self, bytes: &[u8; SLOT]) -> Result<u32, StoreError> {
        let number = self.end();
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK * SLOT {
            self.flush()?;
        }
        Ok(number)
    }

    /// The number of slots, those still in the buffer included.
    pub(super) fn end(&self) -> u32 {
        self.first + (self.buffer.len() / SLOT) as u32
    }

    pub(super) fn flush(&mut self) -> Result<(), StoreError> {
        self.file.write(self.first, &self.buffer)?;
        self.first = self.end();
        self.buffer.clear();
        Ok(())
    }
}

fn offset(slot: u32) -> u64 {
    HEADER as u64 + u64::from(slot) * SLOT as u64
}

fn new_header(master: &MasterKey) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    header[12..16].copy_from_slice(&(SLOT as u32).to_le_bytes());
    header[ID].copy_from_slice(&random_key()[..16]);
    put_check(&mut header, master);
    header
}

/// Writes by what a master key is known, and the checksum.
fn put_check(header: &mut [u8; HEADER], master: &MasterKey) {
    let check = master.0.seal(RecordKind::WrappedKey, &header[ID], &[0; KEY_LEN]);
    header[CHECK].copy_from_slice(&check.0);
    let crc = checksum(header);
    header[CRC].copy_from_slice(&crc);
}

fn checksum(header: &[u8; HEADER]) -> [u8; 4] {
    let mut fixed = *header;
    for at in GENERATIONS {
        fixed[at..at + GENERATION].fill(0);
    }
    crc32c::crc32c(&fixed[..CRC.start]).to_le_bytes()
}

fn is_whole(header: &[u8; HEADER]) -> bool {
    header[CRC] == checksum(header) && header[..8] == MAGIC
}

/// How often the slots were changed, and in which of the two places that stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Generation {
    pub(super) number: u64,
    is_second: bool,
}

impl Generation {
    /// The next one, in the other place.
    pub(super) fn after(self, attempted: u64) -> Self {
        Self {
            number: attempted + 1,
            is_second: !self.is_second,
        }
    }
}

fn generation_bytes(id: &[u8], number: u64) -> [u8; GENERATION] {
    let mut out = [0; GENERATION];
    out[..8].copy_from_slice(&number.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(id), &out[..8]);
    out[8..].copy_from_slice(&crc.to_le_bytes());
    out
}

/// The higher of the generations that are whole; zero in a file from before there were any.
fn generation_of(header: &[u8; HEADER]) -> Generation {
    let mut found = Generation::default();
    for (at, is_second) in GENERATIONS.into_iter().zip([false, true]) {
        let bytes = &header[at..at + GENERATION];
        let mut number = [0; 8];
        number.copy_from_slice(&bytes[..8]);
        let number = u64::from_le_bytes(number);
        if number > found.number && bytes == generation_bytes(&header[ID], number) {
            found = Generation { number, is_second };
        }
    }
    found
}

/// The mark of a file with this header and length; `None` if it is no whole header.
pub(super) fn mark_of(header: &[u8; HEADER], length: u64) -> Option<Mark> {
    is_whole(header).then(|| {
        let mut id = [0; 16];
        id.copy_from_slice(&header[ID]);
        Mark {
            id,
            generation: generation_of(header).number,
            slots: length.saturating_sub(HEADER as u64) / SLOT as u64,
        }
    })
}

fn check(header: &[u8; HEADER], master: &MasterKey) -> Result<(), StoreError> {
    let format = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
    if format != FORMAT {
        return Err(StoreError::UnknownFormat {
            what: "keyring",
            found: format,
            known: FORMAT,
        });
    }
    let sealed = Sealed(header[CHECK].to_vec());
    let opened = master.0.unseal(RecordKind::WrappedKey, &header[ID], &sealed);
    opened.map(|_| ()).map_err(|_| StoreError::WrongMasterKey)
}

/// Makes a new name in a folder durable.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel syncs neither a device without a disk nor its own directories, and says so: who asks it hears that.
    #[test]
    fn a_sync_asks_the_operating_system() {
        let folder = tempfile::tempdir().unwrap();
        let file = LockedFile::open(&folder.path().join("keyring")).unwrap();
        file.sync().unwrap();
        file.sync_name().unwrap();
        let foreign = LockedFile {
            file: File::open("/dev/null").unwrap(),
            path: PathBuf::from("/proc/self/keyring"),
        };
        let refused = |sync: io::Result<()>| sync.unwrap_err().kind();
        assert_eq!(refused(foreign.sync()), io::ErrorKind::InvalidInput);
        assert_eq!(refused(foreign.sync_name()), io::ErrorKind::InvalidInput);
        assert_eq!(refused(sync_parent(&foreign.path)), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn what_is_read_at_once_is_what_stands_in_the_file_and_never_a_part() {
        let folder = tempfile::tempdir().unwrap();
        let file = LockedFile::open(&folder.path().join("keyring")).unwrap();
        file.write_at(b"0123456789", 0).unwrap();
        let mut found = [0; 4];
        assert!(!file.read_at_once(&mut found, 8), "two bytes are left there");
        if file.read_at_once(&mut found, 4) {
            assert_eq!(&found, b"4567");
        } else {
            println!("not checked: this file system waits for the disk, or does not know");
        }
    }
}
