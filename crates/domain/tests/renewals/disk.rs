//! The catalog: rows that are replaced as a whole if they are still as they were read, each with its notice.

use crate::provider::Token;
use perseat_domain::grant::{Change, Grant, Holder, Notice, Wrote};
use perseat_domain::id::UserConfigId;
use uuid::Uuid;

/// A grant as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) grant: Grant,
    pub(crate) token: Token,
}

#[derive(Debug)]
pub(crate) struct Disk {
    rows: Vec<Row>,
    notices: Vec<Option<Notice>>,
    pub(crate) is_full: bool,
}

impl Disk {
    pub(crate) fn new(rows: Vec<Row>) -> Self {
        Self {
            notices: rows.iter().map(|_| None).collect(),
            rows,
            is_full: false,
        }
    }

    pub(crate) fn row(&self, of: usize) -> &Row {
        &self.rows[of]
    }

    pub(crate) fn notice(&self, of: usize) -> Option<&Notice> {
        self.notices[of].as_ref()
    }

    /// What the actor of a grant writes.
    pub(crate) fn replace(&mut self, of: usize, expected: &Row, row: Row, tells: bool) -> Wrote {
        if self.is_full {
            return Wrote::Failed;
        }
        if self.rows[of] != *expected {
            return Wrote::Overtaken;
        }
        self.put(of, row, tells);
        Wrote::Durable
    }

    /// What somebody's act writes, whatever is there.
    pub(crate) fn put(&mut self, of: usize, row: Row, tells: bool) {
        let holder = Holder::UserConfig(UserConfigId(Uuid::from_u128(of as u128 + 1)));
        let before = std::mem::replace(&mut self.rows[of], row);
        match Notice::change(holder, Some(&before.grant), &self.rows[of].grant) {
            Change::Keep => {}
            Change::Begin(notice) if tells => self.notices[of] = Some(notice),
            Change::Begin(_) => {}
            Change::Clear => self.notices[of] = None,
        }
    }
}
