//! Whoever holds a grant, a user's own or a shared one: one reading at a time answers all who ask, and renews on the way.

use crate::disk::Row;
use crate::executions::Question;
use crate::mutant::Mutant;
use crate::plan::{BEGIN, CALM, TIMEOUT};
use crate::provider::{Answer, Token};
use crate::world::{Event, World};
use perseat_domain::grant::{
    Asked, Desk, Given, Grant, Obstacle, Outcome, Read, Renewal, Renewed, Rules, Sight, Status, Task, Tending, What, Wrote,
};
use perseat_domain::time::Timestamp;
use std::time::Duration;

/// Credentials are looked at no more often, and at least so often.
const LOOKS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_hours(24));
/// After so long a write that failed is tried again (`limits.full-retry`).
const FULL_RETRY: Duration = Duration::from_secs(1);

/// A user's connection as it is today.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lent {
    pub(crate) version: u64,
    pub(crate) token: Token,
    /// When the token ends, as far as that was said.
    pub(crate) ends: Option<Timestamp>,
    pub(crate) obstacle: Option<Obstacle>,
    pub(crate) look_again: Option<Timestamp>,
}

impl Given for Lent {
    fn is_of(&self, version: u64) -> bool {
        self.version == version
    }

    fn look_again(&self) -> Option<Timestamp> {
        self.look_again
    }
}

#[derive(Debug, Default)]
pub(crate) struct Holder {
    pub(crate) desk: Desk<Question, Lent>,
}

/// One reading of a row, and what is done on the way.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Who reads: one for each grant.
    pub(crate) writer: usize,
    pub(crate) of: usize,
    on_disk: Row,
    held: Row,
    refused: Vec<u64>,
    tending: Tending,
    is_answered: bool,
    is_put_off: bool,
}

/// A write on its way.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) reading: u64,
    pub(crate) writer: usize,
    pub(crate) of: usize,
    expected: Row,
    row: Row,
}

impl Write {
    pub(crate) fn is_intent(&self) -> bool {
        self.row.grant.intent.is_some()
    }
}

/// A call on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    reading: u64,
    token: Token,
    deadline: Timestamp,
    answer_takes: Duration,
}

impl World {
    fn rules(&self) -> Rules {
        let mut rules = self.plan.rules();
        if self.mutant == Some(Mutant::ForgivesForEver) {
            rules.grace = Some(Duration::from_hours(24));
        }
        rules
    }

    pub(crate) fn ask(&mut self, user: usize, question: Question, refused: Option<u64>) {
        let writer = self.writer_of(user);
        match self.holders[writer].desk.ask(question, refused, self.now) {
            Asked::Answer(question, lent) => self.answered(&question, &lent),
            Asked::Waits if self.mutant == Some(Mutant::ReadsForEachQuestion) => self.begin(writer),
            Asked::Waits => {}
            Asked::Begin => self.begin(writer),
        }
    }

    /// Who writes the grant that a user uses.
    fn writer_of(&self, user: usize) -> usize {
        match self.mutant {
            Some(Mutant::TwoWriters) => user,
            _ => self.plan.grant_of(user),
        }
    }

    /// For whom somebody writes.
    fn users_of(&self, writer: usize) -> Vec<usize> {
        (0..self.plan.users).filter(|user| self.writer_of(*user) == writer).collect()
    }

    fn begin(&mut self, writer: usize) {
        let refused = self.holders[writer].desk.begin();
        let of = self.plan.grant_of(writer);
        let row = self.disk.row(of).clone();
        let number = self.number();
        let reading = Reading {
            writer,
            of,
            held: row.clone(),
            on_disk: row,
            refused,
            tending: Tending::default(),
            is_answered: false,
            is_put_off: false,
        };
        self.readings.insert(number, reading);
        self.soon(20, Event::Loaded(number));
    }

    /// The row was read.
    pub(crate) fn loaded(&mut self, number: u64) {
        if self.goes_wrong(self.plan.fails) {
            self.report.note("a reading that failed");
            return self.fail(number);
        }
        let Some(reading) = self.readings.get_mut(&number) else { return };
        let row = self.disk.row(reading.of).clone();
        let unwritten = &mut self.unwritten[reading.of];
        *unwritten = unwritten
            .take()
            .filter(|(on_disk, _)| on_disk.iter().any(|grant| grant.stands_as(&row.grant)));
        reading.held = row.clone();
        if let Some((_, held)) = unwritten {
            reading.held.grant = held.clone();
            self.report.note("an outcome that was put off");
        }
        reading.on_disk = row;
        let refused = std::mem::take(&mut reading.refused);
        let (now, can_ask) = (self.now, self.can_ask);
        if self.mutant == Some(Mutant::ForgetsTheIntent) {
            reading.held.grant.intent = None;
        }
        self.go_on(number, |reading, rules| {
            for version in refused {
                reading.held.grant.refused(version, now, rules);
            }
            let sight = Sight {
                on_disk: Some(&reading.on_disk.grant),
                is_moved: false,
                can_ask,
                now,
                rules,
            };
            reading.tending.look(&mut reading.held.grant, &sight)
        });
    }

    fn go_on(&mut self, number: u64, step: impl FnOnce(&mut Reading, &Rules) -> Task) {
        let rules = self.rules();
        let mutant = self.mutant;
        let Some(reading) = self.readings.get_mut(&number) else { return };
        let task = step(reading, &rules);
        spoil(&mut reading.held.grant, mutant);
        self.perform(number, task);
    }

    fn perform(&mut self, number: u64, task: Task) {
        match task {
            Task::Done => self.finish(number),
            Task::Read => self.soon(20, Event::Loaded(number)),
            Task::StoreLater if self.mutant == Some(Mutant::DropsAnOutcomeThatFails) => self.finish(number),
            Task::StoreLater => {
                let Some(reading) = self.readings.get(&number) else { return };
                let (is_new, of) = (reading.held.token != reading.on_disk.token, reading.of);
                self.model
                    .must(is_new, || format!("grant {of}: waits for a write without which nothing is lost"));
                self.after(FULL_RETRY, Event::Store(number));
            }
            Task::PutOff => {
                self.put_off(number);
                self.finish(number);
            }
            Task::Store => self.store(number),
            Task::Ask { until } => self.call(number, until),
        }
    }

    /// What became of a renewal is kept in mind.
    fn put_off(&mut self, number: u64) {
        let Some(reading) = self.readings.get_mut(&number) else { return };
        reading.is_put_off = true;
        let (on_disk, held) = (&reading.on_disk, &reading.held);
        if (on_disk.grant.is_unsettled() || on_disk.token == held.token) && self.mutant != Some(Mutant::ForgetsWhatIsPutOff) {
            self.unwritten[reading.of] = Some((vec![on_disk.grant.clone()], held.grant.clone()));
        }
    }

    pub(crate) fn store(&mut self, number: u64) {
        let Some(reading) = self.readings.get_mut(&number) else { return };
        let is_answered = std::mem::take(&mut reading.is_answered);
        let is_intent = !is_answered && reading.held.grant.intent.is_some();
        let skips = match self.mutant {
            Some(Mutant::SpendsBeforeTheIntent) => is_intent,
            Some(Mutant::UsesWhatIsNotStored) => is_answered,
            _ => false,
        };
        let write = Write {
            reading: number,
            writer: reading.writer,
            of: reading.of,
            expected: reading.on_disk.clone(),
            row: reading.held.clone(),
        };
        if skips {
            return self.told(&write, Wrote::Durable);
        }
        self.soon(15, Event::Lands(Box::new(write)));
    }

    /// A write reaches the disk, whether or not anybody still waits for it.
    pub(crate) fn lands(&mut self, write: &Write) -> Wrote {
        let (of, tells) = (write.of, self.mutant != Some(Mutant::TellsNobody));
        let is_failing = self.goes_wrong(self.plan.fails);
        if is_failing && self.chance.one_in(2) {
            self.report.note("a write that failed");
            return Wrote::Failed;
        }
        let expected = match self.mutant {
            Some(Mutant::OverwritesAConsent) => self.disk.row(of).clone(),
            _ => write.expected.clone(),
        };
        let wrote = self.disk.replace(of, &expected, write.row.clone(), tells);
        match wrote {
            Wrote::Durable => self.is_stored(of),
            Wrote::Failed => self.report.note("a full disk"),
            Wrote::Overtaken => self.report.note("a write that was overtaken"),
        }
        if !is_failing {
            return wrote;
        }
        self.report.note("a write that failed and was done");
        Wrote::Failed
    }

    /// Whoever wrote hears how it went.
    pub(crate) fn told(&mut self, write: &Write, wrote: Wrote) {
        let now = self.now;
        let Some(reading) = self.readings.get_mut(&write.reading) else {
            return;
        };
        if wrote == Wrote::Durable {
            reading.on_disk = write.row.clone();
        }
        if wrote != Wrote::Failed {
            self.unwritten[write.of] = None;
        }
        let is_intending = reading.tending.is_intending();
        let mut held = None;
        self.go_on(write.reading, |reading, rules| {
            let task = reading.tending.stored(&mut reading.held.grant, wrote, now, rules);
            held = Some(reading.held.grant.clone());
            task
        });
        // It may be there all the same, and nobody was asked.
        let is_denied = is_intending && wrote == Wrote::Failed && self.mutant != Some(Mutant::TakesAnIntentForACall);
        if let Some(held) = held.filter(|_| is_denied && write.row.grant.is_unsettled()) {
            let on_disk = [&write.expected, &write.row].map(|row| row.grant.clone());
            let on_disk = on_disk.into_iter().filter(Grant::is_unsettled).collect();
            self.unwritten[write.of] = Some((on_disk, held));
        }
    }

    fn call(&mut self, number: u64, until: Option<Timestamp>) {
        let rules = self.plan.rules();
        let Some(reading) = self.readings.get_mut(&number) else { return };
        self.model.asks(reading.of, &reading.held, &self.disk, &rules, self.now);
        let token = reading.held.token;
        let until = until.filter(|_| self.mutant != Some(Mutant::SpendsLate));
        let deadline = self.now.after(TIMEOUT);
        let deadline = until.map_or(deadline, |until| until.min(deadline));
        if reading.held.grant.intent.is_some_and(|intent| intent.spent > 1) {
            self.report.note("a second use");
        }
        self.report.note("a renewal");
        let takes = |world: &mut Self| match world.goes_wrong(world.plan.stalls) {
            true => world.chance.millis(0, 40_000),
            false => world.chance.millis(1, 300),
        };
        let (arrives, answer_takes) = (self.now.after(takes(self)), takes(self));
        if arrives > deadline {
            // Nobody heard it.
            return self.at(deadline, Event::Answered(number, None));
        }
        let call = Call {
            reading: number,
            token,
            deadline,
            answer_takes,
        };
        self.at(arrives, Event::Arrives(call));
    }

    /// The provider is asked, whether or not anybody still waits for its answer.
    pub(crate) fn arrives(&mut self, call: Call) {
        let denies = self.goes_wrong(self.plan.denies);
        let answer = match self.provider.spend(call.token, denies, self.now) {
            Ok(answer) => answer,
            Err(wrong) => return self.model.must(false, || wrong),
        };
        if denies && self.provider.denied(call.token) {
            self.report.note("an answer of 5xx to a token that was spent");
        }
        let at = self.now.after(call.answer_takes);
        if at > call.deadline || self.goes_wrong(self.plan.loses) {
            self.report.note("an answer that was lost");
            return self.at(at.min(call.deadline), Event::Answered(call.reading, None));
        }
        self.at(at, Event::Answered(call.reading, Some(answer)));
    }

    /// Whoever asked hears the answer; none if it was lost.
    pub(crate) fn hears(&mut self, number: u64, answer: Option<Answer>) {
        let (now, mutant) = (self.now, self.mutant);
        let (lifetime, always) = (self.plan.tells_life.then_some(self.plan.life), self.plan.reuses_always);
        let Some(reading) = self.readings.get_mut(&number) else { return };
        let of = reading.of;
        reading.is_answered = true;
        self.model.called(of, answer.is_some());
        let passing = |reason: &str, retry_after| Outcome::Passing {
            reason: reason.into(),
            retry_after,
        };
        let outcome = match answer {
            None => Outcome::Unknown("connection_broken".into()),
            Some(Answer::Over) => {
                if mutant == Some(Mutant::ForgetsAnOutage) {
                    reading.held.grant.timeline.retain(|happening| happening.what != What::NotRenewed);
                }
                Outcome::Over("invalid_grant".into())
            }
            Some(Answer::Down) if mutant == Some(Mutant::TakesAnOutageForTheEnd) => Outcome::Over("http_503".into()),
            Some(Answer::Down) => {
                self.model.is_down(of);
                passing("http_503", None)
            }
            Some(Answer::Busy(retry_after)) => {
                let longest = Rules::default().back_off_max * 12;
                self.model.is_told(of, now.after(retry_after.unwrap_or_default().min(longest)));
                self.report.note("an answer of 429");
                passing("http_429", retry_after.filter(|_| mutant != Some(Mutant::IgnoresRetryAfter)))
            }
            Some(Answer::Token(token)) => {
                let before = reading.held.token;
                reading.held.token = Token {
                    refresh: if mutant == Some(Mutant::KeepsTheRefreshToken) {
                        before.refresh
                    } else {
                        token.refresh
                    },
                    ..token
                };
                let is_inferred = mutant == Some(Mutant::InfersSteadiness);
                let rotates = match token.refresh == before.refresh {
                    false => Some(true),
                    true => (always || is_inferred).then_some(false),
                };
                Outcome::Token(Renewed {
                    lifetime,
                    renewal: Renewal::Refresh { rotates },
                })
            }
        };
        self.go_on(number, |reading, rules| {
            reading.tending.answered(&mut reading.held.grant, outcome, now, rules)
        });
    }

    /// What was read can be lent.
    fn finish(&mut self, number: u64) {
        let rules = self.rules();
        let Some(reading) = self.readings.remove(&number) else { return };
        let (writer, grant) = (reading.writer, &reading.held.grant);
        let look_again = match reading.is_put_off {
            true => Some(self.now.after(FULL_RETRY)),
            false => grant.look_again(self.now, &rules),
        };
        let look_again = look_again.map(|at| self.now.after(at.since(self.now).clamp(LOOKS.0, LOOKS.1)));
        let lent = Lent {
            version: grant.generation,
            token: reading.held.token,
            ends: grant.held.and_then(|held| held.expires_at),
            obstacle: grant.obstacle(true, self.now, &rules),
            look_again: look_again.filter(|_| self.mutant != Some(Mutant::LendsAnEndedToken)),
        };
        match self.holders[writer].desk.read(lent.clone()) {
            Read::Again => self.begin(writer),
            Read::Answer { waiting, .. } => {
                for user in self.users_of(writer) {
                    self.tell_usable(user, lent.obstacle.is_some());
                }
                for question in waiting {
                    self.answered(&question, &lent);
                }
            }
        }
    }

    /// A reading failed: whoever waits for it tries again in a while.
    fn fail(&mut self, number: u64) {
        let Some(reading) = self.readings.remove(&number) else { return };
        let writer = reading.writer;
        let lent = self.cannot_be_had(reading.held.token);
        match self.holders[writer].desk.failed() {
            None => self.begin(writer),
            Some(waiting) => waiting.iter().for_each(|question| self.answered(question, &lent)),
        }
    }

    fn cannot_be_had(&self, token: Token) -> Lent {
        Lent {
            version: 0,
            token,
            ends: None,
            obstacle: Some(Obstacle::Patience),
            look_again: Some(self.now.after(Rules::default().back_off)),
        }
    }

    /// Somebody consented: what is known of the grant is not the truth any more.
    pub(crate) fn forget(&mut self, of: usize) {
        for writer in 0..self.plan.users {
            if self.plan.grant_of(writer) != of {
                continue;
            }
            let desk = &mut self.holders[writer].desk;
            desk.forget();
            if desk.is_idle() && self.mutant != Some(Mutant::ForgetsTheParked) {
                self.users_of(writer).into_iter().for_each(|user| self.try_parked(user));
            }
        }
    }

    /// The actor of a user's own grant dies with its user, or that of a shared one alone; what it sent and wrote is on its way.
    pub(crate) fn holder_dies(&mut self, writer: usize) {
        let is_at_it = self.readings.values().any(|reading| reading.writer == writer);
        self.readings.retain(|_, reading| reading.writer != writer);
        let of = self.plan.grant_of(writer);
        if is_at_it {
            self.model.is_cut_off(of);
            self.report.note("a death in the midst of a renewal");
        }
        let desk = std::mem::take(&mut self.holders[writer].desk);
        if self.plan.shares {
            // Whoever asked learns that it cannot be had now.
            let lent = self.cannot_be_had(self.disk.row(of).token);
            let waiting: Vec<Question> = desk.waiting().copied().collect();
            waiting.iter().for_each(|question| self.answered(question, &lent));
        }
    }

    fn goes_wrong(&mut self, one_in: usize) -> bool {
        self.now < BEGIN.after(CALM) && self.chance.one_in(one_in)
    }
}

fn spoil(grant: &mut Grant, mutant: Option<Mutant>) {
    if mutant == Some(Mutant::CallsTheLostRevoked) && grant.status == Status::Uncertain {
        grant.status = Status::Failed;
    }
    if let (Some(Mutant::CountsOneSpend), Some(intent)) = (mutant, &mut grant.intent) {
        intent.spent = 1;
    }
}
