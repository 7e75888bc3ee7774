//! What the journal says an execution has done so far.

use crate::entry::{Entry, StepStatus};
use std::collections::BTreeMap;

/// The durable past of an execution, gathered from its entries in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// How often it was started, in this attempt.
    pub activations: u32,
    /// How many of those ended by the death of an actor.
    pub deaths: u32,
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
            Entry::Accepted(_) | Entry::Carried(_) => {}
            Entry::Started(started) => {
                self.activations = started.activation;
                self.deaths = started.deaths;
            }
            Entry::StepsDone(done) => {
                for step in &done.steps {
                    self.done.insert(step.path.clone(), step.status);
                }
                self.branches.extend(done.branches.iter().cloned());
            }
            Entry::Cancelled(_) => self.cancelled = true,
            Entry::Ended(_) => self.ended = true,
        }
    }
}
