//! Executions that need a user's credential: accepted, begun, parked, gone on with, ended.

use crate::holder::Lent;
use crate::mutant::Mutant;
use crate::plan::{BEGIN, CALM};
use crate::provider::Token;
use crate::stage::{id, identity, index_of, key, owner, user_of};
use crate::world::{Event, World};
use bytes::Bytes;
use perseat_domain::entry::{Accepted, EndStatus, Ended, Entry, Origin, Started};
use perseat_domain::fair::Cost;
use perseat_domain::grant::Obstacle;
use perseat_domain::model::Sealed;
use perseat_domain::owner::{Commit, Recovered, Turn, Wait};
use perseat_domain::time::Timestamp;
use std::collections::VecDeque;
use std::time::Duration;

/// Longer than a run.
const PARK_LIMIT: Duration = Duration::from_hours(24 * 30);

/// What is durable of one.
#[derive(Debug)]
pub(crate) struct Execution {
    pub(crate) user: usize,
    sent_at: Timestamp,
    parked: Option<Wait>,
    /// Whether the API took its call.
    pub(crate) ended: Option<bool>,
}

/// One that runs.
#[derive(Debug)]
pub(crate) struct Running {
    turn: Turn,
    activation: u64,
    /// Whether others wait until it has found out.
    is_scout: bool,
    /// The version that the API refused.
    refused: Option<u64>,
}

/// What an execution asks the holder of its credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    execution: usize,
    activation: u64,
}

/// An execution's call to the API.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    question: Question,
    token: Token,
    version: u64,
}

impl World {
    /// An event of a user comes in.
    pub(crate) fn send(&mut self, user: usize) {
        let execution = self.executions.len();
        self.executions.push(Execution {
            user,
            sent_at: self.now,
            parked: None,
            ended: None,
        });
        self.stage.lines[user].ready.insert(execution);
        self.commit(Accepted {
            execution: id(execution),
            identity: Some(identity(user)),
            origin: Origin::Webhook,
            received_at: self.now,
            dedupe_id: None,
            unique_request_id: None,
            catalog_revision: 1,
            sync_deadline: None,
            refusal: None,
            request: Sealed(Vec::new()),
        });
        self.pump();
    }

    fn commit(&mut self, entry: impl Into<Entry>) {
        let payload: Bytes = entry.into().encode().into();
        let position = self.number();
        let commit = Commit {
            position,
            payload: &payload,
        };
        self.owner.committed(commit, &mut self.stage).unwrap();
    }

    /// Lets begin whose turn it is.
    pub(crate) fn pump(&mut self) {
        loop {
            self.owner.grant(&mut self.stage);
            let Some(turn) = self.stage.turns.pop_front() else { break };
            let execution = index_of(turn.execution);
            let Some(taken) = self.owner.take_up(&turn) else {
                self.owner.over(&turn, None);
                continue;
            };
            let activation = self.number();
            let running = Running {
                turn,
                activation,
                is_scout: taken.is_scout,
                refused: None,
            };
            self.running.insert(execution, running);
            let question = Question { execution, activation };
            self.ask(self.executions[execution].user, question, None);
        }
        self.look_later();
    }

    fn look_later(&mut self) {
        let Some(next) = self.owner.next_look() else { return };
        if self.look_at.is_none_or(|at| at > next || at < self.now) {
            self.look_at = Some(next);
            self.at(next.max(self.now), Event::Look);
        }
    }

    pub(crate) fn look(&mut self) {
        self.look_at = None;
        self.owner.look(self.now, &mut self.stage);
        self.pump();
    }

    /// An execution hears what its credential is.
    pub(crate) fn answered(&mut self, question: &Question, lent: &Lent) {
        let Question { execution, activation } = *question;
        let user = self.executions[execution].user;
        let is_meant = |running: &&mut Running| running.activation == activation;
        let Some(running) = self.running.get_mut(&execution).filter(is_meant) else {
            return;
        };
        if lent.obstacle.is_some() && self.mutant != Some(Mutant::WorksWithoutACredential) {
            return self.park(user, execution, lent);
        }
        let (refused, is_scout) = (running.refused, running.is_scout);
        let waited = self.executions[execution].parked.take().is_some();
        if refused == Some(lent.version) {
            // Another token would fare no better.
            return self.end(execution, false);
        }
        // What was accepted meanwhile may find out, too: executions of one user run beside each other.
        let line = &mut self.stage.lines[user];
        let is_behind = |other: &&usize| **other < execution && self.executions[**other].parked.is_some();
        let overtaken = line.ready.iter().chain(&line.parked).find(is_behind).filter(|_| waited).copied();
        self.model.must(overtaken.is_none(), || {
            format!("user {user}: {execution} works before {overtaken:?}: {line:?}")
        });
        line.is_through(execution);
        self.model.works(self.plan.grant_of(user), lent, lent.token, self.now);
        if refused.is_none() {
            self.begin_work(execution);
        }
        if is_scout && lent.obstacle.is_none() {
            self.tell_usable(user, false);
        }
        let work = Work {
            question: *question,
            token: lent.token,
            version: lent.version,
        };
        self.soon(400, Event::Worked(work));
    }

    /// That it goes on is durable.
    fn begin_work(&mut self, execution: usize) {
        self.commit(Started {
            execution: id(execution),
            attempt: 1,
            activation: 1,
            deaths: 0,
            definition_version: 1,
            instance_revision: 1,
            user_revision: 1,
            at: self.now,
        });
    }

    fn park(&mut self, user: usize, execution: usize, lent: &Lent) {
        let rules = self.plan.rules();
        self.model.parks(self.plan.grant_of(user), lent, &self.disk, &rules, self.now);
        self.report.note("a wait for a credential");
        let Some(running) = self.running.remove(&execution) else { return };
        let wait = Wait {
            connection: match self.mutant {
                Some(Mutant::SendsTwoScouts) => format!("account {}", execution % 2),
                _ => "account".into(),
            },
            until: BEGIN.after(PARK_LIMIT),
            again: lent.look_again.filter(|_| lent.obstacle == Some(Obstacle::Patience)),
        };
        self.executions[execution].parked = Some(wait.clone());
        self.stage.lines[user].parks(execution);
        self.owner.parked(&running.turn, Cost::default(), wait);
        self.later_pump();
    }

    /// The API answers.
    pub(crate) fn worked(&mut self, work: Work) {
        let Question { execution, activation } = work.question;
        let is_meant = |running: &&mut Running| running.activation == activation;
        let user = self.executions[execution].user;
        let is_taken = self.provider.works(work.token, self.now);
        let Some(running) = self.running.get_mut(&execution).filter(is_meant) else {
            return;
        };
        if is_taken {
            return self.end(execution, true);
        }
        self.model.refuses(work.token);
        self.report.note("a token that was refused");
        if running.refused.is_some() {
            return self.end(execution, false);
        }
        running.refused = Some(work.version);
        self.ask(user, work.question, Some(work.version));
    }

    fn end(&mut self, execution: usize, is_taken: bool) {
        self.report.note(if is_taken {
            "an execution that worked"
        } else {
            "an execution that failed"
        });
        let Some(running) = self.running.remove(&execution) else { return };
        let Execution { user, ended, .. } = &mut self.executions[execution];
        *ended = Some(is_taken);
        self.stage.lines[*user].is_through(execution);
        assert!(self.owner.ending(id(execution)), "it runs");
        self.commit(Ended {
            execution: id(execution),
            attempt: 1,
            status: if is_taken { EndStatus::Succeeded } else { EndStatus::Failed },
            code: None,
            failed_step: None,
            message: None,
            response: None,
            cost: (0, 0),
            at: self.now,
        });
        self.owner.over(&running.turn, Some(Cost::default()));
        self.later_pump();
    }

    /// The owner hears of it as of everything: by a message.
    fn later_pump(&mut self) {
        self.soon(2, Event::Pump);
    }

    /// All credentials of a user can be used, or are missing still.
    pub(crate) fn tell_usable(&mut self, user: usize, is_missing: bool) {
        if is_missing || !self.owner.has_parked(key(user)) || self.mutant == Some(Mutant::ForgetsTheParked) {
            return;
        }
        self.stage.lines[user].releases();
        self.owner.usable(key(user), &[], &mut self.stage);
        self.later_pump();
    }

    pub(crate) fn try_parked(&mut self, user: usize) {
        self.owner.try_parked_of(key(user), &mut self.stage);
        self.pump();
    }

    /// The actor of a user died: what it ran lines up again.
    pub(crate) fn user_dies(&mut self, user: usize) {
        self.stage.lines[user].is_down = true;
        self.line_up_running(|execution| execution.user == user);
        let turns = std::mem::take(&mut self.stage.turns).into_iter();
        let (lost, left): (VecDeque<Turn>, VecDeque<Turn>) = turns.partition(|turn| user_of(turn.user) == user);
        self.stage.turns = left;
        let lost = lost.into_iter().map(|turn| index_of(turn.execution));
        self.stage.lines[user].ready.extend(lost);
        self.owner.died(|other| *other == key(user));
        self.pump();
    }

    pub(crate) fn user_is_back(&mut self, user: usize) {
        self.stage.lines[user].is_down = false;
        self.owner.back(|other| *other == key(user), &mut self.stage);
        self.pump();
    }

    fn line_up_running(&mut self, which: impl Fn(&Execution) -> bool) {
        let lost: Vec<usize> = self
            .running
            .keys()
            .copied()
            .filter(|index| which(&self.executions[*index]))
            .collect();
        for index in lost {
            self.running.remove(&index);
            self.stage.lines[self.executions[index].user].ready.insert(index);
        }
    }

    /// The process died.
    pub(crate) fn executions_die(&mut self) {
        self.running.clear();
        self.owner = owner(self.plan.slots);
        self.stage.is_anew();
        self.look_at = None;
    }

    /// What is durable is taken in again.
    pub(crate) fn recover(&mut self) {
        let mut live: Vec<usize> = (0..self.executions.len())
            .filter(|index| self.executions[*index].ended.is_none())
            .collect();
        match self.mutant {
            Some(Mutant::ReversesTheQueue) => live.reverse(),
            Some(Mutant::LosesTheParked) => live.retain(|index| self.executions[*index].parked.is_none()),
            _ => {}
        }
        for index in live {
            let Execution { user, parked, .. } = &self.executions[index];
            let (line, parked) = (&mut self.stage.lines[*user], parked.clone());
            let set = if parked.is_some() { &mut line.parked } else { &mut line.ready };
            set.insert(index);
            let recovered = Recovered {
                execution: id(index),
                identity: identity(*user),
                order: index as u64,
                entries: Vec::new(),
                cancel_requested: false,
                parked,
            };
            self.owner.recover(recovered, &mut self.stage);
        }
        self.owner.try_parked(|_| true, &mut self.stage);
        self.pump();
    }

    /// At the end: all have ended, and what came when all was well worked.
    pub(crate) fn check_executions(&mut self) {
        for (index, execution) in self.executions.iter().enumerate() {
            let is_late = execution.sent_at >= BEGIN.after(CALM);
            let is_well = match execution.ended {
                None => false,
                Some(is_taken) => is_taken || !is_late,
            };
            let row = self.disk.row(self.plan.grant_of(execution.user));
            let story = || format!("execution {index} came to no good end: {execution:?}, {row:?}");
            self.model.must(is_well, story);
        }
        let left = (self.owner.live(), self.owner.running());
        self.model
            .must(left == (0, 0), || format!("live and running are {left:?} when all is over"));
    }
}
