//! What a check finds, in bounded memory.

use std::fmt;

/// Findings, each a sentence that names the exact place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    limit: usize,
    listed: Vec<String>,
    more: u64,
}

impl Findings {
    /// None yet; of more than `limit` the rest is counted.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            listed: Vec::new(),
            more: 0,
        }
    }

    /// Adds one.
    pub fn add(&mut self, finding: impl fmt::Display) {
        if self.listed.len() < self.limit {
            self.listed.push(finding.to_string());
        } else {
            self.more += 1;
        }
    }

    /// Those that are listed.
    #[must_use]
    pub fn listed(&self) -> &[String] {
        &self.listed
    }

    /// All of them.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.listed.len() as u64 + self.more
    }
}
