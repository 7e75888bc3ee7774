//! One child's task: moves frames between its socket and the pool, and sends its scripts' requests.

use super::StartError;
use super::calls::{Outgoing, Rest};
use super::frame::{self, Failure, Fetched, FromChild, Incoming, LEVELS, Line, List, ToChild};
use super::pool::{End, Flight, Shared, State, Worker};
use super::program::BUILD;
use super::run::{RunError, RunReport, Setback};
use super::spawner::Started;
use crate::component::StepLog;
use crate::outbound::{self, Count, Request, Response, Room};
use ::http::{HeaderName, HeaderValue, Method};
use perseat_domain::time::Timestamp;
use std::borrow::Cow;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use url::Url;
use zeroize::Zeroize;

/// How long a child may take to get ready.
const READY: Duration = Duration::from_secs(10);
/// How long to wait after a child did not start. No key: it only keeps a machine that refuses processes from being asked all
/// the time; steps wait for a child up to their own deadline.
const START_AGAIN: Duration = Duration::from_millis(500);

/// A child that is ready.
pub(super) struct Link {
    process: std::process::Child,
    socket: UnixStream,
    incoming: Incoming,
}

/// Starts a child and waits until it has given up its rights.
pub(super) async fn connect(shared: &Shared) -> Result<Link, StartError> {
    let Started { process, socket } = shared.spawner.start().await.map_err(StartError::Spawn)?;
    let mut link = match UnixStream::from_std(socket) {
        Ok(socket) => Link {
            process,
            socket,
            incoming: Incoming::new(shared.options.max_frame),
        },
        Err(error) => {
            shared.spawner.end(process);
            return Err(StartError::Spawn(error));
        }
    };
    let ready = timeout(READY, link.ready()).await;
    match ready.unwrap_or_else(|_| Err(StartError::Protocol("nothing within ten seconds".into()))) {
        Ok(()) => Ok(link),
        Err(error) => {
            shared.spawner.end(link.process);
            Err(error)
        }
    }
}

/// Starts one more child and serves it to its end.
pub(super) async fn start(shared: Arc<Shared>) {
    match connect(&shared).await {
        Ok(link) => live(shared, link).await,
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a code step process did not start");
            sleep(START_AGAIN).await;
            let mut state = shared.lock();
            state.failed_to_start();
            state.pump(&shared);
        }
    }
}

/// Serves a ready child to its end; from now on the pool gives it work. A box, because a child that ends starts its
/// successor.
pub(super) fn live(shared: Arc<Shared>, link: Link) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let Link { process, socket, incoming } = link;
    let worker = Worker::new(process.id());
    let wake = Arc::clone(&worker.wake);
    let id = shared.lock().arrived(worker, &shared);
    Box::pin(async move {
        let mut task = Task::new(Arc::clone(&shared), id, socket, incoming);
        if let Err(error) = task.serve(&wake).await {
            tracing::warn!(%error, "a code step process ended");
        }
        shared.spawner.end(process);
        // What it had said before it was killed still counts.
        if let Err(error) = task.read() {
            tracing::debug!(%error, "a code step process was cut off");
        }
        shared.lock().departed(id, task.ending.said_so, &shared);
    })
}

impl Link {
    async fn ready(&mut self) -> Result<(), StartError> {
        loop {
            if let Some(bytes) = self.incoming.next().map_err(|error| StartError::Protocol(error.to_string()))? {
                return match postcard::from_bytes(bytes) {
                    Ok(FromChild::Ready { build: BUILD, missing: "" }) => Ok(()),
                    Ok(FromChild::Ready { build: BUILD, missing }) => {
                        tracing::warn!(missing, "code steps run without a part of their sandbox");
                        Ok(())
                    }
                    Ok(FromChild::Unfit { reason }) => Err(StartError::Sandbox(reason.to_owned())),
                    _ => Err(StartError::Protocol("another version, or another program".into())),
                };
            }
            self.socket.readable().await.map_err(StartError::Spawn)?;
            match self.incoming.fill(|buffer| self.socket.try_read(buffer)) {
                Ok(0) => return Err(StartError::Protocol("nothing, and ended".into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(StartError::Spawn(error)),
            }
        }
    }
}

pub(super) struct Task {
    shared: Arc<Shared>,
    id: u64,
    pub(super) socket: UnixStream,
    incoming: Incoming,
    pub(super) out: Vec<u8>,
    /// What answers in there hold of the memory for answers.
    rooms: Vec<Arc<Room>>,
    written: usize,
    ending: Ending,
}

/// How a child ends.
#[derive(Debug, Default)]
pub(super) struct Ending {
    /// It said that it ends.
    pub(super) said_so: bool,
    /// What it says does not count any more: it asked for something that it did not get.
    pub(super) is_cut: bool,
}

impl Task {
    pub(super) fn new(shared: Arc<Shared>, id: u64, socket: UnixStream, incoming: Incoming) -> Self {
        Self {
            shared,
            id,
            socket,
            incoming,
            out: Vec::new(),
            rooms: Vec::new(),
            written: 0,
            ending: Ending::default(),
        }
    }

    /// Until the child ends or is to be killed.
    async fn serve(&mut self, wake: &tokio::sync::Notify) -> io::Result<()> {
        loop {
            if !self.write()? {
                return Ok(());
            }
            let interest = if self.written < self.out.len() {
                Interest::READABLE | Interest::WRITABLE
            } else {
                Interest::READABLE
            };
            tokio::select! {
                ready = self.socket.ready(interest) => {
                    if ready?.is_readable() && (!self.read()? || self.ending.said_so) {
                        return Ok(());
                    }
                }
                () = wake.notified() => {}
            }
        }
    }

    /// Writes what the pool has for the child; false if the child is to be killed.
    pub(super) fn write(&mut self) -> io::Result<bool> {
        loop {
            if self.written == self.out.len() {
                // Configuration with credentials was in it.
                self.out.as_mut_slice().zeroize();
                self.out.clear();
                self.out.shrink_to(frame::KEPT);
                self.rooms.clear();
                self.written = 0;
                let mut state = self.shared.lock();
                let Some(worker) = state.workers.get_mut(&self.id) else {
                    return Ok(false);
                };
                if worker.doomed {
                    return Ok(false);
                }
                std::mem::swap(&mut self.out, &mut worker.out);
                std::mem::swap(&mut self.rooms, &mut worker.rooms);
                if self.out.is_empty() {
                    return Ok(true);
                }
            }
            match self.socket.try_write(&self.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(!self.is_doomed()),
                // It ended; reading tells how.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }

    fn is_doomed(&self) -> bool {
        self.shared.lock().workers.get(&self.id).is_none_or(|worker| worker.doomed)
    }

    /// Reads and handles what is there; false at the end.
    fn read(&mut self) -> io::Result<bool> {
        while !self.ending.is_cut {
            match self.incoming.fill(|buffer| self.socket.try_read(buffer)) {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
            while !self.ending.is_cut
                && let Some(bytes) = self.incoming.next().map_err(io::Error::other)?
            {
                let bytes: &[u8] = bytes;
                let frame = postcard::from_bytes(bytes).map_err(io::Error::other)?;
                handle(&self.shared, self.id, frame, &mut self.ending)?;
            }
        }
        Ok(false)
    }
}

pub(super) fn handle(shared: &Arc<Shared>, id: u64, frame: FromChild<'_>, ending: &mut Ending) -> io::Result<()> {
    match frame {
        FromChild::Done {
            run,
            last,
            cpu_us,
            waited,
            unanswered,
            unhandled,
            outcome,
            logs,
        } => {
            // One more says that others were left out.
            let most = shared.options.max_log_lines.saturating_add(1);
            if logs.iter().nth(most).is_some() {
                return Err(io::Error::other("more log lines than `code.max-log-lines`"));
            }
            let cpu = Duration::from_micros(cpu_us);
            let came_to_its_end = !matches!(outcome, Err(Failure::OutOfTime | Failure::OutOfCpu));
            let Some(flight) = done(shared, id, run, last, came_to_its_end.then_some(End { cpu, waited }))? else {
                ending.is_cut = true;
                return Ok(());
            };
            ending.said_so |= last;
            let Flight {
                request,
                answer,
                mut sending,
                ..
            } = flight;
            sending.has_script_ended = true;
            if let Some(held) = &mut sending.held {
                held.unawaited |= unhandled || unanswered.is_some_and(|first| first <= held.call);
            }
            let report = RunReport {
                outcome: outcome
                    .map(str::to_owned)
                    .map_err(|failure| run_error(failure.within(shared.options.max_thrown))),
                logs: logs.iter().map(step_log).collect(),
                cpu,
                held: sending.held.take(),
                setback: sending.setback,
                rest: Some(Rest {
                    sending,
                    count: request.count,
                    deadline: request.deadline,
                }),
            };
            // Nobody waits if it was given up at this moment.
            drop(answer.send(report));
            Ok(())
        }
        FromChild::Fetch {
            run,
            call,
            unawaited,
            method,
            url,
            headers,
            body,
        } => {
            let mut state = shared.lock();
            let out_of_order = || io::Error::other("a request of a script that does not run");
            let State { workers, patience, .. } = &mut *state;
            let worker = workers.get_mut(&id).ok_or_else(out_of_order)?;
            if worker.doomed {
                // Not sent: this one begins again elsewhere, and must not seem to have ended here.
                ending.is_cut = true;
                return Ok(());
            }
            let holds_up_others = worker.holds_up_others();
            let first = worker.flights.front_mut().filter(|first| first.id == run);
            let flight = first.ok_or_else(out_of_order)?;
            flight.fetches += 1;
            if flight.fetches > shared.options.max_fetches {
                return Err(io::Error::other("more requests than `code.max-fetches`"));
            }
            flight.sending.has_script_ended |= unawaited;
            if !flight.answer.is_closed() {
                let most = shared.outbound.max_headers();
                let request = request(flight, call, method, url, (headers, most), body);
                match request.and_then(|request| flight.sending.admit(call, request, &shared.outbound)) {
                    Ok(outgoing) => flight.sending.line_up(call, outgoing),
                    Err(error) => {
                        flight.answers += 1;
                        push_answer(&mut worker.out, run, call, Err(&error));
                    }
                }
                send_next(shared, id, flight);
                worker.wake.notify_one();
            }
            worker.first_waits(patience);
            if holds_up_others {
                // It was expected to be over at once, and waits.
                state.take_back(id, shared);
            }
            Ok(())
        }
        FromChild::Waits { run, answers } => {
            let mut state = shared.lock();
            let first = state.workers.get(&id).and_then(|worker| worker.flights.front());
            if first.is_some_and(|first| first.id == run && first.answers == answers) {
                state.waits(id, shared);
            }
            Ok(())
        }
        FromChild::Ready { .. } | FromChild::Unfit { .. } => Err(io::Error::other("a frame out of order")),
    }
}

/// Takes the run that ended off its child and hands the child more; `None` where the child is to be killed, and the run begins again
/// elsewhere. `end` is how it ended, if by itself.
pub(super) fn done(shared: &Arc<Shared>, id: u64, run: u64, last: bool, end: Option<End>) -> io::Result<Option<Flight>> {
    let mut state = shared.lock();
    let Some(flight) = state.take_first(id, run, &shared.options) else {
        let is_cut = state.workers.get(&id).is_some_and(|worker| worker.doomed);
        let out_of_order = || io::Error::other("the end of a script that does not run");
        return if is_cut { Ok(None) } else { Err(out_of_order()) };
    };
    let State { workers, patience, .. } = &mut *state;
    if let Some(worker) = workers.get_mut(&id) {
        // The next one has begun; if nobody waits for it, it must not go on.
        let given_up = worker.flights.front().is_some_and(|next| next.answer.is_closed());
        worker.began = Instant::now();
        worker.learn(&flight, end, patience, &shared.options);
        if last || given_up || worker.retiring || worker.doomed {
            worker.doom();
        } else if let Some(next) = worker.flights.front_mut() {
            next.begin(&shared.options);
        }
    }
    match end {
        Some(end) => state.patience.ended(flight.request.owner, end.cpu),
        None => state.patience.exhausted(flight.request.owner),
    }
    state.pump(shared);
    Ok(Some(flight))
}

fn run_error(failure: Failure<'_>) -> RunError {
    match failure {
        Failure::Threw(text) => RunError::Threw(text.to_owned()),
        Failure::OutOfTime => RunError::TimedOut,
        Failure::OutOfCpu => RunError::OutOfCpu,
        Failure::OutOfMemory => RunError::OutOfMemory,
        Failure::Stuck => RunError::Stuck,
        Failure::TooLarge => RunError::ResultTooLarge,
    }
}

fn step_log((level, at, message): Line<'_>) -> StepLog {
    let level = LEVELS.get(usize::from(level)).copied().unwrap_or("info");
    StepLog {
        at: Timestamp(at),
        level,
        message: message.to_owned(),
    }
}

fn request(
    flight: &Flight,
    call: u32,
    method: &str,
    url: &str,
    (headers, max_headers): (List<'_, (&str, &str)>, usize),
    body: &str,
) -> Result<Request, String> {
    let url = Url::parse(url).map_err(|error| format!("fetch: not an address: {error}"))?;
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| "fetch: not a method".to_owned())?;
    let texts = headers.iter().map(|(name, value)| (name, Cow::from(value)));
    let mut map = outbound::headers(texts, max_headers).map_err(|error| format!("fetch: {error}"))?;
    let key = flight.request.key.request(call);
    let key = HeaderValue::from_str(&key).map_err(|_| "fetch: the step has no idempotency key".to_owned())?;
    map.entry(HeaderName::from_static("idempotency-key")).or_insert(key);
    if !body.is_empty() && !map.contains_key(::http::header::CONTENT_TYPE) {
        map.insert(::http::header::CONTENT_TYPE, HeaderValue::from_static("text/plain;charset=UTF-8"));
    }
    Ok(Request {
        method,
        url,
        headers: map,
        body: body.to_owned().into(),
        identity: None,
        deadline: flight.request.deadline,
    })
}

/// Sends of a script's requests as many as may be on their way.
fn send_next(shared: &Arc<Shared>, id: u64, flight: &mut Flight) {
    if flight.answer.is_closed() {
        return;
    }
    while let Some((call, outgoing, permit)) = flight.sending.next() {
        let count = flight.request.count.clone();
        shared
            .runtime
            .spawn(fetch(Arc::clone(shared), (id, flight.id, call), (outgoing, permit), count));
    }
}

/// Sends what a script did not wait for, as many at a time as while it ran, until its run's time is over. Ready when all of it is sent.
pub(super) async fn send_rest(shared: &Arc<Shared>, rest: Rest) {
    let Rest {
        mut sending,
        count,
        deadline,
    } = rest;
    if sending.unsent() == 0 {
        return;
    }
    let all = async {
        while let Some((_, outgoing, permit)) = sending.next_in_turn().await {
            let (shared, count) = (Arc::clone(shared), count.clone());
            let runtime = shared.runtime.clone();
            runtime.spawn(async move {
                let answer = outgoing.send(&shared.outbound, &count).await;
                drop(permit);
                unheard(&answer.map_err(|error| error.to_string()));
            });
        }
        sending.all_sent().await;
    };
    if timeout_at(deadline, all).await.is_err() {
        let unsent = sending.unsent();
        tracing::warn!(unsent, "requests that their script did not wait for had no time to be sent");
    }
}

/// Sends a script's request and gives the answer to its child, if it still runs that script.
async fn fetch(shared: Arc<Shared>, (id, run, call): (u64, u64, u32), (outgoing, permit): (Outgoing, OwnedSemaphorePermit), count: Count) {
    let answer = outgoing.send(&shared.outbound, &count).await;
    drop(permit);
    let setback = answer.as_ref().err().and_then(Setback::of);
    let answer = answer.map_err(|error| format!("fetch: {error}")).and_then(|answer| {
        // Replacing what is not text may make it three times as long.
        let fits = answer.body.len() < shared.options.max_frame / 4;
        if fits {
            Ok(answer)
        } else {
            Err("fetch: the answer is larger than a quarter of `code.max-frame`".to_owned())
        }
    });
    let mut state = shared.lock();
    let Some(worker) = state.workers.get_mut(&id) else {
        return unheard(&answer);
    };
    let is_heard = |first: &&mut Flight| first.id == run && !first.sending.has_script_ended;
    let Some(first) = worker.flights.front_mut().filter(is_heard) else {
        return unheard(&answer);
    };
    first.sending.setback = setback.or(first.sending.setback);
    first.answers += 1;
    push_answer(&mut worker.out, run, call, answer.as_ref().map_err(String::as_str));
    // Held until the child has it, which a script that computes on puts off.
    worker.rooms.extend(answer.as_ref().ok().and_then(Response::room));
    if !worker.doomed {
        send_next(&shared, id, first);
    }
    worker.wake.notify_one();
    state.answered(id, &shared);
}

/// No script hears what came of its request any more.
fn unheard(answer: &Result<Response, String>) {
    if let Err(error) = answer {
        tracing::warn!(error, "a request that no script waited for failed");
    }
}

fn push_answer(out: &mut Vec<u8>, run: u64, call: u32, answer: Result<&Response, &str>) {
    let frame = |answer| ToChild::Fetched { run, call, answer };
    match answer {
        Err(error) => frame::push(out, &frame(Err(error))),
        Ok(response) => {
            let body = String::from_utf8_lossy(&response.body);
            let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
            let headers: Vec<(&str, String)> = response.headers.iter().map(|(name, value)| (name.as_str(), text(value))).collect();
            let headers = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            frame::push(
                out,
                &frame(Ok(Fetched {
                    status: response.status.as_u16(),
                    headers,
                    body: &body,
                })),
            );
        }
    }
}
