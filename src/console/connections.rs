//! Connections: a customer's own for its admins, and for everybody those of their own configurations.

use super::disconnect::{self, LIST};
use super::draft::{Level, Notice};
use super::field::{Field, Kind};
use super::route::View;
use super::trouble::Trouble;
use super::{Asked, Console};
use crate::boot::http::Answer;
use crate::control::iso;
use crate::oauth::story;
use http::StatusCode;
use perseat_admin::access::Operation;
use perseat_admin::fault::Fault;
use perseat_admin::query::{Configurable, InstanceFilter, Listed, Reader};
use perseat_domain::grant::Holder;
use perseat_domain::id::InstanceId;
use perseat_domain::model::Instance;
use perseat_store::catalog::GrantId;
use serde::Serialize;

#[derive(Debug, Serialize)]
struct Row {
    integration: String,
    instance: String,
    /// Whether it is of one's own configuration.
    is_own: bool,
    field: Field,
    /// When it was used last, among the newest executions of its holder.
    last_used_at: Option<String>,
    /// Where its credentials are given.
    configure: Option<String>,
}

#[derive(Debug, Serialize)]
struct List {
    /// Where it is.
    here: String,
    /// What was just done.
    notice: Option<Notice>,
    rows: Vec<Row>,
    more: Option<String>,
}

/// Whose connections they are, and where they are configured.
struct Place<'p> {
    integration: &'p str,
    instance: &'p str,
    holder: Option<Holder>,
    configure: Option<View>,
    disconnect: View,
}

impl Console {
    pub(super) fn connections(&self, asked: Asked<'_>, notice: Option<Notice>) -> Result<Answer, Trouble> {
        let list = self.read(asked, |reader| {
            let mut rows = Vec::new();
            let next = match reader.actor().may(Operation::ViewInstances) {
                true => self.of_customer(asked, reader, &mut rows)?,
                false => self.of_user(asked, reader, &mut rows)?,
            };
            let more = next.map(|next| View::Connections.with(&[("after", Some(&next))]));
            Ok(List {
                here: View::Connections.path(),
                notice,
                rows,
                more,
            })
        })?;
        Ok(self.pages.fragment(StatusCode::OK, "connections.html", &list))
    }

    /// Those of the customer's instances, each with one's own beside them.
    fn of_customer(&self, asked: Asked<'_>, reader: &Reader<'_>, rows: &mut Vec<Row>) -> Result<Option<String>, Fault> {
        let listed = reader.instances(&InstanceFilter::default(), &self.page(asked))?;
        for (_, instance) in &listed.items {
            self.of_instance(asked, reader, instance, rows)?;
            match reader.configurable_instance(instance.id) {
                Ok(own) => self.own(asked, reader, &own, rows)?,
                Err(Fault::Absent(_)) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(listed.end.filter(|_| listed.has_next))
    }

    /// One's own alone.
    fn of_user(&self, asked: Asked<'_>, reader: &Reader<'_>, rows: &mut Vec<Row>) -> Result<Option<String>, Fault> {
        let listed = Listed::of_all(reader.configurable()?, &self.page(asked), self.desk.options().read)?;
        for (_, own) in &listed.items {
            self.own(asked, reader, own, rows)?;
        }
        Ok(listed.end.filter(|_| listed.has_next))
    }

    fn of_instance(&self, asked: Asked<'_>, reader: &Reader<'_>, instance: &Instance, rows: &mut Vec<Row>) -> Result<(), Fault> {
        let version = reader.version_of(instance.integration, instance.config.version)?;
        let holder = Some(Holder::Instance(instance.id));
        let fields = self.fields(
            reader,
            &version,
            holder,
            Level::Instance,
            &instance.config.values,
            &instance.registrations,
        )?;
        let configures = reader.actor().may_for(Operation::ConfigureInstances, instance.customer);
        let place = Place {
            integration: &version.integration.name,
            instance: &instance.name,
            holder,
            configure: configures.then_some(View::Configure(instance.id)),
            disconnect: View::Disconnect(instance.id),
        };
        self.rows_of(asked, fields, &place, rows)
    }

    fn own(&self, asked: Asked<'_>, reader: &Reader<'_>, found: &Configurable, rows: &mut Vec<Row>) -> Result<(), Fault> {
        let config = found.own.as_ref().map(|own| &own.config);
        let holder = config.map(|config| Holder::UserConfig(config.id));
        let values = config.map(|config| config.values.clone()).unwrap_or_default();
        let fields = self.fields(reader, &found.version, holder, Level::User, &values, &found.instance.registrations)?;
        let id: InstanceId = found.instance.id;
        let place = Place {
            integration: &found.version.integration.name,
            instance: &found.instance.name,
            holder,
            configure: Some(View::Mine(id)),
            disconnect: View::DisconnectMine(id),
        };
        let first = rows.len();
        self.rows_of(asked, fields, &place, rows)?;
        rows[first..].iter_mut().for_each(|row| row.is_own = true);
        Ok(())
    }

    fn rows_of(&self, asked: Asked<'_>, mut fields: Vec<Field>, place: &Place<'_>, rows: &mut Vec<Row>) -> Result<(), Fault> {
        disconnect::offer(&mut fields, place.disconnect, Some(LIST));
        let is_shown = |field: &Field| field.kind == Kind::Connection && !field.is_hidden;
        for mut field in fields.into_iter().filter(is_shown) {
            field.inputs.clear();
            let last_used_at = match (&field.story, place.holder) {
                (Some(story), _) => story.last_used_at.clone(),
                (None, Some(holder)) if field.is_stored => {
                    let id = GrantId {
                        holder,
                        variable: field.stable_key.clone(),
                    };
                    story::uses(&self.desk, &id)?.last.map(|(_, at)| iso(at))
                }
                (None, _) => None,
            };
            if field.story.is_some() || field.is_stored {
                // Executions, and entries of them.
                asked.spend(self.desk.oauth().options().uses_looked_at.saturating_mul(2))?;
            }
            rows.push(Row {
                integration: place.integration.to_owned(),
                instance: place.instance.to_owned(),
                is_own: false,
                field,
                last_used_at,
                configure: place.configure.map(View::path),
            });
        }
        Ok(())
    }
}
