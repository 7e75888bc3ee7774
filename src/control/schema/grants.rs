//! Grants of third parties: where they stand, where somebody consents, and giving them up.

use super::answer::{actor, change, desk, error, payloads, read, required, spend};
use super::configs::UserLevelConfigVariable;
use super::instances::InstanceConfigVariable;
use super::scalars::DateTime;
use crate::oauth::{Ticket, choose_url, story};
use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use perseat_admin::access::Operation;
use perseat_admin::accounts;
use perseat_admin::fault::Fault;
use perseat_admin::query::grant_id;
use perseat_domain::grant::{Forecast, Holder, Notice, Status};
use perseat_domain::id::{InstanceId, UserConfigId};
use perseat_domain::reach::Reach;
use perseat_store::catalog::{GrantId, StoredGrant};
use perseat_store::executions::Uses;
use std::sync::OnceLock;
use uuid::Uuid;

/// An id that names a holder's connection, and finds it again.
pub(super) fn connection_id(kind: &str, owner: Uuid, stable_key: &str) -> ID {
    STANDARD.encode(format!("{kind}:{owner}/{stable_key}")).into()
}

/// The reverse of [`connection_id`].
fn named(id: Option<&ID>, kind: &str) -> Result<(Uuid, String), Fault> {
    let text: String = required(id, "connection")?;
    let absent = || Fault::Absent("connection");
    let bytes = STANDARD.decode(text.as_bytes()).map_err(|_| absent())?;
    let text = String::from_utf8(bytes).map_err(|_| absent())?;
    let rest = text.strip_prefix(kind).and_then(|rest| rest.strip_prefix(':')).ok_or_else(absent)?;
    let (owner, stable_key) = rest.split_once('/').ok_or_else(absent)?;
    Ok((owner.parse().map_err(|_| absent())?, stable_key.to_owned()))
}

/// What is known of a grant; never the token.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    id: GrantId,
    /// The connection of a configuration whose executions count as uses.
    seen_as: Option<GrantId>,
    stored: StoredGrant,
    told: OnceLock<Option<Notice>>,
}

impl Grant {
    fn reach(&self, ctx: &Context<'_>) -> Result<Option<Reach>> {
        spend(ctx, 1)?;
        let desk = desk(ctx)?;
        let reach = accounts::reach(desk.catalog(), desk.custody().keyring(), &self.id, &self.stored);
        reach.map_err(|failure| error(failure.into()))
    }

    pub(super) fn new(id: GrantId, seen_as: Option<GrantId>, stored: StoredGrant) -> Self {
        Self {
            id,
            seen_as,
            stored,
            told: OnceLock::new(),
        }
    }

    /// Read once, so that one answer tells one story.
    fn told(&self, ctx: &Context<'_>) -> Result<Option<&Notice>> {
        spend(ctx, 1)?;
        if let Some(told) = self.told.get() {
            return Ok(told.as_ref());
        }
        let told = story::notice(desk(ctx)?, &self.id).map_err(error)?;
        Ok(self.told.get_or_init(|| told).as_ref())
    }
}

/// What will become of a grant.
#[derive(Clone, Debug, SimpleObject)]
pub(super) struct GrantForecast {
    /// `RENEWS`: by itself. `ENDS`: then somebody must consent again. `OPEN`: nobody knows. `OVER`: somebody must consent first.
    kind: &'static str,
    /// When, where that is known.
    at: Option<DateTime>,
}

/// Who was told that somebody must consent again.
#[derive(Clone, Debug, SimpleObject)]
pub(super) struct GrantNotice {
    /// Since when.
    since: DateTime,
    /// When whose connection it is was told.
    told_at: Option<DateTime>,
    /// When the admins of their customer were told.
    escalated_at: Option<DateTime>,
}

/// What executions did with a connection, among the newest of its holder.
#[derive(Clone, Debug, SimpleObject)]
pub(super) struct GrantUses {
    /// When it was used last.
    last_used_at: Option<DateTime>,
    /// By which execution; for those who see executions.
    last_execution: Option<ID>,
    /// How many wait for it.
    parked: u64,
    /// Since when the first of them waits.
    parked_since: Option<DateTime>,
}

/// An account at a provider.
#[derive(Clone, Debug, SimpleObject)]
pub(super) struct ProviderAccount {
    /// The provider's id.
    id: String,
    name: String,
    /// Where its API is, if the provider says so.
    base_url: Option<String>,
    /// What usage by account names it.
    counted_as: String,
}

/// One event of a grant.
#[derive(Clone, Debug, SimpleObject)]
pub(super) struct GrantEvent {
    at: DateTime,
    /// `ISSUED`, `RENEWED`, `NOT_RENEWED`, `REFUSED`, `ENDED`, `LOST`, `DISCONNECTED`, `RECONNECTED`, `ACCOUNT_CHOSEN`,
    /// `ACCOUNT_SWITCHED`, `MOVED`, `GIVEN_BACK`, `NOT_GIVEN_BACK`; `TOLD` and `ESCALATED` of the notice.
    what: &'static str,
    reason: Option<String>,
}

#[Object]
impl Grant {
    /// `PENDING`, `ACTIVE`, `ERROR`, `FAILED` or `UNCERTAIN`.
    async fn status(&self) -> &'static str {
        match self.stored.grant.status {
            Status::Pending => "PENDING",
            Status::Active => "ACTIVE",
            Status::Error => "ERROR",
            Status::Failed => "FAILED",
            Status::Uncertain => "UNCERTAIN",
        }
    }
    /// Why it is not active: a stable word, or the provider's own.
    async fn reason(&self) -> Option<&String> {
        self.stored.grant.reason.as_ref()
    }
    /// The account at the provider in which it is used; none where the provider lists none, or none was chosen yet.
    async fn account(&self, ctx: &Context<'_>) -> Result<Option<ProviderAccount>> {
        let reach = self.reach(ctx)?;
        let account = reach.as_ref().and_then(Reach::account);
        Ok(account.map(|account| ProviderAccount {
            id: account.id.clone(),
            name: account.name.clone(),
            base_url: account.base_url.clone(),
            counted_as: account.counted_as.clone(),
        }))
    }
    /// Where a person chooses another account without a new consent; for whoever may connect, where there is a choice.
    async fn account_url(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        let has_choice = self.reach(ctx)?.is_some_and(|reach| reach.accounts.len() > 1);
        if !has_choice || !read(ctx, |reader| reader.may_connect(&self.id))? {
            return Ok(None);
        }
        let ticket = Ticket {
            id: self.id.clone(),
            by: actor(ctx)?.who.to_string(),
        };
        Ok(Some(choose_url(desk(ctx)?, &ticket)))
    }
    /// When its token was given.
    async fn issued_at(&self) -> Option<DateTime> {
        self.stored.grant.held.map(|held| DateTime(held.issued_at))
    }
    /// When its token ends.
    async fn expires_at(&self) -> Option<DateTime> {
        self.stored.grant.held.and_then(|held| held.expires_at).map(DateTime)
    }
    /// Before this it is not tried again.
    async fn retry_at(&self) -> Option<DateTime> {
        self.stored.grant.retry_at.map(DateTime)
    }
    /// What will become of it.
    async fn forecast(&self, ctx: &Context<'_>) -> Result<GrantForecast> {
        let (kind, at) = match self.stored.grant.forecast(&desk(ctx)?.oauth().options().rules) {
            Forecast::Renews(at) => ("RENEWS", Some(at)),
            Forecast::Ends(at) => ("ENDS", Some(at)),
            Forecast::Open => ("OPEN", None),
            Forecast::Over => ("OVER", None),
        };
        let at = at.map(DateTime);
        Ok(GrantForecast { kind, at })
    }
    /// Who was told that somebody must consent again; none while nobody has to be.
    async fn notice(&self, ctx: &Context<'_>) -> Result<Option<GrantNotice>> {
        Ok(self.told(ctx)?.map(|notice| GrantNotice {
            since: DateTime(notice.since),
            told_at: notice.told_at.map(DateTime),
            escalated_at: notice.escalated_at.map(DateTime),
        }))
    }
    /// What executions did with it, among the newest of the configuration through which it is seen.
    async fn uses(&self, ctx: &Context<'_>) -> Result<GrantUses> {
        // Executions, and entries of them.
        spend(ctx, desk(ctx)?.oauth().options().uses_looked_at.saturating_mul(2))?;
        let uses = match &self.seen_as {
            Some(id) => story::uses(desk(ctx)?, id).map_err(error)?,
            None => Uses::default(),
        };
        let actor = actor(ctx)?;
        Ok(GrantUses {
            last_used_at: uses.last.map(|(_, at)| DateTime(at)),
            last_execution: uses
                .last
                .filter(|_| actor.may(Operation::ViewLogs))
                .map(|(id, _)| id.global().into()),
            parked: uses.parked,
            parked_since: uses.parked_since.map(DateTime),
        })
    }
    /// What happened to it, oldest first.
    async fn timeline(&self, ctx: &Context<'_>) -> Result<Vec<GrantEvent>> {
        let events = story::events(&self.stored.grant, self.told(ctx)?).into_iter();
        Ok(events
            .map(|event| GrantEvent {
                at: DateTime(event.at),
                what: event.word,
                reason: event.reason,
            })
            .collect())
    }
}

#[derive(Debug, InputObject)]
struct DisconnectConnectionInput {
    id: Option<ID>,
}

#[derive(Debug, InputObject)]
struct DisconnectUserLevelConnectionInput {
    id: Option<ID>,
}

payloads! {
    DisconnectConnectionPayload { instance_config_variable: InstanceConfigVariable }
    DisconnectUserLevelConnectionPayload { user_level_config_variable: UserLevelConfigVariable }
}

/// Gives a grant up; its provider is told by itself.
fn disconnect(ctx: &Context<'_>, holder: Holder, stable_key: &str) -> Result<Result<(), Fault>> {
    let id = grant_id(desk(ctx)?.catalog(), holder, stable_key)?;
    let rules = desk(ctx)?.oauth().options().rules;
    let given_up = change(ctx, "oauth2.disconnect", |edit| edit.disconnect(&id, &rules))?;
    Ok(given_up.map(|_| ()))
}

/// Giving grants up.
#[derive(Debug, Default)]
pub(super) struct GrantMutation;

#[Object]
impl GrantMutation {
    /// Forgets the token of an instance's connection. Its provider is told soon, where that has an endpoint for it.
    async fn disconnect_connection(&self, ctx: &Context<'_>, input: DisconnectConnectionInput) -> Result<DisconnectConnectionPayload> {
        let (owner, key) = match named(input.id.as_ref(), "InstanceConfigVariable") {
            Ok(named) => named,
            Err(fault) => return DisconnectConnectionPayload::of(Err(fault)),
        };
        if let Err(fault) = disconnect(ctx, Holder::Instance(InstanceId(owner)), &key)? {
            return DisconnectConnectionPayload::of(Err(fault));
        }
        let instance = read(ctx, |reader| reader.instance(InstanceId(owner)))?;
        let all = super::instances::Instance::real_one(instance).variables(ctx)?;
        let found = all.into_iter().find(|one| one.is(&key)).ok_or(Fault::Absent("connection"));
        DisconnectConnectionPayload::of(found)
    }

    /// The same for a user's own connection.
    async fn disconnect_user_level_connection(
        &self,
        ctx: &Context<'_>,
        input: DisconnectUserLevelConnectionInput,
    ) -> Result<DisconnectUserLevelConnectionPayload> {
        let (owner, key) = match named(input.id.as_ref(), "UserLevelConfigVariable") {
            Ok(named) => named,
            Err(fault) => return DisconnectUserLevelConnectionPayload::of(Err(fault)),
        };
        if let Err(fault) = disconnect(ctx, Holder::UserConfig(UserConfigId(owner)), &key)? {
            return DisconnectUserLevelConnectionPayload::of(Err(fault));
        }
        let config = read(ctx, |reader| reader.user_config(UserConfigId(owner)))?;
        let all = super::configs::UserLevelConfig(config).whole(ctx)?;
        let found = all.into_iter().find(|one| one.is(&key)).ok_or(Fault::Absent("connection"));
        DisconnectUserLevelConnectionPayload::of(found)
    }
}
