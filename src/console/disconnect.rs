//! Giving a connection's account up: asked first, then done; its provider is told by itself.

use super::connection::is_held;
use super::draft::Notice;
use super::field::Field;
use super::form::Problems;
use super::remove::Question;
use super::route::View;
use super::trouble::Trouble;
use super::{Asked, Console};
use crate::boot::http::Answer;
use http::StatusCode;
use perseat_admin::fault::Fault;
use perseat_admin::query::Reader;
use perseat_domain::definition::DataType;
use perseat_domain::grant::Holder;
use perseat_domain::id::IntegrationId;
use perseat_flow::oauth::{Flow, is_oauth};
use perseat_store::catalog::GrantId;

/// The parameter that names the connection, by its stable key.
const CONNECTION: &str = "connection";
/// The parameter that says which page shows it; without it that is the wizard.
const FROM: &str = "from";
/// The list of all connections.
pub(super) const LIST: &str = "connections";

const TOLD: Notice = Notice {
    text: "Disconnected. The provider will be told.",
    phrase: "perseat.disconnected",
};
const HERE_ALONE: Notice = Notice {
    text: "Disconnected here. The provider cannot be told: take the access back in your account there.",
    phrase: "perseat.disconnectedHere",
};

/// Says of each connection that holds something where it is given up. `from` is the page that shows it.
pub(super) fn offer(fields: &mut [Field], view: View, from: Option<&str>) {
    for field in fields.iter_mut().filter(|field| field.is_held) {
        field.disconnect = Some(view.with(&[(CONNECTION, Some(&field.stable_key)), (FROM, from)]));
    }
}

/// What is given up.
struct Leaving {
    id: GrantId,
    /// How its connection is called.
    name: String,
    /// Whether anything is held; what was given up already is not given up again.
    is_held: bool,
}

impl Leaving {
    /// Why somebody should think about it.
    fn text(&self) -> (&'static str, &'static str) {
        match self.id.holder {
            Holder::UserConfig(_) => (
                "Your account is forgotten here. What runs for you waits until an account is connected again.",
                "perseat.disconnectMine",
            ),
            Holder::User(_) => (
                "Your account is forgotten here, for every integration that uses it. What runs for you waits until an account is connected again.",
                "perseat.disconnectEverywhere",
            ),
            Holder::Instance(_) | Holder::Customer(_) | Holder::Organization(_) => (
                "The account of your whole company is forgotten here. What runs with it waits until an account is connected again.",
                "perseat.disconnectCompany",
            ),
        }
    }
}

impl Console {
    fn leaving(&self, asked: Asked<'_>, view: View) -> Result<Leaving, Trouble> {
        let key = asked.parameter(CONNECTION).ok_or(Fault::Absent("connection"))?;
        Ok(self.read(asked, |reader| {
            let (holder, integration, version) = holder(reader, view)?;
            let version = reader.version_of(integration, version)?;
            let is_user_level = matches!(holder, Holder::UserConfig(_));
            let visible = reader.visible_variables_of(&version.version.definition, is_user_level);
            let found = visible
                .iter()
                .find(|variable| variable.stable_key == key && variable.data_type == DataType::Connection);
            let variable = found.ok_or(Fault::Absent("connection"))?;
            let (id, stored, is_given) = match (&variable.shared, reader.shared_of(variable, holder)?) {
                (None, _) => {
                    let stored = reader.grants(holder)?.remove(&key);
                    (GrantId { holder, variable: key }, stored, false)
                }
                (Some(_), Some(shared)) => {
                    let is_given = shared.is_given && is_oauth(&shared.connection.connection) != Some(Flow::AuthorizationCode);
                    (shared.id, shared.stored, is_given)
                }
                (Some(_), None) => return Err(Fault::Absent("connection")),
            };
            if !reader.may_connect(&id)? {
                return Err(Fault::Absent("connection"));
            }
            Ok(Leaving {
                is_held: is_given || stored.as_ref().is_some_and(is_held),
                name: format!("{}: {}", version.integration.name, variable.key),
                id,
            })
        })?)
    }

    pub(super) fn ask_to_disconnect(&self, asked: Asked<'_>, view: View) -> Result<Answer, Trouble> {
        let leaving = self.leaving(asked, view)?;
        if !leaving.is_held {
            return self.back_from(asked, view, None);
        }
        let (text, phrase) = leaving.text();
        let (connection, from) = (asked.parameter(CONNECTION), asked.parameter(FROM));
        let question = Question {
            title: "Are you sure?",
            text,
            phrase,
            name: &leaving.name,
            action: view.with(&[(CONNECTION, connection.as_deref()), (FROM, from.as_deref())]),
            button: "Disconnect",
            button_phrase: "perseat.disconnectButton",
            back: origin(asked, view).path(),
        };
        Ok(self.pages.fragment(StatusCode::OK, "remove.html", &question))
    }

    pub(super) fn disconnect(&self, asked: Asked<'_>, view: View) -> Result<Answer, Trouble> {
        let leaving = self.leaving(asked, view)?;
        if !leaving.is_held {
            return self.back_from(asked, view, None);
        }
        let rules = self.desk.oauth().options().rules;
        let given_up = self
            .desk
            .change(asked.actor, "oauth2.disconnect", |edit| edit.disconnect(&leaving.id, &rules))?;
        let notice = if given_up.is_owed { TOLD } else { HERE_ALONE };
        self.back_from(asked, view, Some(notice))
    }

    /// The page that showed the connection, with what was done.
    fn back_from(&self, asked: Asked<'_>, view: View, notice: Option<Notice>) -> Result<Answer, Trouble> {
        let mut draft = match origin(asked, view) {
            View::Mine(id) => self.my_draft(asked, id)?.0,
            View::Configure(id) => self.instance_draft(asked, id)?,
            _ => return self.connections(asked, notice),
        };
        self.asking.fill(asked, &mut draft, None);
        Ok(self.form(StatusCode::OK, &draft, &Problems::new(), notice.map(|notice| (notice, &[][..]))))
    }
}

/// The page that showed the connection.
fn origin(asked: Asked<'_>, view: View) -> View {
    match (asked.parameter(FROM).as_deref(), view) {
        (Some(LIST), _) => View::Connections,
        (_, View::DisconnectMine(id)) => View::Mine(id),
        (_, View::Disconnect(id)) => View::Configure(id),
        (_, view) => view,
    }
}

/// Whose configuration the view is about, and its version.
fn holder(reader: &Reader<'_>, view: View) -> Result<(Holder, IntegrationId, u32), Fault> {
    match view {
        View::DisconnectMine(id) => {
            let own = reader.own_config(id)?.ok_or(Fault::Absent("connection"))?;
            Ok((Holder::UserConfig(own.config.id), own.instance.integration, own.instance.version))
        }
        View::Disconnect(id) => {
            let instance = reader.instance(id)?;
            Ok((Holder::Instance(id), instance.integration, instance.config.version))
        }
        _ => Err(Fault::Absent("connection")),
    }
}
