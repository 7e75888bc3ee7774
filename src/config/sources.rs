//! The keys of data sources, which fill in configuration pages; as [`super::settings`].

use super::Config;
use super::declare::{Key, Preset, Section, path, settings};
use super::source::Reader;
use super::value::{Count, Size, Value};
use crate::console::SourceOptions;
use std::time::Duration;

settings! {
    /// How data sources run.
    DataSourceSettings;

    /// Data sources: scripts that say what may be chosen on a configuration page, with the account of whoever looks at it.
    data_sources "data-sources": DataSources {
        /// How long one may take. Those of a page run one after the other; past twice this time the rest is left out.
        time: Duration = "15s";
        /// The largest result, as JSON.
        max_result: Size = "1MiB";
        /// Choices that one may give; fields of objects and controls of forms count, too.
        choices: Count = 1000;
        /// Pages of one person at once whose data sources run; a further one says that it should be tried again.
        per_user: Count = 2;
        /// Such pages of everybody at once. Each holds a thread.
        at_once: Count = 32;
    }
}

impl Config {
    /// Their limits.
    pub(super) fn source_options(&self) -> SourceOptions {
        let sources = &self.people.sources.data_sources;
        SourceOptions {
            time: sources.time,
            max_result: sources.max_result.as_usize(),
            choices: sources.choices.as_usize(),
            per_user: sources.per_user.as_usize(),
            at_once: sources.at_once.as_usize(),
        }
    }
}
