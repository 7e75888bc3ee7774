//! Asking for a connection that others use, too: its one writer is an actor of its own, and lends what it holds.

use super::share::Lend;
use crate::execution::ExecutionEnv;
use crate::instance::{self, InstanceActor};
use crate::kit::{Mailbox, Reply};
use crate::supervisor::Supervisor;
use crate::user::{ForgetConfig, UserActor};
use perseat_domain::definition::ActionRef;
use perseat_domain::grant::{Given, Obstacle};
use perseat_domain::id::{InstanceId, UserConfigId};
use perseat_domain::model::ConnectionValue;
use perseat_domain::owner::UserKey;
use perseat_domain::time::Timestamp;
use perseat_store::catalog::GrantId;
use perseat_store::seal::key_digest;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use zeroize::Zeroize as _;

/// A shared connection as it is today.
#[derive(PartialEq, Eq)]
pub(crate) struct Lent {
    /// Component and connection key.
    pub(crate) kind: ActionRef,
    /// Inputs, and the token where it can be used.
    pub(crate) value: ConnectionValue,
    /// Recorded with each use.
    pub(crate) version: u64,
    /// Whether it is a grant, which a refusal renews.
    pub(crate) is_grant: bool,
    /// Why it cannot be used.
    pub(crate) obstacle: Option<Obstacle>,
    /// Until when nobody's refusal of its token counts.
    pub(crate) fresh_until: Option<Timestamp>,
    /// When it is to be asked for again.
    pub(crate) look_again: Option<Timestamp>,
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent")
            .field("kind", &self.kind)
            .field("version", &self.version)
            .field("obstacle", &self.obstacle)
            .finish_non_exhaustive()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.value.fields.values_mut().for_each(|text| text.zeroize());
        if let Some(Value::Object(members)) = &mut self.value.token {
            for (_, member) in members {
                if let Value::String(text) = member {
                    text.zeroize();
                }
            }
        }
    }
}

impl Lent {
    /// What stands in for a connection that cannot be had now.
    fn not_now(env: &ExecutionEnv) -> Self {
        Self {
            kind: ActionRef {
                component: String::new(),
                action: String::new(),
            },
            value: ConnectionValue {
                fields: BTreeMap::new(),
                token: None,
            },
            version: 0,
            is_grant: false,
            obstacle: Some(Obstacle::Patience),
            fresh_until: None,
            look_again: Some(env.clock.now().after(env.oauth.rules.back_off)),
        }
    }
}

impl Given for Lent {
    fn is_of(&self, version: u64) -> bool {
        self.is_grant && self.version == version
    }

    fn look_again(&self) -> Option<Timestamp> {
        self.look_again
    }
}

/// Names a borrower: the instance, and which of its users where it is one.
pub(crate) type BorrowerKey = (InstanceId, Option<Option<UserConfigId>>);

/// Whoever was lent a connection and has to hear when it is another one.
#[derive(Clone, Debug)]
pub(crate) enum Borrower {
    /// An instance.
    Instance(InstanceId, Mailbox<InstanceActor>),
    /// A user of an instance.
    User(UserKey, Mailbox<UserActor>),
}

impl Borrower {
    pub(crate) fn key(&self) -> BorrowerKey {
        match self {
            Self::Instance(id, _) => (*id, None),
            Self::User(user, _) => (user.instance, Some(user.config)),
        }
    }

    /// What was lent is not the truth any more.
    pub(crate) fn tell(&self) {
        match self {
            Self::Instance(_, instance) => instance.tell_past_the_bound(instance::Forget),
            Self::User(_, user) => user.tell_past_the_bound(ForgetConfig),
        }
    }

    /// Whether it still holds what it was lent.
    pub(crate) fn is_alive(&self) -> bool {
        match self {
            Self::Instance(_, instance) => instance.is_alive(),
            Self::User(_, user) => user.is_alive(),
        }
    }
}

/// Where shared connections live: each below one owner's supervisor, for good. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Sharers(Arc<OnceLock<Vec<Mailbox<Supervisor>>>>);

impl Sharers {
    /// From now on they can be asked.
    pub fn connect(&self, supervisors: Vec<Mailbox<Supervisor>>) {
        if self.0.set(supervisors).is_err() {
            tracing::error!("the owners of shared connections were connected twice");
        }
    }

    /// The supervisor below which the connection's one actor lives: by the key of the grant, and nothing else.
    fn home(&self, id: &GrantId) -> Option<&Mailbox<Supervisor>> {
        let all = self.0.get()?;
        all.get(place(id, all.len()))
    }

    /// The connection as it is today. `refused` is the version that a third party refused. Waits while it is renewed.
    pub(crate) async fn ask(&self, env: &ExecutionEnv, id: &GrantId, refused: Option<u64>, borrower: Borrower) -> Option<Arc<Lent>> {
        let (reply, answer) = Reply::channel();
        let lend = Lend {
            id: id.clone(),
            refused,
            borrower,
            reply,
        };
        let is_asked = self.home(id).is_some_and(|home| home.tell(lend).is_ok());
        match answer.await {
            Ok(answer) => answer,
            Err(_) => {
                tracing::warn!(holder = ?id.holder, connection = %id.variable, is_asked, "a shared connection cannot be had now");
                Some(Arc::new(Lent::not_now(env)))
            }
        }
    }
}

/// Which of `count` owners a shared grant has.
fn place(id: &GrantId, count: usize) -> usize {
    let digest = key_digest(&format!("{}/{}", id.holder.uuid(), id.variable));
    let mut first = [0; 8];
    first.copy_from_slice(&digest.0[..8]);
    usize::try_from(u64::from_be_bytes(first) % count.max(1) as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use perseat_domain::grant::Holder;
    use perseat_domain::id::UserId;
    use uuid::Uuid;

    #[test]
    fn a_grant_has_one_place_and_all_places_have_grants() {
        let id = |user, variable: &str| GrantId {
            holder: Holder::User(UserId(Uuid::from_u128(user))),
            variable: variable.to_owned(),
        };
        let places: Vec<usize> = (0..64).map(|user| place(&id(user, "crm"), 4)).collect();
        assert_eq!(places, (0..64).map(|user| place(&id(user, "crm"), 4)).collect::<Vec<_>>());
        assert!((0..4).all(|owner| places.contains(&owner)));
        assert_eq!(place(&id(1, "crm"), 0), 0);
    }
}
