//! Seeded mutants of binding, and readings that fail, flipped at run time; compiled only with the `faults` feature. The isolation tests must catch
//! each of them.

use super::binding::{LoadError, LoadedInstance};
use perseat_flow::expression::{Setting, Settings};
use perseat_store::catalog::GrantId;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// What is read before an execution goes on.
#[derive(Clone, Copy, Debug)]
pub enum Reading {
    /// Configurations.
    Configuration,
    /// An execution's entries.
    Entries,
    /// What an attempt bound at its first start.
    Bound,
}

/// What a test may do to bindings.
#[derive(Debug, Default)]
pub struct BindingFaults {
    reuses_last_user: AtomicBool,
    falls_back: AtomicBool,
    failing: [AtomicBool; 3],
    lends_anybodys: AtomicBool,
    last: Mutex<Option<Settings>>,
    /// Who borrowed a shared connection first, by its stable key.
    lent: Mutex<BTreeMap<String, GrantId>>,
}

impl BindingFaults {
    /// Run an execution with the settings of the one that started before it.
    pub fn reuse_last_user(&self, on: bool) {
        self.reuses_last_user.store(on, Ordering::SeqCst);
    }

    /// Give a user who has no account the instance's.
    pub fn fall_back_to_instance(&self, on: bool) {
        self.falls_back.store(on, Ordering::SeqCst);
    }

    /// Lend everybody what whoever asked first was lent.
    pub fn lend_anybodys(&self, on: bool) {
        self.lends_anybodys.store(on, Ordering::SeqCst);
    }

    /// The grant that is asked for in place of this one.
    pub(crate) fn lender(&self, id: &GrantId) -> GrantId {
        let mut lent = self.lent.lock().unwrap_or_else(PoisonError::into_inner);
        let first = lent.entry(id.variable.clone()).or_insert_with(|| id.clone());
        if self.lends_anybodys.load(Ordering::SeqCst) {
            first.clone()
        } else {
            id.clone()
        }
    }

    /// Let every such reading fail.
    pub fn fail(&self, reading: Reading, on: bool) {
        self.failing[reading as usize].store(on, Ordering::SeqCst);
    }

    /// Asked before anything is read.
    pub(crate) fn may_read(&self, reading: Reading) -> Result<(), LoadError> {
        if self.failing[reading as usize].load(Ordering::SeqCst) {
            return Err(LoadError::OnPurpose);
        }
        Ok(())
    }

    /// The settings that an execution starts with.
    pub(crate) fn settings_for(&self, own: &Settings) -> Settings {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = last.replace(own.clone());
        before
            .filter(|_| self.reuses_last_user.load(Ordering::SeqCst))
            .unwrap_or_else(|| own.clone())
    }

    /// Fills connections that the user lacks.
    pub(super) fn complete(&self, settings: Settings, instance: &LoadedInstance) -> Settings {
        if !self.falls_back.load(Ordering::SeqCst) {
            return settings;
        }
        let mut common = instance.settings().iter().map(|(_, setting)| setting);
        let Some(broader) = common.find(|setting| matches!(setting, Setting::Connection(_))) else {
            return settings;
        };
        let variables = instance.bundle().version.definition.config_vars.iter();
        let lacking = variables
            .filter(|variable| variable.user_level && (variable.connection.is_some() || variable.shared.is_some()))
            .filter(|variable| settings.get(&variable.key).is_none());
        settings.with(lacking.map(|variable| (variable.key.clone(), broader.clone())))
    }
}
