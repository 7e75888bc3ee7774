//! Grants that were given to another registration than their connections have by now.
//!
//! Whatever may give a connection another registration ends them in the same change, so that the catalog says at once that somebody
//! must consent again, and tells them.

use super::{Edit, every};
use crate::fault::Fault;
use crate::grants::Connection;
use perseat_domain::definition::{ConfigVar, Definition};
use perseat_domain::grant::{Grant, Holder, Renewal, Rules};
use perseat_domain::model::{Instance, InstanceConfig};
use perseat_flow::oauth::{Flow, is_oauth};
use perseat_store::catalog::{GrantId, Lookup, StoredGrant};

const PAGE: usize = 1_000;

impl Edit<'_, '_> {
    /// Ends the grants of a holder that were given to another registration.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn end_moved_grants_of(&mut self, holder: Holder) -> Result<(), Fault> {
        // A rehearsal sealed nothing that could be opened.
        if self.is_rehearsal {
            return Ok(());
        }
        for (variable, stored) in self.mutation.grants_of(holder)? {
            let id = GrantId { holder, variable };
            self.end_if_moved(&id, stored)?;
        }
        Ok(())
    }

    /// The same for all who share a connection.
    pub(super) fn end_moved_grants_of_shared(&mut self, stable_key: &str) -> Result<(), Fault> {
        if self.is_rehearsal {
            return Ok(());
        }
        for id in self.mutation.grants_of_shared(stable_key)? {
            if let Some(stored) = self.mutation.grants_of(id.holder)?.remove(&id.variable) {
                self.end_if_moved(&id, stored)?;
            }
        }
        Ok(())
    }

    fn end_if_moved(&mut self, id: &GrantId, mut stored: StoredGrant) -> Result<(), Fault> {
        let Some(given_to) = stored.registration else { return Ok(()) };
        let Some(connection) = Connection::find(&*self.mutation, self.keyring, id)? else {
            return Ok(());
        };
        let registration = connection.registration();
        if given_to == registration {
            return Ok(());
        }
        if connection.flow == Flow::ClientCredentials {
            return self.end_of_people(&connection, stored);
        }
        let supplied = connection.supplied_token();
        // Whoever uses it next takes that token over.
        if stored.gives_way_to(supplied.as_ref()) {
            return Ok(());
        }
        self.owe_held(id, &stored);
        stored.grant.moved(self.at, &Rules::default());
        stored.token = None;
        stored.is_supplied(supplied.as_ref());
        stored.registration = Some(registration);
        self.mutation.put_grant(id, &stored)?;
        Ok(())
    }

    /// Its connection acts for itself, and takes its own token when it is used next. What somebody had allowed is given back.
    fn end_of_people(&mut self, connection: &Connection, mut stored: StoredGrant) -> Result<(), Fault> {
        let is_own = stored.grant.held.is_some_and(|held| held.renewal == Renewal::Credentials);
        if is_own {
            return Ok(());
        }
        self.owe_held(&connection.id, &stored);
        stored.is_supplied(connection.supplied_token().as_ref());
        let own = StoredGrant {
            grant: Grant {
                timeline: stored.grant.timeline,
                ..Grant::of_credentials(stored.grant.generation + 1)
            },
            token: None,
            registration: Some(connection.registration()),
            is_consented: false,
            ..stored
        };
        self.mutation.put_grant(&connection.id, &own)?;
        Ok(())
    }

    /// The same for one connection of all who have configured an instance.
    fn end_moved_grants_of_users(&mut self, instance: &Instance, is_meant: impl Fn(&str) -> bool) -> Result<(), Fault> {
        if self.is_rehearsal {
            return Ok(());
        }
        let configs = every(|after| self.mutation.user_configs_of_instance(instance.id, after, PAGE))?;
        for config in configs.iter().filter(|config| config.removed_at.is_none()) {
            let holder = Holder::UserConfig(config.id);
            for (variable, stored) in self.mutation.grants_of(holder)? {
                if is_meant(&variable) {
                    self.end_if_moved(&GrantId { holder, variable }, stored)?;
                }
            }
        }
        Ok(())
    }

    /// The app registrations of a connection are others.
    pub(crate) fn end_grants_moved_by_registrations(&mut self, instance: &Instance, connection: &str) -> Result<(), Fault> {
        self.end_moved_grants_of(Holder::Instance(instance.id))?;
        self.end_moved_grants_of_users(instance, |variable| variable == connection)
    }

    /// An instance ran with `before` and runs with something else now. Its users' connections are looked at only where the new
    /// version gives them otherwise than the old one.
    pub(crate) fn end_grants_moved_by_deploying(
        &mut self,
        instance: &Instance,
        before: &InstanceConfig,
        now: &Definition,
    ) -> Result<(), Fault> {
        let runs = instance.deployed.as_ref().unwrap_or(&instance.config);
        if (runs.version, &runs.values) == (before.version, &before.values) {
            return Ok(());
        }
        self.end_moved_grants_of(Holder::Instance(instance.id))?;
        if runs.version == before.version {
            return Ok(());
        }
        let old = self.version_of(instance.integration, before.version)?;
        let of_old = |variable: &ConfigVar| old.definition.config_vars.iter().find(|old| old.stable_key == variable.stable_key);
        let is_otherwise = |variable: &&ConfigVar| {
            let is_grant = variable.user_level && variable.connection.as_ref().and_then(is_oauth).is_some();
            is_grant && of_old(variable).is_none_or(|old| (&old.connection, &old.inputs) != (&variable.connection, &variable.inputs))
        };
        let others: Vec<&str> = now
            .config_vars
            .iter()
            .filter(is_otherwise)
            .map(|variable| variable.stable_key.as_str())
            .collect();
        if others.is_empty() {
            return Ok(());
        }
        self.end_moved_grants_of_users(instance, |variable| others.contains(&variable))
    }
}
