//! An execution that cannot go on before a credential is back.

use super::ExecutionEnv;
use super::binding::Binding;
use perseat_domain::code::ErrorCode;
use perseat_domain::execution::Past;
use perseat_domain::grant::Obstacle;
use perseat_domain::owner::Wait;
use perseat_domain::time::Timestamp;
use perseat_flow::expression::{Setting, Settings};

/// Given instead of an end: it waits, and that is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parking {
    /// The stable key of the connection that it waits for.
    pub connection: String,
    /// When it was parked for the first time.
    pub since: Timestamp,
    /// When it is worth trying again without anybody's doing.
    pub again: Option<Timestamp>,
}

impl Parking {
    /// As the owner keeps it.
    #[must_use]
    pub fn wait(self, env: &ExecutionEnv) -> Wait {
        Wait {
            until: self.since.after(env.limits.park_limit),
            connection: self.connection,
            again: self.again,
        }
    }
}

/// What becomes of an execution that was parked and is taken up.
pub(super) enum Still {
    /// It goes on.
    Free,
    /// It waits on; there is nothing new to write down.
    Parked(Parking),
    /// It has waited long enough.
    Over(ErrorCode),
}

/// Whether what it waits for is back. It waits no more for what is not to be had in the version of `settings`.
pub(super) fn still(past: &Past, binding: &Binding, settings: &Settings, env: &ExecutionEnv) -> Still {
    let progress = &past.progress;
    let (Some(connection), false) = (&progress.waits_for, progress.cancelled) else {
        return Still::Free;
    };
    let now = env.clock.now();
    let since = progress.parked_since.unwrap_or(now);
    match binding.lack_of(connection, env).filter(|_| may_come(settings, connection)) {
        None => Still::Free,
        Some(_) if since.after(env.limits.park_limit) <= now => Still::Over(ErrorCode::ParkedTooLong),
        Some(lack) => Still::Parked(Parking {
            connection: connection.clone(),
            since,
            again: lack.again,
        }),
    }
}

fn may_come(settings: &Settings, connection: &str) -> bool {
    settings.iter().any(|(_, setting)| match setting {
        Setting::Connection(found) => found.variable == connection && found.obstacle != Some(Obstacle::Moved),
        Setting::Plain(_) => false,
    })
}
