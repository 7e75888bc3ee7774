//! The dashboard: a customer's instances, what ran in the last day, and which connections need somebody.

use super::choice::statuses;
use super::connection;
use super::marketplace::{State, state_of};
use super::route::View;
use super::trouble::Trouble;
use super::{Asked, Console};
use crate::boot::http::Answer;
use crate::control::{Budget, iso};
use http::StatusCode;
use perseat_admin::access::Operation;
use perseat_admin::fault::Fault;
use perseat_admin::query::{InstanceField, InstanceFilter, Order, PageRequest, Reader, VersionView};
use perseat_domain::grant::Holder;
use perseat_domain::id::VersionId;
use perseat_domain::model::{ConfigValue, Instance};
use perseat_domain::time::Timestamp;
use perseat_store::index::Filter;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// What is counted is what was accepted so lately. It is in the words of the page.
const DAY: Duration = Duration::from_secs(24 * 3_600);

#[derive(Debug, Serialize)]
struct InstanceRow {
    name: String,
    integration: String,
    state: State,
    detail: String,
    executions: String,
    logs: String,
}

/// How many executions ended so, or have not.
#[derive(Debug, Serialize)]
struct Tile {
    result: &'static str,
    count: u64,
    href: String,
}

/// A connection that needs somebody.
#[derive(Debug, Serialize)]
struct Attention {
    integration: String,
    instance: String,
    connection: String,
    is_own: bool,
    status: &'static str,
    href: String,
}

#[derive(Debug, Serialize)]
struct Board {
    tab: &'static str,
    marketplace: String,
    tiles: Vec<Tile>,
    /// Whether more ran than was counted.
    is_more: bool,
    attention: Vec<Attention>,
    /// Whether further instances were not looked at for it.
    is_attention_cut: bool,
    connections: String,
    instances: Vec<InstanceRow>,
    more: Option<String>,
}

impl Console {
    pub(super) fn dashboard(&self, asked: Asked<'_>) -> Result<Answer, Trouble> {
        let board = self.look(asked, |reader| {
            reader.actor().check(Operation::ViewInstances)?;
            let customer = reader.customer_of_executions()?;
            let since = Timestamp(self.desk.now().0.saturating_sub(u64::try_from(DAY.as_millis()).unwrap_or(u64::MAX)));
            let filter = Filter {
                customer: Some(customer),
                since: Some(since),
                ..Filter::default()
            };
            let goes_on = || !asked.budget.is_some_and(Budget::has_taken_long);
            let counts = self.desk.executions().counts(&filter, self.desk.options().read.scan, goes_on)?;
            asked.spend(usize::try_from(counts.all()).unwrap_or(usize::MAX))?;
            let from = iso(since);
            let tile = |result| Tile {
                result,
                count: counts.of(statuses(result)),
                href: View::Executions.with(&[("result", Some(result)), ("from", Some(&from))]),
            };
            let (attention, is_attention_cut) = self.attention(reader)?;
            let (instances, next) = self.instance_rows(asked, reader)?;
            Ok(Board {
                tab: "dashboard",
                marketplace: View::Marketplace.path(),
                tiles: ["succeeded", "failed", "running", "parked", "queued"].map(tile).into(),
                is_more: !counts.is_whole,
                attention,
                is_attention_cut,
                connections: View::Connections.path(),
                instances,
                more: next.map(|next| View::Dashboard.with(&[("after", Some(&next))])),
            })
        })?;
        Ok(self.pages.fragment(StatusCode::OK, "dashboard.html", &board))
    }

    fn instance_rows(&self, asked: Asked<'_>, reader: &Reader<'_>) -> Result<(Vec<InstanceRow>, Option<String>), Fault> {
        let listed = reader.instances(&by_name(), &self.page(asked))?;
        let mut rows = Vec::new();
        for (_, instance) in &listed.items {
            let version = reader.version_of(instance.integration, instance.config.version)?;
            let id = instance.id.to_string();
            let integration = VersionId {
                integration: instance.integration,
                version: None,
            };
            rows.push(InstanceRow {
                name: instance.name.clone(),
                integration: version.integration.name.clone(),
                state: state_of(reader, instance)?,
                detail: View::Integration(integration).path(),
                executions: View::Executions.with(&[("instance", Some(&id))]),
                logs: View::Logs.with(&[("instance", Some(&id))]),
            });
        }
        Ok((rows, listed.end.filter(|_| listed.has_next)))
    }

    /// Connections that failed or wait for somebody, and whether instances were left out.
    fn attention(&self, reader: &Reader<'_>) -> Result<(Vec<Attention>, bool), Fault> {
        let (mut found, mut looked_at, mut request) = (Vec::new(), 0, PageRequest::default());
        loop {
            let listed = reader.instances(&by_name(), &request)?;
            for (_, instance) in &listed.items {
                if looked_at == self.options.looked_at {
                    return Ok((found, true));
                }
                looked_at += 1;
                attend(reader, instance, &mut found)?;
            }
            match listed.end.filter(|_| listed.has_next) {
                Some(end) => request.after = Some(end),
                None => return Ok((found, false)),
            }
        }
    }
}

fn by_name() -> InstanceFilter {
    InstanceFilter {
        order: vec![Order {
            field: InstanceField::Name,
            descending: false,
        }],
        ..InstanceFilter::default()
    }
}

/// The connections of an instance, and of one's own configuration of it, that need somebody.
fn attend(reader: &Reader<'_>, instance: &Instance, found: &mut Vec<Attention>) -> Result<(), Fault> {
    let version = reader.version_of(instance.integration, instance.config.version)?;
    let mut needs = |version: &VersionView, holder, values: &BTreeMap<String, ConfigValue>| {
        let connections = connection::needing(reader, version, holder, values)?;
        found.extend(connections.into_iter().map(|(connection, status)| Attention {
            integration: version.integration.name.clone(),
            instance: instance.name.clone(),
            connection,
            is_own: matches!(holder, Holder::UserConfig(_)),
            status,
            href: match holder {
                Holder::Instance(id) => View::Configure(id).path(),
                _ => View::Mine(instance.id).path(),
            },
        }));
        Ok::<(), Fault>(())
    };
    needs(&version, Holder::Instance(instance.id), &instance.config.values)?;
    let own = match reader.configurable_instance(instance.id) {
        Ok(configurable) => configurable,
        Err(Fault::Absent(_)) => return Ok(()),
        Err(fault) => return Err(fault),
    };
    match &own.own {
        Some(view) => needs(&own.version, Holder::UserConfig(view.config.id), &view.config.values),
        None => Ok(()),
    }
}
