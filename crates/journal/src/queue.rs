//! The bounded queue in front of the writer, and the ticket each caller waits on.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Instant,
};

use tokio::sync::oneshot;

use crate::{AppendError, NewEntry, Position};

pub(crate) type Outcome = Result<Position, AppendError>;

/// The outcome of an append, once it is known. Dropping it does not withdraw the entries.
#[derive(Debug)]
pub struct Append(State);

#[derive(Debug)]
enum State {
    Known(Outcome),
    Waiting(oneshot::Receiver<Outcome>),
}

impl Append {
    pub(crate) fn known(outcome: Outcome) -> Self {
        Self(State::Known(outcome))
    }

    /// Waits on the calling thread; not for use within an async runtime.
    pub fn wait(self) -> Result<Position, AppendError> {
        match self.0 {
            State::Known(outcome) => outcome,
            State::Waiting(ticket) => ticket.blocking_recv().unwrap_or(Err(AppendError::Closed)),
        }
    }
}

impl Future for Append {
    type Output = Result<Position, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Known(outcome) => Poll::Ready(*outcome),
            // The writer is gone without an answer.
            State::Waiting(ticket) => Pin::new(ticket)
                .poll(context)
                .map(|answer| answer.unwrap_or(Err(AppendError::Closed))),
        }
    }
}

/// The entries of one call and who waits for them.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) entries: Vec<NewEntry>,
    /// Bytes they take in a frame.
    pub(crate) bytes: u32,
    /// How many entries there were, also after they have been handed on.
    pub(crate) entry_count: usize,
    /// Whether it goes before all others: a release waits for it.
    pub(crate) goes_first: bool,
    /// When it was put in.
    pub(crate) since: Instant,
    ticket: Option<oneshot::Sender<Outcome>>,
}

impl Request {
    /// Answers the caller, at most once; a caller that went away is no concern.
    pub(crate) fn resolve(&mut self, outcome: Outcome) {
        if let Some(ticket) = self.ticket.take() {
            let _ = ticket.send(outcome);
        }
    }
}

/// The queue. Many threads put in, the writer takes all there is.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<Waiting>,
    arrived: Condvar,
    answered: AtomicU64,
    max_entries: usize,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    requests: VecDeque<Request>,
    first: VecDeque<Request>,
    // Of everything not yet answered, in the queue and with the writer.
    entries: usize,
    bytes: usize,
    pulses: u64,
    writer_sleeps: bool,
    refusal: Option<AppendError>,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(max_entries: usize, max_bytes: usize) -> Self {
        Self {
            state: Mutex::default(),
            arrived: Condvar::new(),
            answered: AtomicU64::new(0),
            max_entries,
            max_bytes,
        }
    }

    /// Puts a call's entries in line, at its end or behind those that go first. What goes first makes the room that others wait for: it
    /// finds some however much waits, and is bounded by whoever appends it, one call at a time.
    pub(crate) fn push(&self, entries: Vec<NewEntry>, bytes: u32, goes_first: bool) -> Append {
        let mut state = self.lock();
        if let Some(refusal) = state.refusal {
            return Append::known(Err(refusal));
        }
        let is_full = state.entries + entries.len() > self.max_entries || state.bytes + bytes as usize > self.max_bytes;
        if is_full && !goes_first {
            return Append::known(Err(AppendError::Busy));
        }
        let (ticket, receiver) = oneshot::channel();
        state.entries += entries.len();
        state.bytes += bytes as usize;
        let request = Request {
            bytes,
            entry_count: entries.len(),
            entries,
            goes_first,
            since: Instant::now(),
            ticket: Some(ticket),
        };
        match goes_first {
            true => state.first.push_back(request),
            false => state.requests.push_back(request),
        }
        self.wake(state);
        Append(State::Waiting(receiver))
    }

    /// Takes all that waits into `pending`, sleeping while there is nothing; `done` is what was answered since the last call.
    /// False once the queue is closed and empty.
    pub(crate) fn take(&self, pending: &mut VecDeque<Request>, done: &mut Done, sleep: bool) -> bool {
        let mut state = self.lock();
        state.entries -= std::mem::take(&mut done.entries);
        state.bytes -= std::mem::take(&mut done.bytes);
        let is_idle = |state: &Waiting| state.requests.is_empty() && state.first.is_empty() && !state.closed;
        while sleep && pending.is_empty() && is_idle(&state) && state.pulses == self.answered() {
            state.writer_sleeps = true;
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.writer_sleeps = false;
        self.answered.store(state.pulses, Ordering::Release);
        pending.append(&mut state.requests);
        if !state.first.is_empty() {
            let behind = pending.iter().take_while(|request| request.goes_first).count();
            let mut others = pending.split_off(behind);
            pending.append(&mut state.first);
            pending.append(&mut others);
        }
        !(state.closed && pending.is_empty())
    }

    /// Puts a sign-of-life request in line; gives its number.
    pub(crate) fn pulse(&self) -> u64 {
        let mut state = self.lock();
        state.pulses += 1;
        let pulse = state.pulses;
        self.wake(state);
        pulse
    }

    /// The newest pulse the writer has seen.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Acquire)
    }

    pub(crate) fn waiting(&self) -> usize {
        self.lock().entries
    }

    /// Takes no more from now on; the first reason stays. What is in line is still taken.
    pub(crate) fn refuse(&self, why: AppendError) {
        self.lock().refusal.get_or_insert(why);
    }

    pub(crate) fn refusal(&self) -> Option<AppendError> {
        self.lock().refusal
    }

    /// Takes no more, and ends the writer once it has taken what is in line.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.refusal.get_or_insert(AppendError::Closed);
        state.closed = true;
        self.wake(state);
    }

    /// Drops what is in line, when nobody will take it any more: its callers see `Closed`.
    pub(crate) fn abandon(&self) {
        let mut state = self.lock();
        state.refusal.get_or_insert(AppendError::Closed);
        state.closed = true;
        state.requests.clear();
        state.first.clear();
    }

    fn wake(&self, mut state: MutexGuard<'_, Waiting>) {
        let sleeps = std::mem::take(&mut state.writer_sleeps);
        drop(state);
        if sleeps {
            self.arrived.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the writer has answered and the queue still counts.
#[derive(Debug, Default)]
pub(crate) struct Done {
    entries: usize,
    bytes: usize,
}

impl Done {
    pub(crate) fn add(&mut self, entries: usize, bytes: u32) {
        self.entries += entries;
        self.bytes += bytes as usize;
    }
}
