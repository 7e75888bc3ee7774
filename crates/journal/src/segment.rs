//! One segment file while the log is open, and the table that all threads find it in.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::{
    Committed, File, Position, ReadError,
    format::{self, ENTRY_HEADER, Entry, FRAME_HEADER, FRAMES_AT, Header},
};

/// A first read this long holds most entries whole.
const READ_AHEAD: usize = 4096;

/// What is known about one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number; positions carry it.
    pub number: u32,
    /// The position of its first entry, if it has any.
    pub first: Option<Position>,
    /// The position of its last entry, if it has any.
    pub last: Option<Position>,
    /// Entries in it.
    pub entries: u64,
    /// Bytes in use, header included.
    pub bytes: u64,
    /// When it was prepared, in milliseconds since 1970.
    pub created_millis: u64,
    /// Nothing more will be written to it.
    pub sealed: bool,
    /// SHA-256 of its header and frames; known shortly after it is sealed.
    pub final_hash: Option<[u8; 32]>,
    /// Acknowledged entries are missing from it.
    pub damaged: bool,
    /// Where it is.
    pub path: PathBuf,
}

impl SegmentInfo {
    /// The end of what is durable in it: every entry in it is below, every entry of later segments is above.
    #[must_use]
    pub fn end(&self) -> Position {
        Position::new(self.number, u32::try_from(self.bytes).unwrap_or(u32::MAX))
    }
}

/// A segment file and how far it is durable.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) header: Header,
    pub(crate) salt: u32,
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn File>,
    bounds: Mutex<Bounds>,
}

/// What of a segment is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Past the last frame.
    pub(crate) end: u32,
    /// The last entry's offset, 0 without one.
    pub(crate) last_entry: u32,
    pub(crate) entries: u64,
    /// Sequences of the first and the last frame, 0 without one.
    pub(crate) first_sequence: u64,
    pub(crate) last_sequence: u64,
    /// The checksum of the last frame, to which the next one is chained.
    pub(crate) chain: u32,
    pub(crate) sealed: bool,
    pub(crate) hash: Option<[u8; 32]>,
    pub(crate) damaged: bool,
    /// A write or sync failed: the file is not written again.
    pub(crate) failed: bool,
}

impl Bounds {
    pub(crate) fn empty(salt: u32) -> Self {
        Self {
            end: FRAMES_AT,
            last_entry: 0,
            entries: 0,
            first_sequence: 0,
            last_sequence: 0,
            chain: salt,
            sealed: false,
            hash: None,
            damaged: false,
            failed: false,
        }
    }
}

impl Segment {
    pub(crate) fn new(header: Header, name: String, path: PathBuf, file: Arc<dyn File>) -> Self {
        let salt = format::salt(header.id);
        Self {
            header,
            salt,
            name,
            path,
            file,
            bounds: Mutex::new(Bounds::empty(salt)),
        }
    }

    pub(crate) fn number(&self) -> u32 {
        self.header.number
    }

    pub(crate) fn bounds(&self) -> Bounds {
        *self.lock()
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Bounds)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, Bounds> {
        self.bounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether so many bytes fit behind the last frame.
    pub(crate) fn fits(&self, bytes: u32) -> bool {
        bytes <= self.header.segment_bytes - self.bounds().end
    }

    pub(crate) fn info(&self) -> SegmentInfo {
        let bounds = self.bounds();
        let some = bounds.entries > 0;
        SegmentInfo {
            number: self.number(),
            first: some.then(|| Position::new(self.number(), FRAMES_AT + FRAME_HEADER)),
            last: some.then(|| Position::new(self.number(), bounds.last_entry)),
            entries: bounds.entries,
            bytes: u64::from(bounds.end),
            created_millis: self.header.created_millis,
            sealed: bounds.sealed,
            final_hash: bounds.hash,
            damaged: bounds.damaged,
            path: self.path.clone(),
        }
    }

    /// Reads the entry at an offset: one read for a small one, a second for the rest of a large one.
    fn read(&self, at: Position) -> Result<Committed, ReadError> {
        let corrupt = |what| ReadError::Corrupt { position: at, what };
        let end = self.bounds().end;
        if at.offset() < FRAMES_AT + FRAME_HEADER || at.offset().saturating_add(ENTRY_HEADER) > end {
            return Err(corrupt("no entry is there"));
        }
        let room = (end - at.offset()) as usize;
        let mut bytes = vec![0; room.min(READ_AHEAD)];
        self.read_exact(&mut bytes, at.offset())?;
        let length = format::entry_length(&bytes);
        if length > room {
            return Err(corrupt("its length leaves the segment"));
        }
        let known = bytes.len();
        bytes.resize(length, 0);
        if length > known {
            self.read_exact(&mut bytes[known..], at.offset() + known as u32)?;
        }
        let entry = Entry::decode(&bytes, self.salt, at.offset()).ok_or_else(|| corrupt("its checksum is wrong"))?;
        Ok(Committed {
            position: at,
            partition: entry.partition,
            epoch: entry.epoch,
            payload: entry.payload,
        })
    }

    fn read_exact(&self, bytes: &mut [u8], offset: u32) -> io::Result<()> {
        let read = self.file.read_at(bytes, u64::from(offset))?;
        if read < bytes.len() {
            Err(io::ErrorKind::UnexpectedEof.into())
        } else {
            Ok(())
        }
    }
}

/// The segments that hold entries, and the one being written.
#[derive(Debug)]
pub(crate) struct Table {
    segments: RwLock<BTreeMap<u32, Arc<Segment>>>,
    // The highest number ever given out.
    highest: AtomicU32,
}

impl Table {
    /// An empty table of a log that has given out numbers up to `highest`.
    pub(crate) fn new(highest: u32) -> Self {
        Self {
            segments: RwLock::default(),
            highest: AtomicU32::new(highest),
        }
    }

    pub(crate) fn insert(&self, segment: Arc<Segment>) {
        self.highest.fetch_max(segment.number(), Ordering::AcqRel);
        self.segments
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(segment.number(), segment);
    }

    pub(crate) fn remove(&self, number: u32) {
        self.segments.write().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }

    pub(crate) fn get(&self, number: u32) -> Option<Arc<Segment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    /// Oldest first.
    pub(crate) fn all(&self) -> Vec<Arc<Segment>> {
        self.segments
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// Reads one entry, telling a released segment from a damaged one.
    pub(crate) fn read(&self, at: Position) -> Result<Committed, ReadError> {
        let Some(segment) = self.get(at.segment()) else {
            let beyond = at.segment() > self.highest.load(Ordering::Acquire);
            return Err(if beyond {
                ReadError::Corrupt {
                    position: at,
                    what: "no entry is there yet",
                }
            } else {
                ReadError::Expired(at)
            });
        };
        // The file may be released and written anew while it is read; its new salt then makes every checksum wrong.
        segment
            .read(at)
            .map_err(|error| if self.holds(&segment) { error } else { ReadError::Expired(at) })
    }

    pub(crate) fn holds(&self, segment: &Arc<Segment>) -> bool {
        self.get(segment.number()).is_some_and(|held| Arc::ptr_eq(&held, segment))
    }
}
