//! What happened to a grant, for whoever may see its connection: its own events, those of its notice, and its uses.

use crate::control::Desk;
use perseat_admin::fault::Fault;
use perseat_domain::grant::{Grant, Holder, Notice, What};
use perseat_domain::time::Timestamp;
use perseat_store::catalog::GrantId;
use perseat_store::executions::Uses;
use perseat_store::index::Filter;

/// One event. There are at most `oauth.timeline` of them, and two of the notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) at: Timestamp,
    pub(crate) word: &'static str,
    pub(crate) reason: Option<String>,
}

/// Everything, oldest first.
pub(crate) fn events(grant: &Grant, notice: Option<&Notice>) -> Vec<Event> {
    let own = grant.timeline.iter().map(|happening| Event {
        at: happening.at,
        word: word(happening.what),
        reason: happening.reason.clone(),
    });
    let told = notice
        .into_iter()
        .flat_map(|notice| [(notice.told_at, "TOLD"), (notice.escalated_at, "ESCALATED")]);
    let told = told.filter_map(|(at, word)| {
        Some(Event {
            at: at?,
            word,
            reason: None,
        })
    });
    let mut all: Vec<Event> = own.chain(told).collect();
    all.sort_by_key(|event| event.at);
    all
}

fn word(what: What) -> &'static str {
    match what {
        What::Issued => "ISSUED",
        What::Renewed => "RENEWED",
        What::NotRenewed => "NOT_RENEWED",
        What::Refused => "REFUSED",
        What::Ended => "ENDED",
        What::Lost => "LOST",
        What::Disconnected => "DISCONNECTED",
        What::Reconnected => "RECONNECTED",
        What::AccountChosen => "ACCOUNT_CHOSEN",
        What::AccountSwitched => "ACCOUNT_SWITCHED",
        What::Moved => "MOVED",
        What::GivenBack => "GIVEN_BACK",
        What::NotGivenBack => "NOT_GIVEN_BACK",
    }
}

/// The notice of a grant that is over.
pub(crate) fn notice(desk: &Desk, id: &GrantId) -> Result<Option<Notice>, Fault> {
    Ok(desk.catalog().notice_of(id)?)
}

/// What the newest executions of its holder did with it.
pub(crate) fn uses(desk: &Desk, id: &GrantId) -> Result<Uses, Fault> {
    let filter = match id.holder {
        // Nobody's executions alone: a shared connection is seen through the configurations that name it.
        Holder::Organization(_) | Holder::Customer(_) | Holder::User(_) => return Ok(Uses::default()),
        Holder::Instance(instance) => Filter {
            instance: Some(instance),
            ..Filter::default()
        },
        Holder::UserConfig(config) => Filter {
            user_config: Some(config),
            ..Filter::default()
        },
    };
    let looked_at = desk.oauth().options().uses_looked_at;
    desk.executions().uses(&filter, &id.variable, looked_at).map_err(|error| {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "the uses of a connection could not be read"
        );
        Fault::wrong("The uses of this connection cannot be read now.")
    })
}
