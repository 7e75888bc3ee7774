//! The one thread that writes: takes what waits, writes it as one frame, syncs, feeds the sink, answers.
//!
//! A failed write or sync ends the use of that segment for good, because nobody knows what of it is on disk. The same frame goes, under the
//! same number, to the next segment; if that fails too, the log is poisoned. Nothing here creates, grows or renames a file.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use metrics::{Counter, Histogram};

#[cfg(feature = "faults")]
use crate::kill_point;
use crate::{
    AppendError, CommitSink, Committed, Options, Position,
    format::{self, FRAME_HEADER, FrameWriter},
    keeper::{Pool, Spare, Write},
    metric,
    queue::{Done, Queue, Request},
    segment::{Segment, Table},
};

/// The writer waits for a spare in pieces of this length, and answers for signs of life in between.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often a commit of few entries gives way to whoever is ready to run. No key: where nobody is, it takes no time.
const YIELDS: usize = 3;

/// Refuses owners that were replaced: the lowest epoch each partition still accepts.
#[derive(Debug)]
pub(crate) struct Fences([AtomicU64; 256]);

impl Fences {
    pub(crate) fn new() -> Self {
        Self([const { AtomicU64::new(0) }; 256])
    }

    pub(crate) fn raise(&self, partition: u8, epoch: u64) {
        self.0[usize::from(partition)].fetch_max(epoch, Ordering::SeqCst);
    }

    fn refuses(&self, request: &Request) -> bool {
        request
            .entries
            .iter()
            .any(|entry| entry.epoch < self.0[usize::from(entry.partition)].load(Ordering::SeqCst))
    }
}

/// What the writer shares with everyone who holds the journal.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) queue: Queue,
    pub(crate) pool: Arc<Pool>,
    pub(crate) table: Arc<Table>,
    pub(crate) fences: Fences,
    pub(crate) head: AtomicU64,
}

/// The thread's state.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    options: Options,
    sink: Box<dyn CommitSink>,
    segment: Option<Arc<Segment>>,
    // The number of the next frame.
    sequence: u64,
    poisoned: bool,
    pending: VecDeque<Request>,
    batch: Vec<Request>,
    done: Done,
    // The frame, and zeros to the end of its last block.
    frame: Vec<u8>,
    frame_bytes: u32,
    // Offsets of the entries in the frame.
    offsets: Vec<u32>,
    meters: Meters,
}

struct Meters {
    batch_entries: Histogram,
    sync_seconds: Histogram,
    written_bytes: Counter,
    failed_segments: Counter,
    refused_full: Counter,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, options: Options, sink: Box<dyn CommitSink>, sequence: u64) -> Self {
        let meters = Meters {
            batch_entries: metrics::histogram!(metric::BATCH_ENTRIES),
            sync_seconds: metrics::histogram!(metric::SYNC_SECONDS),
            written_bytes: metrics::counter!(metric::WRITTEN_BYTES),
            failed_segments: metrics::counter!(metric::FAILED_SEGMENTS),
            refused_full: metrics::counter!(metric::REFUSED_FULL),
        };
        Self {
            shared,
            options,
            sink,
            segment: None,
            sequence,
            poisoned: false,
            pending: VecDeque::new(),
            batch: Vec::new(),
            done: Done::default(),
            frame: Vec::new(),
            frame_bytes: 0,
            offsets: Vec::new(),
            meters,
        }
    }

    /// Writes until the queue is closed and empty.
    pub(crate) fn run(&mut self) {
        while self.turn(true) {}
        self.finish();
    }

    /// Writes one frame of what waits. With `sleep`, waits for something; false once there will be nothing more.
    pub(crate) fn turn(&mut self, sleep: bool) -> bool {
        #[cfg(feature = "faults")]
        self.options.faults.hold_before_turn();
        let shared = self.shared.clone();
        if !shared.queue.take(&mut self.pending, &mut self.done, sleep) {
            return false;
        }
        if sleep {
            self.give_way();
        }
        self.choose();
        if !self.batch.is_empty() {
            self.commit();
            for mut request in self.batch.drain(..) {
                self.done.add(request.entry_count, request.bytes);
                // Every branch of the commit has answered; this is for the ones to come.
                request.resolve(Err(AppendError::Closed));
            }
        }
        true
    }

    /// Under load, lets those go first who are about to append, where processors are short: a commit costs the same for few entries as for
    /// many. Where nobody else wants the processor it takes no time, and no more than [`YIELDS`] turns of others.
    fn give_way(&mut self) {
        let enough = self.offsets.len() / 2;
        for _ in 0..YIELDS {
            if self.pending.is_empty() || self.pending.len() >= enough {
                return;
            }
            thread::yield_now();
            self.shared.queue.take(&mut self.pending, &mut self.done, false);
        }
    }

    /// Gives the last segment to be sealed, after the last turn.
    pub(crate) fn finish(&mut self) {
        if let Some(segment) = self.segment.take() {
            self.shared.pool.retire(segment, Write::Allowed);
        }
    }

    /// Moves the next calls that fit one frame from the line into the batch.
    fn choose(&mut self) {
        let mut bytes = 0;
        while let Some(request) = self.pending.front() {
            if self.batch.first().is_some_and(|first| first.goes_first != request.goes_first) {
                return;
            }
            if !self.batch.is_empty() && bytes + request.bytes > self.options.max_frame_bytes {
                return;
            }
            let Some(mut request) = self.pending.pop_front() else { return };
            if self.shared.fences.refuses(&request) {
                request.resolve(Err(AppendError::Fenced));
                self.done.add(request.entry_count, request.bytes);
                continue;
            }
            bytes += request.bytes;
            self.batch.push(request);
        }
    }

    fn commit(&mut self) {
        if self.poisoned {
            return self.answer_all(AppendError::Poisoned);
        }
        for _ in 0..2 {
            let segment = match self.segment_with_room() {
                Spare::Ready(segment) => segment,
                Spare::StepAside | Spare::NotYet => return self.step_aside(),
                Spare::None => {
                    self.meters.refused_full.increment(self.batch.len() as u64);
                    return self.answer_all(AppendError::Full);
                }
            };
            let offset = segment.bounds().end;
            let chain = self.encode(&segment, offset);
            #[cfg(feature = "faults")]
            if self.options.faults.acknowledges_early() {
                answer_positions(&mut self.batch, &self.offsets, segment.number());
                self.options.faults.hold_while_frozen();
            }
            #[cfg(feature = "faults")]
            {
                kill_point::reach("frame-encoded");
                if segment.bounds().entries == 0 {
                    kill_point::reach("segment-taken");
                }
            }
            let started = Instant::now();
            let written = segment.file.write_at(&self.frame, u64::from(offset));
            #[cfg(feature = "faults")]
            kill_point::reach("frame-written");
            match written.and_then(|()| segment.file.sync()) {
                Ok(()) => {
                    #[cfg(feature = "faults")]
                    kill_point::reach("frame-synced");
                    self.meters.sync_seconds.record(started.elapsed());
                    return self.publish(&segment, offset, chain);
                }
                #[cfg(feature = "faults")]
                Err(_) if self.options.faults.syncs_again() && segment.file.sync().is_ok() => {
                    return self.publish(&segment, offset, chain);
                }
                Err(error) => {
                    tracing::error!(%error, segment = segment.number(), "a journal segment failed and is given up");
                    self.meters.failed_segments.increment(1);
                    segment.update(|bounds| bounds.failed = true);
                    self.segment = None;
                    self.shared.pool.retire(segment, Write::Never);
                }
            }
        }
        tracing::error!("two journal segments in a row failed; nothing is written any more");
        self.poisoned = true;
        self.shared.queue.refuse(AppendError::Poisoned);
        self.answer_all(AppendError::Poisoned);
    }

    /// The current segment if the batch fits it and it is not set aside, else the next spare.
    fn segment_with_room(&mut self) -> Spare {
        let needed = FRAME_HEADER + self.batch.iter().map(|request| request.bytes).sum::<u32>();
        let goes_first = self.batch.iter().any(|request| request.goes_first);
        if let Some(segment) = &self.segment
            && segment.fits(needed)
            && (goes_first || !self.shared.pool.is_set_aside())
        {
            return Spare::Ready(segment.clone());
        }
        let left = self.patience();
        let is_closing = self.shared.queue.refusal() == Some(AppendError::Closed);
        let next = match self
            .shared
            .pool
            .take(left.min(PATIENCE), left > PATIENCE && !is_closing, goes_first)
        {
            Spare::NotYet => return Spare::NotYet,
            Spare::Ready(next) => next,
            other => return other,
        };
        self.shared.table.insert(next.clone());
        if let Some(old) = self.segment.replace(next.clone()) {
            self.shared.pool.retire(old, Write::Allowed);
        }
        Spare::Ready(next)
    }

    /// How much longer the batch waits for a spare. Each of its requests has waited in line, too, behind other frames: nobody is refused
    /// before their time, and nobody waits twice as long.
    fn patience(&self) -> Duration {
        let waited = || self.batch.iter().map(|request| request.since.elapsed());
        let most = self.options.spare_wait;
        let of_the_last = most.saturating_sub(waited().min().unwrap_or_default());
        let of_the_first = (2 * most).saturating_sub(waited().max().unwrap_or_default());
        of_the_last.min(of_the_first)
    }

    /// Back into line: the next turn begins with what goes first.
    fn step_aside(&mut self) {
        for request in self.batch.drain(..).rev() {
            self.pending.push_front(request);
        }
    }

    /// Writes the batch into the frame buffer as it will stand at the segment's end; gives the next link of the chain.
    fn encode(&mut self, segment: &Segment, offset: u32) -> u32 {
        self.offsets.clear();
        let mut frame = FrameWriter::begin(&mut self.frame, segment.salt, offset, self.sequence);
        for entry in self.batch.iter().flat_map(|request| &request.entries) {
            self.offsets.push(frame.push(entry.partition, entry.epoch, &entry.payload));
        }
        let chain = frame.finish(segment.bounds().chain);
        self.frame_bytes = self.frame.len() as u32;
        format::pad(&mut self.frame, offset, segment.header.segment_bytes);
        chain
    }

    /// The frame is durable: readers, the sink and the callers learn of it, in this order.
    fn publish(&mut self, segment: &Segment, offset: u32, chain: u32) {
        let end = offset + self.frame_bytes;
        let (sequence, entries) = (self.sequence, self.offsets.len());
        segment.update(|bounds| {
            bounds.end = end;
            bounds.chain = chain;
            bounds.last_entry = self.offsets[entries - 1];
            if bounds.entries == 0 {
                bounds.first_sequence = sequence;
            }
            bounds.last_sequence = sequence;
            bounds.entries += entries as u64;
        });
        self.sequence += 1;
        self.shared
            .head
            .store(Position::new(segment.number(), end).to_bits(), Ordering::Release);
        self.meters.batch_entries.record(entries as f64);
        self.meters.written_bytes.increment(u64::from(self.frame_bytes));
        self.frame
            .shrink_to(self.options.max_frame_bytes as usize + FRAME_HEADER as usize + format::BLOCK);
        let committed = self.committed(segment.number());
        self.sink.committed(committed);
        let Self { sink, batch, offsets, .. } = self;
        sink.answering(&mut || answer_positions(batch, offsets, segment.number()));
    }

    /// The batch as the sink gets it; payloads are handed on, not copied.
    fn committed(&mut self, segment: u32) -> Arc<[Committed]> {
        let mut committed = Vec::with_capacity(self.offsets.len());
        let entries = self.batch.iter_mut().flat_map(|request| request.entries.drain(..));
        for (entry, offset) in entries.zip(&self.offsets) {
            let position = Position::new(segment, *offset);
            committed.push(Committed {
                position,
                partition: entry.partition,
                epoch: entry.epoch,
                payload: entry.payload,
            });
        }
        committed.into()
    }

    fn answer_all(&mut self, error: AppendError) {
        for request in &mut self.batch {
            request.resolve(Err(error));
        }
    }
}

fn answer_positions(batch: &mut [Request], offsets: &[u32], segment: u32) {
    let mut first = 0;
    for request in batch {
        request.resolve(Ok(Position::new(segment, offsets[first])));
        first += request.entry_count;
    }
}

impl Drop for Writer {
    /// However the writer ends, a panicking sink included: nobody waits for an answer that will not come.
    fn drop(&mut self) {
        self.shared.queue.abandon();
    }
}
