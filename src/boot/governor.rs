//! The governor of what flows send, with the pauses that an earlier run kept.

use std::io;
use std::path::Path;

use perseat_domain::rate::ScopeId;
use perseat_domain::time::Timestamp;
use perseat_flow::outbound::{Governor, Keeper};
use perseat_store::pauses::PauseFile;

use crate::config::Config;

#[derive(Debug)]
struct Kept(PauseFile);

impl Keeper for Kept {
    fn keep(&mut self, paused: &[(ScopeId, Timestamp)]) -> io::Result<()> {
        self.0.write(paused)
    }
}

/// Starts it for a data directory.
pub(super) fn start(config: &Config, data: &Path) -> io::Result<Governor> {
    let options = config.governor_options();
    let file = PauseFile::in_directory(data);
    let kept = file.read(options.limits.tracked).unwrap_or_else(|error| {
        tracing::warn!(%error, "the pauses that providers asked for before this start are unknown");
        Vec::new()
    });
    Governor::new(options, &kept, Some(Box::new(Kept(file))))
}
