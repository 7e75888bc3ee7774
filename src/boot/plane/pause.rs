//! Holds executions back: until a start is through, and after a restore, when nothing is taken either, until somebody says that it is to go on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use perseat_actors::kit::{Mailbox, Reply};
use perseat_actors::supervisor::{Hold, Supervisor};
use perseat_store::pressure::StoragePressure;
use tokio_util::sync::CancellationToken;

use crate::backup::write::sync_directory;
use crate::boot::data::PAUSED;

/// See the module.
#[derive(Debug)]
pub(crate) struct Pause {
    data: PathBuf,
    pressure: Arc<StoragePressure>,
    supervisors: Vec<Mailbox<Supervisor>>,
    turn: Mutex<()>,
    is_over: CancellationToken,
}

impl Pause {
    /// Holds everything back until the start is through or, if the directory says so, until it is resumed.
    pub(super) fn begin(data: &Path, pressure: Arc<StoragePressure>, supervisors: Vec<Mailbox<Supervisor>>) -> anyhow::Result<Self> {
        let pause = Self {
            data: data.to_owned(),
            pressure,
            supervisors,
            turn: Mutex::new(()),
            is_over: CancellationToken::new(),
        };
        pause.hold(true)?;
        if pause.data.join(PAUSED).exists() {
            pause.pressure.paused.store(true, Ordering::Relaxed);
            tracing::warn!("restored and paused: events are refused and nothing runs until `perseat resume`");
        }
        Ok(pause)
    }

    /// Nothing refuses the start any more: lets everything go on, unless the directory waits to be resumed.
    pub(super) fn start_is_through(&self) -> anyhow::Result<()> {
        let _one_at_a_time = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.pressure.paused.load(Ordering::Relaxed) {
            self.hold(false)?;
            self.is_over.cancel();
        }
        Ok(())
    }

    /// Lets everything go on, durably; whether it was paused.
    ///
    /// # Errors
    /// If the mark cannot be taken away, or an owner does not answer.
    pub(crate) fn resume(&self) -> anyhow::Result<bool> {
        let _one_at_a_time = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.data.join(PAUSED);
        match fs::remove_file(&path).and_then(|()| sync_directory(&self.data)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context(path.display().to_string()),
        }
        self.hold(false)?;
        let was_paused = self.pressure.paused.swap(false, Ordering::Relaxed);
        if was_paused {
            tracing::warn!("resumed after a restore");
        }
        self.is_over.cancel();
        Ok(was_paused)
    }

    /// Does what reaches people or third parties once there is no pause, unless `stop` comes first.
    pub(crate) fn then<W: Future<Output = ()>>(&self, stop: CancellationToken, work: W) -> impl Future<Output = ()> + use<W> {
        let is_over = self.is_over.clone();
        async move {
            if stop.run_until_cancelled(is_over.cancelled()).await.is_some() {
                work.await;
            }
        }
    }

    fn hold(&self, is_held: bool) -> anyhow::Result<()> {
        for supervisor in &self.supervisors {
            let hold = |reply: Reply<()>| Hold { is_held, reply };
            supervisor.ask_blocking(hold).context("an owner did not answer")?;
        }
        Ok(())
    }
}
