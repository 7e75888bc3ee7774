//! Backups of a running daemon, and the way on after a restore: what the local socket's routes do.
//!
//! A backup is read on a thread of its own, of low priority, and travels over the socket to the command that writes it: the
//! daemon need not be allowed to write where backups are kept.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use perseat_actors::kit::Clock;
use perseat_journal::Journal;
use perseat_store::custody::Custody;
use perseat_store::keyring::KeyringCopyError;
use perseat_store::state::StateStore;
use serde_json::json;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::administration::{blocking, refusal};
use super::http::{Answer, Streamed, json as json_answer, text};
use super::local::{LocalRequest, Router};
use super::plane::{Pause, Plane, random};
use super::stores::media_directory;
use crate::backup::PIECE;
use crate::backup::take::{Pinned, Source, TakeError, hand_out, scratch, take};
use crate::backup::wire::{FileHead, Part, Refusal};
use crate::config::Config;

/// Limits of the backups of a running daemon.
#[derive(Clone, Copy, Debug)]
struct Limits {
    reader_timeout: Duration,
    pieces: usize,
    nice: i32,
    reserve: u64,
}

/// What the routes work on.
#[derive(Clone)]
pub(super) struct Backups {
    custody: Custody,
    state: Arc<StateStore>,
    journal: Journal,
    epoch: u64,
    clock: Arc<dyn Clock>,
    pause: Arc<Pause>,
    data: PathBuf,
    limits: Limits,
    runtime: Handle,
    stop: CancellationToken,
    /// One backup at a time.
    is_busy: Arc<AtomicBool>,
}

impl Backups {
    pub(super) fn of(plane: &Plane, config: &Config, data: PathBuf, runtime: Handle, stop: CancellationToken) -> Self {
        let backup = &config.backup;
        Self {
            custody: plane.custody.clone(),
            state: plane.state.clone(),
            journal: plane.journal.clone(),
            epoch: plane.epoch,
            clock: plane.clock.clone(),
            pause: plane.pause.clone(),
            data,
            limits: Limits {
                reader_timeout: backup.reader_timeout,
                pieces: (backup.read_ahead.as_usize() / PIECE).max(1),
                nice: i32::try_from(backup.nice.get()).unwrap_or(i32::MAX),
                reserve: config.backup_reserve().get(),
            },
            runtime,
            stop,
            is_busy: Arc::default(),
        }
    }

    /// Adds the routes.
    pub(super) fn routes(&self, router: Router) -> Router {
        let (on_backup, on_keyring, on_resume) = (self.clone(), self.clone(), self.clone());
        router
            .route_raw(Method::GET, "/backup", move |request: LocalRequest| {
                let this = on_backup.clone();
                async move { this.backup(&request) }
            })
            .route_raw(Method::GET, "/keyring", move |_: LocalRequest| {
                let this = on_keyring.clone();
                async move { this.stream("keyring", |this, outlet| this.keyring(outlet)) }
            })
            .route(Method::POST, "/resume", move |_: LocalRequest| {
                let this = on_resume.clone();
                async move { blocking(move || this.resume()).await }
            })
    }

    fn backup(&self, request: &LocalRequest) -> Answer {
        let with_history = match request.query.as_str() {
            "" => false,
            "history=true" => true,
            _ => return refused(StatusCode::BAD_REQUEST, "request_malformed", "the one parameter is history=true"),
        };
        if self.is_busy.swap(true, Ordering::AcqRel) {
            return refused(StatusCode::CONFLICT, "backup_running", "another backup is being taken");
        }
        let busy = Busy(self.is_busy.clone());
        self.stream("backup", move |this, outlet| {
            let _busy = busy;
            this.take(with_history, outlet)
        })
    }

    /// Runs `work` on a thread of its own and answers with what it gives out.
    fn stream(&self, name: &'static str, work: impl FnOnce(&Self, &Outlet) -> Result<(), TakeError> + Send + 'static) -> Answer {
        let (send, pieces) = mpsc::channel(self.limits.pieces);
        let outlet = Outlet {
            runtime: self.runtime.clone(),
            pieces: send,
            timeout: self.limits.reader_timeout,
            stop: self.stop.clone(),
        };
        let (this, nice) = (self.clone(), self.limits.nice);
        let started = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            if let Err(error) = rustix::process::nice(nice) {
                tracing::info!(%error, "a backup runs at normal priority");
            }
            let outcome = work(&this, &outlet);
            let word = if outcome.is_ok() { "done" } else { "failed" };
            metrics::counter!("perseat_backups_total", "what" => name, "outcome" => word).increment(1);
            match outcome {
                Ok(()) => tracing::info!(what = name, "handed out"),
                Err(error) => {
                    tracing::error!(what = name, error = &error as &dyn std::error::Error, "was not handed out");
                    let refusal = Refusal {
                        code: error.code().to_owned(),
                        error: sentence(&error),
                    };
                    // Whoever is gone needs no reason.
                    let _ = outlet.give(&Part::Refused(refusal));
                }
            }
        });
        if let Err(error) = started {
            return refused(StatusCode::INTERNAL_SERVER_ERROR, "internal", &error.to_string());
        }
        let mut answer = text(StatusCode::OK, "application/octet-stream", "");
        answer.extensions_mut().insert(Streamed::new(pieces));
        answer
    }

    fn take(&self, with_history: bool, outlet: &Outlet) -> Result<(), TakeError> {
        // Kept from before the state is read: whatever lives then, and whatever comes later, is in these segments.
        let segments = Pinned::new(self.journal.clone());
        let media = media_directory(&self.data);
        let source = Source {
            state: &self.state,
            catalog: self.custody.catalog(),
            keyring: self.custody.keyring(),
            segments: &segments,
            media: &media,
            scratch: &self.data,
            reserve: self.limits.reserve,
            epoch: self.epoch,
            id: Uuid::from_u128(random()),
            at: self.clock.now(),
            with_history,
        };
        take(&source, &mut |part| outlet.give(&part))
    }

    /// Reads the keyring at one moment first: nothing of it may change while somebody slow receives it.
    fn keyring(&self, outlet: &Outlet) -> Result<(), TakeError> {
        let (file, mut copy) = scratch(&self.data)?;
        self.custody
            .keyring()
            .copy(|piece| copy.write_all(piece))
            .map_err(|error| match error {
                KeyringCopyError::Store(error) => TakeError::Store(error),
                KeyringCopyError::Taker(error) => TakeError::Io(error),
            })?;
        let bytes = file.metadata()?.len();
        let name = "keyring".to_owned();
        outlet.give(&Part::File(FileHead { name, bytes }))?;
        let hash = hand_out(bytes, &mut |part| outlet.give(&part), |piece, at| {
            file.read_exact_at(piece, at).map_err(TakeError::Io)
        })?;
        outlet.give(&Part::End(hash))
    }

    fn resume(&self) -> super::local::LocalAnswer {
        match self.pause.resume() {
            Ok(was_paused) => (StatusCode::OK, json!({ "wasPaused": was_paused })),
            Err(error) => {
                tracing::error!(error = &*error, "the daemon could not be resumed");
                refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal", &format!("{error:#}"))
            }
        }
    }
}

fn refused(status: StatusCode, code: &str, sentence: &str) -> Answer {
    let (status, body) = refusal(status, code, sentence);
    json_answer(status, &body)
}

/// The error with its causes.
fn sentence(error: &TakeError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Lowers the flag when the backup ends, however it does.
struct Busy(Arc<AtomicBool>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Where parts go.
struct Outlet {
    runtime: Handle,
    pieces: mpsc::Sender<Bytes>,
    timeout: Duration,
    stop: CancellationToken,
}

impl Outlet {
    /// Waits for room; not for ever.
    fn give(&self, part: &Part) -> Result<(), TakeError> {
        let bytes = part.encode();
        self.runtime.block_on(async {
            tokio::select! {
                sent = tokio::time::timeout(self.timeout, self.pieces.send(bytes)) => match sent {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(_)) => Err(TakeError::ReaderGone),
                    Err(_) => Err(TakeError::ReaderSlow),
                },
                () = self.stop.cancelled() => Err(TakeError::Stopping),
            }
        })
    }
}
