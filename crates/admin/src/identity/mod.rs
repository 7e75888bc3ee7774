//! Who a bearer token speaks for. Every doubt refuses.

pub mod accounts;
pub mod embedded;
pub mod keys;
pub mod letters;
pub mod passwords;
pub mod sessions;
#[cfg(test)]
mod tests;
pub mod tokens;

use perseat_store::error::StoreError;

/// Why a bearer is not believed. The sentence goes to whoever showed it, and holds nothing of what they showed.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The bearer proves nothing.
    #[error("{0}")]
    Refused(&'static str),
    /// The bearer is right, and what it says contradicts what is known.
    #[error("{0}")]
    Conflict(&'static str),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
