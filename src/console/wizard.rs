//! The wizard: a user's own configuration, an instance's, and that of an instance that is made.

use super::disconnect;
use super::draft::{Draft, Level, NAME, REVISION, api_keys, keys};
use super::event::About;
use super::form::{self, Problems, Sent};
use super::route::View;
use super::trouble::{Link, Message, Trouble};
use super::{Asked, Console};
use crate::boot::http::Answer;
use perseat_admin::access::Operation;
use perseat_admin::command::{CreateInstance, UpdateInstance};
use perseat_admin::fault::Fault;
use perseat_admin::query::Configurable;
use perseat_domain::grant::Holder;
use perseat_domain::id::{InstanceId, VersionId};
use perseat_domain::model::{Instance, Marketplace, UserConfig};
use perseat_domain::owner::UserKey;
use serde_json::Value;
use std::collections::BTreeMap;

impl Console {
    // One's own configuration.

    pub(super) fn my_draft(&self, asked: Asked<'_>, id: InstanceId) -> Result<(Draft, Configurable), Trouble> {
        let found = self.read(asked, |reader| {
            let found = reader.configurable_instance(id)?;
            let config = found.own.as_ref().map(|own| &own.config);
            let values = config.map(|config| config.values.clone()).unwrap_or_default();
            let holder = config.map(|config| Holder::UserConfig(config.id));
            let mut fields = self.fields(reader, &found.version, holder, Level::User, &values, &found.instance.registrations)?;
            disconnect::offer(&mut fields, View::DisconnectMine(id), None);
            let about = About {
                instance: Some((found.instance.id, &found.instance.name)),
                version: &found.version,
            };
            let about = about.user(reader, config.map(|config| config.id), &fields)?;
            let revision = match config {
                Some(config) => Some(reader.stamp::<UserConfig>(config.id)?.revision),
                None => None,
            };
            let draft = Draft {
                level: Level::User,
                view: View::Mine(id),
                integration: found.version.integration.name.clone(),
                name: None,
                fields,
                keys: Vec::new(),
                version: found.version.clone(),
                about,
                revision,
                remove: config.map(|_| View::RemoveMine(id)),
                back: View::Marketplace,
                user: config.map(|config| UserKey {
                    instance: id,
                    config: Some(config.id),
                }),
            };
            Ok((draft, found))
        });
        found.map_err(|fault| match fault {
            Fault::Absent(_) => Trouble::NotSwitchedOn,
            fault => fault.into(),
        })
    }

    pub(super) fn mine(&self, asked: Asked<'_>, id: InstanceId) -> Result<Answer, Trouble> {
        let (draft, _) = self.my_draft(asked, id)?;
        Ok(self.shown(asked, draft))
    }

    pub(super) fn save_mine(&self, asked: Asked<'_>, id: InstanceId, sent: &Sent) -> Result<Answer, Trouble> {
        let (mut draft, found) = self.my_draft(asked, id)?;
        if let Some(loaded) = self.consult(asked, &mut draft, sent) {
            return Ok(loaded);
        }
        let values = match form::values(&draft.fields, sent) {
            Ok(values) => values,
            Err(problems) => return Ok(self.again(&mut draft, sent, &problems)),
        };
        let revision = sent.text(REVISION).and_then(|revision| revision.parse().ok());
        let saved = match &found.own {
            Some(own) => self.desk.change(asked.actor, "updateUserLevelConfig", |edit| {
                edit.update_user_config(own.config.id, &values, true, revision)
            }),
            None => self.desk.change(asked.actor, "createUserLevelConfig", |edit| {
                edit.create_user_config(id, None, Some(&values))
            }),
        };
        if let Err(fault) = saved {
            return self.refused(&mut draft, sent, fault);
        }
        let (mut saved, _) = self.my_draft(asked, id)?;
        if let Some(further) = self.goes_on(asked, &mut saved, &["USER_CONFIGURATION_DEPLOYED"]) {
            return Ok(further);
        }
        let message = Message {
            title: "Saved",
            text: "Your configuration is saved and in use.",
            phrase: "perseat.savedMine",
            links: vec![
                Link {
                    href: View::Mine(id).path(),
                    label: "Change it again",
                    phrase: "activateIntegrationDialog.editUserConfiguration",
                },
                Link::to_marketplace(),
            ],
        };
        Ok(self.told(message, &[("USER_CONFIGURATION_DEPLOYED", &saved.about)]))
    }

    // Customer-wide configuration.

    pub(super) fn instance_draft(&self, asked: Asked<'_>, id: InstanceId) -> Result<Draft, Trouble> {
        let draft = self.read(asked, |reader| {
            let instance = reader.instance(id)?;
            reader.actor().check(Operation::ConfigureInstances)?;
            let version = reader.version_of(instance.integration, instance.config.version)?;
            let holder = Some(Holder::Instance(id));
            let mut fields = self.fields(
                reader,
                &version,
                holder,
                Level::Instance,
                &instance.config.values,
                &instance.registrations,
            )?;
            disconnect::offer(&mut fields, View::Disconnect(id), None);
            let about = About {
                instance: Some((instance.id, &instance.name)),
                version: &version,
            };
            Ok(Draft {
                level: Level::Instance,
                view: View::Configure(id),
                integration: version.integration.name.clone(),
                name: None,
                about: about.instance(reader, &fields)?,
                keys: keys(&version, Some(&instance)),
                fields,
                revision: Some(reader.stamp::<Instance>(id)?.revision),
                remove: Some(View::Remove(id)),
                back: View::Integration(VersionId {
                    integration: instance.integration,
                    version: None,
                }),
                user: Some(UserKey {
                    instance: id,
                    config: None,
                }),
                version,
            })
        });
        Ok(draft?)
    }

    pub(super) fn configure(&self, asked: Asked<'_>, id: InstanceId) -> Result<Answer, Trouble> {
        let draft = self.instance_draft(asked, id)?;
        Ok(self.shown(asked, draft))
    }

    pub(super) fn save_instance(&self, asked: Asked<'_>, id: InstanceId, sent: &Sent) -> Result<Answer, Trouble> {
        let mut draft = self.instance_draft(asked, id)?;
        if let Some(loaded) = self.consult(asked, &mut draft, sent) {
            return Ok(loaded);
        }
        let values = match form::values(&draft.fields, sent) {
            Ok(values) => values,
            Err(problems) => return Ok(self.again(&mut draft, sent, &problems)),
        };
        let is_short = draft.is_short_of(&values);
        let update = UpdateInstance {
            config_variables: Some(values),
            partial: true,
            api_keys: Some(api_keys(&draft.version, &draft.keys, sent)),
            revision: sent.text(REVISION).and_then(|revision| revision.parse().ok()),
            ..UpdateInstance::default()
        };
        let saved = self.desk.change(asked.actor, "deployInstance", |edit| {
            let updated = edit.update_instance(id, &update)?;
            if is_short { Ok(updated) } else { edit.deploy_instance(id, false) }
        });
        if let Err(fault) = saved {
            return self.refused(&mut draft, sent, fault);
        }
        let saved = self.instance_draft(asked, id)?;
        let events: &[&str] = if is_short { &[] } else { &["INSTANCE_DEPLOYED"] };
        Ok(self.deployed(asked, saved, events))
    }

    // A new instance.

    fn new_draft(&self, asked: Asked<'_>, id: VersionId) -> Result<Draft, Trouble> {
        let draft = self.read(asked, |reader| {
            let found = reader.integration(id)?;
            reader.actor().check(Operation::ConfigureInstances)?;
            if found.integration.settings.marketplace != Marketplace::Deployable {
                return Err(Fault::Absent("integration"));
            }
            // What is shown is what is made: a version that can be used.
            let version = match id.version {
                Some(_) => found,
                None => reader
                    .versions(&found, Some(true))?
                    .into_iter()
                    .next()
                    .ok_or(Fault::Absent("integration"))?,
            };
            let fields = self.fields(reader, &version, None, Level::Instance, &BTreeMap::new(), &[])?;
            let about = About {
                instance: None,
                version: &version,
            };
            Ok(Draft {
                level: Level::Instance,
                view: View::Activate(version.id()),
                integration: version.integration.name.clone(),
                name: Some(version.integration.name.clone()),
                about: about.instance(reader, &fields)?,
                keys: keys(&version, None),
                fields,
                revision: None,
                remove: None,
                back: View::Integration(VersionId { version: None, ..id }),
                user: None,
                version,
            })
        });
        Ok(draft?)
    }

    pub(super) fn activate(&self, asked: Asked<'_>, id: VersionId) -> Result<Answer, Trouble> {
        let draft = self.new_draft(asked, id)?;
        Ok(self.shown(asked, draft))
    }

    pub(super) fn save_new(&self, asked: Asked<'_>, id: VersionId, sent: &Sent) -> Result<Answer, Trouble> {
        let mut draft = self.new_draft(asked, id)?;
        if let Some(loaded) = self.consult(asked, &mut draft, sent) {
            return Ok(loaded);
        }
        let name = sent.text(NAME).unwrap_or_default().trim().to_owned();
        let values = match form::values(&draft.fields, sent) {
            Ok(values) => values,
            Err(problems) => return Ok(self.again(&mut draft, sent, &problems)),
        };
        let is_short = draft.is_short_of(&values);
        let customer = asked.actor.customer().ok_or(Fault::Absent("customer"))?;
        let create = CreateInstance {
            name,
            description: None,
            labels: None,
            integration: draft.version.id(),
            customer,
            config_variables: values,
            api_keys: api_keys(&draft.version, &draft.keys, sent),
        };
        let made = self.desk.change(asked.actor, "createInstance", |edit| {
            let made = edit.create_instance(&create)?;
            if is_short { Ok(made) } else { edit.deploy_instance(made.id, false) }
        });
        let made = match made {
            Ok(made) => made,
            Err(fault) => return self.refused_new(&mut draft, sent, fault),
        };
        let saved = self.instance_draft(asked, made.id)?;
        let events: &[&str] = if is_short {
            &["INSTANCE_CREATED"]
        } else {
            &["INSTANCE_CREATED", "INSTANCE_DEPLOYED"]
        };
        Ok(self.deployed(asked, saved, events))
    }

    /// As [`Self::refused`], with what concerns the name beside it.
    fn refused_new(&self, draft: &mut Draft, sent: &Sent, fault: Fault) -> Result<Answer, Trouble> {
        let named = match &fault {
            Fault::Wrong(wrong) => wrong.iter().find(|one| one.field == NAME),
            _ => None,
        };
        match named {
            Some(one) => {
                let problems = Problems::from([(NAME.to_owned(), form::sentence(&one.message))]);
                Ok(self.again(draft, sent, &problems))
            }
            None => self.refused(draft, sent, fault),
        }
    }

    fn deployed(&self, asked: Asked<'_>, mut saved: Draft, events: &[&str]) -> Answer {
        if let Some(further) = self.goes_on(asked, &mut saved, events) {
            return further;
        }
        let message = Message {
            title: "Saved",
            text: "The integration is configured and switched on.",
            phrase: "perseat.deployed",
            links: vec![
                Link {
                    href: saved.back.path(),
                    label: "View details",
                    phrase: "activateIntegrationDialog.viewDetails",
                },
                Link::to_marketplace(),
            ],
        };
        let events: Vec<(&str, &Value)> = events.iter().map(|event| (*event, &saved.about)).collect();
        self.told(message, &events)
    }
}
