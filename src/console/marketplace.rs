//! What there is: the marketplace, and one integration of it.

use super::filter::Filter;
use super::route::View;
use super::trouble::Trouble;
use super::{Asked, Console};
use crate::boot::http::Answer;
use http::StatusCode;
use perseat_admin::access::Operation;
use perseat_admin::fault::Fault;
use perseat_admin::query::{
    Candidate, ConfigState, Configurable, InstanceFilter, IntegrationField, IntegrationFilter, Order, PageRequest, Reader, VersionView,
};
use perseat_domain::id::{InstanceId, IntegrationId, VersionId};
use perseat_domain::model::{Instance, InstanceState, Marketplace, MediaOwner};
use serde::Serialize;

/// How far somebody is with an integration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// Nothing is missing.
    Active,
    /// It is switched on, and something is missing.
    Unfinished,
    /// It is switched off for now.
    Paused,
    /// It can be switched on.
    Available,
    /// Somebody else has to switch it on.
    Ask,
}

#[derive(Debug, Serialize)]
struct Card {
    href: String,
    name: String,
    category: String,
    description: String,
    picture: Option<String>,
    state: State,
}

#[derive(Debug, Serialize)]
struct List {
    action: String,
    search: String,
    filters: String,
    cards: Vec<Card>,
    more: Option<String>,
}

/// An instance, as its customer's admins see it.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    state: State,
    configure: Option<String>,
    remove: Option<String>,
    mine: Option<String>,
    remove_mine: Option<String>,
    is_mine_configured: bool,
    /// What it ran.
    executions: Option<String>,
    /// What that said.
    logs: Option<String>,
}

#[derive(Debug, Serialize)]
struct Detail {
    name: String,
    category: String,
    description: String,
    overview: String,
    picture: Option<String>,
    /// Whether users have configurations of their own.
    is_user_level: bool,
    rows: Vec<Row>,
    activate: Option<String>,
    /// Whether whoever looks could do something if their admin switched it on.
    asks_admin: bool,
    back: String,
}

/// What somebody has of all integrations.
struct Standing {
    instances: Vec<Instance>,
    own: Vec<Configurable>,
}

impl Standing {
    fn read(reader: &Reader<'_>) -> Result<Self, Fault> {
        let (mut instances, mut request) = (Vec::new(), PageRequest::default());
        loop {
            let listed = reader.instances(&InstanceFilter::default(), &request)?;
            instances.extend(listed.items.into_iter().map(|(_, instance)| instance));
            match listed.end.filter(|_| listed.has_next) {
                Some(end) => request.after = Some(end),
                None => break,
            }
        }
        let own = reader.configurable()?;
        Ok(Self { instances, own })
    }

    fn of(&self, integration: IntegrationId) -> impl Iterator<Item = &Instance> {
        self.instances.iter().filter(move |instance| instance.integration == integration)
    }

    fn own_of(&self, integration: IntegrationId) -> impl Iterator<Item = &Configurable> {
        self.own.iter().filter(move |own| own.instance.integration == integration)
    }

    fn is_active(&self, integration: IntegrationId) -> bool {
        self.of(integration).next().is_some() || self.own_of(integration).next().is_some()
    }
}

fn sees_instances(reader: &Reader<'_>) -> bool {
    reader.actor().may(Operation::ViewInstances)
}

/// How far an instance is, for those who see it.
pub(super) fn state_of(reader: &Reader<'_>, instance: &Instance) -> Result<State, Fault> {
    let version = reader.version_of(instance.integration, instance.config.version)?;
    let lacks = reader.config_state(instance, &version.version.definition)? == ConfigState::NeedsInstance;
    Ok(match instance.state {
        InstanceState::Disabled => State::Paused,
        InstanceState::NotDeployed => State::Unfinished,
        InstanceState::Enabled if lacks => State::Unfinished,
        InstanceState::Enabled => State::Active,
    })
}

/// How far somebody is with one integration.
fn state(reader: &Reader<'_>, standing: &Standing, view: &VersionView) -> Result<State, Fault> {
    let id = view.integration.id;
    if !sees_instances(reader) {
        let own: Vec<bool> = standing.own_of(id).map(Configurable::is_configured).collect();
        return Ok(match own.contains(&true) {
            true => State::Active,
            false if own.is_empty() => State::Ask,
            false => State::Unfinished,
        });
    }
    let mut states = Vec::new();
    for instance in standing.of(id) {
        states.push(state_of(reader, instance)?);
    }
    let worst = [State::Unfinished, State::Paused, State::Active];
    Ok(worst
        .into_iter()
        .find(|state| states.contains(state))
        .unwrap_or(match offers(reader, view) {
            true => State::Available,
            false => State::Ask,
        }))
}

/// Whether whoever looks may switch it on themselves.
fn offers(reader: &Reader<'_>, view: &VersionView) -> bool {
    view.integration.settings.marketplace == Marketplace::Deployable && reader.actor().may(Operation::ConfigureInstances)
}

impl Console {
    fn picture(&self, reader: &Reader<'_>, view: &VersionView) -> Result<Option<String>, Fault> {
        let picture = reader.avatar(MediaOwner::Integration(view.integration.id))?;
        Ok(picture.map(|picture| self.desk.picture_path(picture)))
    }

    pub(super) fn marketplace(&self, asked: Asked<'_>) -> Result<Answer, Trouble> {
        let search = asked.parameter("search");
        let filters = asked.parameter("filters");
        let filter = Filter::read(filters.as_deref());
        let wanted = IntegrationFilter {
            name_contains: search.clone(),
            marketplace: true,
            order: vec![Order {
                field: IntegrationField::Name,
                descending: false,
            }],
            ..IntegrationFilter::default()
        };
        let list = self.read(asked, |reader| {
            let standing = Standing::read(reader)?;
            let mut request = PageRequest {
                after: asked.parameter("after"),
                first: None,
            };
            let mut cards = Vec::new();
            let more = loop {
                let listed = reader.integrations(&wanted, &request)?;
                for (_, view) in &listed.items {
                    if self.fits(&filter, &standing, view) {
                        cards.push(self.card(reader, &standing, view)?);
                    }
                }
                let end = listed.end.filter(|_| listed.has_next);
                match end {
                    // Nobody is shown an empty page that has another behind it.
                    Some(end) if cards.is_empty() => request.after = Some(end),
                    end => break end,
                }
            };
            Ok((cards, more))
        });
        let (cards, more) = list?;
        let list = List {
            action: View::Marketplace.path(),
            more: more.map(|after| {
                let (search, filters) = (search.as_deref(), filters.as_deref());
                View::Marketplace.with(&[("after", Some(&after)), ("search", search), ("filters", filters)])
            }),
            search: search.unwrap_or_default(),
            filters: filters.unwrap_or_default(),
            cards,
        };
        Ok(self.pages.fragment(StatusCode::OK, "marketplace.html", &list))
    }

    fn fits(&self, filter: &Filter, standing: &Standing, view: &VersionView) -> bool {
        let candidate = Candidate {
            name: &view.integration.name,
            category: &view.category(),
            description: &view.version.definition.description,
            labels: &view.integration.settings.labels,
        };
        filter.fits(&candidate, standing.is_active(view.integration.id))
    }

    fn card(&self, reader: &Reader<'_>, standing: &Standing, view: &VersionView) -> Result<Card, Fault> {
        let mut own = standing.own_of(view.integration.id);
        // Who sees no instances goes straight to their own pages.
        let only = (!sees_instances(reader))
            .then(|| own.next())
            .flatten()
            .filter(|_| own.next().is_none());
        let href = match only {
            Some(only) => View::Mine(only.instance.id),
            None => View::Integration(view.id()),
        };
        Ok(Card {
            href: href.path(),
            name: view.integration.name.clone(),
            category: view.category(),
            description: view.version.definition.description.clone(),
            picture: self.picture(reader, view)?,
            state: state(reader, standing, view)?,
        })
    }

    pub(super) fn integration(&self, asked: Asked<'_>, id: VersionId) -> Result<Answer, Trouble> {
        let detail = self.read(asked, |reader| self.detail(reader, id))?;
        Ok(self.pages.fragment(StatusCode::OK, "integration.html", &detail))
    }

    fn detail(&self, reader: &Reader<'_>, id: VersionId) -> Result<Detail, Fault> {
        let view = reader.integration(VersionId { version: None, ..id })?;
        let settings = &view.integration.settings;
        let standing = Standing::read(reader)?;
        let rows = match sees_instances(reader) {
            true => standing
                .of(id.integration)
                .map(|instance| self.row(reader, instance, &standing))
                .collect::<Result<Vec<Row>, Fault>>()?,
            false => standing
                .own_of(id.integration)
                .map(|own| own_row(own.instance.name.clone(), own))
                .collect(),
        };
        let is_free = settings.allow_multiple_instances || rows.is_empty();
        let activate = (offers(reader, &view) && is_free).then(|| View::Activate(view.id()).path());
        Ok(Detail {
            name: view.integration.name.clone(),
            category: view.category(),
            description: view.version.definition.description.clone(),
            overview: settings.overview.clone(),
            picture: self.picture(reader, &view)?,
            is_user_level: view.version.definition.is_user_level(),
            asks_admin: rows.is_empty() && activate.is_none(),
            activate,
            rows,
            back: View::Marketplace.path(),
        })
    }

    fn row(&self, reader: &Reader<'_>, instance: &Instance, standing: &Standing) -> Result<Row, Fault> {
        let own = standing.own_of(instance.integration).find(|own| own.instance.id == instance.id);
        let configures = reader.actor().may_for(Operation::ConfigureInstances, instance.customer);
        let path = |view: View| configures.then(|| view.path());
        let id = instance.id.to_string();
        let sees_logs = reader.sees_logs_of(instance.customer);
        let of_it = |view: View| sees_logs.then(|| view.with(&[("instance", Some(&id))]));
        Ok(Row {
            name: instance.name.clone(),
            state: state_of(reader, instance)?,
            configure: path(View::Configure(instance.id)),
            remove: path(View::Remove(instance.id)),
            mine: own.map(|own| View::Mine(own.instance.id).path()),
            remove_mine: own.and_then(remove_mine),
            is_mine_configured: own.is_some_and(Configurable::is_configured),
            executions: of_it(View::Executions),
            logs: of_it(View::Logs),
        })
    }

    /// Where the host page's choice leads: an instance, an integration or a name.
    pub(super) fn find(&self, asked: Asked<'_>) -> Result<Answer, Trouble> {
        if let Some(id) = asked.parameter("instanceId") {
            let id: InstanceId = id.parse().map_err(|_| Fault::Absent("instance"))?;
            return match self.read(asked, |reader| reader.instance(id)) {
                Ok(instance) => self.integration(
                    asked,
                    VersionId {
                        integration: instance.integration,
                        version: None,
                    },
                ),
                Err(Fault::Absent(_)) => self.mine(asked, id),
                Err(fault) => Err(fault.into()),
            };
        }
        let (by_id, by_name) = (asked.parameter("integrationId"), asked.parameter("integrationName"));
        let found = self.read(asked, |reader| match by_id {
            Some(id) => {
                let id: VersionId = id.parse().map_err(|_| Fault::Absent("integration"))?;
                reader.integration(VersionId { version: None, ..id })
            }
            None => {
                let filter = IntegrationFilter {
                    name: by_name,
                    ..IntegrationFilter::default()
                };
                let listed = reader.integrations(&filter, &PageRequest::default())?;
                let first = listed.items.into_iter().next().filter(|_| filter.name.is_some());
                first.map(|(_, view)| view).ok_or(Fault::Absent("integration"))
            }
        })?;
        let (alone, offered) = self.read(asked, |reader| {
            let standing = Standing::read(reader)?;
            let mut own = standing.own_of(found.integration.id).map(|own| own.instance.id);
            let alone = own.next().filter(|_| own.next().is_none() && !sees_instances(reader));
            let offered = offers(reader, &found) && !standing.is_active(found.integration.id);
            Ok((alone, offered))
        })?;
        match alone {
            Some(instance) => self.mine(asked, instance),
            None if offered => self.activate(asked, found.id()),
            None => self.integration(asked, found.id()),
        }
    }
}

fn remove_mine(own: &Configurable) -> Option<String> {
    own.own.as_ref().map(|_| View::RemoveMine(own.instance.id).path())
}

/// What a user without sight of instances sees: their own configuration.
fn own_row(name: String, own: &Configurable) -> Row {
    Row {
        name,
        state: if own.is_configured() { State::Active } else { State::Unfinished },
        configure: None,
        remove: None,
        mine: Some(View::Mine(own.instance.id).path()),
        remove_mine: remove_mine(own),
        is_mine_configured: own.is_configured(),
        executions: None,
        logs: None,
    }
}
