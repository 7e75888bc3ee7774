//! Receipts held against the journal: whoever got a 2xx can rely on it, and this is how that is checked.
//!
//! [`ledger`] reads a journal from outside and says what does not hold; the crash tests use it, too. `trial` runs the
//! whole check on an operator's machine: a daemon of its own, load, SIGKILL at random moments, and the reckoning.

mod disk;
pub mod ledger;
mod load;
pub(crate) mod trial;
