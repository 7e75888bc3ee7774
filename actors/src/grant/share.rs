//! The actor of one shared connection: the only writer of its grant, wherever it is used.
//!
//! It renews the grant in the course of answering whoever asks for it, as an instance's or user's actor does in the course of
//! reading its configuration. Whoever was lent it hears when it is another one. It is put away when nobody holds it.

use super::lend::{Borrower, BorrowerKey, Lent};
use super::load::Grants;
use crate::execution::{ExecutionEnv, LoadError};
use crate::kit::{Mailbox, Reply};
use crate::supervisor::{ShareStillNeeded, Supervisor};
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, WrapFuture, fut::ActorFutureExt};
use perseat_flow::expression::Obstacle;
use perseat_flow::oauth::is_oauth;
use perseat_store::catalog::GrantId;
use perseat_store::custody::Custody;
use perseat_store::sharing::Supplied;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Sent by an instance's or user's actor through the supervisor: what is this connection today · `None` where it is not there.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Lend {
    /// Which.
    pub(crate) id: GrantId,
    /// The version that a third party refused.
    pub(crate) refused: Option<u64>,
    /// Who asks.
    pub(crate) borrower: Borrower,
    /// The way back.
    pub(crate) reply: Reply<Option<Arc<Lent>>>,
}

/// Sent by the supervisor: somebody consented, or what was given changed.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ForgetShare;

/// Sent by the supervisor: stop, if nobody holds what was lent.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct LeaveShare;

#[derive(Debug)]
enum State {
    Unread,
    Reading { is_stale: bool },
    Read(Option<Arc<Lent>>),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct ShareActor {
    id: GrantId,
    env: Arc<ExecutionEnv>,
    supervisor: Mailbox<Supervisor>,
    state: State,
    /// Versions that third parties refused, for the next reading.
    refused: Vec<u64>,
    /// Who waits for an answer.
    waiting: Vec<(Borrower, Reply<Option<Arc<Lent>>>)>,
    /// Who was given today's.
    lent_to: BTreeMap<BorrowerKey, Borrower>,
}

impl ShareActor {
    pub(crate) fn new(id: GrantId, env: Arc<ExecutionEnv>, supervisor: Mailbox<Supervisor>) -> Self {
        Self {
            id,
            env,
            supervisor,
            state: State::Unread,
            refused: Vec::new(),
            waiting: Vec::new(),
            lent_to: BTreeMap::new(),
        }
    }

    /// What is read, where it need not be looked at again yet.
    fn today(&self) -> Option<Option<Arc<Lent>>> {
        match &self.state {
            State::Read(lent) => {
                let due = lent.as_ref().and_then(|lent| lent.look_again);
                let is_due = due.is_some_and(|due| due <= self.env.clock.now());
                (!is_due).then(|| lent.clone())
            }
            State::Unread | State::Reading { .. } => None,
        }
    }

    fn lend(&mut self, borrower: Borrower, reply: Reply<Option<Arc<Lent>>>, lent: Option<Arc<Lent>>) {
        self.lent_to.insert(borrower.key(), borrower);
        reply.send(lent);
    }

    fn read(&mut self, ctx: &mut Context<Self>) {
        let before = match std::mem::replace(&mut self.state, State::Reading { is_stale: false }) {
            State::Read(lent) => lent,
            State::Unread | State::Reading { .. } => None,
        };
        let refused = std::mem::take(&mut self.refused);
        let read = read(self.env.clone(), self.id.clone(), refused);
        ctx.spawn(read.into_actor(self).map(move |read, actor, ctx| {
            if matches!(actor.state, State::Reading { is_stale: true }) {
                return actor.read(ctx);
            }
            let lent = match read {
                Ok(lent) => lent.map(Arc::new),
                Err(error) => {
                    let (holder, connection) = (actor.id.holder, &actor.id.variable);
                    tracing::error!(?holder, %connection, error = &error as &dyn std::error::Error, "cannot read a shared connection");
                    // Dropped replies say that it cannot be had now.
                    actor.waiting.clear();
                    actor.state = State::Unread;
                    return;
                }
            };
            let is_same = match (&before, &lent) {
                (Some(before), Some(lent)) => before == lent,
                _ => false,
            };
            if !is_same {
                actor.tell_borrowers();
            }
            for (borrower, reply) in std::mem::take(&mut actor.waiting) {
                actor.lend(borrower, reply, lent.clone());
            }
            actor.state = State::Read(lent);
        }));
    }

    /// Those who wait for an answer get the new one anyway.
    fn tell_borrowers(&mut self) {
        let mut lent_to = std::mem::take(&mut self.lent_to);
        for (borrower, _) in &self.waiting {
            lent_to.remove(&borrower.key());
        }
        lent_to.values().for_each(Borrower::tell);
    }
}

/// The connection with a credential that can be used, if there is one.
async fn read(env: Arc<ExecutionEnv>, id: GrantId, refused: Vec<u64>) -> Result<Option<Lent>, LoadError> {
    let (reading, of) = (env.clone(), id.clone());
    let load = move || {
        #[cfg(feature = "faults")]
        reading.faults.may_read()?;
        load(&reading.custody, &of)
    };
    let Some((supplied, mut grants)) = env.errands.run(load).await?? else {
        return Ok(None);
    };
    let refused: Vec<(String, u64)> = refused.into_iter().map(|version| (id.variable.clone(), version)).collect();
    grants.refused(&env, &refused);
    grants.tend(&env).await?;
    let credential = grants.credential(&id.variable);
    let mut value = supplied.value.clone();
    let (version, obstacle) = match &credential {
        Some(credential) => {
            value.token = credential.token.cloned();
            (credential.version, credential.obstacle)
        }
        None => (supplied.version, (!supplied.is_given).then_some(Obstacle::Consent)),
    };
    Ok(Some(Lent {
        kind: supplied.connection.connection.clone(),
        value,
        version,
        is_grant: credential.is_some(),
        obstacle,
        look_again: grants.due_in(&env).map(|due| env.clock.now().after(due)),
    }))
}

fn load(custody: &Custody, id: &GrantId) -> Result<Option<(Supplied, Grants)>, LoadError> {
    let view = custody.catalog().view()?;
    let Some(supplied) = Supplied::find(&view, custody.keyring(), id)? else {
        return Ok(None);
    };
    let flow = is_oauth(&supplied.connection.connection);
    let grants = Grants::of_shared(custody, id, flow, &supplied)?;
    Ok(Some((supplied, grants)))
}

impl Actor for ShareActor {
    type Context = Context<Self>;
}

impl Handler<Lend> for ShareActor {
    type Result = ();

    fn handle(&mut self, lend: Lend, ctx: &mut Context<Self>) {
        let Lend {
            refused, borrower, reply, ..
        } = lend;
        // A refusal of another version than today's is answered by today's, and so is one of what is being read.
        let is_todays = |version: &u64| match &self.state {
            State::Read(Some(lent)) => lent.is_grant && lent.version == *version,
            State::Unread => true,
            State::Read(None) | State::Reading { .. } => false,
        };
        let refused = refused.filter(is_todays);
        self.refused.extend(refused);
        match self.today().filter(|_| refused.is_none()) {
            Some(lent) => self.lend(borrower, reply, lent),
            None => {
                self.waiting.push((borrower, reply));
                if !matches!(self.state, State::Reading { .. }) {
                    self.read(ctx);
                }
            }
        }
    }
}

impl Handler<ForgetShare> for ShareActor {
    type Result = ();

    /// Whoever holds it asks anew; an answer to an older question may be on its way to them, too.
    fn handle(&mut self, _: ForgetShare, _: &mut Context<Self>) {
        self.state = match self.state {
            State::Reading { .. } => State::Reading { is_stale: true },
            State::Unread | State::Read(_) => State::Unread,
        };
        self.tell_borrowers();
    }
}

impl Handler<LeaveShare> for ShareActor {
    type Result = ();

    fn handle(&mut self, _: LeaveShare, ctx: &mut Context<Self>) {
        self.lent_to.retain(|_, borrower| borrower.is_alive());
        let is_idle = self.lent_to.is_empty() && self.waiting.is_empty() && !matches!(self.state, State::Reading { .. });
        if is_idle {
            ctx.stop();
        } else {
            // One for each time that it is put away: a word that is lost would leave it leaving for good.
            self.supervisor.tell_past_the_bound(ShareStillNeeded(self.id.clone()));
        }
    }
}
