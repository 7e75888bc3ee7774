//! The keyring file: a header page, then slots.
//!
//! | offset | bytes | header field |
//! |---|---|---|
//! | 0 | 8 | `PERSKEYS` |
//! | 8 | 4 | format, 1, little-endian |
//! | 12 | 4 | bytes of a slot, little-endian |
//! | 16 | 16 | random id of the file |
//! | 32 | 65 | 32 zero bytes sealed by the master key: tells whether a master key fits |
//! | 4092 | 4 | CRC32C of the bytes before, little-endian |

use super::master::{MasterKey, random_key};
use super::slot::SLOT;
use crate::error::StoreError;
use crate::seal::{KEY_LEN, OVERHEAD, RecordKind};
use perseat_domain::model::Sealed;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

const MAGIC: [u8; 8] = *b"PERSKEYS";
const FORMAT: u32 = 1;
const HEADER: usize = 4096;
const CHECK: std::ops::Range<usize> = 32..32 + KEY_LEN + OVERHEAD;
const CRC: std::ops::Range<usize> = HEADER - 4..HEADER;
/// Slots read or written at once.
const CHUNK: usize = 8 * 1024;

/// The open file, locked against other processes.
pub(super) struct KeyringFile {
    file: File,
}

impl KeyringFile {
    pub(super) fn open(path: &Path, master: &MasterKey) -> Result<Self, StoreError> {
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
        let mut header = [0; HEADER];
        let length = file.metadata()?.len();
        let whole = length >= HEADER as u64 && file.read_exact_at(&mut header, 0).map(|()| is_whole(&header))?;
        if whole {
            check(&header, master)?;
        } else if length <= HEADER as u64 {
            // Without slots there is nothing to lose: creation was cut off, or never began.
            file.write_all_at(&new_header(master), 0).map_err(StoreError::from_io)?;
            file.sync_all().map_err(StoreError::from_io)?;
            sync_parent(path)?;
        } else {
            return Err(StoreError::corrupt("keyring header"));
        }
        Ok(Self { file })
    }

    /// How many slots the file holds; a torn last one counts.
    pub(super) fn slots(&self) -> Result<u32, StoreError> {
        let bytes = self.file.metadata()?.len().saturating_sub(HEADER as u64);
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
    fn read_padded(&self, mut chunk: &mut [u8], mut at: u64) -> Result<(), StoreError> {
        while !chunk.is_empty() {
            let read = self.file.read_at(chunk, at)?;
            if read == 0 {
                chunk.fill(0);
                break;
            }
            chunk = &mut chunk[read..];
            at += read as u64;
        }
        Ok(())
    }

    pub(super) fn read(&self, slot: u32) -> Result<[u8; SLOT], StoreError> {
        let mut bytes = [0; SLOT];
        self.file.read_exact_at(&mut bytes, offset(slot))?;
        Ok(bytes)
    }

    /// Writes whole slots from `first` on.
    pub(super) fn write(&self, first: u32, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all_at(bytes, offset(first)).map_err(StoreError::from_io)
    }

    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.file.sync_data().map_err(StoreError::from_io)
    }

    /// Cuts the file to so many slots.
    pub(super) fn cut(&self, slots: u32) -> Result<(), StoreError> {
        self.file.set_len(offset(slots)).map_err(StoreError::from_io)
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
    header[16..32].copy_from_slice(&random_key()[..16]);
    let check = master.0.seal(RecordKind::WrappedKey, &header[16..32], &[0; KEY_LEN]);
    header[CHECK].copy_from_slice(&check.0);
    let crc = crc32c::crc32c(&header[..CRC.start]);
    header[CRC].copy_from_slice(&crc.to_le_bytes());
    header
}

fn is_whole(header: &[u8; HEADER]) -> bool {
    header[CRC] == crc32c::crc32c(&header[..CRC.start]).to_le_bytes() && header[..8] == MAGIC
}

fn check(header: &[u8; HEADER], master: &MasterKey) -> Result<(), StoreError> {
    let format = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
    if format != FORMAT {
        return Err(StoreError::UnknownFormat {
            what: "keyring",
            found: format,
        });
    }
    let sealed = Sealed(header[CHECK].to_vec());
    let opened = master.0.unseal(RecordKind::WrappedKey, &header[16..32], &sealed);
    opened.map(|_| ()).map_err(|_| StoreError::WrongMasterKey)
}

/// Makes a new name in a folder durable.
pub(super) fn sync_parent(path: &Path) -> Result<(), StoreError> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    Ok(File::open(parent)?.sync_all()?)
}
