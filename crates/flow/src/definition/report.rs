//! Collects problems and warnings, and remembers where things stand.

use super::{Code, Diagnostic};
use std::fmt::{self, Write as _};
use std::rc::Rc;

/// Line and column from 1; zero for the text as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

/// Where a value stands: its place, and the way to it from the root.
#[derive(Clone, Debug, Default)]
pub(super) struct Spot {
    pub(super) at: Place,
    path: Option<Rc<Step>>,
}

/// One step of a path. Linked upwards: a path is written out only for a message.
#[derive(Debug)]
struct Step {
    parent: Option<Rc<Self>>,
    segment: Segment,
}

#[derive(Debug)]
enum Segment {
    Key(Rc<str>),
    Index(usize),
}

impl Spot {
    pub(super) fn whole() -> Self {
        Self::default()
    }

    pub(super) fn at(at: Place) -> Self {
        Self { at, path: None }
    }

    pub(super) fn key(&self, key: &Rc<str>, at: Place) -> Self {
        self.below(Segment::Key(Rc::clone(key)), at)
    }

    pub(super) fn index(&self, index: usize, at: Place) -> Self {
        self.below(Segment::Index(index), at)
    }

    fn below(&self, segment: Segment, at: Place) -> Self {
        let parent = self.path.clone();
        Self {
            at,
            path: Some(Rc::new(Step { parent, segment })),
        }
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut steps = Vec::new();
        let mut next = self.path.as_ref();
        while let Some(step) = next {
            steps.push(&step.segment);
            next = step.parent.as_ref();
        }
        for (depth, segment) in steps.iter().rev().enumerate() {
            match segment {
                Segment::Key(key) if depth == 0 => f.write_str(shortened(key))?,
                Segment::Key(key) => write!(f, ".{}", shortened(key))?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Problems and warnings, at most so many of each.
#[derive(Debug)]
pub(super) struct Report {
    problems: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    limit: usize,
    dropped: usize,
}

impl Report {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            problems: Vec::new(),
            warnings: Vec::new(),
            limit: limit.max(1),
            dropped: 0,
        }
    }

    pub(super) fn problem(&mut self, spot: &Spot, code: Code, message: impl Into<String>) {
        self.suggest(spot, code, message, "", []);
    }

    /// A problem with what comes closest to `meant`, if anything does.
    pub(super) fn suggest<'c>(
        &mut self,
        spot: &Spot,
        code: Code,
        message: impl Into<String>,
        meant: &str,
        candidates: impl IntoIterator<Item = &'c str>,
    ) {
        if self.problems.len() < self.limit {
            self.problems
                .push(diagnostic(spot, code, message.into(), nearest(meant, candidates)));
        } else {
            self.dropped += 1;
        }
    }

    pub(super) fn warn(&mut self, spot: &Spot, code: Code, message: impl Into<String>) {
        if self.warnings.len() < self.limit {
            self.warnings.push(diagnostic(spot, code, message.into(), None));
        }
    }

    /// Problems and warnings, in the order of the text.
    pub(super) fn finish(self) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
        let (mut problems, mut warnings) = (self.problems, self.warnings);
        warnings.sort_by_key(|warning| (warning.line, warning.column));
        problems.sort_by_key(|problem| (problem.line, problem.column));
        if self.dropped > 0
            && let Some(last) = problems.last_mut()
        {
            let _ = write!(last.message, " (and {} more problems)", self.dropped);
        }
        (problems, warnings)
    }
}

pub(super) fn diagnostic(spot: &Spot, code: Code, message: String, suggestion: Option<&str>) -> Diagnostic {
    Diagnostic {
        line: spot.at.line,
        column: spot.at.column,
        path: spot.to_string(),
        code,
        message,
        suggestion: suggestion.map(str::to_owned),
    }
}

fn shortened(text: &str) -> &str {
    text.char_indices().nth(60).map_or(text, |(end, _)| &text[..end])
}

/// A name as it stands in messages: in backticks, cut if long.
pub(super) fn quoted(text: &str) -> String {
    let short = shortened(text);
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("`{short}{more}`")
}

/// Longer names are not compared.
const LONGEST_NAME: usize = 80;
/// Further candidates are not compared.
const MOST_CANDIDATES: usize = 1000;

/// The candidate most like `text`, if one is near.
#[must_use]
pub fn nearest<'c>(text: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    if text.is_empty() || text.len() > LONGEST_NAME {
        return None;
    }
    let lower = text.to_lowercase();
    candidates
        .into_iter()
        .take(MOST_CANDIDATES)
        .filter(|candidate| candidate.len() <= LONGEST_NAME && *candidate != text)
        .map(|candidate| (likeness(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness > 0.84)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, candidate)| candidate)
}

/// From 0 to 1. One slip of the finger counts as near even in a short name.
fn likeness(left: &str, right: &str) -> f64 {
    if left.len() > 2 && strsim::osa_distance(left, right) <= 1 {
        return 0.99;
    }
    strsim::jaro_winkler(left, right)
}
