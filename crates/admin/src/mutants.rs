//! Seeded mutants of the access rules, chosen while the process runs: the permission tests must catch each.

use crate::access::Operation;
use std::sync::atomic::{AtomicU64, Ordering};

/// One bit for each operation, and two more.
static DROPPED: AtomicU64 = AtomicU64::new(0);
const CUSTOMER: u64 = 1 << 62;
const GRANT: u64 = 1 << 63;

/// Drops or restores a check: that of an operation by its words (`view-customers`), that people of a customer act on their own
/// (`own-customer`), or that nobody makes another more powerful (`grant`). False if there is no such check.
pub fn flip(check: &str, on: bool) -> bool {
    let bit = match check {
        "own-customer" => CUSTOMER,
        "grant" => GRANT,
        check => match Operation::ALL.iter().find(|operation| word(**operation) == check) {
            Some(operation) => of(*operation),
            None => return false,
        },
    };
    if on {
        DROPPED.fetch_or(bit, Ordering::Relaxed);
    } else {
        DROPPED.fetch_and(!bit, Ordering::Relaxed);
    }
    true
}

fn word(operation: Operation) -> String {
    let words = operation.to_string();
    words.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-")
}

fn of(operation: Operation) -> u64 {
    1 << (operation as u64)
}

fn drops(bit: u64) -> bool {
    DROPPED.load(Ordering::Relaxed) & bit != 0
}

pub(crate) fn drops_operation(operation: Operation) -> bool {
    drops(of(operation))
}

pub(crate) fn drops_customer() -> bool {
    drops(CUSTOMER)
}

pub(crate) fn drops_grant() -> bool {
    drops(GRANT)
}
