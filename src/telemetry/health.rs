//! Whether the daemon should be given work, and why not.

use serde::Serialize;

/// One reason for not being ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The part that is not ready: `journal`, `index`, `arbiter`, `boot`.
    pub part: &'static str,
    /// What is the matter, for people.
    pub why: String,
}

/// What `/readyz` asks. It is answered from memory at once, by whoever knows the parts.
pub trait Readiness: Send + Sync + 'static {
    /// Every reason for not being ready; none when ready.
    fn reasons(&self) -> Vec<Reason>;
}

impl<F: Fn() -> Vec<Reason> + Send + Sync + 'static> Readiness for F {
    fn reasons(&self) -> Vec<Reason> {
        self()
    }
}
