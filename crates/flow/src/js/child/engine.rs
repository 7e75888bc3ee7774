//! One QuickJS runtime: a locked realm in which every run re-evaluates its script, and the loop that drives a run.

use super::bridge::{Bounds, Bridge, Outgoing};
use super::host::host;
use super::imports::NoImports;
use super::rejections::{self, Rejections};
use super::{Link, sandbox, script};
use crate::js::frame::{Failure, FromChild, List, Run, ToChild, listed};
use rquickjs::function::Function;
use rquickjs::{CatchResultExt, CaughtError, Context, Ctx, Module, Object, Persistent, Runtime};
use rustix::time::{ClockId, clock_gettime};
use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

const PRELUDE: &str = include_str!("prelude.js");
/// Native stack the engine may use, well below the process's 8 MiB. No key: it goes with the stack that the system gives the
/// thread, and more of it would crash the child where the engine now reports an error.
const MAX_STACK: usize = 1 << 20;
/// Callbacks left over when a run ends that are run out; a script that leaves more behind costs its child. No key: nobody sees
/// what they do, and past it a new child costs half a millisecond.
const MAX_LEFT_OVER: u32 = 10_000;

/// What earlier runs may leave uncollected, as a part of the heap: a search of the realm at each run would cost several times what a
/// short script takes, and what is left is not the next run's to use.
const LEFT_OVER: usize = 32;

/// A run that rests computes for so long, then waits for so long, in turn. No key: how much a step may compute is `code.cpu`.
const WORK: Duration = Duration::from_millis(1);
const REST: Duration = Duration::from_millis(4);

/// The index into [`LEVELS`](crate::js::frame::LEVELS) of what the engine says itself.
const WARN: u8 = 3;

/// Why a run failed, with text of its own.
#[derive(Debug)]
pub(super) enum RunError {
    Threw(String),
    OutOfTime,
    OutOfCpu,
    OutOfMemory,
    Stuck,
}

impl RunError {
    pub(super) fn as_failure(&self) -> Failure<'_> {
        match self {
            Self::Threw(text) => Failure::Threw(text),
            Self::OutOfTime => Failure::OutOfTime,
            Self::OutOfCpu => Failure::OutOfCpu,
            Self::OutOfMemory => Failure::OutOfMemory,
            Self::Stuck => Failure::Stuck,
        }
    }
}

/// What a script does not know at its end of what it began.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unheard {
    /// The first of its requests that is not answered.
    pub(super) unanswered: Option<u32>,
    /// Whether a promise was rejected and nothing has handled that.
    pub(super) unhandled: bool,
}

/// How a run ended.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) result: Result<String, RunError>,
    pub(super) cpu: Duration,
    pub(super) unheard: Unheard,
    /// Whether the engine can take another run.
    pub(super) fit: bool,
}

/// When the engine must stop, read by the interrupt handler.
#[derive(Debug, Default)]
struct Clock {
    deadline: Cell<Option<Instant>>,
    /// When the run began, and the CPU time then.
    began: Cell<Option<(Instant, Duration)>>,
    cpu_limit: Cell<Duration>,
    gives_way_at: Cell<Duration>,
    has_given_way: Cell<bool>,
    /// The CPU time at which it rests next, if it rests at all.
    rests_at: Cell<Option<Duration>>,
    stopped: Cell<Option<Stop>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Time,
    Cpu,
}

impl Clock {
    fn is_over(&self) -> bool {
        if self.stopped.get().is_some() {
            return true;
        }
        let (Some(deadline), Some((began, cpu_began))) = (self.deadline.get(), self.began.get()) else {
            return false;
        };
        let now = Instant::now();
        // No more CPU time can have been used than time has passed; asking for it is a call of the kernel.
        let mut used = cpu_began + now.saturating_duration_since(began);
        if used >= self.gives_way_at.get().min(self.cpu_limit.get()) {
            used = cpu_time();
        }
        if used >= self.gives_way_at.get() && !self.has_given_way.replace(true) {
            sandbox::give_way();
        }
        if self.has_given_way.get() && self.rests_at.get().is_some_and(|at| used >= at) {
            self.rests_at.set(Some(used + WORK));
            std::thread::sleep(REST.min(deadline.saturating_duration_since(now)));
        }
        if now >= deadline {
            self.stopped.set(Some(Stop::Time));
        } else if used >= self.cpu_limit.get() {
            self.stopped.set(Some(Stop::Cpu));
        }
        self.stopped.get().is_some()
    }
}

/// The thread's, which is the process's: with a CPU limit set, the kernel counts the process's only at each tick.
fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// The functions of a realm's prelude.
#[derive(Clone)]
struct Realm {
    context: Context,
    start: Persistent<Function<'static>>,
    settle: Persistent<Function<'static>>,
    fire: Persistent<Function<'static>>,
    stop: Persistent<Function<'static>>,
}

enum Script {
    Text(String),
    Fresh(String),
    Compiled(Persistent<Function<'static>>),
    Broken(String),
}

/// The engine of one child.
pub(super) struct Engine {
    scripts: HashMap<u32, Script>,
    locked: Realm,
    runtime: Runtime,
    /// What may be left of earlier runs, in bytes.
    left_over: usize,
    /// The bytes of the locked realm and of the scripts that are compiled in it.
    kept: usize,
    clock: Rc<Clock>,
    bridge: Bridge,
    rejections: Rejections,
}

impl Engine {
    pub(super) fn new(max_heap: usize, bridge: Bridge) -> rquickjs::Result<Self> {
        let runtime = Runtime::new()?;
        runtime.set_memory_limit(max_heap);
        runtime.set_max_stack_size(MAX_STACK);
        runtime.set_loader(NoImports, NoImports);
        let clock = Rc::new(Clock::default());
        let watched = Rc::clone(&clock);
        runtime.set_interrupt_handler(Some(Box::new(move || watched.is_over())));
        let rejections = Rejections::default();
        runtime.set_host_promise_rejection_tracker(Some(rejections.tracker()));
        let locked = Realm::new(&runtime, &bridge, true)?;
        runtime.run_gc();
        let kept = allocated(&runtime);
        Ok(Self {
            scripts: HashMap::new(),
            locked,
            runtime,
            left_over: max_heap / LEFT_OVER,
            kept,
            clock,
            bridge,
            rejections,
        })
    }

    /// Keeps a script; it is compiled when it first runs.
    pub(super) fn add(&mut self, number: u32, text: &str) {
        let text = script::as_common_js(text);
        let script = if script::wants_fresh_context(&text) {
            Script::Fresh(text)
        } else {
            Script::Text(text)
        };
        self.scripts.insert(number, script);
    }

    /// Runs a script to its end.
    pub(super) fn run(&mut self, run: &Run<'_>, link: &mut Link) -> io::Result<Outcome> {
        let (began, cpu_began) = (Instant::now(), cpu_time());
        self.clock.stopped.set(None);
        self.clock.cpu_limit.set(cpu_began + Duration::from_millis(run.max_cpu_ms));
        self.clock.gives_way_at.set(cpu_began + Duration::from_micros(run.gives_way_us));
        self.clock.rests_at.set(run.rests.then(|| self.clock.gives_way_at.get()));
        self.clock.began.set(Some((began, cpu_began)));
        self.clock.deadline.set(Some(began + Duration::from_millis(run.max_ms)));
        let segments = [run.context, run.config]
            .into_iter()
            .chain(run.results.iter().map(|(_, json)| *json));
        let bounds = Bounds {
            log_lines: run.max_log_lines as usize,
            log_bytes: run.max_log_bytes as usize,
            fetches: run.max_fetches,
            timers: run.max_timers as usize,
        };
        self.bridge.begin(run.run, bounds, segments.map(str::to_owned).collect());
        self.limit_left_over();
        let attempted = self.attempt(run, link);
        let left_clean = self.run_out();
        // What fails from its end on was not waited for by intent.
        drop(self.rejections.take());
        let (result, unheard) = attempted?;
        let result = match self.clock.stopped.get() {
            Some(stop) if result.is_err() => Err(if stop == Stop::Time {
                RunError::OutOfTime
            } else {
                RunError::OutOfCpu
            }),
            _ => result,
        };
        let was_stopped = self.clock.stopped.get().is_some() || self.clock.has_given_way.get();
        let fit = left_clean && !was_stopped && !matches!(result, Err(RunError::OutOfMemory | RunError::Stuck));
        self.clock.deadline.set(None);
        Ok(Outcome {
            result,
            cpu: cpu_time().saturating_sub(cpu_began),
            unheard,
            fit,
        })
    }

    /// The result, and what the script does not know at its end.
    fn attempt(&mut self, run: &Run<'_>, link: &mut Link) -> io::Result<(Result<String, RunError>, Unheard)> {
        let prepared = match self.prepare(run.script) {
            Ok(prepared) => prepared,
            Err(error) => return Ok((Err(error), Unheard::default())),
        };
        let (realm, factory) = prepared;
        self.limit_left_over();
        let names: Vec<&str> = run.results.iter().map(|(name, _)| *name).collect();
        let started = realm.call(|ctx, realm| {
            let start = realm.start.clone().restore(ctx)?;
            start.call::<_, ()>((run.run, factory.clone().restore(ctx)?, names, run.is_source))
        });
        let ended = match started {
            Ok(()) => self.drive(&realm, run, link)?,
            Err(error) => Err(error),
        };
        let unanswered = self.bridge.now(|state| state.waiting.first().copied());
        let unheard = Unheard {
            unanswered,
            unhandled: self.say_unhandled(&realm),
        };
        let _ = realm.call(|ctx, realm| realm.stop.clone().restore(ctx)?.call::<_, ()>(()));
        Ok((ended, unheard))
    }

    /// Says in the log which promises were rejected and nothing handles that; whether there are any.
    fn say_unhandled(&self, realm: &Realm) -> bool {
        let (count, reasons) = self.rejections.take();
        for reason in reasons {
            if let Ok(text) = realm.call(|ctx, _| Ok(rejections::text(&reason.restore(ctx)?))) {
                let text = format!("nothing waits for a promise that was rejected: {text}");
                self.bridge.now(|state| state.log(WARN, text));
            }
        }
        count > 0
    }

    /// The engine collects when it makes an object and more than this is allocated. It sets that anew after each collection, by what was in
    /// use then: past the limit of the heap, where a run used much.
    fn limit_left_over(&self) {
        self.runtime.set_gc_threshold(self.kept + self.left_over);
    }

    /// The realm to run in and the script as a function of it.
    fn prepare(&mut self, number: u32) -> Result<(Realm, Persistent<Function<'static>>), RunError> {
        let script = self
            .scripts
            .get_mut(&number)
            .ok_or_else(|| RunError::Threw("the script did not arrive".into()))?;
        if let Script::Text(text) = script {
            *script = match compile(&self.runtime, &self.locked, number, text) {
                Ok(factory) => {
                    self.runtime.run_gc();
                    self.kept = allocated(&self.runtime);
                    Script::Compiled(factory)
                }
                Err(RunError::Threw(error)) => Script::Broken(error),
                Err(other) => return Err(other),
            };
        }
        match script {
            Script::Compiled(factory) => Ok((self.locked.clone(), factory.clone())),
            Script::Broken(error) => Err(RunError::Threw(error.clone())),
            Script::Fresh(text) | Script::Text(text) => {
                let realm = Realm::new(&self.runtime, &self.bridge, false).map_err(|error| RunError::Threw(error.to_string()))?;
                let factory = compile(&self.runtime, &realm, number, text)?;
                Ok((realm, factory))
            }
        }
    }

    /// Jobs, answers and timers, until the run has a result or can get none.
    fn drive(&self, realm: &Realm, run: &Run<'_>, link: &mut Link) -> io::Result<Result<String, RunError>> {
        let (mut answers, mut is_said) = (0, false);
        loop {
            // The result counts as soon as it is there, whatever else the script left to do.
            loop {
                if let Some(result) = self.bridge.now(|state| state.result.take()) {
                    self.push_outgoing(run.run, link, true);
                    link.flush()?;
                    return Ok(result.map_err(thrown));
                }
                if self.clock.is_over() {
                    return Ok(Err(RunError::OutOfTime));
                }
                if !self.runtime.execute_pending_job().unwrap_or(true) {
                    break;
                }
            }
            self.push_outgoing(run.run, link, false);
            let (due, waits) = self.bridge.now(|state| {
                let due = state.due(Instant::now());
                let waits = !state.waiting.is_empty() || !state.timers.is_empty();
                state.waited |= waits || due.is_some();
                (due, waits)
            });
            if due.is_none() && waits && !is_said {
                link.push(&FromChild::Waits { run: run.run, answers });
                is_said = true;
            }
            link.flush()?;
            if let Some(id) = due {
                if let Err(error) = realm.call(|ctx, realm| realm.fire.clone().restore(ctx)?.call::<_, ()>((id,))) {
                    return Ok(Err(error));
                }
            } else if !waits {
                return Ok(Err(RunError::Stuck));
            } else if let Some(frame) = link.next_answer(self.wait())?
                && let Ok(ToChild::Fetched { run: of, call, answer }) = postcard::from_bytes(&frame)
                && of == run.run
            {
                (answers, is_said) = (answers + 1, false);
                self.bridge.now(|state| state.waiting.remove(&call));
                let settled = realm.call(|ctx, realm| {
                    let settle = realm.settle.clone().restore(ctx)?;
                    match answer {
                        Ok(answer) => {
                            let headers: Vec<Vec<&str>> = answer.headers.iter().map(|(name, value)| vec![*name, *value]).collect();
                            settle.call::<_, ()>((call, rquickjs::Null, answer.status, headers, answer.body))
                        }
                        Err(error) => settle.call::<_, ()>((call, error)),
                    }
                });
                if let Err(error) = settled {
                    return Ok(Err(error));
                }
            }
        }
    }

    /// The requests that the script has made, also those that it ended without waiting for.
    fn push_outgoing(&self, run: u64, link: &mut Link, unawaited: bool) {
        let outgoing = self.bridge.now(|state| std::mem::take(&mut state.outgoing));
        outgoing.iter().for_each(|outgoing| push(link, (run, unawaited), outgoing));
    }

    /// Until the next timer or the deadline.
    fn wait(&self) -> Duration {
        let next = self.bridge.now(|state| state.timers.first().map(|(at, _)| *at));
        let until = [next, self.clock.deadline.get()].into_iter().flatten().min();
        until.map_or(Duration::from_secs(1), |at| {
            at.saturating_duration_since(Instant::now()) + Duration::from_millis(1)
        })
    }

    /// Runs out what the script left in the queue, so that it does not run during the next one.
    fn run_out(&self) -> bool {
        for _ in 0..MAX_LEFT_OVER {
            if self.clock.is_over() {
                return false;
            }
            if let Ok(false) = self.runtime.execute_pending_job() {
                return true;
            }
        }
        false
    }
}

fn push(link: &mut Link, (run, unawaited): (u64, bool), outgoing: &Outgoing) {
    let Outgoing {
        call,
        method,
        url,
        headers,
        body,
    } = outgoing;
    let headers = listed(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    link.push(&FromChild::Fetch {
        run,
        call: *call,
        unawaited,
        method,
        url,
        headers: List::new(&headers),
        body,
    });
}

/// What a script threw, or the engine's own error.
fn thrown(text: String) -> RunError {
    if text.contains("out of memory") {
        RunError::OutOfMemory
    } else {
        RunError::Threw(text)
    }
}

/// The engine's allocated bytes, counted by walking over all that there is.
fn allocated(runtime: &Runtime) -> usize {
    usize::try_from(runtime.memory_usage().malloc_size).unwrap_or(0)
}

/// Checks the text on its own, then makes it a function of the realm.
fn compile(runtime: &Runtime, realm: &Realm, number: u32, text: &str) -> Result<Persistent<Function<'static>>, RunError> {
    let check = Context::full(runtime).map_err(|error| RunError::Threw(error.to_string()))?;
    check.with(|ctx| {
        let parsed = Module::declare(ctx.clone(), "code", text);
        parsed.map(drop).catch(&ctx).map_err(|error| thrown(describe(&error)))
    })?;
    realm.call(|ctx, _| {
        let (module, _) = Module::declare(ctx.clone(), format!("code-{number}"), script::wrap(text))?.eval()?;
        let factory: Function<'_> = module.get("default")?;
        Ok(Persistent::save(ctx, factory))
    })
}

fn describe(error: &CaughtError<'_>) -> String {
    match error {
        CaughtError::Exception(exception) => {
            let message = exception.message().unwrap_or_default();
            let name = exception.as_object().get::<_, String>("name").unwrap_or_else(|_| "Error".into());
            format!("{name}: {message}\n{}", exception.stack().unwrap_or_default())
                .trim_end()
                .to_owned()
        }
        other => other.to_string(),
    }
}

impl Realm {
    fn new(runtime: &Runtime, bridge: &Bridge, lock: bool) -> rquickjs::Result<Self> {
        let context = Context::full(runtime)?;
        let [start, settle, fire, stop] = context.with(|ctx| {
            let prelude: Function<'_> = ctx.eval(PRELUDE)?;
            let functions: Object<'_> = prelude.call((host(&ctx, bridge)?, lock))?;
            let save = |name| Ok::<_, rquickjs::Error>(Persistent::save(&ctx, functions.get::<_, Function<'_>>(name)?));
            Ok::<_, rquickjs::Error>([save("start")?, save("settle")?, save("fire")?, save("stop")?])
        })?;
        Ok(Self {
            context,
            start,
            settle,
            fire,
            stop,
        })
    }

    /// Calls into the realm; an exception becomes text.
    fn call<T>(&self, act: impl for<'js> FnOnce(&Ctx<'js>, &Self) -> rquickjs::Result<T>) -> Result<T, RunError> {
        self.context
            .with(|ctx| act(&ctx, self).catch(&ctx).map_err(|error| thrown(describe(&error))))
    }
}

#[cfg(test)]
mod tests;
