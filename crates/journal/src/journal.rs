//! The handle that everyone holds: append, read, scan, release.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use crate::{
    AbortOnPanic, Append, AppendError, Bookmark, CommitSink, Committed, Disk, NewEntry, OpenError, Options, Position, ReadError,
    ReleaseError, Room, Scan, SegmentInfo,
    format::ENTRY_HEADER,
    keeper::{Keeper, Pool},
    pin::{Pin, Pinned, Pins},
    queue::Queue,
    recover::{self, free_name},
    segment::Table,
    writer::{Fences, Shared, Writer},
};

/// The log. Cheap to clone; the last clone to go closes it.
#[derive(Clone)]
pub struct Journal {
    shared: Arc<Shared>,
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    options: Options,
    releasing: Mutex<()>,
    pins: Arc<Pins>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What a release gave back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Released {
    /// Segments released by this call.
    pub segments: u32,
    /// Bytes of their files.
    pub bytes: u64,
}

/// A journal whose threads have not been started: tests turn them by hand, in an order of their own.
pub(crate) struct Parts {
    pub(crate) journal: Journal,
    pub(crate) writer: Writer,
    pub(crate) keeper: Keeper,
}

impl Parts {
    pub(crate) fn open(options: Options, disk: Arc<dyn Disk>, sink: Box<dyn CommitSink>) -> Result<Self, OpenError> {
        options.check()?;
        let mut found = recover::find(&*disk)?;
        // Names are not given twice, so that no position is, either.
        if found.last_number < options.remembered_segment {
            return Err(OpenError::Lost {
                newest: found.last_number,
                remembered: options.remembered_segment,
            });
        }
        recover::repair(&mut found, &*disk, options.segment_bytes)?;
        let next_number = found.last_number + 1;
        let sequence = found.last_sequence() + 1;
        // No later entry comes below the next number, and none of the old ones is above.
        let head = AtomicU64::new(Position::new(next_number, 0).to_bits());
        let held: u64 = found.segments.iter().map(|segment| u64::from(segment.header.segment_bytes)).sum();
        let total = held + found.free.len() as u64 * u64::from(options.segment_bytes);
        let pool = Arc::new(Pool::new(&options, found.free, total, next_number));
        let table = Arc::new(Table::new(next_number - 1));
        for segment in found.segments {
            table.insert(segment);
        }
        let queue = Queue::new(options.max_queued_entries, options.max_queued_bytes);
        let shared = Arc::new(Shared {
            queue,
            pool: pool.clone(),
            table: table.clone(),
            fences: Fences::new(),
            head,
        });
        let inner = Inner {
            shared: shared.clone(),
            disk: disk.clone(),
            options: options.clone(),
            releasing: Mutex::new(()),
            pins: Arc::default(),
            threads: Mutex::new(Vec::new()),
        };
        Ok(Self {
            journal: Journal {
                shared: shared.clone(),
                inner: Arc::new(inner),
            },
            writer: Writer::new(shared, options.clone(), sink, sequence),
            keeper: Keeper {
                options,
                disk,
                table,
                pool,
            },
        })
    }
}

/// What an entry takes of a call.
fn size_of_entry(entry: &NewEntry) -> usize {
    entry.payload.len() + ENTRY_HEADER as usize
}

impl Journal {
    /// Opens the log of a directory: cuts and seals the old tail and starts a fresh segment.
    ///
    /// A directory without room for another segment still opens: it reads, and appends answer `Full` until there is room.
    pub fn open(options: Options, disk: Arc<dyn Disk>, sink: Box<dyn CommitSink>) -> Result<Self, OpenError> {
        let Parts {
            journal,
            mut writer,
            mut keeper,
        } = Parts::open(options, disk, sink)?;
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| thread::Builder::new().name(name.to_owned()).spawn(run);
        // The keeper ends after the writer, whose last segment it seals; `close` joins in this order.
        let writer = spawn("journal-writer", Box::new(move || writer.run()))?;
        journal.threads().push(writer);
        let keep = move || {
            let _without_it = AbortOnPanic;
            keeper.run();
        };
        let keeper = spawn("journal-keeper", Box::new(keep))?;
        journal.threads().push(keeper);
        Ok(journal)
    }

    /// Queues entries for one frame, contiguous and in order; gives the position of the first. Never blocks.
    ///
    /// All entries of a call commit or none does. A call without entries resolves at once to the head.
    pub fn append(&self, entries: Vec<NewEntry>) -> Append {
        self.put(entries, false)
    }

    /// As [`Journal::append`], but before everything that waits, and with a right to the spares that are kept back when the limit is
    /// reached: for what has to be written before a segment can be released. It may take a whole segment: what was taken in under larger
    /// limits has to be carried, too.
    pub fn append_first(&self, entries: Vec<NewEntry>) -> Append {
        let append = self.put(entries, true);
        self.shared.pool.summon();
        append
    }

    /// What the entries of one call may come to (`max_entry_bytes`).
    pub fn most_in_call(&self) -> usize {
        self.inner.options.max_entry_bytes as usize
    }

    /// Whether one call of [`Journal::append`] takes these entries.
    #[must_use]
    pub fn takes(&self, entries: &[NewEntry]) -> bool {
        entries.iter().map(size_of_entry).sum::<usize>() <= self.most_in_call()
    }

    /// What one entry may come to (payload) that is given to [`Journal::append_first`] by itself.
    #[must_use]
    pub fn most_first(&self) -> usize {
        (self.inner.options.most_in_segment() - ENTRY_HEADER) as usize
    }

    /// Parts entries into as few calls of [`Journal::append`] as take them, in order. What fits no call has one of its own.
    pub fn in_calls(&self, entries: Vec<NewEntry>) -> Vec<Vec<NewEntry>> {
        let most = self.most_in_call();
        let (mut calls, mut bytes): (Vec<Vec<NewEntry>>, usize) = (Vec::new(), most);
        for entry in entries {
            bytes += size_of_entry(&entry);
            match calls.last_mut().filter(|_| bytes <= most) {
                Some(call) => call.push(entry),
                None => {
                    bytes = size_of_entry(&entry);
                    calls.push(vec![entry]);
                }
            }
        }
        calls
    }

    fn put(&self, entries: Vec<NewEntry>, goes_first: bool) -> Append {
        if entries.is_empty() {
            return Append::known(Ok(self.head()));
        }
        let bytes = entries.iter().map(size_of_entry).sum::<usize>();
        let options = &self.inner.options;
        let most = if goes_first {
            options.most_in_segment()
        } else {
            options.max_entry_bytes
        };
        match u32::try_from(bytes) {
            Ok(bytes) if bytes <= most => self.shared.queue.push(entries, bytes, goes_first),
            _ => Append::known(Err(AppendError::TooLarge)),
        }
    }

    /// Reads one entry: a blocking read, checked against segment id and checksum.
    pub fn read(&self, at: Position) -> Result<Committed, ReadError> {
        self.shared.table.read(at)
    }

    /// All entries durable now, from a position on (inclusive), in order. Blocking reads.
    #[must_use]
    pub fn scan(&self, from: Option<Position>) -> Scan {
        self.scan_on(None, from)
    }

    /// As [`Journal::scan`], but what an earlier scan has read of the position's segment, up to its bookmark, is not read again.
    #[must_use]
    pub fn scan_on(&self, bookmark: Option<Bookmark>, from: Option<Position>) -> Scan {
        Scan::new(self.shared.table.all(), Some(self.shared.table.clone()), from, bookmark)
    }

    /// The segments that hold entries and the one being written, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.shared.table.all().iter().map(|segment| segment.info()).collect()
    }

    /// Recycles the sealed segments before `up_to_segment`, oldest first; their positions read as expired from now on. Blocks.
    ///
    /// The newest segment always stays: its number is what keeps a restarted log from giving positions twice. Pinned segments stay, too.
    pub fn release(&self, up_to_segment: u32) -> Result<Released, ReleaseError> {
        let _one_at_a_time = self.inner.releasing.lock().unwrap_or_else(PoisonError::into_inner);
        let (disk, pool) = (&self.inner.disk, &self.shared.pool);
        let mut released = Released::default();
        let mut segments = self.shared.table.all();
        segments.pop();
        for segment in segments {
            let bounds = segment.bounds();
            if segment.number() >= up_to_segment || !bounds.sealed || self.inner.pins.hold(segment.number()) {
                break;
            }
            let name = free_name(segment.number());
            disk.rename(&segment.name, &name)?;
            #[cfg(feature = "faults")]
            crate::kill_point::reach("segment-renamed");
            self.shared.table.remove(segment.number());
            let bytes = u64::from(segment.header.segment_bytes);
            // One by one: a crash must not leave a hole between the segments that are left.
            if let Err(error) = disk.sync_directory() {
                // A file whose new name is not known to be durable must not be written under it.
                pool.discard(name, bytes);
                return Err(error.into());
            }
            if bounds.failed || segment.header.segment_bytes != self.inner.options.segment_bytes {
                pool.discard(name, bytes);
            } else {
                pool.reuse(name);
            }
            released.segments += 1;
            released.bytes += bytes;
        }
        Ok(released)
    }

    /// Keeps every segment there is now, and those to come, from being released; see [`Pin`].
    #[must_use]
    pub fn pin(&self) -> Pin {
        let _no_release_meanwhile = self.inner.releasing.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = self.shared.table.all().first().map_or(0, |segment| segment.number());
        self.inner.pins.add(oldest)
    }

    /// What is kept for those who copy it.
    #[must_use]
    pub fn pinned(&self) -> Option<Pinned> {
        self.inner.pins.pinned()
    }

    /// Breaks every pin: what they kept can be released again.
    pub fn break_pins(&self) {
        self.inner.pins.break_all();
    }

    /// Refuses appends to a partition below `epoch` from now on. What is being written while this is called still commits.
    pub fn fence(&self, partition: u8, epoch: u64) {
        self.shared.fences.raise(partition, epoch);
    }

    /// The end of what is durable: every entry below it is, every later one comes at or above it.
    #[must_use]
    pub fn head(&self) -> Position {
        Position::from_bits(self.shared.head.load(Ordering::Acquire))
    }

    /// Bytes of all files of the directory, spares included.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.shared.pool.total_bytes()
    }

    /// Bytes of the files that hold entries, the one being written included.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        let segments = self.shared.table.all();
        segments.iter().map(|segment| u64::from(segment.header.segment_bytes)).sum()
    }

    /// Sets what all files together may come to, in place of [`Options::max_bytes`]. Where less is wanted than there is, files go as
    /// segments are released.
    pub fn limit(&self, bytes: u64) {
        self.shared.pool.set_limit(bytes);
    }

    /// How much room there is ahead of the writer.
    #[must_use]
    pub fn room(&self) -> Room {
        self.shared.pool.room()
    }

    /// The disk gives no room for the next segment: what is left is for work that is under way. Never blocks.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.shared.pool.is_refused()
    }

    /// Two segments in a row failed; appends fail until the log is opened again.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.shared.queue.refusal() == Some(AppendError::Poisoned)
    }

    /// Asks the writer for a sign of life through its queue; gives the number of the request.
    pub fn pulse(&self) -> u64 {
        self.shared.queue.pulse()
    }

    /// The newest pulse the writer has answered: one that stays below [`Journal::pulse`]'s answer shows a stalled writer.
    #[must_use]
    pub fn last_heartbeat(&self) -> u64 {
        self.shared.queue.answered()
    }

    /// Entries that were queued and not yet answered.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.shared.queue.waiting()
    }

    /// Writes what is queued, seals the segment and stops; later appends answer `Closed`. Blocks.
    pub fn close(&self) {
        self.inner.close();
    }

    fn threads(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.inner.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn close(&self) {
        self.shared.queue.close();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // The last clone may go within the sink, on the writer itself; that thread ends without being waited for.
            if thread.thread().id() != thread::current().id() && thread.join().is_err() {
                tracing::error!("a journal thread panicked");
            }
            self.shared.pool.close();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("head", &self.head())
            .field("room", &self.room())
            .finish_non_exhaustive()
    }
}
