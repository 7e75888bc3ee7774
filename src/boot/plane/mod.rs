//! Puts the data plane together: stores → owners → index → front, and takes it apart in the opposite order.

pub(crate) mod fan_out;
mod pause;
mod publish;

pub(crate) use pause::Pause;
pub(crate) use publish::{Published, Publisher};

use super::allocator;
use super::stores::Stores;
use crate::config::{self, Config};
use crate::indexer::{self, IndexerHandle};
use crate::telemetry::health::{Readiness, Reason};
use anyhow::Context as _;
use arc_swap::{ArcSwap, ArcSwapOption};
use fan_out::Connected;
use futures_util::future::join_all;
use perseat_actors::admission::Admission;
use perseat_actors::execution::{ExecutionEnv, ExecutionMemory};
use perseat_actors::front::{DurableIntake, FrontParts, FrontShared, FrontThreads, Fronts, Proxies, PublicUrl};
use perseat_actors::grant::{Oauth, Sharers};
use perseat_actors::kit::{Arbiter, Arbiters, Clock, Errands, Health, Mailbox, Obituary, Pulse, PulseHooks, RealClock, Reply, start_on};
use perseat_actors::source::Sources;
use perseat_actors::supervisor::{Conclude, Drain, Feed, Recovered, Supervisor};
use perseat_actors::waiters::Waiters;
use perseat_domain::id::partition_of;
use perseat_domain::route::HashSecret;
use perseat_flow::component::Performer;
use perseat_flow::js::JsPool;
use perseat_flow::oauth::OauthClient;
use perseat_flow::outbound::{AnswerMemory, Governor, OutboundClient};
use perseat_journal::Journal;
use perseat_store::custody::Custody;
use perseat_store::index::{ExecutionIndex, LiveExecution};
use perseat_store::pressure::{Ballast, IndexLag, StoragePressure};
use perseat_store::state::StateStore;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// 128 bits from the thread's generator, which the system's seeds.
pub(crate) fn random() -> u128 {
    rand::random()
}

/// The running data plane.
pub(crate) struct Plane {
    pub(crate) custody: Custody,
    pub(crate) journal: Journal,
    pub(crate) index: Arc<ExecutionIndex>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ballast: Arc<Ballast>,
    pub(crate) front: Arc<FrontShared>,
    pub(crate) proxies: Arc<ArcSwap<Proxies>>,
    pub(crate) pulse: Pulse,
    pub(crate) public_url: Arc<str>,
    pub(crate) state: Arc<StateStore>,
    pub(crate) pause: Arc<Pause>,
    /// Whose turn it is to call third parties.
    pub(crate) governor: Governor,
    /// The memory for their answers.
    pub(crate) answers: AnswerMemory,
    /// The epoch of every append of this daemon.
    pub(crate) epoch: u64,
    supervisors: Vec<Mailbox<Supervisor>>,
    fronts: Fronts,
    arbiters: Arbiters,
    indexer: IndexerHandle,
    pressure: Arc<StoragePressure>,
    lag: Arc<IndexLag>,
    #[cfg(feature = "faults")]
    binding_faults: Arc<perseat_actors::execution::BindingFaults>,
}

impl Plane {
    /// Starts everything up to the front, which accepts and answers `not_ready` until [`Plane::open_door`]; nothing that was live goes on
    /// before that.
    pub(crate) fn start(
        config: &Config,
        stores: Stores,
        data: &Path,
        hooks: std::net::TcpListener,
        tls: Arc<ArcSwapOption<rustls::ServerConfig>>,
    ) -> anyhow::Result<Self> {
        let Stores {
            custody,
            journal,
            feed,
            pressure,
            lag,
            ballast,
            fan_out,
            recovered,
            indexer,
            state,
            epoch,
            ..
        } = stores;
        let clock: Arc<dyn Clock> = Arc::new(RealClock::new());
        let address = hooks.local_addr().context("the hooks listener")?;
        let public_url: Arc<str> = config.public_url(address).into();
        let waiters = Arc::new(Waiters::default());
        let admission = Admission::new(config.admission_options(), clock.clone());
        let arbiters = Arbiters::start(config.arbiter_options()).context("the arbiters")?;
        let pulse = watch(config, &arbiters, &journal)?;

        #[cfg(feature = "faults")]
        let binding_faults = Arc::<perseat_actors::execution::BindingFaults>::default();
        let sharers = Sharers::default();
        let governor = super::governor::start(config, data).context("the governor of outbound calls")?;
        let answers = AnswerMemory::new(config.outbound_options().answer_memory);
        let memory = Arc::new(ExecutionMemory::new(config.execution_memory().as_usize()));
        let mut supervisors = Vec::new();
        for (owner, arbiter) in arbiters.owners().enumerate() {
            let performer = performer(config, arbiter, governor.clone(), answers.clone())?;
            let env = ExecutionEnv {
                journal: journal.clone(),
                index: recovered.index.clone(),
                custody: custody.clone(),
                plans: Arc::default(),
                performer: performer.clone(),
                oauth: Oauth::new(
                    OauthClient::new(performer.outbound().clone(), config.oauth_limits()),
                    config.grant_rules(),
                ),
                sharers: sharers.clone(),
                errands: Errands::default(),
                memory: memory.clone(),
                clock: clock.clone(),
                waiters: waiters.clone(),
                limits: config.execution_limits(),
                epoch,
                public_url: public_url.clone(),
                #[cfg(feature = "faults")]
                faults: binding_faults.clone(),
            };
            let (options, admission) = (config.supervisor_options(owner, random() as u64), admission.clone());
            let mailbox = config.supervision.mailbox.as_usize();
            supervisors.push(start_on(arbiter, mailbox, Obituary::new(supervisor_ended), move |ctx| {
                Supervisor::new(options, env, admission, ctx)
            })?);
        }
        sharers.connect(supervisors.clone());
        let pause = Pause::begin(data, pressure.clone(), supervisors.clone())?;
        let connected = fan_out.connect(Feed::new(supervisors.clone(), config.journal.sink_retry));
        hand_over((&connected, &pause, &pulse), &arbiters, &supervisors, recovered.live)?;
        let index = recovered.index;
        let parts = indexer::Parts {
            journal: journal.clone(),
            index: index.clone(),
            feed,
            pressure: pressure.clone(),
            ballast: ballast.clone(),
        };
        let indexer = indexer::start(parts, indexer).context("the indexer")?;

        let snapshot = perseat_admin::routing::snapshot(custody.catalog(), HashSecret::new(random())).context("the routing snapshot")?;
        let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
        let publisher = Arc::new(Publisher::new(custody.clone(), snapshot.clone(), supervisors.clone()));
        let proxies = Arc::new(ArcSwap::from_pointee(Proxies(config.network.trusted_proxies.clone())));
        let front = FrontShared::new(FrontParts {
            options: config.front_options(),
            snapshot,
            intake: Arc::new(DurableIntake {
                admission,
                keyring: custody.keyring().clone(),
                journal: journal.clone(),
                epoch,
            }),
            waiters,
            pressure: pressure.clone(),
            public_url: PublicUrl::new(&public_url),
            proxies: proxies.clone(),
            tls,
            supervision: config.nursery_options(),
            clock: clock.clone(),
            random: Arc::new(random),
        });
        let fronts = Fronts::start(arbiters.fronts(), &front)?;
        fronts.listen(hooks).context("the hooks listener")?;
        tracing::debug!(data = %data.display(), "data plane assembled");
        Ok(Self {
            custody,
            journal,
            index,
            publisher,
            clock,
            ballast,
            front,
            proxies,
            pulse,
            public_url,
            state,
            pause: Arc::new(pause),
            governor,
            answers,
            epoch,
            supervisors,
            fronts,
            arbiters,
            indexer,
            pressure,
            lag,
            #[cfg(feature = "faults")]
            binding_faults,
        })
    }

    /// Where data sources are asked.
    pub(crate) fn sources(&self) -> Sources {
        Sources::new(self.supervisors.clone())
    }

    /// Nothing refuses the start any more: what was live goes on, and requests are taken.
    pub(crate) fn open_door(&self) -> anyhow::Result<()> {
        self.pause.start_is_through()?;
        self.front.set_ready(true);
        Ok(())
    }

    /// Whose word about the client's address is believed from now on.
    pub(crate) fn trust(&self, proxies: Vec<ipnet::IpNet>) {
        self.proxies.store(Arc::new(Proxies(proxies)));
    }

    /// An owner's thread, for the switch that freezes it.
    #[cfg(feature = "faults")]
    pub(crate) fn owner(&self) -> Arbiter {
        self.arbiters.owner_of(0).clone()
    }

    /// The front threads, for the switch that lets fronts panic.
    #[cfg(feature = "faults")]
    pub(crate) fn front_threads(&self) -> FrontThreads {
        self.fronts.threads()
    }

    /// The owners' supervisors, for the switches that let actors panic.
    #[cfg(feature = "faults")]
    pub(crate) fn supervisors(&self) -> Vec<Mailbox<Supervisor>> {
        self.supervisors.clone()
    }

    /// The switches that seed mutants of binding.
    #[cfg(feature = "faults")]
    pub(crate) fn binding_faults(&self) -> Arc<perseat_actors::execution::BindingFaults> {
        self.binding_faults.clone()
    }

    /// Whether no thread was silent for long lately, and the journal can be written: feeds the system's watchdog.
    pub(crate) fn is_alive(&self) -> impl Fn() -> bool + Send + 'static {
        let (pulse, journal) = (self.pulse.clone(), self.journal.clone());
        move || pulse.is_alive() && !journal.is_poisoned()
    }

    /// What `/readyz` asks.
    pub(crate) fn readiness(&self) -> PlaneReadiness {
        PlaneReadiness {
            front: self.front.clone(),
            fronts: self.fronts.threads(),
            pulse: self.pulse.clone(),
            journal: self.journal.clone(),
            pressure: self.pressure.clone(),
            lag: self.lag.clone(),
        }
    }

    /// Stops taking requests, lets what runs end within the deadline or until `now`, and closes the stores.
    pub(crate) fn drain(self, control: &Runtime, options: &config::settings::Drain, now: &CancellationToken) {
        let deadline = options.deadline;
        let begun = self.clock.uptime();
        let left = |clock: &Arc<dyn Clock>| deadline.saturating_sub(clock.uptime().saturating_sub(begun));
        control.block_on(now.run_until_cancelled(async {
            let mut fronts = pin!(self.fronts.drain(deadline));
            // Until then callers that wait still get their answers, then nothing begins any more: what runs has the other half to end.
            let drained = tokio::time::timeout(deadline / 2, fronts.as_mut()).await;
            let cut = async {
                match drained {
                    Ok(open) => open,
                    Err(_) => fronts.await,
                }
            };
            let owners = async {
                let asked = self.supervisors.iter().map(|supervisor| supervisor.ask(left(&self.clock), Drain));
                for error in join_all(asked).await.into_iter().filter_map(Result::err) {
                    tracing::warn!(%error, "executions were still running at the drain deadline; they resume after the next start");
                }
                self.front.give_up_waiting();
                // What an owner's thread has under way ends with it, whoever it is for: what runs past the deadline takes no time from that.
                let within = left(&self.clock).max(options.thread_timeout);
                let asked = self.supervisors.iter().map(|supervisor| supervisor.ask(within, Conclude));
                for error in join_all(asked).await.into_iter().filter_map(Result::err) {
                    tracing::warn!(%error, "renewals were still under way at the end; whose outcome is not known must be consented to again");
                }
            };
            let is_open = drained.is_err();
            let said = async {
                if is_open {
                    tracing::info!("requests are still open; what runs ends now and nothing begins any more");
                }
            };
            let (open, (), ()) = tokio::join!(cut, owners, said);
            if open > 0 {
                tracing::warn!(connections = open, "connections were cut at the drain deadline");
            }
        }));
        for name in self.arbiters.stop(options.thread_timeout) {
            tracing::warn!(%name, "a thread did not end");
        }
        self.indexer.stop(left(&self.clock), now.clone());
        self.journal.close();
        self.pulse.rest();
    }
}

fn supervisor_ended(exit: perseat_actors::kit::Exit) {
    if exit == perseat_actors::kit::Exit::Panicked {
        // The root has no parent that could restart it; recovery from disk is the tested path.
        tracing::error!("a supervisor panicked; the daemon ends and recovers on its next start");
        perseat_journal::abort();
    }
}

/// Makes an owner's performer on its own thread, where its connections and its children's sockets live.
fn performer(config: &Config, arbiter: &Arbiter, governor: Governor, answers: AnswerMemory) -> anyhow::Result<Performer> {
    let (policy, outbound, code, limits) = (
        config.outbound_policy()?,
        config.outbound_options(),
        config.code_options(),
        config.step_limits(),
    );
    let (made, wait) = std::sync::mpsc::sync_channel(1);
    arbiter.spawn(async move {
        let performer = async {
            let client = OutboundClient::new(policy, outbound)?.governed(governor).sharing(answers);
            let js = JsPool::start(client.clone(), code).await?;
            anyhow::Ok(Performer::new(client, js, limits))
        };
        let _ = made.send(performer.await);
    })?;
    wait.recv().context("the owner's thread ended")?.context("code steps cannot run")
}

/// Gives the owners what was live before the restart, and waits until it is counted and queued. They hear of what is committed by then, are
/// held, and somebody notices where one is frozen.
fn hand_over(
    _: (&Connected, &Pause, &Pulse),
    arbiters: &Arbiters,
    supervisors: &[Mailbox<Supervisor>],
    live: Vec<LiveExecution>,
) -> anyhow::Result<()> {
    // Between two parts an owner answers the pulse.
    const AT_ONCE: usize = 1_000;
    let mut parts: Vec<Vec<LiveExecution>> = supervisors.iter().map(|_| Vec::new()).collect();
    for execution in live {
        if let Some(identity) = &execution.identity {
            parts[arbiters.owner_index(partition_of(identity.instance))].push(execution);
        }
    }
    for (supervisor, executions) in supervisors.iter().zip(parts) {
        let mut left = executions.into_iter();
        while !left.as_slice().is_empty() {
            let executions = left.by_ref().take(AT_ONCE).collect();
            let recovered = |reply: Reply<()>| Recovered { executions, reply };
            supervisor
                .ask_blocking(recovered)
                .context("an owner did not take up what was live")?;
        }
    }
    Ok(())
}

fn watch(config: &Config, arbiters: &Arbiters, journal: &Journal) -> anyhow::Result<Pulse> {
    let hooks = PulseHooks {
        on_beat: Arc::new(allocator::look),
        ..PulseHooks::default()
    };
    let pulse = Pulse::start(config.pulse_options(), hooks).context("the pulse")?;
    for arbiter in arbiters.owners().chain(arbiters.fronts()) {
        pulse.watch_arbiter(arbiter);
    }
    let (journal, asked) = (journal.clone(), AtomicU64::new(0));
    pulse.watch("journal writer", move || {
        let answered = journal.last_heartbeat() >= asked.load(Ordering::Relaxed);
        if answered {
            asked.store(journal.pulse(), Ordering::Relaxed);
        }
        answered
    });
    Ok(pulse)
}

/// Why the data plane is not ready, if it is not.
pub(crate) struct PlaneReadiness {
    front: Arc<FrontShared>,
    fronts: FrontThreads,
    pulse: Pulse,
    journal: Journal,
    pressure: Arc<StoragePressure>,
    lag: Arc<IndexLag>,
}

impl Readiness for PlaneReadiness {
    fn reasons(&self) -> Vec<Reason> {
        let mut reasons = Vec::new();
        let mut add = |is_so: bool, part: &'static str, why: &str| {
            if is_so {
                reasons.push(Reason { part, why: why.to_owned() });
            }
        };
        add(!self.front.is_ready(), "front", "starting or draining");
        add(
            self.fronts.alive() == 0,
            "front",
            "every front has failed; those in quarantine come back after supervision.quarantine",
        );
        add(
            self.pulse.health() == Health::Degraded,
            "arbiters",
            "a thread has been silent past supervision.silence-degraded",
        );
        add(self.journal.is_poisoned(), "journal", "a write failed; restart the daemon");
        add(
            self.pressure.paused.load(Ordering::Relaxed),
            "restore",
            "restored from a backup and paused; `perseat resume` lets it go on",
        );
        add(
            self.pressure.storage_full.load(Ordering::Relaxed),
            "storage",
            "there is no room for another segment: on the disk, or in retention.budget",
        );
        add(
            self.pressure.storage_budget.load(Ordering::Relaxed),
            "storage",
            "live executions use backlog.max-bytes",
        );
        add(
            self.pressure.index_lag.load(Ordering::Relaxed),
            "index",
            "lags by more than index.max-lag",
        );
        metrics::gauge!("perseat_index_lag_entries").set(self.lag.entries() as f64);
        reasons
    }
}
