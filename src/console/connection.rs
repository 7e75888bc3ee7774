//! Where connections stand, and where somebody consents.

use super::field::{Field, Kind, Story, StoryEvent};
use crate::control::{Desk, iso};
use crate::oauth::{Ticket, begin_url, story};
use perseat_admin::fault::Fault;
use perseat_admin::query::{Reader, VersionView};
use perseat_domain::definition::{ConfigVar, DataType};
use perseat_domain::grant::{Forecast, Holder, Status};
use perseat_domain::model::ConfigValue;
use perseat_flow::oauth::{Flow, is_oauth};
use perseat_store::catalog::{GrantId, StoredGrant};
use std::collections::BTreeMap;

/// In the words of the SDK: one whose state is not known has to be connected again.
fn word(status: Status) -> &'static str {
    match status {
        Status::Pending => "PENDING",
        Status::Active => "ACTIVE",
        Status::Error => "ERROR",
        Status::Failed | Status::Uncertain => "FAILED",
    }
}

/// Where a connection stands.
fn standing(flow: Option<Flow>, grant: Option<&StoredGrant>, is_stored: bool) -> &'static str {
    match (flow, grant) {
        (Some(_), grant) => grant.map_or("PENDING", |stored| word(stored.grant.status)),
        (None, _) if is_stored => "ACTIVE",
        (None, _) => "PENDING",
    }
}

/// The connections of a holder, by display name, that failed or wait for a consent; not those that the host page fills in.
pub(super) fn needing(
    reader: &Reader<'_>,
    version: &VersionView,
    holder: Holder,
    values: &BTreeMap<String, ConfigValue>,
) -> Result<Vec<(String, &'static str)>, Fault> {
    let is_user_level = matches!(holder, Holder::UserConfig(_));
    let visible = reader.visible_variables_of(&version.version.definition, is_user_level);
    let mut connections = visible
        .iter()
        .filter(|variable| variable.data_type == DataType::Connection)
        .peekable();
    if connections.peek().is_none() {
        return Ok(Vec::new());
    }
    let grants = reader.grants(holder)?;
    let mut needing = Vec::new();
    for variable in connections {
        let flow = variable.connection.as_ref().and_then(is_oauth);
        let is_stored = values.contains_key(&variable.stable_key);
        let status = standing(flow, grants.get(&variable.stable_key), is_stored);
        let waits = match status {
            "ACTIVE" => false,
            "PENDING" => flow == Some(Flow::AuthorizationCode),
            _ => true,
        };
        if waits && !version.presentation().of(variable).is_hidden {
            needing.push((variable.key.clone(), status));
        }
    }
    Ok(needing)
}

/// What happened to a grant, as the page shows it.
fn told(desk: &Desk, id: &GrantId, stored: &StoredGrant) -> Result<Story, Fault> {
    let (notice, uses) = (story::notice(desk, id)?, story::uses(desk, id)?);
    let (forecast, at) = match stored.grant.forecast(&desk.oauth().options().rules) {
        Forecast::Renews(at) => ("RENEWS", Some(at)),
        Forecast::Ends(at) => ("ENDS", Some(at)),
        Forecast::Open => ("OPEN", None),
        Forecast::Over => ("OVER", None),
    };
    let events = story::events(&stored.grant, notice.as_ref()).into_iter().rev();
    Ok(Story {
        forecast,
        forecast_at: at.map(iso),
        last_used_at: uses.last.map(|(_, at)| iso(at)),
        parked: uses.parked,
        events: events
            .map(|event| StoryEvent {
                at: iso(event.at),
                what: event.word,
                reason: event.reason,
            })
            .collect(),
    })
}

/// Says of each connection among the fields where it stands. `holder` is whose they are, where that is there already.
pub(super) fn stand(
    desk: &Desk,
    reader: &Reader<'_>,
    holder: Option<Holder>,
    variables: &[&ConfigVar],
    fields: &mut [Field],
) -> Result<(), Fault> {
    let grants = holder.map(|holder| reader.grants(holder)).transpose()?.unwrap_or_default();
    let consents = match holder {
        Some(holder) => reader.may_connect(holder)?,
        None => false,
    };
    for (field, variable) in fields.iter_mut().zip(variables).filter(|(field, _)| field.kind == Kind::Connection) {
        let flow = variable.connection.as_ref().and_then(is_oauth);
        let grant = grants.get(&variable.stable_key);
        field.status = Some(standing(flow, grant, field.is_stored));
        if let (Some(_), Some(holder), Some(stored)) = (flow, holder, grant) {
            let id = GrantId {
                holder,
                variable: variable.stable_key.clone(),
            };
            field.story = Some(told(desk, &id, stored)?);
        }
        if let (Some(Flow::AuthorizationCode), Some(holder), true) = (flow, holder, consents) {
            let ticket = Ticket {
                id: GrantId {
                    holder,
                    variable: variable.stable_key.clone(),
                },
                by: reader.actor().who.to_string(),
            };
            field.connect = Some(begin_url(desk, &ticket));
        }
    }
    Ok(())
}
