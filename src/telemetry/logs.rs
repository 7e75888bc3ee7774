//! Log lines to standard output, written by a thread of their own.
//!
//! A blocked output must never block a request, so the queue is bounded and what does not fit is dropped and counted in
//! `perseat_log_lines_dropped_total`.

use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use crate::config::settings::Log;
use crate::config::value::{Directives, LogFormat};

/// Why logging could not start, or could not take a new level.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level is none.
    #[error("log.level is {given:?}")]
    Level {
        /// What was given.
        given: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Another subscriber was installed before.
    #[error("logging was started twice")]
    Twice,
}

/// The running log. Dropping it writes what is queued.
#[derive(Debug)]
pub struct Logs {
    filter: reload::Handle<EnvFilter, Registry>,
    dropped: ErrorCounter,
    ending: Ending,
}

/// Ends the log from anywhere. Clones end the same one.
#[derive(Clone, Debug)]
pub struct Ending(Arc<Mutex<Option<WorkerGuard>>>);

/// How long what is queued may take to be written at the end: an output that takes nothing holds up no end.
const FLUSH: Duration = Duration::from_secs(1);

impl Ending {
    /// Writes what is queued; nothing is written after it.
    pub fn flush(&self) {
        let Some(writer) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        let (written, wait) = std::sync::mpsc::channel();
        let flush = move || {
            drop(writer);
            let _ = written.send(());
        };
        if std::thread::Builder::new().name("log-flush".into()).spawn(flush).is_ok() {
            let _ = wait.recv_timeout(FLUSH);
        }
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.ending.flush();
    }
}

/// What `log.level` lets through. A checked configuration has no other.
fn filter(level: &Directives) -> Result<EnvFilter, LogError> {
    EnvFilter::builder().parse(level.as_str()).map_err(|source| LogError::Level {
        given: level.as_str().to_owned(),
        source,
    })
}

impl Logs {
    /// Starts writing.
    ///
    /// # Errors
    /// A level that is none, or a second start.
    pub fn start(log: &Log) -> Result<Self, LogError> {
        let (filter, handle) = reload::Layer::new(filter(&log.level)?);
        let builder = NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(log.queue.as_usize())
            .thread_name("log");
        let (writer, guard) = builder.finish(std::io::stdout());
        let dropped = writer.error_counter();
        let terminal = std::io::stdout().is_terminal();
        let json = match log.format {
            LogFormat::Auto => !terminal,
            LogFormat::Json => true,
            LogFormat::Pretty => false,
        };
        let registry = tracing_subscriber::registry().with(filter);
        let started = if json {
            registry
                .with(fmt::layer().json().flatten_event(true).with_writer(writer))
                .try_init()
        } else {
            registry
                .with(fmt::layer().with_ansi(terminal).with_target(false).with_writer(writer))
                .try_init()
        };
        started.map_err(|_| LogError::Twice)?;
        Ok(Self {
            filter: handle,
            dropped,
            ending: Ending(Arc::new(Mutex::new(Some(guard)))),
        })
    }

    /// Takes a new `log.level`.
    ///
    /// # Errors
    /// A level that is none; the old one stays.
    pub fn set_level(&self, level: &Directives) -> Result<(), LogError> {
        self.filter.reload(filter(level)?).map_err(|_| LogError::Twice)
    }

    /// What ends it, for whoever ends the process without dropping this.
    #[must_use]
    pub fn ending(&self) -> Ending {
        self.ending.clone()
    }

    /// The count of dropped lines, for the metrics.
    #[must_use]
    pub fn dropped(&self) -> ErrorCounter {
        self.dropped.clone()
    }
}
