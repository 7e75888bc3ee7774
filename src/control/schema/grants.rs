//! Grants of third parties: where they stand, where somebody consents, and giving them up.

use super::answer::{actor, change, desk, payloads, read, required};
use super::configs::UserLevelConfigVariable;
use super::instances::{InstanceConfigVariable, InstanceConfigVariableStatus};
use super::scalars::DateTime;
use crate::oauth::{Ticket, begin_url};
use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use perseat_admin::fault::Fault;
use perseat_domain::definition::{ConfigVar, DataType};
use perseat_domain::grant::{self, Holder, Status, What};
use perseat_domain::id::{InstanceId, UserConfigId};
use perseat_domain::model::ConfigValue;
use perseat_flow::oauth::{Flow, Revoked, is_oauth};
use perseat_store::catalog::{GrantId, StoredGrant};
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

/// Where a connection stands, in the words that clients know: one whose state is not known has to be connected again.
pub(super) fn status(
    variable: &ConfigVar,
    value: Option<&ConfigValue>,
    stored: Option<&StoredGrant>,
) -> Option<InstanceConfigVariableStatus> {
    if variable.data_type != DataType::Connection {
        return None;
    }
    let is_oauth = variable.connection.as_ref().and_then(is_oauth).is_some();
    Some(match (is_oauth, stored, value) {
        (true, Some(stored), _) => match stored.grant.status {
            Status::Pending => InstanceConfigVariableStatus::Pending,
            Status::Active => InstanceConfigVariableStatus::Active,
            Status::Error => InstanceConfigVariableStatus::Error,
            Status::Failed | Status::Uncertain => InstanceConfigVariableStatus::Failed,
        },
        (false, _, Some(_)) => InstanceConfigVariableStatus::Active,
        (true, None, _) | (false, _, None) => InstanceConfigVariableStatus::Pending,
    })
}

/// Where a person consents; nothing where there is nothing to consent to, or not by whoever asks.
pub(super) fn authorize_url(ctx: &Context<'_>, holder: Holder, variable: &ConfigVar) -> Result<Option<String>> {
    let flow = variable.connection.as_ref().and_then(is_oauth);
    if flow != Some(Flow::AuthorizationCode) || !read(ctx, |reader| reader.may_connect(holder))? {
        return Ok(None);
    }
    let ticket = Ticket {
        id: GrantId {
            holder,
            variable: variable.stable_key.clone(),
        },
        by: actor(ctx)?.who.to_string(),
    };
    Ok(Some(begin_url(desk(ctx)?, &ticket)))
}

/// When the token is renewed next, or tried again.
pub(super) fn refresh_at(ctx: &Context<'_>, stored: Option<&StoredGrant>) -> Result<Option<DateTime>> {
    let rules = desk(ctx)?.oauth().options().rules;
    Ok(stored.and_then(|stored| stored.grant.look_again(&rules)).map(DateTime))
}

/// What is known of a grant; never the token.
#[derive(Clone, Debug, SimpleObject)]
pub(super) struct Grant {
    /// `PENDING`, `ACTIVE`, `ERROR`, `FAILED` or `UNCERTAIN`.
    status: &'static str,
    /// Why it is not active: a stable word, or the provider's own.
    reason: Option<String>,
    /// When its token was given.
    issued_at: Option<DateTime>,
    /// When its token ends.
    expires_at: Option<DateTime>,
    /// Before this it is not tried again.
    retry_at: Option<DateTime>,
    /// What happened to it, oldest first.
    timeline: Vec<GrantEvent>,
}

/// One event of a grant.
#[derive(Clone, Debug, SimpleObject)]
pub(super) struct GrantEvent {
    at: DateTime,
    /// `ISSUED`, `RENEWED`, `NOT_RENEWED`, `REFUSED`, `ENDED`, `LOST` or `DISCONNECTED`.
    what: &'static str,
    reason: Option<String>,
}

pub(super) fn shown(stored: Option<&StoredGrant>) -> Option<Grant> {
    let grant::Grant {
        status,
        held,
        reason,
        retry_at,
        timeline,
        ..
    } = &stored?.grant;
    Some(Grant {
        status: match status {
            Status::Pending => "PENDING",
            Status::Active => "ACTIVE",
            Status::Error => "ERROR",
            Status::Failed => "FAILED",
            Status::Uncertain => "UNCERTAIN",
        },
        reason: reason.clone(),
        issued_at: held.map(|held| DateTime(held.issued_at)),
        expires_at: held.and_then(|held| held.expires_at).map(DateTime),
        retry_at: retry_at.map(DateTime),
        timeline: timeline
            .iter()
            .map(|happening| GrantEvent {
                at: DateTime(happening.at),
                what: match happening.what {
                    What::Issued => "ISSUED",
                    What::Renewed => "RENEWED",
                    What::NotRenewed => "NOT_RENEWED",
                    What::Refused => "REFUSED",
                    What::Ended => "ENDED",
                    What::Lost => "LOST",
                    What::Disconnected => "DISCONNECTED",
                },
                reason: happening.reason.clone(),
            })
            .collect(),
    })
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

/// Gives a grant up here and, as far as it can be reached, at the provider.
async fn disconnect(ctx: &Context<'_>, holder: Holder, stable_key: &str) -> Result<Result<(), Fault>> {
    let id = GrantId {
        holder,
        variable: stable_key.to_owned(),
    };
    let rules = desk(ctx)?.oauth().options().rules;
    let given_up = match change(ctx, "oauth2.disconnect", |edit| edit.disconnect(&id, &rules))? {
        Ok(given_up) => given_up,
        Err(fault) => return Ok(Err(fault)),
    };
    if desk(ctx)?.oauth().revoke(&given_up).await == Revoked::Failed {
        tracing::warn!(
            ?holder,
            connection = stable_key,
            host = given_up.provider.host(),
            "a token that was given up may still be valid at its provider"
        );
    }
    Ok(Ok(()))
}

/// Giving grants up.
#[derive(Debug, Default)]
pub(super) struct GrantMutation;

#[Object]
impl GrantMutation {
    /// Forgets the token of an instance's connection, and tells its provider where that has an endpoint for it.
    async fn disconnect_connection(&self, ctx: &Context<'_>, input: DisconnectConnectionInput) -> Result<DisconnectConnectionPayload> {
        let (owner, key) = match named(input.id.as_ref(), "InstanceConfigVariable") {
            Ok(named) => named,
            Err(fault) => return DisconnectConnectionPayload::of(Err(fault)),
        };
        if let Err(fault) = disconnect(ctx, Holder::Instance(InstanceId(owner)), &key).await? {
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
        if let Err(fault) = disconnect(ctx, Holder::UserConfig(UserConfigId(owner)), &key).await? {
            return DisconnectUserLevelConnectionPayload::of(Err(fault));
        }
        let config = read(ctx, |reader| reader.user_config(UserConfigId(owner)))?;
        let all = super::configs::UserLevelConfig(config).whole(ctx)?;
        let found = all.into_iter().find(|one| one.is(&key)).ok_or(Fault::Absent("connection"));
        DisconnectUserLevelConnectionPayload::of(found)
    }
}
