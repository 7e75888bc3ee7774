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
use perseat_domain::grant::{Asked, Desk, Obstacle, Read};
use perseat_flow::oauth::is_oauth;
use perseat_store::catalog::GrantId;
use perseat_store::custody::Custody;
use perseat_store::sharing::Supplied;
use std::collections::{BTreeMap, BTreeSet};
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

/// Who asks, and the way back.
type Question = (Borrower, Reply<Option<Arc<Lent>>>);

/// See the module.
#[derive(Debug)]
pub(crate) struct ShareActor {
    id: GrantId,
    env: Arc<ExecutionEnv>,
    supervisor: Mailbox<Supervisor>,
    desk: Desk<Question, Option<Arc<Lent>>>,
    /// Who was given today's.
    lent_to: BTreeMap<BorrowerKey, Borrower>,
}

impl ShareActor {
    pub(crate) fn new(id: GrantId, env: Arc<ExecutionEnv>, supervisor: Mailbox<Supervisor>) -> Self {
        Self {
            id,
            env,
            supervisor,
            desk: Desk::default(),
            lent_to: BTreeMap::new(),
        }
    }

    fn lend(&mut self, (borrower, reply): Question, lent: Option<Arc<Lent>>) {
        self.lent_to.insert(borrower.key(), borrower);
        reply.send(lent);
    }

    fn read(&mut self, ctx: &mut Context<Self>) {
        let refused = self.desk.begin();
        let read = read(self.env.clone(), self.id.clone(), refused);
        ctx.spawn(read.into_actor(self).map(|read, actor, ctx| match read {
            Ok(lent) => actor.is_read(lent, ctx),
            Err(error) => {
                let (holder, connection) = (actor.id.holder, &actor.id.variable);
                tracing::error!(?holder, %connection, error = &error as &dyn std::error::Error, "cannot read a shared connection");
                // Dropped replies say that it cannot be had now.
                if actor.desk.failed().is_none() {
                    actor.read(ctx);
                }
            }
        }));
    }

    fn is_read(&mut self, lent: Option<Lent>, ctx: &mut Context<Self>) {
        let lent = lent.map(Arc::new);
        match self.desk.read(lent.clone()) {
            Read::Again => self.read(ctx),
            Read::Answer { before, waiting } => {
                let is_same = lent.is_some() && before == Some(lent.clone());
                if !is_same {
                    self.tell_borrowers(&waiting.iter().map(|(borrower, _)| borrower.key()).collect());
                }
                for question in waiting {
                    self.lend(question, lent.clone());
                }
            }
        }
    }

    /// Those who wait for an answer get the new one anyway.
    fn tell_borrowers(&mut self, waiting: &BTreeSet<BorrowerKey>) {
        let lent_to = std::mem::take(&mut self.lent_to);
        let others = lent_to.iter().filter(|(key, _)| !waiting.contains(key));
        others.for_each(|(_, borrower)| borrower.tell());
    }
}

/// The connection with a credential that can be used, if there is one.
async fn read(env: Arc<ExecutionEnv>, id: GrantId, refused: Vec<u64>) -> Result<Option<Lent>, LoadError> {
    let (reading, of) = (env.clone(), id.clone());
    let load = move || {
        #[cfg(feature = "faults")]
        reading.faults.may_read(crate::execution::Reading::Configuration)?;
        load(&reading.custody, &of)
    };
    let Some((supplied, mut grants)) = env.errands.run(load).await?? else {
        return Ok(None);
    };
    let refused: Vec<(String, u64)> = refused.into_iter().map(|version| (id.variable.clone(), version)).collect();
    grants.tend(&env, &refused).await?;
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
        fresh_until: grants.fresh_until(&id.variable, &env),
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
        match self.desk.ask((borrower, reply), refused, self.env.clock.now()) {
            Asked::Answer(question, lent) => self.lend(question, lent),
            Asked::Waits => {}
            Asked::Begin => self.read(ctx),
        }
    }
}

impl Handler<ForgetShare> for ShareActor {
    type Result = ();

    /// Whoever holds it asks anew; an answer to an older question may be on its way to them, too.
    fn handle(&mut self, _: ForgetShare, _: &mut Context<Self>) {
        self.desk.forget();
        self.tell_borrowers(&self.desk.waiting().map(|(borrower, _)| borrower.key()).collect());
    }
}

impl Handler<LeaveShare> for ShareActor {
    type Result = ();

    fn handle(&mut self, _: LeaveShare, ctx: &mut Context<Self>) {
        self.lent_to.retain(|_, borrower| borrower.is_alive());
        let is_idle = self.lent_to.is_empty() && self.desk.is_idle();
        if is_idle {
            ctx.stop();
        } else {
            // One for each time that it is put away: a word that is lost would leave it leaving for good.
            self.supervisor.tell_past_the_bound(ShareStillNeeded(self.id.clone()));
        }
    }
}
