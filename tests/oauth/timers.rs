//! Timers of actors: one that something else took the place of waits no longer. An owner in this process, whose clock is moved by hand.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use perseat_actors::admission::{Admission, AdmissionOptions};
use perseat_actors::execution::{ExecutionEnv, ExecutionLimits, ExecutionMemory};
use perseat_actors::grant::{Oauth as Renewals, Sharers};
use perseat_actors::kit::{
    Arbiter, ArbiterOptions, Arbiters, Clock, Errands, Mailbox, NurseryOptions, Obituary, Reply, Sleep, VirtualClock, start_on,
};
use perseat_actors::source::{Question, Sources, Unanswered};
use perseat_actors::supervisor::{Conclude, ConfigChanged, Drain, Feed, Hold, Supervisor, SupervisorOptions};
use perseat_actors::waiters::Waiters;
use perseat_admin::apply::{Applier, ApplyOptions, apply};
use perseat_admin::edit::Definitions;
use perseat_domain::code::ErrorCode;
use perseat_domain::definition::ActionRef;
use perseat_domain::entry::{Accepted, Cancelled, Entry, Origin, TriggerRequest};
use perseat_domain::fair::FairOptions;
use perseat_domain::grant::{Holder, Rules, Status};
use perseat_domain::id::{ExecutionId, FlowNumber, partition_of};
use perseat_domain::identity::{BoundUser, Identity};
use perseat_domain::model::{Instance, User};
use perseat_domain::owner::UserKey;
use perseat_domain::time::Timestamp;
use perseat_flow::component::{self, Performer};
use perseat_flow::js::{self, JsPool};
use perseat_flow::oauth::{self, OauthClient};
use perseat_flow::outbound::{self, OutboundClient, Policy};
use perseat_journal::disk::RealDisk;
use perseat_journal::{Committed, Journal, NewEntry, Options};
use perseat_store::catalog::{Catalog, Lookup as _};
use perseat_store::custody::Custody;
#[cfg(feature = "faults")]
use perseat_store::faults::Faults;
use perseat_store::folder::Directory;
use perseat_store::history::{History, HistoryOptions};
use perseat_store::index::{self, ExecutionIndex, FeedOptions};
use perseat_store::keyring::{Keyring, MasterKey, Owner};
use perseat_store::pressure::{IndexLag, StoragePressure};
use perseat_store::seal::RecordKind;
use perseat_store::state::{StateOptions, StateStore};
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use crate::harness::oauth::{Manner, Oauth, Stall};
use crate::harness::{PATIENCE, within};
use crate::world::{Plan, manifests};

mod drained;

/// How often each test lets a timer be superseded.
const TIMES: usize = 100;
/// The first and the longest wait after a renewal that failed.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(20));

/// How often an owner looks after what no timer tells of.
const TIDY_EVERY: Duration = Duration::from_hours(24);
/// Somebody who has to consent first.
const BOB_UNCONNECTED: &str = "kind: CustomerUser\ncustomer: globex\nname: bob\nemail: bob@globex.example\nexternalId: bob\nrole: marketplace_user\n---\n\
    kind: UserLevelConfig\ncustomer: globex\ninstance: Work\nuser: bob\nconfigVars:\n  Account: {fields: {}}\n---\n";

/// A clock that is moved by hand, and notes what was waited for.
#[derive(Debug)]
struct Noting {
    clock: VirtualClock,
    waits: watch::Sender<Vec<Duration>>,
}

impl Noting {
    /// How many wait.
    fn sleepers(&self) -> usize {
        self.clock.sleepers().0
    }

    /// Waits until it is so; what is asked is given the waits that were begun so far.
    async fn until(&self, what: &str, is_so: impl Fn(&[Duration]) -> bool) {
        let mut seen = self.waits.subscribe();
        let wait = seen.wait_for(|waits| is_so(waits));
        drop(within(what, wait).await.unwrap());
    }
}

impl Clock for Noting {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn uptime(&self) -> Duration {
        self.clock.uptime()
    }

    fn sleep(&self, span: Duration) -> Sleep {
        let sleep = self.clock.sleep(span);
        self.waits.send_modify(|waits| waits.push(span));
        Box::pin(Noted {
            sleep,
            _gone: Gone(self.waits.clone()),
        })
    }
}

struct Noted {
    // Before what says that it is gone.
    sleep: Sleep,
    _gone: Gone,
}

impl Future for Noted {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.sleep.as_mut().poll(cx)
    }
}

struct Gone(watch::Sender<Vec<Duration>>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.send_modify(|_| ());
    }
}

/// An owner with what it reads and writes.
struct Owned {
    provider: Oauth,
    clock: Arc<Noting>,
    custody: Custody,
    waiters: Arc<Waiters>,
    #[cfg(feature = "faults")]
    faults: Arc<Faults>,
    journal: Journal,
    supervisor: Mailbox<Supervisor>,
    arbiters: Option<Arbiters>,
    _directory: tempfile::TempDir,
}

impl fmt::Debug for Owned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owned").finish_non_exhaustive()
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let frozen = self.arbiters.take().map(|arbiters| arbiters.stop(PATIENCE));
        self.journal.close();
        if !std::thread::panicking() {
            assert_eq!(frozen, Some(Vec::new()), "a thread did not end");
        }
    }
}

impl Owned {
    async fn start(plan: &Plan<'_>) -> Self {
        let _ = perseat::boot::tls::install_provider();
        let provider = Oauth::start(plan.manner.clone()).await;
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let clock = Arc::new(Noting {
            clock: VirtualClock::at(Timestamp(1_700_000_000_000)),
            waits: watch::Sender::default(),
        });
        #[cfg(feature = "faults")]
        let faults = Arc::<Faults>::default();
        #[cfg(feature = "faults")]
        let folder = Directory::with_faults(directory.path(), faults.clone());
        #[cfg(not(feature = "faults"))]
        let folder = Directory::new(directory.path());
        let custody = custody(&at("keyring"), folder, &manifests(&provider, plan), clock.now());
        let arbiters = Arbiters::start(ArbiterOptions { owners: 1, fronts: 0 }).unwrap();
        let arbiter = arbiters.owner_of(0);
        let owners: Arc<OnceLock<Feed>> = Arc::default();
        let fed = owners.clone();
        let sink = move |batch: Arc<[Committed]>| fed.get().unwrap().deliver(&batch);
        std::fs::create_dir(at("journal")).unwrap();
        let disk = RealDisk::open(at("journal")).unwrap();
        let journal = Journal::open(Options::for_budget(64 << 20), Arc::new(disk), Box::new(sink)).unwrap();
        let state = StateStore::open(&at("state.redb"), &StateOptions::default()).unwrap();
        let history = History::open(&at("history"), HistoryOptions::default()).unwrap();
        let feed = index::Feed::new(
            FeedOptions::default(),
            Arc::new(IndexLag::default()),
            Arc::new(StoragePressure::default()),
        );
        let index = ExecutionIndex::open(Arc::new(state), Arc::new(history), Arc::new(feed), 0, index::Limits::default()).unwrap();
        let performer = performer(arbiter, &provider).await;
        let sharers = Sharers::default();
        let waiters = Arc::<Waiters>::default();
        let env = ExecutionEnv {
            journal: journal.clone(),
            index: Arc::new(index),
            custody: custody.clone(),
            plans: Arc::default(),
            oauth: Renewals::new(
                OauthClient::new(performer.outbound().clone(), oauth::Limits::default()),
                Rules {
                    back_off: BACK_OFF.0,
                    back_off_max: BACK_OFF.1,
                    ..Rules::default()
                },
            ),
            performer,
            sharers: sharers.clone(),
            errands: Errands::default(),
            memory: Arc::new(ExecutionMemory::new(1 << 20)),
            clock: clock.clone(),
            waiters: waiters.clone(),
            limits: ExecutionLimits::default(),
            epoch: 1,
            public_url: "http://hooks.example".into(),
            #[cfg(feature = "faults")]
            faults: Arc::default(),
        };
        // Nobody is put away.
        let children = NurseryOptions {
            idle_after: 365 * TIDY_EVERY,
            ..NurseryOptions::default()
        };
        let options = SupervisorOptions {
            fair: FairOptions::default(),
            instances: children,
            users: children,
            users_max: 1_000,
            mailbox: 1_000,
            tidy_every: TIDY_EVERY,
            payload_cache: 1 << 20,
            owner: 0,
            seed: 1,
        };
        let admission = Admission::new(AdmissionOptions::default(), clock.clone());
        let supervisor = start_on(arbiter, 1_000, Obituary::new(|_| ()), move |ctx| {
            Supervisor::new(options, env, admission, ctx)
        });
        let supervisor = supervisor.unwrap();
        sharers.connect(vec![supervisor.clone()]);
        owners.set(Feed::new(vec![supervisor.clone()], Duration::from_millis(1))).unwrap();
        Self {
            provider,
            clock,
            custody,
            waiters,
            #[cfg(feature = "faults")]
            faults,
            journal,
            supervisor,
            arbiters: Some(arbiters),
            _directory: directory,
        }
    }

    fn identity(&self, user: &str) -> Identity {
        let catalog = self.custody.catalog();
        let instances = catalog.page::<Instance>(None, 10).unwrap().items;
        let instance = instances.into_iter().find(|instance| instance.name == "Work").unwrap();
        let users = catalog.page::<User>(None, 10).unwrap().items;
        let user = users.into_iter().find(|found| found.external_id.as_deref() == Some(user)).unwrap();
        let config = catalog.user_config_of(instance.id, user.id).unwrap().unwrap();
        Identity {
            customer: instance.customer,
            instance: instance.id,
            flow: FlowNumber(1),
            user: Some(BoundUser {
                user: user.id,
                config: config.id,
            }),
        }
    }

    async fn hold(&self, is_held: bool) {
        let held = self.supervisor.ask(PATIENCE, |reply| Hold { is_held, reply });
        held.await.unwrap();
    }

    async fn append(&self, identity: &Identity, entry: impl Into<Entry>) {
        let entry = NewEntry {
            partition: partition_of(identity.instance),
            epoch: 1,
            payload: entry.into().encode().into(),
        };
        self.journal.append(vec![entry]).await.unwrap();
    }

    /// Accepts an event of this user; its execution.
    async fn send(&self, user: &str) -> ExecutionId {
        let identity = self.identity(user);
        let execution = ExecutionId(Uuid::now_v7());
        let request = TriggerRequest {
            method: "POST".into(),
            headers: Vec::new(),
            query: String::new(),
            path_fragment: String::new(),
            invoke_url: String::new(),
            body: "{}".into(),
            debug: false,
        };
        let key = self.custody.keyring().data_key(Owner::User(identity.user.unwrap().user)).unwrap();
        let plain = postcard::to_allocvec(&request).unwrap();
        let accepted = Accepted {
            execution,
            identity: Some(identity),
            origin: Origin::Webhook,
            received_at: self.clock.now(),
            dedupe_id: None,
            unique_request_id: None,
            catalog_revision: 1,
            sync_deadline: Some(self.clock.now()),
            refusal: None,
            request: key.seal(RecordKind::Request, execution.0.as_bytes(), &plain),
        };
        self.append(&identity, accepted).await;
        execution
    }

    /// The same, and cancels it: it ends without a slot.
    async fn send_and_cancel(&self, user: &str) {
        let identity = self.identity(user);
        let cancelled = Cancelled {
            execution: self.send(user).await,
            at: self.clock.now(),
            by: "local:0".into(),
        };
        self.append(&identity, cancelled).await;
    }

    /// Waits until a configuration was read whose token is to be looked at as soon as that may be.
    async fn until_due(&self) {
        let is_read = |waits: &[Duration]| waits.contains(&Duration::from_millis(200));
        self.clock.until("a configuration to be read", is_read).await;
    }

    /// Waits until an execution is parked that somebody has to consent for.
    async fn until_parked(&self) {
        let is_parked = |waits: &[Duration]| waits.contains(&ExecutionLimits::default().park_limit);
        self.clock.until("it to be parked", is_parked).await;
    }

    /// Asks for the end of all that runs; what is answered then.
    fn drain(&self) -> oneshot::Receiver<()> {
        let (reply, drained) = Reply::channel();
        self.supervisor.tell(Drain(reply)).unwrap();
        drained
    }

    /// Asks for the end of all renewals, after that.
    async fn conclude(&self) -> oneshot::Receiver<()> {
        within("the owner to be drained", self.drain()).await.unwrap();
        let (reply, concluded) = Reply::channel();
        self.supervisor.tell(Conclude(reply)).unwrap();
        concluded
    }
}

fn custody(keyring: &std::path::Path, folder: Directory, yaml: &str, at: Timestamp) -> Custody {
    let keyring = Keyring::open(keyring, MasterKey::new(&[7; 32]), &perseat_store::keyring::Options::default()).unwrap();
    let catalog = Catalog::open_in(Arc::new(folder), "catalog.redb", perseat_store::catalog::Options::default()).unwrap();
    let custody = Custody::resume(Arc::new(catalog), Arc::new(keyring)).unwrap();
    let manifests = perseat_admin::manifest::read_text(yaml, std::path::Path::new("m.yml"), &|_| None).unwrap();
    let mut applier = Applier {
        by: "local:0",
        at,
        random: &mut || Uuid::new_v4().as_u128(),
    };
    let definitions = Definitions::built_in(perseat_flow::definition::Limits::default());
    apply(&custody, definitions, &manifests, ApplyOptions::default(), &mut applier).unwrap();
    custody
}

async fn performer(arbiter: &Arbiter, provider: &Oauth) -> Performer {
    let policy = Policy::new(vec![provider.address().to_string().parse().unwrap()], Vec::new());
    let (made, wait) = oneshot::channel();
    let make = async move {
        let outbound = OutboundClient::new(policy, outbound::Options::default()).unwrap();
        let options = js::Options {
            child_command: Some(vec![env!("CARGO_BIN_EXE_perseat").into(), "js-child".into()]),
            slots: 1,
            ..js::Options::default()
        };
        let js = JsPool::start(outbound.clone(), options).await.unwrap();
        let _ = made.send(Performer::new(outbound, js, component::Limits::default()));
    };
    arbiter.spawn(make).unwrap();
    wait.await.unwrap()
}

/// A user's own account, and one that all users of an instance share.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_is_read_again_waits_for_one_look_at_its_credentials() {
    for is_user_level in [true, false] {
        let plan = Plan {
            is_user_level,
            users: &["ann"],
            manner: Manner {
                holds: true,
                ..Manner::default()
            },
            ..Plan::default()
        };
        let owned = Owned::start(&plan).await;
        owned.send("ann").await;
        owned.provider.until("/work", 1).await;
        // The hour of the token less the lead: no time passes.
        let is_look = |wait: &&Duration| **wait == Duration::from_mins(55);
        let read_again = async |times: usize| {
            owned.supervisor.announce(ConfigChanged::everywhere());
            let is_read = |waits: &[Duration]| waits.iter().filter(is_look).count() > times;
            owned.clock.until(&format!("reading {times}"), is_read).await;
        };
        read_again(1).await;
        let at_first = owned.clock.sleepers();
        for times in 2..=TIMES {
            read_again(times).await;
        }
        let is_as_at_first = |_: &[Duration]| owned.clock.sleepers() <= at_first;
        owned.clock.until("nobody to wait for former looks", is_as_at_first).await;
    }
}

/// One waits for a consent, for as long as it may; another is tried again and again meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_parked_waits_for_one_look() {
    let plan = Plan {
        users: &["ann"],
        more: BOB_UNCONNECTED,
        manner: Manner {
            refuses: Some((503, None)),
            ..Manner::default()
        },
        ..Plan::default()
    };
    let owned = Owned::start(&plan).await;
    owned.send("bob").await;
    owned.until_parked().await;
    let at_first = owned.clock.sleepers();
    owned.send("ann").await;
    let tried = async {
        let mut look = tokio::time::interval(Duration::from_millis(1));
        while owned.provider.calls("/token").len() < TIMES {
            look.tick().await;
            owned.clock.clock.advance(BACK_OFF.0);
        }
    };
    within("a hundred tries", tried).await;
    // One look at the credential, and one at what is parked in place of bob's.
    let is_one_more = |_: &[Duration]| owned.clock.sleepers() <= at_first + 1;
    owned.clock.until("nobody to wait for former looks", is_one_more).await;
}

/// What waits by time that passes does not know of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_parked_ends_in_time_where_the_clock_was_set_ahead() {
    let plan = Plan {
        users: &[],
        more: BOB_UNCONNECTED,
        ..Plan::default()
    };
    let owned = Owned::start(&plan).await;
    let execution = owned.send("bob").await;
    owned.until_parked().await;
    let end = owned.waiters.register(execution, &owned.identity("bob"), 8).unwrap();
    let clock = &owned.clock.clock;
    clock.set_wall(clock.now().after(ExecutionLimits::default().park_limit));
    clock.advance(TIDY_EVERY);
    let end = within("its end", end.answer()).await.unwrap();
    assert_eq!(end.code, Some(ErrorCode::ParkedTooLong));
}

fn question(identity: &Identity) -> Question {
    Question {
        user: UserKey::of(identity),
        variable: "of-no-version".into(),
        source: ActionRef {
            component: "code".into(),
            action: "runCodePicklist".into(),
        },
        typed: BTreeMap::new(),
        reference: ExecutionId(Uuid::now_v7()),
        time: PATIENCE,
        max_result: 1_000,
    }
}

/// Before a start is through, and before `resume`.
#[tokio::test(flavor = "multi_thread")]
async fn while_everything_is_held_no_data_source_is_run() {
    let plan = Plan {
        users: &["ann"],
        ..Plan::default()
    };
    let owned = Owned::start(&plan).await;
    let sources = Sources::new(vec![owned.supervisor.clone()]);
    for (is_held, code) in [(true, ErrorCode::Paused), (false, ErrorCode::NotReady)] {
        owned.hold(is_held).await;
        assert_eq!(sources.ask(question(&owned.identity("ann"))).await, Err(Unanswered(code)));
    }
    assert_eq!(owned.provider.calls("/token").len(), 1, "it was read once nothing was held");
}

/// What was cancelled meanwhile had its user's configuration read.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_while_everything_was_held_is_read_again_and_tended_after_it() {
    let plan = Plan {
        users: &["ann"],
        ..Plan::default()
    };
    let owned = Owned::start(&plan).await;
    owned.hold(true).await;
    owned.send_and_cancel("ann").await;
    owned.until_due().await;
    assert!(owned.provider.calls("/token").is_empty());
    owned.hold(false).await;
    owned.send("ann").await;
    // No time passes.
    owned.provider.until("/work", 1).await;
    assert_eq!(owned.provider.calls("/token").len(), 1);
}

/// Five minutes before the end of a token: the provider is down, and that cannot be written down either.
#[cfg(feature = "faults")]
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_lives_is_used_while_neither_provider_nor_catalog_take_anything() {
    let plan = Plan {
        users: &["ann"],
        ..Plan::default()
    };
    let owned = Owned::start(&plan).await;
    owned.send("ann").await;
    owned.provider.until("/work", 1).await;
    owned.clock.clock.advance(Duration::from_mins(55));
    owned.provider.change(|manner| {
        manner.stalls = Some(Stall::Meanwhile);
        manner.refuses = Some((503, None));
    });
    owned.send("ann").await;
    owned.provider.until("/token", 2).await;
    owned.faults.break_down("catalog.redb");
    owned.provider.change(|manner| manner.stalls = None);
    let work = owned.provider.until("/work", 2).await;
    assert_eq!((work[1].token.as_str(), work[1].status), ("access-ann-2", 200));
}
