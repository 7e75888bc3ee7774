//! The child process: reads frames from its standard input, runs one script at a time, writes what it gave.
//!
//! It holds no secret but what a run brings with it, and no right but to compute and to use that one socket.

mod bridge;
mod engine;
mod host;
mod imports;
mod random;
mod rejections;
mod sandbox;
mod script;

use super::frame::{self, Failure, FromChild, Incoming, List, Run, ToChild};
use super::program::{BUILD, BUILD_WORD, NAME};
use bridge::Bridge;
use engine::{Engine, Outcome};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::VecDeque;
use std::ffi::CString;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

/// What the parent fixes for the child's life, as arguments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    pub(super) max_heap: usize,
    pub(super) max_frame: usize,
    pub(super) sandbox_required: bool,
}

impl Setup {
    /// As arguments after the child command.
    pub(super) fn to_args(self) -> [String; 3] {
        [
            self.max_heap.to_string(),
            self.max_frame.to_string(),
            if self.sandbox_required { "required" } else { "best-effort" }.to_owned(),
        ]
    }

    fn from_args(args: &[String]) -> Option<Self> {
        let [.., heap, frame, sandbox] = args else { return None };
        Some(Self {
            max_heap: heap.parse().ok()?,
            max_frame: frame.parse().ok()?,
            sandbox_required: sandbox != "best-effort",
        })
    }
}

/// The child's whole life. `perseat-js-child` calls this, and the daemon, before anything else, when its first argument is
/// `js-child`. With `build` it says what it was built from, and no more.
#[must_use]
pub fn child_main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if let [_, word] = args.as_slice()
        && word == BUILD_WORD
    {
        print!("{BUILD}");
        return ExitCode::SUCCESS;
    }
    let Some(setup) = Setup::from_args(&args) else {
        return ExitCode::from(2);
    };
    match serve(setup) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve(setup: Setup) -> io::Result<()> {
    // Who looks at the processes sees a name, not the number of a descriptor.
    if let Ok(name) = CString::new(NAME) {
        let _ = rustix::thread::set_name(&name);
    }
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let hardened = sandbox::harden(setup);
    let mut link = Link {
        socket,
        incoming: Incoming::new(setup.max_frame),
        out: Vec::new(),
        runs: VecDeque::new(),
        cpu_limit: 0,
    };
    let missing = match hardened {
        Ok(missing) => missing,
        Err(reason) => return link.send(&FromChild::Unfit { reason: &reason }),
    };
    let bridge = Bridge::default();
    let mut engine = Engine::new(setup.max_heap, bridge.clone()).map_err(io::Error::other)?;
    link.send(&FromChild::Ready {
        build: BUILD,
        missing: &missing,
    })?;
    loop {
        let Some(bytes) = link.next_run()? else { return Ok(()) };
        let frame = postcard::from_bytes(&bytes).map_err(io::Error::other)?;
        match frame {
            ToChild::Script { number, text } => engine.add(number, text),
            ToChild::Run(run) => {
                if !perform(&mut engine, &mut link, &bridge, &run)? {
                    return Ok(());
                }
            }
            // An answer to a run that has ended.
            ToChild::Fetched { .. } => {}
        }
    }
}

/// Runs a script to its end; gives whether the engine is fit for another.
fn perform(engine: &mut Engine, link: &mut Link, bridge: &Bridge, run: &Run<'_>) -> io::Result<bool> {
    sandbox::limit_cpu(Duration::from_millis(run.max_cpu_ms), &mut link.cpu_limit);
    let outcome = engine.run(run, link)?;
    let state = bridge.take();
    let result = match &outcome.result {
        Ok(json) if json.len() > run.max_result as usize => Err(Failure::TooLarge),
        Ok(json) => Ok(json.as_str()),
        Err(error) => Err(error.as_failure().within(run.max_thrown as usize)),
    };
    let logs = frame::listed(state.logs.iter().map(|(level, at, text)| (*level, *at, text.as_str())));
    let Outcome { cpu, fit, unheard, .. } = outcome;
    link.send(&FromChild::Done {
        run: run.run,
        last: !fit,
        cpu_us: u64::try_from(cpu.as_micros()).unwrap_or(u64::MAX),
        waited: state.waited,
        unanswered: unheard.unanswered,
        unhandled: unheard.unhandled,
        outcome: result,
        logs: List::new(&logs),
    })?;
    Ok(fit)
}

/// The socket, and the frames that arrived while a script ran.
pub(super) struct Link {
    socket: UnixStream,
    incoming: Incoming,
    /// Frames that leave together.
    out: Vec<u8>,
    runs: VecDeque<Vec<u8>>,
    /// The CPU limit in force, see [`sandbox::limit_cpu`].
    cpu_limit: u64,
}

impl Link {
    fn send(&mut self, frame: &FromChild<'_>) -> io::Result<()> {
        self.push(frame);
        self.flush()
    }

    /// To be sent with the next [`Link::flush`].
    fn push(&mut self, frame: &FromChild<'_>) {
        frame::push(&mut self.out, frame);
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = self.socket.write_all(&self.out);
        self.out.clear();
        self.out.shrink_to(frame::KEPT);
        written
    }

    /// The next frame, waiting for it; `None` when the parent is gone.
    fn next_run(&mut self) -> io::Result<Option<Vec<u8>>> {
        if let Some(frame) = self.runs.pop_front() {
            return Ok(Some(frame));
        }
        loop {
            if let Some(frame) = self.incoming.next().map_err(io::Error::other)? {
                return Ok(Some(frame.to_vec()));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    fn fill(&mut self) -> io::Result<bool> {
        loop {
            match self.incoming.fill(|buffer| self.socket.read(buffer)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return Ok(other? > 0),
            }
        }
    }

    /// Waits for an answer to the running script's calls; other frames wait for their turn. `None` when `wait` is
    /// over first.
    fn next_answer(&mut self, wait: Duration) -> io::Result<Option<Vec<u8>>> {
        loop {
            while let Some(frame) = self.incoming.next().map_err(io::Error::other)? {
                let frame = frame.to_vec();
                if matches!(postcard::from_bytes(&frame), Ok(ToChild::Fetched { .. })) {
                    return Ok(Some(frame));
                }
                self.runs.push_back(frame);
            }
            let timeout = Timespec {
                tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(wait.subsec_nanos()),
            };
            let ready = {
                let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
                poll(&mut fds, Some(&timeout))
            };
            match ready {
                Ok(0) => return Ok(None),
                Ok(_) if self.fill()? => {}
                Ok(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
                // A signal; the caller computes what is left of its wait.
                Err(rustix::io::Errno::INTR) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
