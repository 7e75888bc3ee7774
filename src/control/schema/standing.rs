//! Where the connection of a variable stands: its own grant, or the one that is shared.

use super::answer::{actor, desk, read};
use super::grants::Grant;
use super::instances::InstanceConfigVariableStatus;
use super::scalars::DateTime;
use crate::oauth::{Ticket, begin_url};
use async_graphql::{Context, Result};
use perseat_admin::query::SharedView;
use perseat_domain::definition::{ActionRef, ConfigVar, DataType};
use perseat_domain::grant::{Holder, Status};
use perseat_domain::model::ConfigValue;
use perseat_flow::oauth::{Flow, is_oauth};
use perseat_flow::value::fits;
use perseat_store::catalog::{GrantId, StoredGrant};

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    /// Which grant; none where there can be none.
    id: Option<GrantId>,
    kind: Option<ActionRef>,
    stored: Option<StoredGrant>,
    is_given: bool,
    /// The variable whose uses count: a shared connection is seen through the configuration that names it.
    seen_as: Option<GrantId>,
}

impl Standing {
    /// That of a variable. `holder` is whose configuration it is, if it is there; `stored` is that configuration's own grant.
    pub(super) fn of(
        ctx: &Context<'_>,
        holder: Option<Holder>,
        variable: &ConfigVar,
        value: Option<&ConfigValue>,
        stored: Option<StoredGrant>,
    ) -> Result<Self> {
        let own = holder.map(|holder| GrantId {
            holder,
            variable: variable.stable_key.clone(),
        });
        if variable.shared.is_none() {
            return Ok(Self {
                seen_as: own.clone(),
                id: own,
                kind: variable.connection.clone(),
                stored,
                is_given: value.is_some_and(|value| fits(variable, value)),
            });
        }
        let shared = match holder {
            Some(holder) => read(ctx, |reader| reader.shared_of(variable, holder))?,
            None => None,
        };
        Ok(match shared {
            Some(view) => Self {
                seen_as: own,
                ..Self::shared(view)
            },
            None => Self {
                id: None,
                kind: None,
                stored: None,
                is_given: false,
                seen_as: None,
            },
        })
    }

    /// That of a shared connection by itself.
    pub(super) fn shared(view: SharedView) -> Self {
        Self {
            id: Some(view.id),
            kind: Some(view.connection.connection),
            stored: view.stored,
            is_given: view.is_given,
            seen_as: None,
        }
    }

    fn flow(&self) -> Option<Flow> {
        self.kind.as_ref().and_then(is_oauth)
    }

    /// In the words that clients know: one whose state is not known has to be connected again.
    pub(super) fn status(&self) -> InstanceConfigVariableStatus {
        match (self.flow(), &self.stored) {
            (Some(_), Some(stored)) => match stored.grant.status {
                Status::Pending => InstanceConfigVariableStatus::Pending,
                Status::Active => InstanceConfigVariableStatus::Active,
                Status::Error => InstanceConfigVariableStatus::Error,
                Status::Failed | Status::Uncertain => InstanceConfigVariableStatus::Failed,
            },
            (None, _) if self.is_given => InstanceConfigVariableStatus::Active,
            (Some(_) | None, _) => InstanceConfigVariableStatus::Pending,
        }
    }

    /// The same for any variable: only connections stand somewhere.
    pub(super) fn status_of(&self, variable: &ConfigVar) -> Option<InstanceConfigVariableStatus> {
        (variable.data_type == DataType::Connection).then(|| self.status())
    }

    /// Where a person consents; nothing where there is nothing to consent to, or not by whoever asks.
    pub(super) fn authorize_url(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        let Some(id) = self.id.as_ref().filter(|_| self.flow() == Some(Flow::AuthorizationCode)) else {
            return Ok(None);
        };
        if !read(ctx, |reader| reader.may_connect(id))? {
            return Ok(None);
        }
        let ticket = Ticket {
            id: id.clone(),
            by: actor(ctx)?.who.to_string(),
        };
        Ok(Some(begin_url(desk(ctx)?, &ticket)))
    }

    /// When the token is renewed next, or tried again, for whoever may know it.
    pub(super) fn refresh_at(&self, ctx: &Context<'_>) -> Result<Option<DateTime>> {
        let Some(id) = &self.id else { return Ok(None) };
        if !read(ctx, |reader| Ok(reader.may_see_story(id)))? {
            return Ok(None);
        }
        let rules = desk(ctx)?.oauth().options().rules;
        Ok(self
            .stored
            .as_ref()
            .and_then(|stored| stored.grant.renewed_at(&rules))
            .map(DateTime))
    }

    /// What is known of the grant, once there is one, for whoever may know it.
    pub(super) fn grant(&self, ctx: &Context<'_>) -> Result<Option<Grant>> {
        let (Some(id), Some(stored)) = (&self.id, &self.stored) else {
            return Ok(None);
        };
        let may_see = read(ctx, |reader| Ok(reader.may_see_story(id)))?;
        Ok(may_see.then(|| Grant::new(id.clone(), self.seen_as.clone(), stored.clone())))
    }
}
