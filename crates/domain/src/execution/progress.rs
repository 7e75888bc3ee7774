//! What the journal says an execution has done so far.

use crate::entry::{Entry, StepStatus};
use crate::time::Timestamp;
use std::collections::BTreeMap;

/// The durable past of an execution, gathered from its entries in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// How often it was started, in this attempt.
    pub activations: u32,
    /// How many of those ended by the death of an actor.
    pub deaths: u32,
    /// How many of them ended by being parked: a wait for a person is no reason to give up.
    pub parks: u32,
    /// When it was parked for the first time.
    pub parked_since: Option<Timestamp>,
    /// The connection that it waits for, while it is parked.
    pub waits_for: Option<String>,
    /// Steps with a durable result, by path.
    pub done: BTreeMap<String, StepStatus>,
    /// Branches chosen, by path.
    pub branches: BTreeMap<String, String>,
    /// Whether its end was asked for.
    pub cancelled: bool,
    /// Whether it has ended.
    pub ended: bool,
}

impl Progress {
    /// Takes in the next entry of the execution.
    pub fn record(&mut self, entry: &Entry) {
        match entry {
            Entry::Accepted(_) | Entry::Called(_) | Entry::Carried(_) => {}
            Entry::Started(started) => {
                self.activations = started.activation;
                self.deaths = started.deaths;
                self.waits_for = None;
            }
            Entry::StepsDone(done) => {
                for step in &done.steps {
                    self.done.insert(step.path.clone(), step.status);
                }
                self.branches.extend(done.branches.iter().cloned());
            }
            Entry::Parked(parked) => {
                self.parks += 1;
                self.parked_since = Some(parked.since);
                self.waits_for = Some(parked.connection.clone());
            }
            Entry::Cancelled(_) => self.cancelled = true,
            Entry::Ended(_) => self.ended = true,
        }
    }
}
