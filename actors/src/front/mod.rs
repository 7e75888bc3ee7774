//! Takes requests in: bytes become a durable entry, a receipt or a result goes back.
//!
//! ```text
//! socket ─ acceptor ─ connection ─ request ─ route (pure, snapshot) ─ intake ─ journal.append ─► 200 {executionId}
//!                     timers,      head and   identity bound           budget, seal    └─ waiter ─► the flow's result
//!                     TLS          body limits
//! ```
//!
//! A front actor hosts the connections of one front thread; one acceptor hands each socket to the front with the fewest,
//! and a keeper restarts a front that died.
//! The front asks nobody where a request goes: it reads an immutable snapshot that the control plane replaces. It
//! answers 2xx only for what the journal has made durable, and it has no part in what happens then: a caller that goes
//! away takes nothing with it but its wait.
//!
//! Only [`error`] knows HTTP status; credentials that a request shows are checked and dropped before anything is kept.

mod acceptor;
mod actor;
mod address;
mod address_limit;
mod beside;
mod body;
mod connection;
pub mod error;
mod intake;
mod keeper;
mod keys;
mod memory;
pub mod metrics;
mod options;
mod pool;
mod reply;
mod request;
mod route;
mod stored;
mod trial;
mod unparsed;

pub use acceptor::{FrontThreads, Fronts};
pub use address::{Proxies, PublicUrl, network_of};
pub use address_limit::{AddressLimit, AddressPlace, AtLimit};
pub use beside::{Beside, BesideAnswer, BesideLimits, Peer};
pub use body::{BodyMemory, HeldBody};
pub use intake::{Appending, DurableIntake, Intake};
pub use metrics::FrontMetrics;
pub use options::FrontOptions;
pub use trial::Trial;

use crate::kit::{Clock, NurseryOptions};
use crate::waiters::Waiters;
use arc_swap::{ArcSwap, ArcSwapOption};
use perseat_domain::id::ExecutionId;
use perseat_domain::route::RoutingSnapshot;
use perseat_store::pressure::StoragePressure;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::{Semaphore, watch};

/// What a front is made of. Everything here may be used by others at the same time.
pub struct FrontParts {
    /// The limits.
    pub options: FrontOptions,
    /// Where requests go; the control plane stores a new one after every change.
    pub snapshot: Arc<ArcSwap<RoutingSnapshot>>,
    /// Seals and appends.
    pub intake: Arc<dyn Intake>,
    /// Synchronous callers; owners resolve them.
    pub waiters: Arc<Waiters>,
    /// Why storage takes nothing more.
    pub pressure: Arc<StoragePressure>,
    /// How the outside world reaches the daemon.
    pub public_url: PublicUrl,
    /// Whose word about the client's address is believed.
    pub proxies: Arc<ArcSwap<Proxies>>,
    /// TLS, where the daemon does it; a new configuration serves new connections.
    pub tls: Arc<ArcSwapOption<rustls::ServerConfig>>,
    /// Restarts of a front that died.
    pub supervision: NurseryOptions,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness: 128 bits a call.
    pub random: Arc<dyn Fn() -> u128 + Send + Sync>,
}

impl fmt::Debug for FrontParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrontParts").field("options", &self.options).finish_non_exhaustive()
    }
}

/// What all front threads share.
#[derive(Debug)]
pub struct FrontShared {
    parts: FrontParts,
    metrics: FrontMetrics,
    ready: AtomicBool,
    draining: watch::Sender<bool>,
    body_memory: BodyMemory,
    answer_memory: memory::AnswerMemory,
    keys: keys::KeyReads,
    pool: pool::Pool,
    connections: Arc<Semaphore>,
    addresses: Arc<AddressLimit>,
    open: AtomicUsize,
    beside: OnceLock<beside::Neighbour>,
}

impl FrontShared {
    /// A front that is not ready yet. Install the metrics recorder first.
    #[must_use]
    pub fn new(parts: FrontParts) -> Arc<Self> {
        let options = parts.options;
        Arc::new(Self {
            metrics: FrontMetrics::new(),
            ready: AtomicBool::new(false),
            draining: watch::Sender::new(false),
            body_memory: BodyMemory::new(options.body_memory),
            answer_memory: memory::AnswerMemory::new(options.answer_memory),
            keys: keys::KeyReads::new(Arc::clone(&parts.intake), &options),
            pool: pool::Pool::new(options.pool),
            connections: Arc::new(Semaphore::new(options.connections)),
            addresses: AddressLimit::new(options.connections_per_address),
            open: AtomicUsize::new(0),
            beside: OnceLock::new(),
            parts,
        })
    }

    /// Gives some paths of this listener to somebody else, within limits of their own; once.
    pub fn serve_beside(&self, service: Arc<dyn Beside>, limits: BesideLimits) {
        let _ = self.beside.set(beside::Neighbour::new(service, limits));
    }

    /// Opens or closes the door: a front that is not ready answers 503 `not_ready`.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// Whether requests are taken.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire) && !self.is_draining()
    }

    /// Stops accepting, closes idle connections, lets requests that have begun end; new ones get 503 `not_ready`.
    pub fn begin_drain(&self) {
        self.draining.send_replace(true);
    }

    /// Nothing ends in this process any more: whoever waits for a result hears so.
    pub fn give_up_waiting(&self) {
        self.parts.waiters.close();
    }

    /// Whether the front is draining.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Number of open connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Number of events that wait for a key to be read from the disk.
    #[must_use]
    pub fn key_waiters(&self) -> usize {
        self.keys.waiting()
    }

    /// The limits.
    #[must_use]
    pub fn options(&self) -> &FrontOptions {
        &self.parts.options
    }

    /// A new execution's id: its time, then 74 random bits.
    fn execution_id(&self) -> ExecutionId {
        let random = (self.parts.random)().to_le_bytes();
        let mut bits = [0; 10];
        bits.copy_from_slice(&random[..10]);
        let id = uuid::Builder::from_unix_timestamp_millis(self.parts.clock.now().0, &bits);
        ExecutionId(id.into_uuid())
    }
}
