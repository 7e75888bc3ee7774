//! What was covered: counted over all seeds, printed at the end, and required.

use perseat_domain::code::ErrorCode;
use perseat_domain::entry::{EndStatus, Entry};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) executions: u64,
    pub(crate) receipts: u64,
    pub(crate) refused: u64,
    pub(crate) entries: u64,
    pub(crate) calls: u64,
    pub(crate) retries: u64,
    /// Activations that ended because a credential was missing.
    pub(crate) parked: u64,
    /// Activations that ended because there was no memory.
    pub(crate) short: u64,
    pub(crate) crashes: u64,
    pub(crate) deaths: u64,
    /// Jumps of the wall clock.
    pub(crate) jumps: u64,
    /// How executions ended.
    pub(crate) ends: BTreeMap<&'static str, u64>,
    /// After which kind of entry the process died.
    pub(crate) crashed_after: BTreeMap<&'static str, u64>,
    /// At which place in the journal.
    pub(crate) crashed_at: BTreeSet<u64>,
    last: Option<(&'static str, u64)>,
}

impl Report {
    pub(crate) fn wrote(&mut self, entry: &Entry, position: u64) {
        self.entries += 1;
        let kind = match entry {
            Entry::Accepted(_) => "Accepted",
            Entry::Started(_) => "Started",
            Entry::StepsDone(_) => "StepsDone",
            Entry::Parked(_) => "Parked",
            Entry::Called(_) => "Called",
            Entry::Cancelled(_) => "Cancelled",
            Entry::Ended(_) => "Ended",
            Entry::Carried(_) => "Carried",
        };
        self.last = Some((kind, position));
    }

    pub(crate) fn crashed(&mut self) {
        self.crashes += 1;
        if let Some((kind, position)) = self.last {
            *self.crashed_after.entry(kind).or_default() += 1;
            self.crashed_at.insert(position);
        }
    }

    pub(crate) fn ended(&mut self, status: EndStatus, code: Option<ErrorCode>) {
        let name = match (status, code) {
            (EndStatus::Succeeded, _) => "succeeded",
            (EndStatus::Cancelled, _) => "cancelled",
            (EndStatus::Quarantined, _) => "quarantined",
            (EndStatus::Failed, Some(ErrorCode::ExecutionTimeout)) => "timed out",
            (EndStatus::Failed, Some(ErrorCode::UserRemoved)) => "without a user",
            (EndStatus::Failed, Some(ErrorCode::ParkedTooLong)) => "parked too long",
            (EndStatus::Failed, _) => "failed",
        };
        *self.ends.entry(name).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.executions += other.executions;
        self.receipts += other.receipts;
        self.refused += other.refused;
        self.entries += other.entries;
        self.calls += other.calls;
        self.retries += other.retries;
        self.parked += other.parked;
        self.short += other.short;
        self.crashes += other.crashes;
        self.deaths += other.deaths;
        self.jumps += other.jumps;
        for (name, count) in other.ends {
            *self.ends.entry(name).or_default() += count;
        }
        for (name, count) in other.crashed_after {
            *self.crashed_after.entry(name).or_default() += count;
        }
        self.crashed_at.extend(other.crashed_at);
    }

    /// What so many seeds have to have come across, or they prove less than they say.
    pub(crate) fn gaps(&self) -> Vec<String> {
        let kinds = [
            "Accepted",
            "Started",
            "StepsDone",
            "Parked",
            "Called",
            "Cancelled",
            "Ended",
            "Carried",
        ];
        let ends = [
            "succeeded",
            "failed",
            "cancelled",
            "quarantined",
            "timed out",
            "without a user",
            "parked too long",
        ];
        let few = |name: &&str, counts: &BTreeMap<&str, u64>| counts.get(*name).copied().unwrap_or_default() < 20;
        let crashes = kinds
            .iter()
            .filter(|name| few(name, &self.crashed_after))
            .map(|name| format!("a crash after {name}"));
        let ends = ends
            .iter()
            .filter(|name| few(name, &self.ends))
            .map(|name| format!("an execution that ends {name}"));
        let places = (0..48)
            .filter(|place| !self.crashed_at.contains(place))
            .map(|place| format!("a crash at entry {place}"));
        let counts = [
            (self.refused, "a refused request"),
            (self.retries, "a retry"),
            (self.parked, "a wait for a credential"),
            (self.short, "a wait for memory"),
            (self.deaths, "a death"),
            (self.jumps, "a jump of the wall clock"),
        ];
        let counts = counts.iter().filter(|(count, _)| *count < 20).map(|(_, name)| (*name).to_owned());
        crashes.chain(ends).chain(places).chain(counts).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            executions,
            receipts,
            refused,
            entries,
            calls,
            retries,
            parked,
            short,
            crashes,
            deaths,
            jumps,
            ..
        } = self;
        writeln!(
            f,
            "{executions} executions ({receipts} acknowledged, {refused} refused), {entries} journal entries"
        )?;
        writeln!(
            f,
            "{calls} steps begun, {retries} retries, {parked} waits for a credential and {short} for memory, {deaths} activations ended by a death, {jumps} jumps of the wall clock"
        )?;
        writeln!(f, "ended: {:?}", self.ends)?;
        writeln!(
            f,
            "{crashes} crashes at {} places of the journal, after {:?}",
            self.crashed_at.len(),
            self.crashed_after
        )
    }
}
