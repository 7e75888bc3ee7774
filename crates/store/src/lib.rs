//! What Perseat keeps on disk besides the journal: the catalog, the keyring, live state and history.
//!
//! Each store has one job and one file (or folder); this crate alone knows the database library below them.
//!
//! Reading order: [`error`] → [`seal`] → [`keyring`] → [`folder`] → [`catalog`] → [`media`] → [`presets`] → [`custody`] → [`state`] → [`usage`] → [`history`] → [`index`] → [`executions`]; [`pauses`] beside them.

mod bounded;
pub mod catalog;
mod copy;
pub mod custody;
mod database;
pub mod error;
pub mod executions;
#[cfg(test)]
mod fault_backend;
#[cfg(test)]
mod fault_workload;
#[cfg(feature = "faults")]
pub mod faults;
pub mod findings;
pub mod folder;
pub mod history;
pub mod index;
pub mod keyring;
pub mod media;
pub mod pauses;
pub mod presets;
pub mod pressure;
pub mod read_only;
pub mod seal;
pub mod sharing;
pub mod state;
pub mod usage;

pub use error::StoreError;
