//! Ends the process where nothing goes on: recovery from disk is the tested path.

use std::sync::OnceLock;

static LAST_WORDS: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

/// Does this before the process is [aborted](abort), once: what says why may wait for another thread to write it. It may take a
/// moment, and has to end by itself. The first one that is given counts.
pub fn before_abort(last_words: impl Fn() + Send + Sync + 'static) {
    let _ = LAST_WORDS.set(Box::new(last_words));
}

/// Ends the process, as after a loss of power.
pub fn abort() -> ! {
    if let Some(last_words) = LAST_WORDS.get() {
        last_words();
    }
    std::process::abort()
}

/// Lives on a thread that nothing goes on without, and ends the process where that panics: nobody would notice that its work is not done
/// any more.
#[derive(Debug)]
pub struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        let thread = std::thread::current();
        if std::thread::panicking() {
            tracing::error!(
                thread = thread.name(),
                "a thread panicked that nothing goes on without; the daemon ends and recovers on its next start"
            );
            abort();
        }
    }
}
