//! A front on a port of its own, with a journal that does as the test says, and a client that speaks raw bytes.

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use perseat_actors::admission::{Admission, AdmissionOptions};
use perseat_actors::front::{Appending, FrontOptions, FrontParts, FrontShared, Fronts, Intake, Proxies, PublicUrl};
use perseat_actors::kit::{ArbiterOptions, Arbiters, Clock, NurseryOptions, RealClock};
use perseat_actors::waiters::Waiters;
use perseat_domain::definition::EndpointType;
use perseat_domain::entry::{Accepted, Entry, TriggerRequest};
use perseat_domain::id::*;
use perseat_domain::model::{InstanceState, KeyDigest, Membership};
use perseat_domain::route::*;
use perseat_journal::AppendError;
use perseat_store::StoreError;
use perseat_store::keyring::Owner;
use perseat_store::pressure::StoragePressure;
use perseat_store::seal::{DataKey, RecordKind};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::Duration;
use uuid::Uuid;

/// What the journal does with appends.
#[derive(Clone, Debug)]
pub(crate) enum Journal {
    Answers(Result<(), AppendError>),
    /// Keeps the caller waiting until the sender is used.
    Holds(Arc<tokio::sync::watch::Sender<Option<Result<(), AppendError>>>>),
}

/// Appends that reached the journal, in order.
#[derive(Debug)]
pub(crate) struct Stub {
    admission: Admission,
    journal: Mutex<Journal>,
    appended: Mutex<Vec<(u8, Bytes)>>,
    arrived: Condvar,
    owners: Mutex<Vec<Owner>>,
    /// Held by a test, no key is read from the disk.
    pub(crate) sealing: Mutex<()>,
    /// Whether keys have to be read from the disk.
    pub(crate) is_slow: AtomicBool,
    /// Whether nobody has a key.
    pub(crate) is_keyless: AtomicBool,
}

impl Stub {
    fn key_of(&self, owner: Owner) -> Result<Arc<DataKey>, StoreError> {
        self.owners.lock().unwrap().push(owner);
        if self.is_keyless.load(Ordering::Relaxed) {
            let owner = owner.to_string();
            return Err(StoreError::NoKey { owner });
        }
        Ok(Arc::new(key()))
    }
}

/// Everybody's.
fn key() -> DataKey {
    DataKey::new(&[9; 32], 1)
}

impl Intake for Stub {
    fn admission(&self) -> &Admission {
        &self.admission
    }

    fn key_at_once(&self, owner: Owner) -> Result<Option<Arc<DataKey>>, StoreError> {
        if self.is_slow.load(Ordering::Relaxed) {
            return Ok(None);
        }
        self.key_of(owner).map(Some)
    }

    fn key(&self, owner: Owner) -> Result<Arc<DataKey>, StoreError> {
        let key = self.key_of(owner);
        drop(self.sealing.lock().unwrap());
        key
    }

    fn append(&self, partition: u8, payload: Bytes) -> Appending {
        self.appended.lock().unwrap().push((partition, payload));
        self.arrived.notify_all();
        match self.journal.lock().unwrap().clone() {
            Journal::Answers(outcome) => Box::pin(async move { outcome }),
            Journal::Holds(release) => {
                let mut released = release.subscribe();
                Box::pin(async move { released.wait_for(Option::is_some).await.unwrap().unwrap() })
            }
        }
    }
}

/// A running front.
pub(crate) struct World {
    pub(crate) front: Arc<FrontShared>,
    pub(crate) fronts: Fronts,
    pub(crate) stub: Arc<Stub>,
    pub(crate) waiters: Arc<Waiters>,
    pub(crate) pressure: Arc<StoragePressure>,
    pub(crate) snapshot: Arc<ArcSwap<RoutingSnapshot>>,
    pub(crate) proxies: Arc<ArcSwap<Proxies>>,
    pub(crate) tls: Arc<ArcSwapOption<rustls::ServerConfig>>,
    pub(crate) address: SocketAddr,
    arbiters: Option<Arbiters>,
}

/// What a test changes of the defaults.
pub(crate) struct Setup {
    pub(crate) options: FrontOptions,
    pub(crate) admission: AdmissionOptions,
    pub(crate) public_url: PublicUrl,
    pub(crate) fronts: usize,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            options: FrontOptions::default(),
            admission: AdmissionOptions::default(),
            public_url: PublicUrl::new("https://hooks.example.com"),
            fronts: 1,
            clock: Arc::new(RealClock::new()),
        }
    }
}

impl Setup {
    pub(crate) fn options(change: impl FnOnce(&mut FrontOptions)) -> Self {
        let mut setup = Self::default();
        change(&mut setup.options);
        setup
    }

    pub(crate) fn start(self) -> World {
        let arbiters = Arbiters::start(ArbiterOptions {
            owners: 1,
            fronts: self.fronts,
        });
        let arbiters = arbiters.unwrap();
        let stub = Arc::new(Stub {
            admission: Admission::new(self.admission, Arc::clone(&self.clock)),
            journal: Mutex::new(Journal::Answers(Ok(()))),
            appended: Mutex::default(),
            arrived: Condvar::new(),
            owners: Mutex::default(),
            sealing: Mutex::default(),
            is_slow: AtomicBool::new(false),
            is_keyless: AtomicBool::new(false),
        });
        let (waiters, pressure) = (Arc::new(Waiters::default()), Arc::new(StoragePressure::default()));
        let snapshot = Arc::new(ArcSwap::from_pointee(organization()));
        let (proxies, tls) = (
            Arc::new(ArcSwap::from_pointee(Proxies::default())),
            Arc::new(ArcSwapOption::empty()),
        );
        let front = FrontShared::new(FrontParts {
            options: self.options,
            snapshot: Arc::clone(&snapshot),
            intake: Arc::clone(&stub) as Arc<dyn Intake>,
            waiters: Arc::clone(&waiters),
            pressure: Arc::clone(&pressure),
            public_url: self.public_url,
            proxies: Arc::clone(&proxies),
            tls: Arc::clone(&tls),
            supervision: NurseryOptions::default(),
            clock: self.clock,
            random: Arc::new(|| Uuid::new_v4().as_u128()),
        });
        front.set_ready(true);
        let fronts = Fronts::start(arbiters.fronts(), &front).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        fronts.listen(listener).unwrap();
        World {
            front,
            fronts,
            stub,
            waiters,
            pressure,
            snapshot,
            proxies,
            tls,
            address,
            arbiters: Some(arbiters),
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.front.begin_drain();
        let frozen = self.arbiters.take().map(|arbiters| arbiters.stop(Duration::from_secs(10)));
        if !std::thread::panicking() {
            assert_eq!(frozen, Some(Vec::new()), "a thread did not end");
        }
    }
}

pub(crate) fn start() -> World {
    Setup::default().start()
}

impl World {
    pub(crate) fn connect(&self) -> Client {
        Client::new(TcpStream::connect(self.address).unwrap())
    }

    /// A connection from another address of this machine.
    pub(crate) fn connect_from(&self, source: [u8; 4]) -> Client {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let stream = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind((source, 0).into()).unwrap();
            socket.connect(self.address).await.unwrap().into_std().unwrap()
        });
        stream.set_nonblocking(false).unwrap();
        Client::new(stream)
    }

    /// Blocks a front thread until the sender is dropped.
    pub(crate) fn freeze(&self, thread: usize) -> mpsc::Sender<()> {
        let (thaw, frozen) = mpsc::channel::<()>();
        let (begin, begun) = mpsc::channel();
        let stands = move || {
            begin.send(()).unwrap();
            let _ = frozen.recv();
        };
        let arbiters = self.arbiters.as_ref().unwrap();
        arbiters.fronts().nth(thread).unwrap().execute(stands).unwrap();
        begun.recv().unwrap();
        thaw
    }

    /// Connects and writes while the fronts' threads stand still: all of it is there when they first look.
    pub(crate) fn connect_with(&self, bytes: &str) -> Client {
        let threads = self.fronts.connections().len();
        let frozen: Vec<_> = (0..threads).map(|thread| self.freeze(thread)).collect();
        let mut client = self.connect();
        client.write(bytes.as_bytes());
        drop(frozen);
        client
    }

    /// Waits until the only front thread has done what it was about to do: it answers another connection after that.
    pub(crate) fn settle(&self) {
        assert_eq!(self.post("/trigger/nothing", "", "").status, 404);
    }

    /// One request on a connection of its own.
    pub(crate) fn send(&self, request: &str) -> Answer {
        let mut client = self.connect();
        client.write(request.as_bytes());
        client.answer()
    }

    pub(crate) fn post(&self, path: &str, headers: &str, body: &str) -> Answer {
        self.send(&post(path, headers, body))
    }

    pub(crate) fn journal(&self, journal: Journal) {
        *self.stub.journal.lock().unwrap() = journal;
    }

    /// Holds appends back from now on; the outcome is sent through what is returned.
    pub(crate) fn hold(&self) -> Arc<tokio::sync::watch::Sender<Option<Result<(), AppendError>>>> {
        let release = Arc::new(tokio::sync::watch::Sender::new(None));
        self.journal(Journal::Holds(Arc::clone(&release)));
        release
    }

    /// Waits until that many entries were appended; the last one.
    pub(crate) fn appended(&self, count: usize) -> Accepted {
        let appended = self.stub.appended.lock().unwrap();
        let (appended, _) = self
            .stub
            .arrived
            .wait_timeout_while(appended, PATIENCE, |appended| appended.len() < count)
            .unwrap();
        assert_eq!(appended.len(), count, "entries appended");
        let (partition, payload) = appended.last().unwrap();
        let Ok(Entry::Accepted(accepted)) = Entry::decode(payload) else {
            panic!("not an accepted entry");
        };
        assert_eq!(*partition, partition_of(accepted.identity.unwrap().instance));
        accepted
    }

    pub(crate) fn appends(&self) -> usize {
        self.stub.appended.lock().unwrap().len()
    }

    pub(crate) fn admitted(&self) -> u64 {
        self.stub.admission.total().0
    }

    /// How many requests were to be sealed.
    pub(crate) fn seals(&self) -> usize {
        self.stub.owners.lock().unwrap().len()
    }

    pub(crate) fn last_owner(&self) -> Option<Owner> {
        self.stub.owners.lock().unwrap().last().copied()
    }

    pub(crate) fn change(&self, changes: impl IntoIterator<Item = RouteChange>) {
        let next = self.snapshot.load().with_changes(changes, 2);
        self.snapshot.store(Arc::new(next));
    }
}

/// Waits for something that no other thread announces.
pub(crate) fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited for {what}");
        std::thread::yield_now();
    }
}

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn request_of(accepted: &Accepted) -> TriggerRequest {
    let plaintext = key().unseal(RecordKind::Request, accepted.execution.0.as_bytes(), &accepted.request);
    postcard::from_bytes(&plaintext.unwrap()).unwrap()
}

pub(crate) fn post(path: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A connection that speaks raw bytes.
pub(crate) struct Client<S = TcpStream> {
    stream: S,
    unread: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    /// The headers in their order, each as often as it was sent.
    lines: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Client {
    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream)
    }

    /// Whether the server has said nothing so far.
    pub(crate) fn is_silent(&self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).unwrap();
        matches!(peeked, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

impl<S: Read + Write> Client<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self {
            stream,
            unread: Vec::new(),
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Writes as much as the server takes: it may have closed already.
    pub(crate) fn try_write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Whether the server has closed the connection without saying more.
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        if let Err(error) = self.stream.read_to_end(&mut rest) {
            assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "still open");
        }
        self.unread.is_empty() && rest.is_empty()
    }

    pub(crate) fn answer(&mut self) -> Answer {
        let head_end = loop {
            if let Some(at) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            self.more();
        };
        let head = String::from_utf8(self.unread.drain(..head_end + 4).collect()).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let lines: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let headers: HashMap<String, String> = lines.iter().cloned().collect();
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        while self.unread.len() < length {
            self.more();
        }
        Answer {
            status,
            headers,
            lines,
            body: self.unread.drain(..length).collect(),
        }
    }

    fn more(&mut self) {
        let mut chunk = [0; 4096];
        let read = self.stream.read(&mut chunk).unwrap();
        assert!(read > 0, "closed in the middle: {:?}", String::from_utf8_lossy(&self.unread));
        self.unread.extend_from_slice(&chunk[..read]);
    }
}

impl Answer {
    /// All values of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let named = self.lines.iter().filter(|(known, _)| known == name);
        named.map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.headers["content-type"], "application/json");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Status and code of a refusal.
    pub(crate) fn refusal(&self) -> (u16, String) {
        let body = self.json();
        assert!(body["error"].as_str().is_some_and(|sentence| !sentence.is_empty()), "{body}");
        (self.status, body["code"].as_str().unwrap_or_default().to_owned())
    }

    pub(crate) fn closes(&self) -> bool {
        self.headers.get("connection").is_some_and(|value| value == "close")
    }

    pub(crate) fn execution(&self) -> ExecutionId {
        let id = self.headers["prismatic-executionid"].clone();
        assert_eq!(self.json()["executionId"], id.as_str());
        id.parse().unwrap()
    }
}

pub(crate) fn uuid(n: u128) -> Uuid {
    endpoint_base(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) << 16)
}

pub(crate) const ACME: CustomerId = CustomerId(Uuid::from_u128(0xac3e));
const GLOBEX: CustomerId = CustomerId(Uuid::from_u128(0x910b));
pub(crate) const JANE: UserId = UserId(Uuid::from_u128(1));
pub(crate) const BOB: UserId = UserId(Uuid::from_u128(2));

pub(crate) fn instance(n: u128, endpoint_type: EndpointType, user_level: bool) -> InstanceRoute {
    let open = |number, name: &str| FlowRoute {
        number: FlowNumber(number),
        name: name.into(),
        gate: Gate::Open,
        is_synchronous: false,
        reply: None,
    };
    let mut guarded = open(2, "guarded");
    // SHA-256 of "right"
    guarded.gate = Gate::Keys([KeyDigest(RIGHT)].into());
    let mut synchronous = open(3, "synchronous");
    synchronous.is_synchronous = true;
    InstanceRoute {
        id: InstanceId(uuid(n)),
        customer: ACME,
        integration: IntegrationId(Uuid::from_u128(n)),
        state: InstanceState::Enabled,
        version: 1,
        config_revision: 1,
        endpoint_type,
        user_level,
        routing: perseat_domain::definition::RoutingFields::default(),
        flows: [open(1, "import"), guarded, synchronous].into(),
        single_flow: false,
    }
}

const RIGHT: [u8; 32] = [
    0x27, 0x04, 0x2f, 0x4e, 0x6e, 0xca, 0x7d, 0x0b, 0x2a, 0x7e, 0xe4, 0x02, 0x6d, 0xf2, 0xec, 0xfa, 0x51, 0xd3, 0x33, 0x9e, 0x6d, 0x12,
    0x2a, 0xa0, 0x99, 0x11, 0x8e, 0xcd, 0x85, 0x63, 0xba, 0xd9,
];

/// Instances: 1 plain, 2 user-level (both flow-specific), 3 instance-specific user-level, 4 shared user-level,
/// 5 switched off, 6 never deployed; 7 is plain and another
/// customer's. Jane and Bob have configured 2 to 4; Olga is the organization's.
fn organization() -> RoutingSnapshot {
    use EndpointType::{FlowSpecific, InstanceSpecific, SharedInstance};
    let mut all = SnapshotBuilder::new(HashSecret::new(7), true);
    all.customer(ACME, "acme");
    all.customer(GLOBEX, "globex");
    for (user, name) in [(JANE, "jane"), (BOB, "bob"), (UserId(Uuid::from_u128(3)), "dora")] {
        all.user(user, Membership::Customer(ACME), name);
    }
    all.user(UserId(Uuid::from_u128(9)), Membership::Organization, "olga");
    for (n, kind, user_level) in [
        (1, FlowSpecific, false),
        (2, FlowSpecific, true),
        (3, InstanceSpecific, true),
        (4, SharedInstance, true),
    ] {
        all.instance(instance(n, kind, user_level));
    }
    for (n, state) in [(5, InstanceState::Disabled), (6, InstanceState::NotDeployed)] {
        all.instance(InstanceRoute {
            state,
            ..instance(n, FlowSpecific, false)
        });
    }
    all.instance(InstanceRoute {
        customer: GLOBEX,
        ..instance(7, FlowSpecific, false)
    });
    for n in 2..=4 {
        for user in [JANE, BOB] {
            all.user_config(&config(n, user, UserConfigState::Complete));
        }
    }
    all.build(1)
}

pub(crate) fn config(n: u128, user: UserId, state: UserConfigState) -> UserConfigRoute {
    UserConfigRoute {
        id: UserConfigId(uuid(n * 100 + user.0.as_u128())),
        instance: InstanceId(uuid(n)),
        user,
        state,
    }
}

pub(crate) fn plain(flow: u16) -> String {
    url(EndpointId::InstanceFlow(InstanceId(uuid(1)), FlowNumber(flow)))
}

pub(crate) fn plain_of_globex() -> String {
    url(EndpointId::InstanceFlow(InstanceId(uuid(7)), FlowNumber(1)))
}

pub(crate) fn of_user(user: UserId, flow: u16) -> String {
    url(EndpointId::UserFlow(
        config(2, user, UserConfigState::Complete).id,
        FlowNumber(flow),
    ))
}

pub(crate) fn instance_url(n: u128) -> String {
    url(EndpointId::Instance(InstanceId(uuid(n))))
}

pub(crate) fn shared_url() -> String {
    url(EndpointId::Integration(IntegrationId(Uuid::from_u128(4))))
}

pub(crate) fn url(endpoint: EndpointId) -> String {
    format!("/trigger/{}", endpoint.global())
}
