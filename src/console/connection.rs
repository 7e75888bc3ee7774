//! Where connections stand, and where somebody consents.

use super::field::{Field, Kind, Story, StoryEvent, shared_inputs};
use crate::control::{Desk, iso};
use crate::oauth::{Ticket, begin_url, choose_url, story};
use perseat_admin::accounts::reach;
use perseat_admin::fault::Fault;
use perseat_admin::query::{Reader, VersionView};
use perseat_domain::definition::{ConfigVar, DataType};
use perseat_domain::grant::{Forecast, Holder, Status};
use perseat_domain::model::ConfigValue;
use perseat_domain::sharing::SharedConnection;
use perseat_flow::oauth::{Flow, is_oauth};
use perseat_store::catalog::{GrantId, StoredGrant};
use perseat_store::sharing::given_by_organization;
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

/// Whether there is anything to give up.
pub(super) fn is_held(stored: &StoredGrant) -> bool {
    stored.token.is_some() || stored.grant.held.is_some()
}

/// Where a connection's grant is: its own, or the one that is shared.
struct Place {
    /// None where there can be none yet.
    id: Option<GrantId>,
    flow: Option<Flow>,
    stored: Option<StoredGrant>,
    is_given: bool,
    /// What is declared, where it is shared.
    shared: Option<SharedConnection>,
}

impl Place {
    /// That of a variable; `grants` are the configuration's own.
    fn of(
        reader: &Reader<'_>,
        holder: Option<Holder>,
        variable: &ConfigVar,
        grants: &BTreeMap<String, StoredGrant>,
        is_stored: bool,
    ) -> Result<Self, Fault> {
        if variable.shared.is_none() {
            return Ok(Self {
                id: holder.map(|holder| GrantId {
                    holder,
                    variable: variable.stable_key.clone(),
                }),
                flow: variable.connection.as_ref().and_then(is_oauth),
                stored: grants.get(&variable.stable_key).cloned(),
                is_given: is_stored,
                shared: None,
            });
        }
        let view = match holder {
            Some(holder) => reader.shared_of(variable, holder)?,
            None => reader.shared_to_come(variable)?,
        };
        Ok(match view {
            Some(view) => Self {
                flow: is_oauth(&view.connection.connection),
                id: Some(view.id),
                stored: view.stored,
                is_given: view.is_given,
                shared: Some(view.connection),
            },
            None => Self {
                id: None,
                flow: None,
                stored: None,
                is_given: false,
                shared: None,
            },
        })
    }

    fn standing(&self) -> &'static str {
        match (self.flow, &self.stored) {
            (Some(_), grant) => grant.as_ref().map_or("PENDING", |stored| word(stored.grant.status)),
            (None, _) if self.is_given => "ACTIVE",
            (None, _) => "PENDING",
        }
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
        let place = Place::of(reader, Some(holder), variable, &grants, values.contains_key(&variable.stable_key))?;
        let flow = place.flow;
        let status = place.standing();
        let waits = match status {
            "ACTIVE" => false,
            "PENDING" => flow == Some(Flow::AuthorizationCode),
            _ => true,
        };
        // What somebody else connects needs nobody here.
        let is_elsewhere = match &place.id {
            Some(id) => id.holder.is_shared() && !reader.may_connect(id)?,
            None => variable.shared.is_some(),
        };
        if waits && !is_elsewhere && !version.presentation().of(variable).is_hidden {
            needing.push((variable.key.clone(), status));
        }
    }
    Ok(needing)
}

/// What happened to a grant, as the page shows it. `seen_as` is the connection whose executions count as uses.
fn told(desk: &Desk, id: &GrantId, seen_as: &GrantId, stored: &StoredGrant) -> Result<Story, Fault> {
    let (notice, uses) = (story::notice(desk, id)?, story::uses(desk, seen_as)?);
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

fn ticket(reader: &Reader<'_>, id: &GrantId) -> Ticket {
    Ticket {
        id: id.clone(),
        by: reader.actor().who.to_string(),
    }
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
    for (field, variable) in fields.iter_mut().zip(variables).filter(|(field, _)| field.kind == Kind::Connection) {
        let place = Place::of(reader, holder, variable, &grants, field.is_stored)?;
        field.status = Some(place.standing());
        field.is_consent |= place.flow.is_some();
        let Some(id) = &place.id else { continue };
        if let (Some(_), Some(holder), Some(stored), true) = (place.flow, holder, &place.stored, reader.may_see_story(id)) {
            let own = GrantId {
                holder,
                variable: variable.stable_key.clone(),
            };
            field.story = Some(told(desk, id, &own, stored)?);
            let reach = reach(desk.catalog(), desk.custody().keyring(), id, stored)?.unwrap_or_default();
            field.account = reach.account().map(|account| account.name.clone());
            field.awaits_account = stored.grant.awaits_account();
            if reach.accounts.len() > 1 && reader.may_connect(id)? {
                field.choose = Some(choose_url(desk, &ticket(reader, id)));
            }
        }
        if place.flow == Some(Flow::AuthorizationCode) && reader.may_connect(id)? {
            field.connect = Some(begin_url(desk, &ticket(reader, id)));
            field.is_held = place.stored.as_ref().is_some_and(is_held);
        }
        if let (Some(shared), true) = (&place.shared, reader.may_connect(id)?) {
            let given = given_by_organization(desk.custody().keyring(), shared)?;
            field.inputs = shared_inputs(variable, &shared.connection, &given);
            field.is_stored = place.is_given;
            field.is_shared = field.inputs.is_empty();
            field.is_held |= place.is_given && place.flow != Some(Flow::AuthorizationCode);
        }
    }
    Ok(())
}
