//! Taking an instance, or one's own configuration, away: asked first, then done.

use super::event::About;
use super::route::View;
use super::trouble::{Link, Message, Trouble};
use super::{Asked, Console};
use crate::boot::http::Answer;
use http::StatusCode;
use perseat_admin::access::Operation;
use perseat_admin::fault::Fault;
use perseat_domain::id::{InstanceId, UserConfigId, VersionId};
use serde::Serialize;
use serde_json::Value;

/// The question.
#[derive(Debug, Serialize)]
pub(super) struct Question<'q> {
    pub(super) title: &'q str,
    pub(super) text: &'q str,
    pub(super) phrase: &'q str,
    /// What it is about.
    pub(super) name: &'q str,
    pub(super) action: String,
    pub(super) button: &'q str,
    pub(super) button_phrase: &'q str,
    pub(super) back: String,
}

impl Console {
    /// What of an instance goes: its name, its integration and what the host page is told.
    fn going(&self, asked: Asked<'_>, id: InstanceId) -> Result<(String, VersionId, Value), Trouble> {
        let going = self.read(asked, |reader| {
            let instance = reader.instance(id)?;
            reader.actor().check(Operation::ConfigureInstances)?;
            let version = reader.version_of(instance.integration, instance.config.version)?;
            let integration = VersionId {
                integration: instance.integration,
                version: None,
            };
            let about = About {
                instance: Some((instance.id, &instance.name)),
                version: &version,
            };
            Ok((instance.name.clone(), integration, about.instance(reader, &[])?))
        });
        Ok(going?)
    }

    /// What of one's own configuration goes.
    fn my_going(&self, asked: Asked<'_>, id: InstanceId) -> Result<(UserConfigId, String, Value), Trouble> {
        let going = self.read(asked, |reader| {
            let own = reader.own_config(id)?.ok_or(Fault::Absent("user configuration"))?;
            let version = reader.version_of(own.instance.integration, own.instance.version)?;
            let about = About {
                instance: Some((own.instance.id, &own.instance.name)),
                version: &version,
            };
            let about = about.user(reader, Some(own.config.id), &[])?;
            Ok((own.config.id, version.integration.name.clone(), about))
        });
        going.map_err(|fault| match fault {
            Fault::Absent(_) => Trouble::NotSwitchedOn,
            fault => fault.into(),
        })
    }

    pub(super) fn ask_to_remove(&self, asked: Asked<'_>, id: InstanceId) -> Result<Answer, Trouble> {
        let (name, integration, _) = self.going(asked, id)?;
        let question = Question {
            title: "Are you sure?",
            text: "This removes it for your whole company, with every user's own configuration and credentials. It cannot be undone.",
            phrase: "perseat.removeInstance",
            name: &name,
            action: View::Remove(id).path(),
            button: "Remove",
            button_phrase: "perseat.removeButton",
            back: View::Integration(integration).path(),
        };
        Ok(self.pages.fragment(StatusCode::OK, "remove.html", &question))
    }

    pub(super) fn remove(&self, asked: Asked<'_>, id: InstanceId) -> Result<Answer, Trouble> {
        let (_, _, about) = self.going(asked, id)?;
        self.desk.change(asked.actor, "deleteInstance", |edit| edit.remove_instance(id))?;
        let message = Message {
            title: "Removed",
            text: "The integration is removed.",
            phrase: "perseat.removedInstance",
            links: vec![Link::to_marketplace()],
        };
        Ok(self.told(message, &[("INSTANCE_DELETED", &about)]))
    }

    pub(super) fn ask_to_remove_mine(&self, asked: Asked<'_>, id: InstanceId) -> Result<Answer, Trouble> {
        let (_, name, _) = self.my_going(asked, id)?;
        let question = Question {
            title: "Are you sure?",
            text: "This removes your own configuration with its credentials. Others keep theirs.",
            phrase: "perseat.removeMine",
            name: &name,
            action: View::RemoveMine(id).path(),
            button: "Remove my configuration",
            button_phrase: "activateIntegrationDialog.deleteUserConfiguration",
            back: View::Mine(id).path(),
        };
        Ok(self.pages.fragment(StatusCode::OK, "remove.html", &question))
    }

    pub(super) fn remove_mine(&self, asked: Asked<'_>, id: InstanceId) -> Result<Answer, Trouble> {
        let (config, _, about) = self.my_going(asked, id)?;
        self.desk
            .change(asked.actor, "deleteUserLevelConfig", |edit| edit.delete_user_config(config))?;
        let message = Message {
            title: "Removed",
            text: "Your configuration is removed.",
            phrase: "perseat.removedMine",
            links: vec![
                Link {
                    href: View::Mine(id).path(),
                    label: "Configure again",
                    phrase: "activateIntegrationDialog.createUserConfiguration",
                },
                Link::to_marketplace(),
            ],
        };
        Ok(self.told(message, &[("USER_CONFIGURATION_DELETED", &about)]))
    }
}
