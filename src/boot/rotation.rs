//! Another master key for a running daemon: `POST /keys/master` begins, `GET /keys/master` says how far it is.
//!
//! ```text
//! next key durable ─► keyring written anew beside the old one ─► they change places ─► audit ─► next key takes the place of the old
//! ```
//!
//! Whenever the process dies, the keyring is wholly under one of two keys that are both there, and [`super::master_key::find`]
//! takes the one that fits. What is left to do then is done by the next start ([`settle`]), or by asking again.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use http::{Method, StatusCode};
use perseat_actors::kit::{Clock, RealClock};
use perseat_store::catalog::{Catalog, Change};
use perseat_store::custody::Custody;
use perseat_store::keyring::{self, Rewrapped};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::administration::refusal;
use super::local::{LocalAnswer, LocalRequest, Router};
use super::master_key::{self, MasterKey, NAME, NEXT, write_new};
use super::plane::Plane;

/// How far a rotation is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "stage")]
pub(crate) enum Stage {
    /// None was asked for since the start.
    #[default]
    Idle,
    /// It is under way.
    #[serde(rename_all = "camelCase")]
    Running {
        /// Keys of the keyring that are written.
        done: u64,
        /// Of so many.
        of: u64,
    },
    /// The keyring is under the next key.
    #[serde(rename_all = "camelCase")]
    Done {
        /// Of the keyring, as it is now.
        generation: u64,
        /// How many keys the next master key wraps.
        keys: u64,
        /// The file that holds the next key.
        key_file: PathBuf,
        /// Where it has still to be put, by whoever configured the old one.
        put_to: Option<PathBuf>,
    },
    /// It was given up; the keyring is under the key that it was under.
    #[serde(rename_all = "camelCase")]
    Failed {
        /// Why.
        error: String,
    },
}

/// What the routes work on.
#[derive(Clone)]
pub(super) struct Rotations {
    custody: Custody,
    clock: Arc<dyn Clock>,
    data: PathBuf,
    /// Where the daemon looks for the master key.
    home: PathBuf,
    stage: Arc<Mutex<Stage>>,
}

impl Rotations {
    pub(super) fn of(plane: &Plane, master_key: &MasterKey, data: &Path) -> Self {
        Self {
            custody: plane.custody.clone(),
            clock: plane.clock.clone(),
            data: data.to_owned(),
            home: master_key.path.clone(),
            stage: Arc::default(),
        }
    }

    /// Adds the routes.
    pub(super) fn routes(self, router: Router) -> Router {
        let asking = self.clone();
        router
            .route(Method::POST, "/keys/master", move |_: LocalRequest| {
                let this = self.clone();
                async move { this.begin() }
            })
            .route(Method::GET, "/keys/master", move |_: LocalRequest| {
                let stage = asking.stage().clone();
                async move { (StatusCode::OK, json!(stage)) }
            })
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins, unless one is under way: then that one is gone on with.
    fn begin(&self) -> LocalAnswer {
        let mut stage = self.stage();
        if matches!(*stage, Stage::Running { .. }) {
            return (StatusCode::ACCEPTED, json!(*stage));
        }
        let next = self.data.join(NEXT);
        // Where that cannot be told it may be, and it would be lost.
        let sentence = match master_key::is_in_force(&self.data, &next) {
            Ok(false) => None,
            Ok(true) => Some(format!(
                "the keyring is under the key of {} since the last rotation: put that key to {} first, and restart the daemon",
                next.display(),
                self.home.display()
            )),
            Err(error) => Some(format!(
                "whether the keyring is under the key of {} cannot be told: {error:#}",
                next.display()
            )),
        };
        if let Some(sentence) = sentence {
            return refusal(StatusCode::CONFLICT, "rotation_unfinished", &sentence);
        }
        *stage = Stage::Running { done: 0, of: 0 };
        drop(stage);
        let this = self.clone();
        let started = std::thread::Builder::new().name("rotation".to_owned()).spawn(move || {
            let ended = this.rotate().unwrap_or_else(|error| {
                tracing::error!(error = &*error, "the master key could not be replaced");
                Stage::Failed {
                    error: format!("{error:#}"),
                }
            });
            *this.stage() = ended;
        });
        if let Err(error) = started {
            *self.stage() = Stage::Idle;
            return refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal", &error.to_string());
        }
        (StatusCode::ACCEPTED, json!(*self.stage()))
    }

    fn rotate(&self) -> anyhow::Result<Stage> {
        let by = format!("local:{}", rustix::process::getuid().as_raw());
        let note = |action| {
            self.custody.catalog().note(Change {
                by: &by,
                at: self.clock.now(),
                action,
            })
        };
        note("beginMasterKeyRotation").context("the audit")?;
        let next = self.data.join(NEXT);
        // Of one that was cut off before anything was put under it.
        keyring::discard(&next)?;
        let bytes = write_new(&next)?;
        reach("master-key-drawn");
        let mut told = |now: Rewrapped| {
            *self.stage() = Stage::Running {
                done: now.slots,
                of: now.of,
            };
        };
        let key = keyring::MasterKey::new(&bytes);
        let rewrapped = self.custody.keyring().rotate_master(&self.data.join("keyring"), key, &mut told);
        let rewrapped = rewrapped.context("the keyring")?;
        note("finishMasterKeyRotation").context("the audit")?;
        let put_to = promote(&self.home, &self.data)?;
        tracing::info!(
            keys = rewrapped.keys,
            generation = rewrapped.generation,
            "the master key was replaced"
        );
        Ok(Stage::Done {
            generation: rewrapped.generation,
            keys: rewrapped.keys,
            key_file: if put_to.is_some() { next } else { self.home.clone() },
            put_to,
        })
    }
}

/// Finishes what a rotation left, once it is known which key the keyring is under.
///
/// # Errors
/// If the disk fails, or the audit cannot be written.
pub(super) fn settle(found: &MasterKey, data: &Path, catalog: &Catalog) -> anyhow::Result<()> {
    let next = data.join(NEXT);
    if !found.is_next {
        // The one from before, or one that nothing was put under.
        return Ok(keyring::discard(&next)?);
    }
    if is_own(&found.path, data) {
        catalog.note(Change {
            by: "local:start",
            at: RealClock::new().now(),
            action: "finishMasterKeyRotation",
        })?;
    }
    if let Some(home) = promote(&found.path, data)? {
        tracing::warn!(
            "the keyring is under the key of {}, and {} holds an older one or none: put the key there and restart",
            next.display(),
            home.display()
        );
    }
    Ok(())
}

/// Lets the next key take the place of its predecessor, which is overwritten. What somebody configured is theirs to replace: then its
/// path is returned.
fn promote(home: &Path, data: &Path) -> anyhow::Result<Option<PathBuf>> {
    if !is_own(home, data) {
        return Ok(Some(home.to_owned()));
    }
    let next = data.join(NEXT);
    keyring::exchange(&next, home)?;
    crate::backup::write::sync_directory(data)?;
    reach("master-key-exchanged");
    keyring::discard(&next)?;
    reach("master-key-overwritten");
    Ok(None)
}

/// Whether the daemon made the key, in its own directory; not where somebody took it away.
fn is_own(home: &Path, data: &Path) -> bool {
    home == data.join(NAME) && home.exists()
}

/// A place at which a test stops the process.
#[cfg(feature = "faults")]
fn reach(point: &str) {
    perseat_journal::kill_point::reach(point);
}

#[cfg(not(feature = "faults"))]
fn reach(_: &str) {}
