//! Work ahead of and behind the writer, on a thread of its own: prepares spare segments, seals full ones.
//!
//! The writer never creates, fills or renames a file. A file carries the name of a segment only once its header is durable; until then, and
//! after its release, it is named free, and what is in it is nobody's.

mod seal;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{
    Disk, File, Options,
    format::Header,
    metric,
    pace::{Progress, REST},
    recover::{free_name, segment_name},
    segment::{Segment, Table},
};

pub(crate) use seal::{hash, seal};

/// How much room there is ahead of the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// The spare segments are ready or being prepared.
    Ample,
    /// The next spare waits for a release: the limit is reached. Whoever releases knows whether there is anything to.
    Limit,
    /// A spare cannot be prepared: refuse new events, let running executions end in what is left.
    Reserve,
    /// Nothing is left: appends answer `Full`.
    Full,
}

/// What the keeper and the writer share.
#[derive(Debug)]
pub(crate) struct Pool {
    state: Mutex<State>,
    for_keeper: Condvar,
    for_writer: Condvar,
    closed: AtomicBool,
    segment_bytes: u64,
    // Spares that only what goes first may use at the limit.
    kept_back: usize,
    // The disk gave no room for the last spare that was tried.
    refused: AtomicBool,
}

#[derive(Debug)]
struct State {
    ready: VecDeque<Arc<Segment>>,
    // The one that the writer took last, and how many it took.
    current: Option<Arc<Segment>>,
    taken: u64,
    free: VecDeque<String>,
    discarded: VecDeque<(String, u64)>,
    // One of them could not be deleted: what else there is to do goes first.
    is_held_up: bool,
    full: VecDeque<(Arc<Segment>, Write)>,
    total_bytes: u64,
    // What was made past the limit since the last release.
    past_limit: u64,
    // The most that `total_bytes` may come to by a new file.
    limit: u64,
    next_number: u32,
    // Something that goes first waits for the writer.
    summoned: bool,
    // The writer waits for a spare.
    awaited: bool,
    // What goes first, on which the next release depends, has found none: until one is there or something is released.
    is_urgent: bool,
    // What goes first took a spare at the limit: until something is released the segment is its own.
    is_set_aside: bool,
    // A spare could not be prepared.
    blocked: bool,
    // A spare waits for a release.
    at_limit: bool,
    // The writer went away without a spare.
    starved: bool,
    // Something changed since the keeper last looked.
    stirred: bool,
}

/// What the writer gets.
#[derive(Debug)]
pub(crate) enum Spare {
    Ready(Arc<Segment>),
    /// Something waits that goes first.
    StepAside,
    /// Not yet: what is missing is being prepared or waits for a release.
    NotYet,
    None,
}

/// Whether a segment's seal may be written: never to one whose write or sync failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    Allowed,
    Never,
}

impl State {
    /// The writer waits for a spare, or events are refused for want of one.
    fn is_short(&self) -> bool {
        self.awaited || self.starved || self.blocked || self.at_limit
    }

    /// Something was released: what depended on it goes on.
    fn released(&mut self) {
        (self.is_set_aside, self.is_urgent, self.past_limit) = (false, false, 0);
    }

    fn made(&mut self, bytes: u64) {
        self.total_bytes += bytes;
        if self.total_bytes > self.limit {
            self.past_limit += bytes;
        }
    }

    fn gone(&mut self, bytes: u64) {
        self.total_bytes -= bytes;
        self.past_limit = self.past_limit.saturating_sub(bytes);
    }

    /// There is nothing to do, or only once more what failed.
    fn rest(&mut self) -> Turn {
        match std::mem::take(&mut self.is_held_up) {
            true => Turn::Blocked,
            false => Turn::Idle,
        }
    }
}

impl Pool {
    pub(crate) fn new(options: &Options, free: Vec<String>, total_bytes: u64, next_number: u32) -> Self {
        let state = State {
            ready: VecDeque::new(),
            current: None,
            taken: 0,
            free: free.into(),
            discarded: VecDeque::new(),
            is_held_up: false,
            full: VecDeque::new(),
            total_bytes,
            past_limit: 0,
            limit: options.max_bytes,
            next_number,
            summoned: false,
            awaited: false,
            is_urgent: false,
            is_set_aside: false,
            blocked: false,
            at_limit: false,
            starved: false,
            stirred: true,
        };
        Self {
            state: Mutex::new(state),
            for_keeper: Condvar::new(),
            for_writer: Condvar::new(),
            closed: AtomicBool::new(false),
            segment_bytes: u64::from(options.segment_bytes),
            kept_back: (options.spare_segments as usize).saturating_sub(1),
            refused: AtomicBool::new(false),
        }
    }

    /// The next spare; waits for one that is being prepared or for a release, not for one that cannot be prepared. Where it waits in
    /// vain there is none, unless the caller `comes_again`. What does not go first leaves some at the limit, and is told to step aside
    /// when something comes that does. For what goes first spares are made past the limit where none is left: a release depends on it, and
    /// what the disk refuses is tried again by and by. They come to no more than what the oldest segment holds can need, which that takes
    /// away: see [`most_past_limit`].
    pub(crate) fn take(&self, wait: Duration, comes_again: bool, goes_first: bool) -> Spare {
        let lacks = |state: &State| {
            let kept_back = if self.is_at_limit(state) && !goes_first && !state.blocked {
                self.kept_back
            } else {
                0
            };
            state.ready.len() <= kept_back
        };
        let mut state = self.lock();
        if goes_first && lacks(&state) && !state.is_urgent {
            (state.is_urgent, state.stirred) = (true, true);
            self.for_keeper.notify_one();
        }
        if !wait.is_zero() {
            let waits = |state: &mut State| lacks(state) && !state.blocked && (goes_first || !state.summoned);
            if waits(&mut state) {
                state.awaited = true;
                self.for_keeper.notify_one();
            }
            state = self
                .for_writer
                .wait_timeout_while(state, wait, waits)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            state.awaited = false;
        }
        let spare = if lacks(&state) { None } else { state.ready.pop_front() };
        match spare {
            Some(segment) => {
                state.starved = false;
                state.is_set_aside = goes_first && self.is_at_limit(&state);
                state.is_urgent &= !goes_first;
                state.taken += 1;
                state.current = Some(segment.clone());
                self.stir(state);
                Spare::Ready(segment)
            }
            None if !goes_first && std::mem::take(&mut state.summoned) => Spare::StepAside,
            None if comes_again && !state.blocked => Spare::NotYet,
            None => {
                state.starved = true;
                Spare::None
            }
        }
    }

    /// Whether no spare can be made before a release.
    fn is_at_limit(&self, state: &State) -> bool {
        state.free.is_empty() && state.total_bytes + self.segment_bytes > state.limit
    }

    /// Whether what is left of the segment that the writer took last is kept for what goes first.
    pub(crate) fn is_set_aside(&self) -> bool {
        let state = self.lock();
        state.is_set_aside && !state.blocked && self.is_at_limit(&state)
    }

    /// Something that goes first waits in line: a writer that waits for a spare takes it up.
    pub(crate) fn summon(&self) {
        self.lock().summoned = true;
        self.for_writer.notify_all();
    }

    /// Hands over a segment that is full, or given up.
    pub(crate) fn retire(&self, segment: Arc<Segment>, write: Write) {
        segment.update(|bounds| bounds.sealed = true);
        let mut state = self.lock();
        state.full.push_back((segment, write));
        self.stir(state);
    }

    /// Hands over a released file.
    pub(crate) fn reuse(&self, name: String) {
        let mut state = self.lock();
        state.free.push_back(name);
        state.released();
        self.stir(state);
    }

    /// Hands over a released file that is not fit for another use.
    pub(crate) fn discard(&self, name: String, bytes: u64) {
        let mut state = self.lock();
        state.discarded.push_back((name, bytes));
        state.released();
        self.stir(state);
    }

    pub(crate) fn room(&self) -> Room {
        let state = self.lock();
        match (state.blocked, state.at_limit) {
            (false, false) => Room::Ample,
            _ if state.starved => Room::Full,
            (true, _) => Room::Reserve,
            (false, true) => Room::Limit,
        }
    }

    /// Sets how many bytes the files may come to; a lower limit takes effect with the next releases.
    pub(crate) fn set_limit(&self, bytes: u64) {
        let mut state = self.lock();
        if state.limit != bytes {
            state.limit = bytes;
            self.stir(state);
        }
    }

    /// Whether the disk refused the last spare that was tried.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    pub(crate) fn total_bytes(&self) -> u64 {
        self.lock().total_bytes
    }

    /// Bytes that the writer used since it began, and those that it has left in segments that are ready: none if they are short.
    fn writer(&self) -> (u64, u64) {
        let state = self.lock();
        let end = state
            .current
            .as_ref()
            .map_or(self.segment_bytes, |current| u64::from(current.bounds().end));
        let room = match state.is_short() {
            true => 0,
            false => (state.ready.len() as u64 + 1) * self.segment_bytes - end,
        };
        (state.taken * self.segment_bytes + end, room)
    }

    /// Ends the keeper once all full segments are sealed.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.stir(self.lock());
    }

    /// Waits for so long, but for nothing that the keeper is to do.
    fn rest(&self, limit: Duration) {
        let rests = |state: &mut State| !state.is_short() && state.full.is_empty() && !self.closed();
        drop(self.for_keeper.wait_timeout_while(self.lock(), limit, rests));
    }

    fn next_full(&self) -> Option<(Arc<Segment>, Write)> {
        self.lock().full.pop_front()
    }

    fn stir(&self, mut state: MutexGuard<'_, State>) {
        state.stirred = true;
        drop(state);
        self.for_keeper.notify_one();
    }

    fn closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a turn of the keeper came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Worked,
    Idle,
    Blocked,
    Closed,
}

/// The next thing to do.
enum Work {
    Seal(Arc<Segment>, Write),
    Prepare { number: u32, free: Option<String> },
    Delete(String, u64),
    None(Turn),
}

/// What may be made past the limit before the oldest segment goes: what it holds is packed anew one after the other, as it comes. Any
/// two segments that follow each other hold more than fits one of them, so that it takes twice the bytes and one segment more at most.
fn most_past_limit(oldest_bytes: u64, segment_bytes: u64) -> u64 {
    2 * oldest_bytes + segment_bytes
}

/// The thread's state.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) options: Options,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) table: Arc<Table>,
    pub(crate) pool: Arc<Pool>,
}

impl Keeper {
    /// Works until the pool is closed.
    pub(crate) fn run(&mut self) {
        let mut pause = self.options.retry_interval;
        loop {
            match self.turn() {
                Turn::Worked => pause = self.options.retry_interval,
                Turn::Idle => self.sleep(Duration::MAX),
                Turn::Blocked => {
                    self.sleep(pause);
                    pause = (pause * 2).min(self.options.retry_interval * 16);
                }
                Turn::Closed => return,
            }
        }
    }

    /// Until something is stirred; the next turn looks for itself.
    fn sleep(&self, limit: Duration) {
        let waits = |state: &mut State| !state.stirred && !self.pool.closed();
        drop(self.pool.for_keeper.wait_timeout_while(self.pool.lock(), limit, waits));
    }

    /// Does one thing, or says why there is none.
    pub(crate) fn turn(&mut self) -> Turn {
        let turn = match self.choose() {
            Work::Seal(segment, write) => {
                self.finish(&segment, write);
                Turn::Worked
            }
            Work::Prepare { number, free } => match self.prepare(number, free) {
                Ok(Some(segment)) => {
                    self.pool.refused.store(false, Ordering::Relaxed);
                    let mut state = self.pool.lock();
                    state.ready.push_back(segment);
                    (state.blocked, state.at_limit, state.starved) = (false, false, false);
                    Turn::Worked
                }
                // What is full is sealed before the end.
                Ok(None) => Turn::Worked,
                Err(error) => {
                    tracing::warn!(%error, "no spare journal segment could be prepared");
                    self.pool.refused.store(true, Ordering::Relaxed);
                    let mut state = self.pool.lock();
                    // What can be deleted makes room.
                    (state.blocked, state.is_held_up) = (true, false);
                    Turn::Blocked
                }
            },
            Work::Delete(name, bytes) => {
                self.delete(&name, bytes);
                Turn::Worked
            }
            Work::None(turn) => turn,
        };
        self.pool.for_writer.notify_all();
        self.report();
        turn
    }

    fn choose(&self) -> Work {
        let oldest = self.table.all().first().map_or(0, |oldest| u64::from(oldest.header.segment_bytes));
        let mut state = self.pool.lock();
        state.stirred = false;
        if let Some((segment, write)) = state.full.pop_front() {
            return Work::Seal(segment, write);
        }
        if self.pool.closed() {
            return Work::None(Turn::Closed);
        }
        if !state.is_held_up
            && let Some((name, bytes)) = state.discarded.pop_front()
        {
            return Work::Delete(name, bytes);
        }
        if state.ready.len() < self.options.spare_segments as usize {
            let fits = state.total_bytes + u64::from(self.options.segment_bytes) <= state.limit;
            let free = state.free.pop_front();
            let most = most_past_limit(oldest, u64::from(self.options.segment_bytes));
            let may_exceed = state.is_urgent && state.ready.is_empty() && state.past_limit < most;
            if free.is_none() && !fits && !may_exceed {
                state.at_limit = true;
                return Work::None(state.rest());
            }
            let number = state.next_number;
            state.next_number += 1;
            return Work::Prepare { number, free };
        }
        if (state.free.len() > self.options.max_free_segments as usize || state.total_bytes > state.limit)
            && let Some(name) = state.free.pop_front()
        {
            return Work::Delete(name, u64::from(self.options.segment_bytes));
        }
        Work::None(state.rest())
    }

    /// Makes a segment out of a free file or a new one; `None` if the pool was closed meanwhile.
    fn prepare(&self, number: u32, free: Option<String>) -> io::Result<Option<Arc<Segment>>> {
        let bytes = u64::from(self.options.segment_bytes);
        let (free, file) = match free {
            Some(name) => {
                let opened = self.disk.open(&name);
                (name.clone(), opened.inspect_err(|_| self.pool.lock().free.push_back(name))?)
            }
            None => {
                let name = free_name(number);
                let file = self.disk.create(&name)?;
                self.pool.lock().made(bytes);
                match self.fill(&*file) {
                    Ok(true) => (name, file),
                    Ok(false) => {
                        self.delete(&name, bytes);
                        return Ok(None);
                    }
                    Err(error) => {
                        self.delete(&name, bytes);
                        return Err(error);
                    }
                }
            }
        };
        let stamp = &self.options.stamp;
        let header = Header {
            number,
            id: stamp.segment_id(),
            created_millis: stamp.now_millis(),
            segment_bytes: self.options.segment_bytes,
        };
        let written = file.write_at(&header.encode(), 0).and_then(|()| file.sync());
        written.inspect_err(|_| self.pool.lock().free.push_back(free.clone()))?;
        let name = segment_name(number);
        let named = self
            .disk
            .rename(&free, &name)
            .inspect_err(|_| self.pool.lock().free.push_back(free.clone()));
        #[cfg(feature = "faults")]
        crate::kill_point::reach("segment-named");
        named.and_then(|()| self.disk.sync_directory().inspect_err(|_| self.withdraw(&name, number)))?;
        let path = self.disk.path(&name);
        Ok(Some(Arc::new(Segment::new(header, name, path, file))))
    }

    /// Pre-fills a file with written zeros: overwriting is cheaper to sync than growing. False if the pool was closed meanwhile.
    /// That takes a while: whether there is room for all of it is known before.
    fn fill(&self, file: &dyn File) -> io::Result<bool> {
        let length = u64::from(self.options.segment_bytes);
        file.reserve(length)?;
        let (mut at, (mut used_before, _)) = (0, self.pool.writer());
        while at < length {
            if self.pool.closed() {
                return Ok(false);
            }
            let (used, room) = self.pool.writer();
            let progress = Progress {
                used: used - used_before,
                room,
                left: length - at,
            };
            used_before = used;
            let piece = progress.piece();
            file.write_zeros(piece.bytes, at)?;
            at += piece.bytes as u64;
            if piece.rests {
                // What became full meanwhile does not wait for all of this.
                while let Some((segment, write)) = self.pool.next_full() {
                    self.finish(&segment, write);
                }
                self.pool.rest(REST);
            }
        }
        file.sync()?;
        Ok(true)
    }

    /// A name whose durability is unknown must not be written under. If it cannot be taken back durably, the file is deleted.
    fn withdraw(&self, name: &str, number: u32) {
        let (free, bytes) = (free_name(number), u64::from(self.options.segment_bytes));
        match self.disk.rename(name, &free) {
            Ok(()) if self.disk.sync_directory().is_ok() => self.pool.lock().free.push_back(free),
            Ok(()) => self.pool.lock().discarded.push_back((free, bytes)),
            Err(_) => self.pool.lock().discarded.push_back((name.to_owned(), bytes)),
        }
    }

    /// What is gone counts no more, durably or not: a start counts what it finds. What is still there is deleted later.
    fn delete(&self, name: &str, bytes: u64) {
        let removed = match self.disk.remove(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
        let mut state = self.pool.lock();
        match &removed {
            Ok(()) => state.gone(bytes),
            Err(_) => {
                state.discarded.push_back((name.to_owned(), bytes));
                state.is_held_up = true;
            }
        }
        drop(state);
        if let Err(error) = removed.and_then(|()| self.disk.sync_directory()) {
            tracing::warn!(%error, file = name, "a free journal file could not be deleted");
        }
    }

    fn finish(&self, segment: &Arc<Segment>, write: Write) {
        if !self.table.holds(segment) {
            return;
        }
        let outcome = match write {
            Write::Allowed => seal(segment),
            Write::Never => hash(segment).map(|hash| segment.update(|bounds| bounds.hash = Some(hash))),
        };
        if let Err(error) = outcome {
            tracing::warn!(%error, segment = segment.number(), "a journal segment could not be sealed; the next start does it");
        }
    }

    fn report(&self) {
        let state = self.pool.lock();
        metrics::gauge!(metric::SPARE_SEGMENTS).set(state.ready.len() as f64);
        metrics::gauge!(metric::DIRECTORY_BYTES).set(state.total_bytes as f64);
        drop(state);
        metrics::gauge!(metric::SEGMENTS).set(self.table.all().len() as f64);
    }
}
