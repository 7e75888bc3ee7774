//! Data sources of a user's page: run beside the executions, and ended with the configuration that they ask with.

use super::actor::UserActor;
use super::messages::Answer;
use crate::execution::{Configuration, ExecutionEnv};
use crate::kit::{Exit, LocalRun, Obituary, run_here};
use crate::source::{self, Offer, Unanswered};
use actix::{Context, Handler};
use std::sync::Arc;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Offers {
    /// What waits for the configuration.
    waiting: Vec<Offer>,
    running: Vec<LocalRun>,
}

impl Offers {
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.iter().all(LocalRun::is_over)
    }

    pub(super) fn wait(&mut self, offer: Offer) {
        self.waiting.push(offer);
    }

    /// The configuration was read: what waited begins. Where there is none any more, nothing goes on with what it was.
    pub(super) fn read(&mut self, env: &Arc<ExecutionEnv>, configuration: &Configuration) {
        if configuration.is_err() {
            self.running.clear();
        }
        for offer in std::mem::take(&mut self.waiting) {
            self.begin(env, offer, configuration);
        }
    }

    pub(super) fn begin(&mut self, env: &Arc<ExecutionEnv>, offer: Offer, configuration: &Configuration) {
        self.running.retain(|run| !run.is_over());
        let Offer { question, reply } = offer;
        let binding = match configuration {
            Ok(binding) => binding.clone(),
            Err(code) => return reply.send(Err(Unanswered(*code))),
        };
        if reply.is_abandoned() {
            return;
        }
        let (env, reference) = (env.clone(), question.reference);
        let obituary = Obituary::new(move |exit| {
            if exit == Exit::Panicked {
                tracing::error!(%reference, "a data source panicked");
            }
        });
        self.running.push(run_here(obituary, async move {
            reply.send(source::run(env, binding, question).await);
        }));
    }
}

impl Handler<Answer> for UserActor {
    type Result = ();

    fn handle(&mut self, Answer { offer, instance }: Answer, ctx: &mut Context<Self>) {
        self.instance_is(instance, ctx);
        self.offer(offer, ctx);
    }
}
