//! The configuration: file ← environment ← flags, every problem reported at once.
//!
//! [`settings`] declares every key once. [`Config::load`] reads the sources into [`Settings`], then checks the keys together;
//! only a checked [`Config`] reaches the rest of the daemon. Nothing here touches a disk, a socket or a clock.

pub mod calls;
pub mod changes;
pub mod check;
mod declare;
pub mod keyring;
mod notices;
mod oauth;
pub mod options;
mod people;
pub mod people_settings;
pub mod reference;
pub mod settings;
pub mod source;
pub mod sources;
pub mod usage;
pub mod value;

use std::fmt;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::PathBuf;

use self::settings::Settings;
use self::source::{Problem, Reader, Sources};
use self::value::Size;

/// A configuration whose keys fit together.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    settings: Settings,
    cores: u32,
}

impl Deref for Config {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.settings
    }
}

/// Everything that is wrong with a configuration.
#[derive(Debug)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.0.len() == 1 { "problem" } else { "problems" };
        write!(formatter, "{} {noun} in the configuration", self.0.len())?;
        self.0.iter().try_for_each(|problem| write!(formatter, "\n  {problem}"))
    }
}

impl std::error::Error for Problems {}

/// The least and the largest segment that `journal.segment = "auto"` chooses.
const AUTO_SEGMENT: (u64, u64) = (1 << 20, 64 << 20);
/// The largest step result that `execution.max-step-result = "auto"` allows.
const AUTO_STEP_RESULT: u64 = 16 << 20;
/// The most that `retention.ballast = "auto"` comes to.
const AUTO_BALLAST: u64 = 16 << 20;

impl Config {
    /// Reads and checks. `cores` is the number of processors, from which the `auto` thread counts are derived.
    ///
    /// # Errors
    /// Every problem of every source, and every key that does not fit the others among those that could be read.
    pub fn load(sources: &Sources, cores: usize) -> Result<Self, Problems> {
        let mut reader = Reader::new(sources);
        let Some(settings) = Settings::take(&mut reader) else {
            return Err(Problems(reader.problems));
        };
        let config = Self {
            settings,
            cores: u32::try_from(cores).unwrap_or(u32::MAX).max(1),
        };
        let mut problems = reader.problems;
        problems.extend(check::problems(&config, &reader.unknown));
        if problems.is_empty() { Ok(config) } else { Err(Problems(problems)) }
    }

    /// Bytes of one journal segment.
    #[must_use]
    pub fn segment(&self) -> Size {
        self.journal.segment.or(Size::bytes(
            (self.retention.budget.get() / 32).clamp(AUTO_SEGMENT.0, AUTO_SEGMENT.1),
        ))
    }

    /// The largest entry of the journal: half a segment.
    #[must_use]
    pub fn max_entry(&self) -> Size {
        Size::bytes(self.segment().get() / 2)
    }

    /// Bytes on disk of events accepted and not ended.
    #[must_use]
    pub fn backlog_bytes(&self) -> Size {
        self.backlog.max_bytes.or(Size::bytes(self.retention.budget.get() / 4))
    }

    /// Bytes of events accepted and not ended that the front admits.
    #[must_use]
    pub fn admitted_bytes(&self) -> Size {
        self.admission.total_bytes.or(self.backlog_bytes())
    }

    /// The largest result of one step.
    #[must_use]
    pub fn max_step_result(&self) -> Size {
        let room = self.max_entry().get().saturating_sub(check::ENTRY_OVERHEAD);
        self.execution.max_step_result.or(Size::bytes(room.min(AUTO_STEP_RESULT)))
    }

    /// Memory for payloads of running executions.
    #[must_use]
    pub fn execution_memory(&self) -> Size {
        let least = self.front.max_body.get().saturating_mul(check::BODIES_IN_MEMORY);
        self.execution.memory.or(Size::bytes(least.max(256 << 20)))
    }

    /// Threads that serve connections: two on up to 8 cores (one on a single core), then a quarter of the cores.
    #[must_use]
    pub fn front_threads(&self) -> usize {
        let derived = (self.cores / 4).max(self.cores.min(2));
        self.front.threads.or(value::Count::new(derived)).as_usize()
    }

    /// Threads that own instances and users: one up to 4 cores, then half of the cores.
    #[must_use]
    pub fn owner_arbiters(&self) -> usize {
        let derived = if self.cores <= 4 { 1 } else { self.cores / 2 };
        self.execution.owner_arbiters.or(value::Count::new(derived)).as_usize()
    }

    /// Children that run code.
    #[must_use]
    pub fn code_children(&self) -> usize {
        self.code.children.or(value::Count::new(2 * self.cores.max(1))).as_usize()
    }

    /// Children that one user's steps hold at most: never more than half of them, except the only one.
    #[must_use]
    pub fn code_children_per_user(&self) -> usize {
        let own = self.code.per_user.or(value::Count::new(self.cores.div_ceil(2).max(1))).as_usize();
        own.clamp(1, (self.code_children() / 2).max(1))
    }

    /// The children that stay with their customer while others run.
    #[must_use]
    pub fn code_children_kept(&self) -> usize {
        let children = self.code_children();
        match self.code.kept {
            value::Auto::Auto => children + children / 2,
            value::Auto::Given(kept) => kept.as_usize(),
        }
    }

    /// Bytes kept free within the budget.
    #[must_use]
    pub fn margin(&self) -> Size {
        self.retention.margin.or(Size::bytes(self.retention.budget.get() / 16))
    }

    /// How far the directory may exceed its budget while a backup is taken.
    #[must_use]
    pub fn pinned_bytes(&self) -> Size {
        self.backup.pinned_bytes.or(Size::bytes(self.retention.budget.get() / 16))
    }

    /// What stays free of the disk while copies of databases stand there for a backup: room for events, and for deleting.
    #[must_use]
    pub fn backup_reserve(&self) -> Size {
        Size::bytes(self.segment().get().saturating_mul(2).saturating_add(self.ballast().get()))
    }

    /// The file that is given up first on a full disk.
    #[must_use]
    pub fn ballast(&self) -> Size {
        self.retention
            .ballast
            .or(Size::bytes((self.retention.budget.get() / 64).min(AUTO_BALLAST)))
    }

    /// Uploaded files, all together.
    #[must_use]
    pub fn media_budget(&self) -> Size {
        self.media.budget.or(Size::bytes(self.retention.budget.get() / 16))
    }

    /// Uploaded files of one customer and its users.
    #[must_use]
    pub fn media_of_customer(&self) -> Size {
        self.media.customer_budget.or(Size::bytes(self.media_budget().get() / 8))
    }

    /// The path of the local Unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.local.socket.clone().unwrap_or_else(|| self.data.dir.join("perseat.sock"))
    }

    /// Whether the API is served on the hooks listener: the same address was given for both. Port 0 means two ports.
    #[must_use]
    pub fn api_on_hooks(&self) -> bool {
        self.hooks.listen == self.api.listen && self.hooks.listen.port() != 0
    }

    /// The address under which the outside world reaches the daemon; `hooks` is where the hooks listener really is.
    #[must_use]
    pub fn public_url(&self, hooks: SocketAddr) -> String {
        let scheme = if self.tls.cert.is_some() { "https" } else { "http" };
        self.network.public_url.as_ref().map_or_else(
            || format!("{scheme}://{hooks}"),
            |url| url.as_str().trim_end_matches('/').to_owned(),
        )
    }

    /// What is allowed and yet deserves a warning at start.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.network.public_url.is_none() && !self.hooks.listen.ip().is_loopback() {
            warnings.push(format!(
                "hooks.listen is {}, beyond loopback, and public-url is not set: webhook URLs will name that address",
                self.hooks.listen
            ));
        }
        if !self.admin.listen.ip().is_loopback() {
            warnings.push(format!(
                "admin.listen is {}, beyond loopback: health and metrics have no login",
                self.admin.listen
            ));
        }
        warnings
    }
}

#[cfg(test)]
mod tests;
