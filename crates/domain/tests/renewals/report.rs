//! What was covered: counted over all seeds, printed at the end, and required.

use perseat_domain::grant::Status;
use std::collections::BTreeMap;
use std::fmt;

#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    met: BTreeMap<&'static str, u64>,
    /// At which step of a renewal the process died.
    crashed: BTreeMap<&'static str, u64>,
    /// Where grants stood, by kind of provider.
    stood: BTreeMap<(&'static str, String), u64>,
}

const MET: [&str; 21] = [
    "strict",
    "forgiving",
    "steady",
    "seldom",
    "a shared grant",
    "a renewal",
    "an answer of 5xx to a token that was spent",
    "a second use",
    "an answer that was lost",
    "an answer of 429",
    "a wait for a credential",
    "a token that was refused",
    "a revocation",
    "a full disk",
    "a reading that failed",
    "a write that failed",
    "a write that failed and was done",
    "a write that was overtaken",
    "an outcome that was put off",
    "a death in the midst of a renewal",
    "an execution that worked",
];
const CRASHED: [&str; 9] = [
    "at any moment",
    "before it is begun",
    "before an intent is durable",
    "after an intent is durable",
    "before the provider is reached",
    "before the answer is heard",
    "before an outcome is durable",
    "after an outcome is durable",
    "after a consent is durable",
];
const STOOD: [(&str, Status); 11] = [
    ("strict", Status::Error),
    ("strict", Status::Failed),
    ("strict", Status::Uncertain),
    ("forgiving", Status::Error),
    ("forgiving", Status::Failed),
    ("forgiving", Status::Uncertain),
    ("steady", Status::Error),
    ("steady", Status::Failed),
    ("seldom", Status::Error),
    ("seldom", Status::Failed),
    ("seldom", Status::Uncertain),
];

impl Report {
    pub(crate) fn note(&mut self, what: &'static str) {
        *self.met.entry(what).or_default() += 1;
    }

    pub(crate) fn crashed(&mut self, step: &'static str) {
        *self.crashed.entry(step).or_default() += 1;
    }

    pub(crate) fn stands(&mut self, kind: &'static str, status: Status) {
        *self.stood.entry((kind, format!("{status:?}"))).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (name, count) in &other.met {
            *self.met.entry(name).or_default() += count;
        }
        for (name, count) in &other.crashed {
            *self.crashed.entry(name).or_default() += count;
        }
        for (name, count) in &other.stood {
            *self.stood.entry(name.clone()).or_default() += count;
        }
    }

    /// What so many seeds have to have come across, or they prove less than they say.
    pub(crate) fn gaps(&self) -> Vec<String> {
        let few = |count: Option<&u64>| count.copied().unwrap_or_default() < 20;
        let met = MET.iter().filter(|name| few(self.met.get(*name))).map(|name| (*name).to_owned());
        let crashed = CRASHED.iter().filter(|name| few(self.crashed.get(*name)));
        let crashed = crashed.map(|name| format!("a crash {name}"));
        let stood = STOOD
            .iter()
            .filter(|(kind, status)| few(self.stood.get(&(*kind, format!("{status:?}")))));
        let stood = stood.map(|(kind, status)| format!("a grant at a {kind} provider that is {status:?}"));
        met.chain(crashed).chain(stood).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}", self.met)?;
        writeln!(f, "crashes: {:?}", self.crashed)?;
        writeln!(f, "stood: {:?}", self.stood)
    }
}
