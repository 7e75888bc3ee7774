//! SIGKILL amid a renewal, and what follows, as a seed chooses: what becomes of the grant is held against what the provider counted.
//!
//! Each round has a seed and a world of its own. `KILL_ROUNDS` says how many there are, `KILL_SEED` which is the first: seeds that
//! follow each other come to each kind of provider and each place in turn. What a round goes through stands in `round`.

mod round;

use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};

use crate::consent::{back, begin};
use crate::harness::api::Api;
use crate::harness::browser::Browser;
use crate::harness::oauth::Call;
use crate::harness::within;
use crate::parking::worked;
use crate::sharers;
use crate::world::{Plan, World};
use round::{Act, Holding, Kind, Left, Mood, Place, Round};

/// Rounds that go on at once.
const AT_ONCE: usize = 3;

/// One round on its way.
struct Run {
    round: Round,
    world: World,
    /// The triggers that events go to in turn; what each of them accepted stays in order.
    hooks: Vec<String>,
    sent: Vec<Vec<String>>,
    left: Left,
    /// How often the first refresh token was taken.
    spent: usize,
}

impl Run {
    async fn start(round: Round) -> Self {
        // What runs is seen in order.
        let world = if round.holding == Holding::Own {
            let plan = Plan {
                manner: round.kind.manner(),
                inputs: round.kind.inputs(),
                users: round.holding.users(),
                keys: &[("execution.slots", "1")],
                ..Plan::default()
            };
            World::start(&plan).await
        } else {
            let sharing = match round.holding {
                Holding::Organization => "organization",
                Holding::Customer => "customer",
                Holding::Own | Holding::User => "user",
            };
            let plan = sharers::Plan {
                manner: round.kind.manner(),
                inputs: round.kind.inputs(),
                integrations: 2,
                more_keys: vec![("execution.slots", 1.into())],
                ..sharers::Plan::of(sharing)
            };
            sharers::start(&plan).await
        };
        let mut hooks = Vec::new();
        for user in round.holding.users() {
            let endpoints = world.daemon.endpoints(&format!("user={user}")).await;
            hooks.extend(endpoints.into_iter().map(|endpoint| endpoint.url));
        }
        Self {
            round,
            world,
            sent: vec![Vec::new(); hooks.len()],
            hooks,
            left: Left::Nothing,
            spent: 0,
        }
    }

    /// Sends so many events, one after another.
    async fn send(&mut self, count: usize) {
        for _ in 0..count {
            let lane = self.all().len() % self.hooks.len();
            let json = [("content-type", "application/json")];
            let answer = self.world.daemon.post(&self.hooks[lane], &json, "{}").await;
            assert_eq!(answer.status, 200, "{:?}", answer.body);
            self.sent[lane].push(answer.json()["executionId"].as_str().unwrap().to_owned());
        }
    }

    fn all(&self) -> Vec<String> {
        self.sent.concat()
    }

    fn first_token(&self) -> String {
        format!("refresh-{}-1", self.round.holding.account())
    }

    /// The calls by which the first refresh token was to be exchanged.
    fn uses(&self) -> Vec<Call> {
        let first = self.first_token();
        let calls = self.world.provider.calls("/token").into_iter();
        calls.filter(|call| call.form.get("refresh_token") == Some(&first)).collect()
    }

    /// The connection as the API shows it.
    async fn shown(&self) -> Value {
        const ONE: &str = "nodes { id status authorizeUrl grant { status reason timeline { what } } requiredConfigVariable { key } }";
        let query = format!(
            "{{ instances {{ nodes {{ configVariables {{ {ONE} }} userLevelConfigs {{ nodes {{ user {{ externalId }} configVariables {{ {ONE} }} }} }} }} }} }}"
        );
        let api = Api::program(&self.world.daemon, "owner").await;
        let instances = api.get(&query, json!({})).await;
        let mut variables = Vec::new();
        for instance in instances["nodes"].as_array().unwrap() {
            let configs = instance["userLevelConfigs"]["nodes"].as_array().unwrap();
            let Some(own) = configs.iter().find(|config| config["user"]["externalId"] == "ann") else {
                continue;
            };
            let of = match self.round.holding {
                Holding::Own | Holding::User => own,
                Holding::Customer | Holding::Organization => instance,
            };
            variables.extend(of["configVariables"]["nodes"].as_array().unwrap().clone());
        }
        let is_it = |variable: &Value| variable["requiredConfigVariable"]["key"] == "Account";
        variables.into_iter().find(is_it).unwrap()
    }

    async fn consent(&self) {
        let link = self.shown().await["authorizeUrl"].as_str().unwrap().to_owned();
        let mut browser = Browser::new(&[]);
        let asked = begin(&mut browser, &link).await;
        let code = self.world.provider.consent(self.round.holding.account(), asked.clone());
        let done = browser.open(&back(&asked, &[("code", &code)])).await;
        assert_eq!(done.status, 200, "{}", done.html);
    }

    async fn disconnect(&self) {
        let (mutation, shown) = match self.round.holding {
            Holding::Own | Holding::User => ("disconnectUserLevelConnection", "userLevelConfigVariable"),
            Holding::Customer | Holding::Organization => ("disconnectConnection", "instanceConfigVariable"),
        };
        let query = format!("mutation($id: ID) {{ {mutation}(input: {{id: $id}}) {{ {shown} {{ status }} errors {{ messages }} }} }}");
        let api = Api::program(&self.world.daemon, "owner").await;
        let gone = api.get(&query, json!({ "id": self.shown().await["id"] })).await;
        assert_eq!(gone[shown]["status"], "PENDING", "{gone}");
    }

    /// What was given up is given back: the provider is told once more where a kill kept it from being written down.
    async fn until_given_back(&self) {
        let mut look = tokio::time::interval(Duration::from_millis(10));
        let told = async {
            while !self.shown().await["grant"]["timeline"].to_string().contains("\"GIVEN_BACK\"") {
                look.tick().await;
            }
        };
        within("the end of giving a token back", told).await;
    }

    fn kill(&mut self) {
        let log = self.world.daemon.log();
        assert!(!log.contains("a grant is over"), "nobody said so: {log}");
        self.world.daemon.kill();
    }

    fn is_cut(&mut self, place: Place) {
        let (left, spent) = self.left.cut(place);
        self.left = left;
        self.spent += spent;
    }

    /// The first renewal, and its end.
    async fn first_kill(&mut self) {
        let (place, ahead) = (self.round.place, self.round.ahead);
        match place {
            Place::At(point) => {
                // Held there first, so that whoever sends is answered whatever comes sooner.
                self.world.daemon.switch(&format!("hold:{point}:1"), true).await;
                self.send(1).await;
                self.world.daemon.log_line(&["held", point]);
            }
            Place::While(stall) => {
                self.world.provider.change(|manner| manner.stalls = Some(stall));
                self.send(1).await;
                self.until_used(1).await;
                self.world.provider.change(|manner| manner.stalls = None);
            }
        }
        self.send(ahead).await;
        self.is_cut(place);
        match self.round.meanwhile {
            Some(Act::Consent) => {
                self.consent().await;
                self.left = Left::Done;
            }
            Some(Act::Disconnect) => {
                self.disconnect().await;
                self.left = Left::GivenUp;
            }
            None => {}
        }
        self.kill();
    }

    async fn until_used(&self, count: usize) {
        let first = self.first_token();
        let is_use = |call: &Call| call.form.get("refresh_token") == Some(&first);
        self.world.provider.until_like("/token", count, is_use).await;
    }

    /// A life that is short, too.
    async fn second_kill(&mut self, place: Place) {
        if !self.left.is_due(self.round.kind) {
            self.world.daemon.restart();
            return self.kill();
        }
        match place {
            Place::At(point) => {
                self.world.daemon.relaunch(Some(&format!("kill:{point}:1")));
                self.world.daemon.until_killed(point).await;
            }
            Place::While(stall) => {
                let before = self.uses().len();
                self.world.provider.change(|manner| manner.stalls = Some(stall));
                self.world.daemon.restart();
                self.until_used(before + 1).await;
                self.kill();
                self.world.provider.change(|manner| manner.stalls = None);
            }
        }
        self.is_cut(place);
    }

    /// The daemon is left alone.
    async fn is_left_alone(&mut self) {
        let before = self.uses().len();
        let (kind, mood) = (self.round.kind, self.round.mood);
        self.world.provider.change(|manner| match mood {
            Mood::Fine => {}
            Mood::Down => manner.refuses = Some((503, None)),
            Mood::Breaks => manner.breaks = true,
        });
        self.world.daemon.restart();
        let is_due = self.left.is_due(kind);
        let (left, spent) = self.left.settled(kind, mood);
        let more = self.round.more;
        if is_due && mood != Mood::Fine {
            let asked = if left == Left::Lost { spent.max(1) } else { 2 };
            self.until_used(before + asked).await;
            self.send(more).await;
            // What never waited may go on before what does.
            self.all_stand("parked").await;
        } else {
            self.send(more).await;
        }
        self.is_fine();
        self.left = left;
        self.spent += spent;
    }

    fn is_fine(&self) {
        self.world.provider.change(|manner| {
            manner.refuses = None;
            manner.breaks = false;
        });
    }

    /// What has to have come of it by now.
    async fn settles(&mut self) {
        match self.left {
            Left::Lost => {
                self.all_stand("parked").await;
                let shown = self.shown().await;
                assert_eq!(shown["grant"]["status"], "UNCERTAIN", "{shown}");
                if self.round.later == Some(Act::Disconnect) {
                    self.disconnect().await;
                    self.until_given_back().await;
                }
                self.reconnects().await;
            }
            Left::GivenUp => {
                self.all_stand("parked").await;
                assert_eq!(self.shown().await["status"], "PENDING");
                self.until_given_back().await;
                self.reconnects().await;
            }
            Left::Done => {
                self.all_succeed().await;
                match self.round.later {
                    Some(Act::Consent) => self.reconnects().await,
                    Some(Act::Disconnect) => {
                        self.disconnect().await;
                        self.send(2).await;
                        for execution in self.last(2) {
                            self.world.stands(&execution, "parked").await;
                        }
                        self.until_given_back().await;
                        self.reconnects().await;
                    }
                    None => {}
                }
            }
            Left::Nothing | Left::Doubt(_) => panic!("it is not settled: {:?}", self.left),
        }
        self.all_succeed().await;
        self.send(1).await;
        self.all_succeed().await;
    }

    /// Somebody consents, and the daemon may die right after that.
    async fn reconnects(&mut self) {
        self.consent().await;
        if self.round.last {
            self.kill();
            self.world.daemon.restart();
        }
    }

    /// The last that were sent.
    fn last(&self, count: usize) -> Vec<String> {
        let sent = self.all().len();
        let lane = |number: usize| &self.sent[number % self.hooks.len()];
        (sent - count..sent)
            .map(|number| lane(number)[number / self.hooks.len()].clone())
            .collect()
    }

    async fn all_stand(&self, status: &str) {
        for execution in &self.all() {
            self.world.stands(execution, status).await;
        }
    }

    async fn all_succeed(&self) {
        for execution in &self.all() {
            let ended = self.world.ended(execution).await;
            assert_eq!(ended["status"], "succeeded", "{ended}");
        }
    }

    /// What must hold whatever the seed is.
    async fn check(&self) {
        let uses = self.uses();
        let taken = uses.iter().filter(|call| call.status == 200).count();
        match (self.round.kind, self.round.mood) {
            (Kind::Steady, Mood::Breaks) => assert!(taken >= self.spent, "it was used {taken} times, and {} at least", self.spent),
            _ => assert_eq!(taken, self.spent, "so often it was spent"),
        }
        let allowed = |call: &Call| matches!(call.status, 0 | 200 | 503);
        let refused: Vec<Call> = self
            .world
            .provider
            .calls("/token")
            .into_iter()
            .filter(|call| !allowed(call))
            .collect();
        assert!(refused.is_empty(), "nothing is asked for that is over: {refused:?}");
        let worked = worked(&self.world);
        for lane in &self.sent {
            let mut order: Vec<String> = worked.iter().filter(|execution| lane.contains(execution)).cloned().collect();
            order.dedup();
            assert_eq!(&order, lane, "in the order of their acceptance");
        }
        let chain = self.world.provider.chain(self.round.holding.account());
        assert!(!chain.was_reused && !chain.is_revoked, "{chain:?}");
        assert_eq!(self.shown().await["status"], "ACTIVE");
        assert!(!self.world.daemon.log().contains("a grant is over"), "nobody said so");
    }
}

async fn run(round: Round) {
    let mut run = Run::start(round).await;
    run.first_kill().await;
    if let Some(place) = round.again {
        run.second_kill(place).await;
    }
    run.is_left_alone().await;
    run.settles().await;
    run.check().await;
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Each round has a runtime of its own: it waits for daemons in its thread, and the provider lives in others.
fn run_alone(round: Round) -> bool {
    let alone = || {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(run(round));
    };
    std::panic::catch_unwind(alone).is_ok()
}

#[test]
fn a_kill_at_any_moment_of_a_renewal_ends_as_the_provider_allows_by_seed() {
    let (rounds, first) = (number("KILL_ROUNDS", 21), number("KILL_SEED", 0));
    println!("KILL_ROUNDS={rounds} KILL_SEED={first}");
    let seeds = Mutex::new(first..first + rounds);
    let failed = Mutex::new(String::new());
    std::thread::scope(|threads| {
        for _ in 0..AT_ONCE {
            threads.spawn(|| {
                loop {
                    let Some(seed) = seeds.lock().unwrap().next() else { return };
                    let round = Round::of(seed);
                    println!("seed {seed}: {round:?}");
                    if !run_alone(round) {
                        let mut failed = failed.lock().unwrap();
                        writeln!(
                            failed,
                            "seed {seed}: {round:?}\n  replay: KILL_SEED={seed} KILL_ROUNDS=1 cargo test --locked --profile ci --features faults --test oauth -- --nocapture by_seed"
                        )
                        .unwrap();
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{failed}");
}
