//! A journal without threads over the deterministic disk, and the model it is held against.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
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
    // The numbers of each call's payloads.
    calls: Vec<RangeInclusive<u64>>,
    waiting: Vec<Waiting>,
    pub(super) acknowledged: BTreeMap<Position, Bytes>,
    pub(super) refused: Vec<AppendError>,
    // Payloads of calls that were refused without having been tried.
    untried: BTreeSet<u64>,
    seen: Arc<Mutex<Vec<Committed>>>,
    // A release up to here was begun, and one up to there is durable.
    released_below: u32,
    gone_below: u32,
    /// Files that were released for reuse.
    pub(super) recycled: u32,
}

struct Waiting {
    append: Append,
    payloads: Vec<Bytes>,
    numbers: RangeInclusive<u64>,
    // The log was poisoned before the call.
    is_hopeless: bool,
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
            calls: Vec::new(),
            waiting: Vec::new(),
            acknowledged: BTreeMap::new(),
            refused: Vec::new(),
            untried: BTreeSet::new(),
            seen: Arc::default(),
            released_below: 0,
            gone_below: 0,
            recycled: 0,
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

    /// Opens it whatever it takes: planned faults are used up by trying, now after a crash and now after the process's end alone.
    pub(super) fn open(&mut self) -> &mut Open {
        for attempt in 0..8 {
            match self.try_open() {
                Ok(_) => break,
                Err(OpenError::Io(_)) if attempt % 2 == 0 => self.disk.crash(),
                Err(OpenError::Io(_)) => self.disk.reopen(),
                Err(error) => panic!("the journal does not open: {error}"),
            }
        }
        self.open.as_mut().expect("each fault fails one attempt")
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
        let journal = self.journal();
        let numbers = self.offered + 1 - sizes.len() as u64..=self.offered;
        self.calls.push(numbers.clone());
        let is_hopeless = journal.is_poisoned();
        self.waiting.push(Waiting {
            append: journal.append(entries),
            payloads,
            numbers,
            is_hopeless,
        });
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
        if let Ok(released) = journal.release(bound)
            && let Some(newest) = released.segments.checked_sub(1)
        {
            self.gone_below = self.gone_below.max(segments[newest as usize].number + 1);
            self.recycled += released.segments;
        }
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
        self.disk.reopen();
    }

    /// Takes the answers that have come; what the sink saw and what was acknowledged are the same.
    pub(super) fn collect(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        let mut waiting = Vec::new();
        for mut call in std::mem::take(&mut self.waiting) {
            match Pin::new(&mut call.append).poll(&mut context) {
                Poll::Pending => waiting.push(call),
                Poll::Ready(Err(error)) => {
                    self.refused.push(error);
                    if matches!(error, AppendError::Busy | AppendError::TooLarge | AppendError::Fenced) {
                        self.untried.extend(call.numbers);
                    }
                }
                Poll::Ready(Ok(first)) => {
                    assert!(!call.is_hopeless, "a poisoned log acknowledged a later call");
                    self.acknowledge(first, call.payloads);
                }
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

    /// Opens again after a crash and says everything that is wrong, if anything is.
    pub(super) fn check(&mut self) -> Result<(), String> {
        self.crash();
        self.disk.heal();
        let mut checks = vec![self.check_sink(), self.check_failed()];
        let journal = self.journal();
        let found: Vec<_> = journal
            .scan(None)
            .collect::<Result<_, _>>()
            .map_err(|error| format!("the scan fails: {error}"))?;
        let last = found.last().map_or(Position::START, |entry| entry.position);
        checks.push(self.check_order(&journal, &found));
        checks.push(self.check_calls(&found));
        checks.push(self.check_acknowledged(&journal, found));
        let problems: Vec<String> = checks.into_iter().filter_map(Result::err).collect();
        if !problems.is_empty() {
            return Err(problems.join("; "));
        }
        match self.append_now(&[100]) {
            Ok(position) if position > last => Ok(()),
            Err(AppendError::Full) => Ok(()),
            other => Err(format!("after recovery an append gives {other:?}")),
        }
    }

    /// The sink and the callers were told the same.
    fn check_sink(&self) -> Result<(), String> {
        let seen = self.seen.lock().unwrap();
        let seen: BTreeMap<_, _> = seen.iter().map(|entry| (entry.position, entry.payload.clone())).collect();
        match seen == self.acknowledged {
            true => Ok(()),
            false => Err("the sink and the callers were told different things".into()),
        }
    }

    /// A segment that failed was not used again.
    fn check_failed(&self) -> Result<(), String> {
        match self.disk.used_after_failure().iter().find(|name| name.ends_with(".seg")) {
            Some(name) => Err(format!("{name} was written or synced again after a failure")),
            None => Ok(()),
        }
    }

    /// Every entry is one that was offered, stands once and in order, and can be read by its position.
    fn check_order(&self, journal: &Journal, found: &[Committed]) -> Result<(), String> {
        let (mut last, mut last_number) = (Position::START, 0);
        for entry in found {
            let number = number(entry);
            if entry.position <= last || number <= last_number || number > self.offered {
                return Err(format!("entry {number} at {} is twice, out of order or invented", entry.position));
            }
            if entry.payload[8..].iter().any(|byte| *byte != number as u8) {
                return Err(format!("entry {number} at {} is not what was offered", entry.position));
            }
            if journal.read(entry.position).ok().as_ref() != Some(entry) {
                return Err(format!("entry {number} at {} cannot be read by its position", entry.position));
            }
            if entry.position.segment() < self.gone_below {
                return Err(format!("entry {number} at {} was released for good and is back", entry.position));
            }
            (last, last_number) = (entry.position, number);
        }
        Ok(())
    }

    /// A call is there wholly or not at all, and not if it was refused at the door.
    fn check_calls(&self, found: &[Committed]) -> Result<(), String> {
        let numbers: BTreeSet<u64> = found.iter().map(number).collect();
        for call in &self.calls {
            let there = numbers.range(call.clone()).count() as u64;
            if there != 0 && there != call.end() + 1 - call.start() {
                return Err(format!("of the call with entries {call:?} only {there} are there"));
            }
        }
        match numbers.intersection(&self.untried).next() {
            Some(number) => Err(format!("entry {number} was refused and is there")),
            None => Ok(()),
        }
    }

    /// What was acknowledged is where it was said to be, unless its segment was released.
    fn check_acknowledged(&self, journal: &Journal, found: Vec<Committed>) -> Result<(), String> {
        let places: BTreeMap<u64, Position> = found.iter().map(|entry| (number(entry), entry.position)).collect();
        let held: BTreeMap<_, _> = found.into_iter().map(|entry| (entry.position, entry.payload)).collect();
        for (position, payload) in &self.acknowledged {
            let number = u64::from_le_bytes(payload[..8].try_into().unwrap());
            if places.get(&number).is_some_and(|place| place != position) {
                return Err(format!("entry {number}, acknowledged at {position}, is at {} too", places[&number]));
            }
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
        Ok(())
    }
}

/// Which payload an entry carries.
fn number(entry: &Committed) -> u64 {
    u64::from_le_bytes(entry.payload[..8].try_into().unwrap())
}
