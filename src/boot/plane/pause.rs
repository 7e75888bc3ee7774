//! The pause after a restore: nothing is taken and nothing starts until somebody says that it is to go on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use perseat_actors::kit::{Mailbox, Reply};
use perseat_actors::supervisor::{Hold, Supervisor};
use perseat_store::pressure::StoragePressure;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::backup::write::sync_directory;
use crate::boot::data::PAUSED;

/// See the module.
#[derive(Debug)]
pub(crate) struct Pause {
    data: PathBuf,
    pressure: Arc<StoragePressure>,
    supervisors: Vec<Mailbox<Supervisor>>,
    within: Duration,
    turn: Mutex<()>,
    is_over: CancellationToken,
}

impl Pause {
    /// Holds everything back if the directory says so. Nothing may be handed to the owners before.
    pub(super) fn begin(
        data: &Path,
        pressure: Arc<StoragePressure>,
        supervisors: Vec<Mailbox<Supervisor>>,
        within: Duration,
        runtime: &Handle,
    ) -> anyhow::Result<Self> {
        let pause = Self {
            data: data.to_owned(),
            pressure,
            supervisors,
            within,
            turn: Mutex::new(()),
            is_over: CancellationToken::new(),
        };
        if pause.data.join(PAUSED).exists() {
            pause.hold(true, runtime)?;
            pause.pressure.paused.store(true, Ordering::Relaxed);
            tracing::warn!("restored and paused: events are refused and nothing runs until `perseat resume`");
        } else {
            pause.is_over.cancel();
        }
        Ok(pause)
    }

    /// Lets everything go on, durably; whether it was paused.
    ///
    /// # Errors
    /// If the mark cannot be taken away, or an owner does not answer.
    pub(crate) fn resume(&self, runtime: &Handle) -> anyhow::Result<bool> {
        let _one_at_a_time = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.data.join(PAUSED);
        match fs::remove_file(&path).and_then(|()| sync_directory(&self.data)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context(path.display().to_string()),
        }
        self.hold(false, runtime)?;
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

    fn hold(&self, is_held: bool, runtime: &Handle) -> anyhow::Result<()> {
        for supervisor in &self.supervisors {
            let hold = |reply: Reply<()>| Hold { is_held, reply };
            runtime
                .block_on(supervisor.ask(self.within, hold))
                .context("an owner did not answer")?;
        }
        Ok(())
    }
}
