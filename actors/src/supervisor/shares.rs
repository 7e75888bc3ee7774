//! The actors of the shared connections that this owner has, by the key of their grant.

use super::actor::Supervisor;
use super::messages::ConfigChanged;
use crate::execution::ExecutionEnv;
use crate::grant::{ForgetShare, LeaveShare, Lend, ShareActor};
use crate::kit::{ChildExited, Mailbox, Nursery, NurseryOptions, Unavailable, Verdict, remind, start_here};
use crate::telemetry;
use actix::{Context, Handler, Message};
use perseat_store::catalog::GrantId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// See the module.
#[derive(Debug)]
pub(super) struct Shares {
    nursery: Nursery<GrantId, Mailbox<ShareActor>>,
    /// Questions to actors that restart or leave just now.
    withheld: BTreeMap<GrantId, Vec<Lend>>,
    env: Arc<ExecutionEnv>,
    parent: Mailbox<Supervisor>,
    /// Messages that wait in one mailbox at most (`supervision.mailbox`).
    mailbox: usize,
}

impl Shares {
    pub(super) fn new(options: NurseryOptions, seed: u64, env: Arc<ExecutionEnv>, parent: Mailbox<Supervisor>, mailbox: usize) -> Self {
        Self {
            nursery: Nursery::new(options, env.clock.clone(), seed),
            withheld: BTreeMap::new(),
            env,
            parent,
            mailbox,
        }
    }

    /// Hands a question to the connection's actor. One that cannot be handed over is dropped, which its asker hears.
    fn lend(&mut self, lend: Lend) {
        let id = lend.id.clone();
        let (env, parent, mailbox) = (&self.env, &self.parent, self.mailbox);
        let share = self.nursery.ensure(&id, |birth| {
            let (id, env, supervisor) = (birth.key.clone(), env.clone(), parent.clone());
            start_here(mailbox, birth.obituary(parent), move |_| ShareActor::new(id, env, supervisor))
        });
        match share {
            Ok(share) => {
                if let Err(error) = share.tell(lend) {
                    tracing::warn!(connection = %id.variable, %error, "a shared connection is too busy to be asked");
                }
            }
            Err(Unavailable::Waiting | Unavailable::Leaving) => self.withheld.entry(id).or_default().push(lend),
            Err(error) => tracing::warn!(connection = %id.variable, %error, "a shared connection cannot be asked"),
        }
    }

    fn is_back(&mut self, id: &GrantId) {
        self.withheld
            .remove(id)
            .unwrap_or_default()
            .into_iter()
            .for_each(|lend| self.lend(lend));
    }

    /// Whoever shares something that changed reads it again.
    pub(super) fn changed(&self, message: &ConfigChanged) {
        let changed = |id: &GrantId| message.instances.is_none() || message.holders.contains(&id.holder);
        for (_, share) in self.nursery.alive().filter(|(id, _)| changed(id)) {
            share.tell_past_the_bound(ForgetShare);
        }
    }

    pub(super) fn tidy(&mut self, at_once: usize) {
        for id in self.nursery.idle(at_once) {
            if let Some(share) = self.nursery.put_away(&id)
                && share.tell(LeaveShare).is_err()
            {
                self.nursery.keep(&id);
            }
        }
    }
}

impl Handler<Lend> for Supervisor {
    type Result = ();

    fn handle(&mut self, lend: Lend, _: &mut Context<Self>) {
        self.shares.lend(lend);
    }
}

/// Sent by a shared connection's actor that was told to leave and is held by somebody.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct ShareStillNeeded(pub GrantId);

impl Handler<ShareStillNeeded> for Supervisor {
    type Result = ();

    fn handle(&mut self, ShareStillNeeded(id): ShareStillNeeded, _: &mut Context<Self>) {
        if self.shares.nursery.keep(&id).is_some() {
            self.shares.is_back(&id);
        }
    }
}

/// Sent by the supervisor to itself: a shared connection's back-off is over.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
struct ShareRestartDue(GrantId);

impl Handler<ShareRestartDue> for Supervisor {
    type Result = ();

    fn handle(&mut self, ShareRestartDue(id): ShareRestartDue, _: &mut Context<Self>) {
        self.shares.is_back(&id);
    }
}

impl Handler<ChildExited<GrantId>> for Supervisor {
    type Result = ();

    /// Whoever asked one that panicked is not answered, and asks again.
    fn handle(&mut self, exited: ChildExited<GrantId>, ctx: &mut Context<Self>) {
        let id = exited.key.clone();
        match self.shares.nursery.on_exit(&exited) {
            Verdict::Stale | Verdict::Gone => {}
            Verdict::StartNow => self.shares.is_back(&id),
            Verdict::RestartAfter(delay) => {
                tracing::error!(holder = ?id.holder, connection = %id.variable, ?delay, "a shared connection's actor panicked; it restarts");
                remind(ctx, &*self.shares.env.clock, delay, ShareRestartDue(id));
            }
            Verdict::Quarantine(span) => {
                tracing::error!(holder = ?id.holder, connection = %id.variable, ?span, "a shared connection's actor panicked too often; it waits in quarantine");
                metrics::counter!(telemetry::QUARANTINES).increment(1);
                self.shares.withheld.remove(&id);
                remind(ctx, &*self.shares.env.clock, span, ShareRestartDue(id));
            }
        }
    }
}
