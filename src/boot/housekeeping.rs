//! Deletes from the catalog what nobody asks for any more: the rows of user configurations that were removed long ago,
//! sessions that are over, and earlier values of configurations once everything that may have started with them has ended.
//! Deletes uploaded files that nothing took up, or that a crash left. And writes the final hashes of sealed journal segments
//! into the audit, behind everything and many at once. Takes data keys that nobody uses out of memory. Writes the catalog anew
//! where people were removed from it.

use super::plane::{Plane, Published, Publisher};
use crate::config::Config;
use perseat_actors::kit::Clock;
use perseat_admin::edit::Effects;
use perseat_domain::model::Media;
use perseat_domain::route::{REMOVED_ANSWER, RouteChange};
use perseat_domain::time::Timestamp;
use perseat_journal::Journal;
use perseat_store::catalog::{Change, Lookup as _, SegmentHash};
use perseat_store::custody::Custody;
use perseat_store::error::StoreError;
use perseat_store::index::{ExecutionIndex, IndexError};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio_util::sync::CancellationToken;

/// By how much the oldest live execution may have begun before its id says so, and an event accepted now is still on its
/// way to its owner.
const MARGIN: Duration = Duration::from_secs(600);

/// What there is to do, and with what.
pub(crate) struct Housekeeping {
    custody: Custody,
    publisher: Arc<Publisher>,
    index: Arc<ExecutionIndex>,
    journal: Journal,
    clock: Arc<dyn Clock>,
    every: Duration,
    attest_every: Duration,
    put_away_every: Duration,
    rows: usize,
    /// How long what removed people leave in the catalog's file may be there.
    rewrite_after: Duration,
    /// How old a file is that nothing will take up any more.
    unused: Duration,
}

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Files(#[from] std::io::Error),
}

fn before(at: Timestamp, span: Duration) -> Timestamp {
    Timestamp(at.0.saturating_sub(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
}

impl Housekeeping {
    pub(crate) fn of(plane: &Plane, config: &Config) -> Self {
        Self {
            custody: plane.custody.clone(),
            publisher: plane.publisher.clone(),
            index: plane.index.clone(),
            journal: plane.journal.clone(),
            clock: plane.clock.clone(),
            every: config.catalog.tidy_every,
            attest_every: config.catalog.attest_every,
            put_away_every: config.supervision.passivate_after,
            rows: config.catalog.tidy_rows.as_usize(),
            rewrite_after: config.catalog.rewrite_after,
            unused: config.media.unused,
        }
    }

    /// Tidies and attests now and then until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let this = Arc::new(self);
        tokio::join!(
            this.repeat("the catalog could not be tidied", this.every, Self::tidy, &stop),
            this.repeat(
                "sealed segments could not be noted in the audit",
                this.attest_every,
                Self::attest,
                &stop
            ),
            this.repeat("the catalog could not be written anew", this.every, Self::rewrite, &stop),
            this.repeat("unused keys could not be put away", this.put_away_every, Self::put_keys_away, &stop),
        );
    }

    async fn repeat(
        self: &Arc<Self>,
        trouble: &'static str,
        every: Duration,
        work: fn(&Self) -> Result<(), Failed>,
        stop: &CancellationToken,
    ) {
        // What goes on for long is said once.
        let mut said = None;
        loop {
            let this = Arc::clone(self);
            let failed = match tokio::task::spawn_blocking(move || work(&this)).await {
                Ok(done) => done.err().map(|error| error.to_string()),
                Err(error) => Some(error.to_string()),
            };
            if let Some(error) = failed.as_ref().filter(|error| said.as_ref() != Some(*error)) {
                tracing::error!(error, "{trouble}");
            }
            said = failed;
            tokio::select! {
                () = self.clock.sleep(every) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Keys leave memory as actors do, once nobody needed them for a while.
    fn put_keys_away(&self) -> Result<(), Failed> {
        self.custody.keyring().put_away_unused();
        Ok(())
    }

    /// Writes the final hashes of the segments that were sealed since the last time into the audit.
    fn attest(&self) -> Result<(), Failed> {
        let catalog = self.custody.catalog();
        let attested = catalog.attested()?;
        let sealed = self.journal.segments().into_iter().filter(|segment| segment.number > attested);
        let sealed = sealed.filter_map(|segment| {
            Some(SegmentHash {
                number: segment.number,
                hash: segment.final_hash?,
            })
        });
        let sealed: Vec<SegmentHash> = sealed.collect();
        if sealed.is_empty() || catalog.organization()?.is_none() {
            return Ok(());
        }
        let change = Change {
            by: "local:housekeeping",
            at: self.clock.now(),
            action: "journal.seal",
        };
        self.custody.mutate(change, |tx| {
            tx.attest(&sealed);
            Ok::<_, StoreError>(())
        })?;
        Ok(())
    }

    /// Writes the catalog anew, so that nothing of those who were removed is left in its file. What fails is tried again the next
    /// time.
    fn rewrite(&self) -> Result<(), Failed> {
        let began = Instant::now();
        let count = |outcome| metrics::counter!("perseat_catalog_rewrites_total", "outcome" => outcome).increment(1);
        match self.custody.catalog().rewrite_if_due(self.clock.now(), self.rewrite_after) {
            Ok(None) => {}
            Ok(Some(rewritten)) => {
                count("done");
                tracing::info!(
                    revision = rewritten.revision,
                    bytes_before = rewritten.bytes_before,
                    bytes_after = rewritten.bytes_after,
                    seconds = began.elapsed().as_secs_f64(),
                    "the catalog was written anew: nothing of removed people is left in its file"
                );
            }
            Err(error) => {
                count("failed");
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the catalog could not be written anew, and what removed people left in its file can still be read there; it is tried \
                     again after catalog.tidy-every: see to it that the disk has room for the file once more"
                );
            }
        }
        Ok(())
    }

    fn tidy(&self) -> Result<(), Failed> {
        let now = self.clock.now();
        let change = Change {
            by: "local:housekeeping",
            at: now,
            action: "user_config.purge",
        };
        while self.purge_removed(change, before(now, REMOVED_ANSWER))? == self.rows {}
        let over = Change {
            action: "session.purge",
            ..change
        };
        let mut after = None;
        loop {
            after = self.custody.mutate(over, |tx| tx.purge_sessions(now, after, self.rows))?.value;
            if after.is_none() {
                break;
            }
        }
        // What is accepted from now on starts with today's values.
        let oldest = self.index.oldest_live()?.unwrap_or(now).min(now);
        let superseded_before = before(oldest, MARGIN);
        while self.custody.catalog().purge_superseded(superseded_before, self.rows)? == self.rows {}
        self.sweep(now)
    }

    /// Deletes rows of user configurations that were removed before this; gives how many.
    fn purge_removed(&self, change: Change<'_>, removed_before: Timestamp) -> Result<usize, StoreError> {
        self.publisher.publish(|| {
            let mutated = self.custody.mutate(change, |tx| tx.purge_removed(removed_before, self.rows))?;
            let count = mutated.value.len();
            let effects = Effects {
                routes: mutated.value.into_iter().map(RouteChange::UserConfigForgotten).collect(),
                ..Effects::default()
            };
            let revision = mutated.revision;
            Ok((count, Published { effects, revision }))
        })
    }

    /// Deletes files that no record names.
    fn sweep(&self, now: Timestamp) -> Result<(), Failed> {
        let Some(media) = self.custody.media() else { return Ok(()) };
        let old = SystemTime::UNIX_EPOCH + Duration::from_millis(before(now, self.unused).0);
        let change = Change {
            by: "local:housekeeping",
            at: now,
            action: "media.sweep",
        };
        for id in media.written_before(old)? {
            if self.custody.catalog().get::<Media>(id)?.is_some() {
                media.is_taken(id);
            } else {
                // Within a mutation, so that none takes the file up meanwhile. It changes nothing in the catalog.
                self.custody.mutate(change, |tx| match tx.get::<Media>(id)? {
                    Some(_) => Ok(()),
                    None => Ok::<_, Failed>(media.remove(id, None)?),
                })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_before_the_beginning_is_the_beginning() {
        assert_eq!(before(Timestamp(5_000), Duration::from_secs(2)), Timestamp(3_000));
        assert_eq!(before(Timestamp(5_000), MARGIN), Timestamp(0));
    }
}
