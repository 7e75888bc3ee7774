//! A journal without threads over the deterministic disk, and the model it is held against.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;

use crate::{
    Append, AppendError, Committed, Disk, MemoryDisk, NewEntry, OpenError, Options, Position, ReadError,
    disk::SeededStamp,
    format::ENTRY_HEADER,
    journal::{Journal, Parts},
    keeper::{Keeper, Turn},
    writer::Writer,
};

/// What a workload does.
#[derive(Clone, Debug)]
pub(super) enum Op {
    /// Queue one call with entries of these payload sizes.
    Append(Vec<usize>),
    /// One turn of the writer.
    Write,
    /// One turn of the keeper.
    Keep,
    /// Release all but this many of the newest segments.
    Release(usize),
    /// Lose power and open again.
    Crash,
    /// Close in order and open again.
    Restart,
}

pub(super) const SEGMENT: u32 = 32 << 10;

pub(super) fn options(seed: u64) -> Options {
    Options {
        segment_bytes: SEGMENT,
        max_bytes: 6 * u64::from(SEGMENT),
        spare_segments: 1,
        max_free_segments: 1,
        max_entry_bytes: SEGMENT / 2,
        max_frame_bytes: SEGMENT / 4,
        spare_wait: Duration::ZERO,
        stamp: Arc::new(SeededStamp::new(seed)),
        ..Options::default()
    }
}

/// The model: what was offered, what was acknowledged, what may be gone.
pub(super) struct Rig {
    pub(super) disk: MemoryDisk,
    pub(super) options: Options,
    open: Option<Open>,
    offered: u64,
    waiting: Vec<(Append, Vec<Bytes>)>,
    pub(super) acknowledged: BTreeMap<Position, Bytes>,
    pub(super) refused: Vec<AppendError>,
    seen: Arc<Mutex<Vec<Committed>>>,
    released_below: u32,
}

pub(super) struct Open {
    pub(super) journal: Journal,
    pub(super) writer: Writer,
    pub(super) keeper: Keeper,
}

impl Open {
    pub(super) fn keep(&mut self) {
        while self.keeper.turn() == Turn::Worked {}
    }
}

impl Rig {
    pub(super) fn new(seed: u64) -> Self {
        Self::with(MemoryDisk::new(seed), options(seed))
    }

    pub(super) fn with(disk: MemoryDisk, options: Options) -> Self {
        Self {
            disk,
            options,
            open: None,
            offered: 0,
            waiting: Vec::new(),
            acknowledged: BTreeMap::new(),
            refused: Vec::new(),
            seen: Arc::default(),
            released_below: 0,
        }
    }

    /// Opens the journal if it is not.
    pub(super) fn try_open(&mut self) -> Result<&mut Open, OpenError> {
        if self.open.is_none() {
            let seen = self.seen.clone();
            let sink = move |batch: Arc<[Committed]>| seen.lock().unwrap().extend(batch.iter().cloned());
            let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
            let Parts { journal, writer, keeper } = Parts::open(self.options.clone(), disk, Box::new(sink))?;
            self.open = Some(Open { journal, writer, keeper });
        }
        Ok(self.open.as_mut().unwrap())
    }

    /// Opens it whatever it takes: a planned fault is used up by trying.
    pub(super) fn open(&mut self) -> &mut Open {
        for _ in 0..3 {
            match self.try_open() {
                Ok(_) => break,
                Err(OpenError::Io(_)) => self.disk.crash(),
                Err(error) => panic!("the journal does not open: {error}"),
            }
        }
        self.open.as_mut().expect("one fault fails one attempt")
    }

    pub(super) fn journal(&mut self) -> Journal {
        self.open().journal.clone()
    }

    pub(super) fn apply(&mut self, op: &Op) {
        match op {
            Op::Append(sizes) => self.append(sizes),
            Op::Write => {
                self.open().writer.turn(false);
            }
            Op::Keep => {
                self.open().keeper.turn();
            }
            Op::Release(kept) => self.release(*kept),
            Op::Crash => self.crash(),
            Op::Restart => self.restart(),
        }
        self.collect();
    }

    pub(super) fn append(&mut self, sizes: &[usize]) {
        let mut payloads: Vec<Bytes> = Vec::new();
        for size in sizes {
            // Every payload is its own: a number, then a filling that depends on it.
            self.offered += 1;
            let mut bytes = self.offered.to_le_bytes().to_vec();
            bytes.resize(*size.max(&8), self.offered as u8);
            payloads.push(bytes.into());
        }
        let entries = payloads
            .iter()
            .map(|payload| NewEntry {
                partition: 1,
                epoch: 1,
                payload: payload.clone(),
            })
            .collect();
        let append = self.journal().append(entries);
        self.waiting.push((append, payloads));
    }

    /// Appends, lets both threads' work happen, and gives the answer.
    pub(super) fn append_now(&mut self, sizes: &[usize]) -> Result<Position, AppendError> {
        self.append(sizes);
        let refused = self.refused.len();
        self.open().keep();
        while !self.waiting.is_empty() {
            self.open().writer.turn(false);
            self.open().keep();
            self.collect();
        }
        match self.refused.get(refused) {
            Some(error) => Err(*error),
            None => Ok(*self.acknowledged.iter().nth_back(sizes.len() - 1).unwrap().0),
        }
    }

    fn release(&mut self, kept: usize) {
        let journal = self.journal();
        let segments = journal.segments();
        let Some(last) = segments.len().checked_sub(kept + 1) else { return };
        // The newest stays whatever is asked.
        let bound = (segments[last].number + 1).min(segments[segments.len() - 1].number);
        self.released_below = self.released_below.max(bound);
        // A fault may end it half-way: the model allows for anything below the bound.
        let _ = journal.release(bound);
    }

    pub(super) fn crash(&mut self) {
        self.collect();
        self.open = None;
        self.waiting.clear();
        self.disk.crash();
    }

    pub(super) fn restart(&mut self) {
        self.open();
        let Some(Open {
            journal,
            mut writer,
            mut keeper,
        }) = self.open.take()
        else {
            return;
        };
        journal.close();
        while writer.turn(false) {}
        writer.finish();
        while keeper.turn() == Turn::Worked {}
        drop((journal, writer, keeper));
        self.collect();
    }

    /// Takes the answers that have come; what the sink saw and what was acknowledged are the same.
    pub(super) fn collect(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        let mut waiting = Vec::new();
        for (mut append, payloads) in std::mem::take(&mut self.waiting) {
            match Pin::new(&mut append).poll(&mut context) {
                Poll::Pending => waiting.push((append, payloads)),
                Poll::Ready(Err(error)) => self.refused.push(error),
                Poll::Ready(Ok(first)) => self.acknowledge(first, payloads),
            }
        }
        self.waiting = waiting;
    }

    fn acknowledge(&mut self, first: Position, payloads: Vec<Bytes>) {
        let mut offset = first.to_bits();
        for payload in payloads {
            let position = Position::from_bits(offset);
            let highest = self.acknowledged.keys().next_back().copied().unwrap_or(Position::START);
            assert!(position > highest, "{position} was given after {highest}");
            offset += u64::from(ENTRY_HEADER) + payload.len() as u64;
            self.acknowledged.insert(position, payload);
        }
    }

    /// Opens again after a crash and says what is wrong, if anything is.
    pub(super) fn check(&mut self) -> Result<(), String> {
        self.crash();
        self.disk.heal();
        let seen: BTreeMap<_, _> = self
            .seen
            .lock()
            .unwrap()
            .iter()
            .map(|entry| (entry.position, entry.payload.clone()))
            .collect();
        if seen != self.acknowledged {
            return Err("the sink and the callers were told different things".into());
        }
        let journal = self.journal();
        let found: Vec<_> = journal
            .scan(None)
            .collect::<Result<_, _>>()
            .map_err(|error| format!("the scan fails: {error}"))?;
        let mut numbers = BTreeSet::from([0]);
        let mut last = Position::START;
        for entry in &found {
            let number = u64::from_le_bytes(entry.payload[..8].try_into().unwrap());
            if entry.position <= last || numbers.last().is_some_and(|last| number <= *last) || number > self.offered {
                return Err(format!("entry {number} at {} is twice, out of order or invented", entry.position));
            }
            if entry.payload[8..].iter().any(|byte| *byte != number as u8) {
                return Err(format!("entry {number} at {} is not what was offered", entry.position));
            }
            if journal.read(entry.position).ok().as_ref() != Some(entry) {
                return Err(format!("entry {number} at {} cannot be read by its position", entry.position));
            }
            numbers.insert(number);
            last = entry.position;
        }
        let held: BTreeMap<_, _> = found.into_iter().map(|entry| (entry.position, entry.payload)).collect();
        for (position, payload) in &self.acknowledged {
            match held.get(position) {
                Some(found) if found == payload => {}
                Some(_) => return Err(format!("what was acknowledged at {position} is something else now")),
                None if position.segment() >= self.released_below => return Err(format!("what was acknowledged at {position} is gone")),
                None if !matches!(journal.read(*position), Err(ReadError::Expired(_))) => {
                    return Err(format!("{position} was released and does not read as expired"));
                }
                None => {}
            }
        }
        match self.append_now(&[100]) {
            Ok(position) if position > last => Ok(()),
            Err(AppendError::Full) => Ok(()),
            other => Err(format!("after recovery an append gives {other:?}")),
        }
    }
}
