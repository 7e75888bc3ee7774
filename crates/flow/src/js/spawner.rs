//! The thread that starts and reaps children.
//!
//! Starting a process blocks for half a millisecond, so no runtime thread does it. The kernel ends the children when
//! this thread ends (their parent's death signal), so the daemon cannot leave one behind.

use super::child::Setup;
use super::program::Program;
use super::{Options, Sandbox};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, TrySendError};
use tokio::sync::oneshot;

/// A started child and the daemon's end of its socket.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) process: Child,
    pub(super) socket: UnixStream,
}

enum Order {
    Start(oneshot::Sender<io::Result<Started>>),
    End(Child),
}

/// Gives orders to the thread.
#[derive(Clone, Debug)]
pub(super) struct Spawner {
    orders: mpsc::SyncSender<Order>,
}

impl Spawner {
    pub(super) fn new(options: &Options) -> io::Result<Self> {
        // Each child, running or put by, is started once and ended once; twice that never fills.
        let children = options.slots + options.spares + options.kept;
        let (orders, inbox) = mpsc::sync_channel(2 * children.max(1));
        let program = Program::choose(options.child_command.as_deref())?;
        let setup = Setup {
            max_heap: options.max_heap,
            max_frame: options.max_frame,
            sandbox_required: options.sandbox == Sandbox::Required,
        };
        let serve = move || {
            for order in inbox {
                match order {
                    // A pool that is gone drops its end; so does the child then.
                    Order::Start(reply) => drop(reply.send(start(&program, setup))),
                    Order::End(child) => end(child),
                }
            }
        };
        std::thread::Builder::new().name("js-spawner".into()).spawn(serve)?;
        Ok(Self { orders })
    }

    pub(super) async fn start(&self) -> io::Result<Started> {
        let (reply, started) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts children has ended");
        self.orders.try_send(Order::Start(reply)).map_err(|error| match error {
            TrySendError::Full(_) => io::Error::other("too many children start and end at once"),
            TrySendError::Disconnected(_) => gone(),
        })?;
        started.await.map_err(|_| gone())?
    }

    /// Kills a child, if it still runs, and reaps it.
    pub(super) fn end(&self, child: Child) {
        // Without the thread there are no children either. An end is never given up: it waits where the queue is full.
        drop(self.orders.send(Order::End(child)));
    }
}

fn start(program: &Program, setup: Setup) -> io::Result<Started> {
    let (socket, theirs) = UnixStream::pair()?;
    socket.set_nonblocking(true)?;
    let process = program
        .command()
        .args(setup.to_args())
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // What a terminal sends to all in the foreground, Ctrl-C say, is for the daemon alone, which lets what runs end.
        .process_group(0)
        .spawn()?;
    Ok(Started { process, socket })
}

fn end(mut child: Child) {
    // It may have ended by itself; then there is nothing to kill and the wait only reaps it.
    drop(child.kill());
    drop(child.wait());
}
