//! Configuration as it is today, for executions that run while it changes.
//!
//! The user actor says what it is, or that it is being read again; a step that comes to begin meanwhile waits. So no
//! step uses a credential that was replaced before it began, and an execution whose user or instance is removed ends.

use super::Binding;
use perseat_domain::code::ErrorCode;
use std::sync::Arc;
use tokio::sync::watch;

/// What executions run with, or why they cannot.
pub type Configuration = Result<Arc<Binding>, ErrorCode>;

/// The user actor's side.
#[derive(Debug)]
pub struct TodayIs(watch::Sender<Option<Configuration>>);

/// An execution's side.
#[derive(Clone, Debug)]
pub struct Today(watch::Receiver<Option<Configuration>>);

impl Default for TodayIs {
    /// Not read yet.
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl TodayIs {
    /// It is this from now on.
    pub fn read(&self, configuration: Configuration) {
        self.0.send_replace(Some(configuration));
    }

    /// It has to be read again.
    pub fn unread(&self) {
        self.0.send_if_modified(|configuration| configuration.take().is_some());
    }

    /// For one more execution.
    #[must_use]
    pub fn follow(&self) -> Today {
        Today(self.0.subscribe())
    }
}

impl Today {
    /// What it is, unless it is being read.
    pub(super) fn get(&self) -> Option<Configuration> {
        self.0.borrow().clone()
    }

    /// What it is, once it has been read.
    pub(super) async fn read(&mut self) -> Configuration {
        match self.0.wait_for(Option::is_some).await.map(|read| read.clone()) {
            Ok(Some(configuration)) => configuration,
            // The actor died, and its executions with it.
            _ => std::future::pending().await,
        }
    }

    /// What takes the place of `old`, once it has been read.
    pub(super) async fn after(&mut self, old: &Arc<Binding>) -> Configuration {
        let is_other = |read: &Option<Configuration>| match read {
            Some(Ok(binding)) => !Arc::ptr_eq(binding, old),
            Some(Err(_)) => true,
            None => false,
        };
        match self.0.wait_for(is_other).await.map(|read| read.clone()) {
            Ok(Some(configuration)) => configuration,
            // The actor died, and its executions with it.
            _ => std::future::pending().await,
        }
    }

    /// Why the execution cannot go on, once that is so.
    pub(super) async fn gone(&mut self) -> ErrorCode {
        let is_gone = |read: &Option<Configuration>| matches!(read, Some(Err(_)));
        match self.0.wait_for(is_gone).await.map(|read| read.clone()) {
            Ok(Some(Err(code))) => code,
            _ => std::future::pending().await,
        }
    }
}
