//! Asks the data sources of a page: those whose variables are at hand, together, for whoever's page it is and nobody else.

use super::Asked;
use super::draft::Draft;
use super::field::{Field, Kind};
use super::form::{self, Sent};
use super::offered::{Lack, binds};
use crate::control::Turns;
use perseat_actors::source::{Offered, Question, Sources, Unanswered};
use perseat_domain::code::ErrorCode;
use perseat_domain::id::ExecutionId;
use perseat_domain::owner::UserKey;
use perseat_flow::offer::Offer;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// Limits of data sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceOptions {
    /// How long one may take.
    pub time: Duration,
    /// The largest result, as JSON, in bytes.
    pub max_result: usize,
    /// Choices, fields of objects and controls of a form that one may give.
    pub choices: usize,
    /// Pages of one user at once whose data sources run.
    pub per_user: usize,
    /// Such pages of all users.
    pub at_once: usize,
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(15),
            max_result: 1 << 20,
            choices: 1000,
            per_user: 2,
            at_once: 32,
        }
    }
}

/// The code of a result that is not what its variable needs.
const INVALID: &str = "data_source_invalid";

/// How many times the time of one all of a page may take before the rest is left out. No key: it bounds a page, not a run.
const PATIENCE: u32 = 2;

/// The field of a form by which data sources are asked again: it names the variable.
pub(super) const LOAD: &str = "load";

/// Asks within the limits.
#[derive(Debug)]
pub(super) struct Asking {
    sources: Sources,
    options: SourceOptions,
    turns: Turns,
    runtime: Handle,
}

impl Asking {
    pub(super) fn new(sources: Sources, options: SourceOptions, runtime: Handle) -> Self {
        Self {
            turns: Turns::new(options.at_once, options.per_user),
            sources,
            options,
            runtime,
        }
    }

    /// Asks the data sources of the fields that are at hand. With a form, values that were typed count, once they are what
    /// they may be; only those that say what may be chosen are asked then, unless the form was sent to ask. Blocks.
    pub(super) fn fill(&self, asked: Asked<'_>, draft: &mut Draft, sent: Option<&Sent>) {
        let is_saving = sent.is_some_and(|sent| sent.text(LOAD).is_none());
        let wanted = |field: &Field| {
            let is_wanted = match is_saving {
                true => binds(field) && sent.is_some_and(|sent| sent.has(field)),
                false => true,
            };
            field.source.is_some() && is_wanted
        };
        let mut waiting: BTreeSet<String> = draft
            .fields
            .iter()
            .filter(|field| wanted(field))
            .map(|field| field.key.clone())
            .collect();
        let Some(user) = draft.user else {
            let unsaved = draft.fields.iter_mut().filter(|field| waiting.contains(&field.key));
            for field in unsaved {
                field.lack = Some(Lack::Unsaved);
                field.kind = Kind::Awaits;
            }
            return;
        };
        let mut typed = BTreeMap::new();
        let until = Instant::now() + PATIENCE * self.options.time;
        while !waiting.is_empty() {
            if let Some(sent) = sent {
                take_typed(&draft.fields, sent, &waiting, &mut typed);
            }
            // Those that take what another one offers wait for it; those that wait for each other do not.
            let is_free = |field: &&Field| waiting.contains(&field.key) && field.takes.is_disjoint(&waiting);
            let mut turn: BTreeSet<String> = draft.fields.iter().filter(is_free).map(|field| field.key.clone()).collect();
            if turn.is_empty() {
                turn.clone_from(&waiting);
            }
            let questions = self.questions(user, draft, &turn, &typed);
            self.ask(asked, user, draft, questions, until);
            waiting.retain(|key| !turn.contains(key));
        }
    }

    /// What is asked for these fields; of those that cannot be asked yet, it is said what they wait for.
    fn questions(
        &self,
        user: UserKey,
        draft: &mut Draft,
        turn: &BTreeSet<String>,
        typed: &BTreeMap<String, String>,
    ) -> Vec<(usize, Question)> {
        let mut questions = Vec::new();
        for place in 0..draft.fields.len() {
            let field = &draft.fields[place];
            let Some(source) = field.source.clone().filter(|_| turn.contains(&field.key)) else {
                continue;
            };
            let needs = needed(field, &draft.fields, typed);
            if !needs.is_empty() {
                let names = needs.join(", ");
                draft.fields[place].lack = Some(Lack::Waits { names });
                continue;
            }
            let question = Question {
                user,
                variable: field.stable_key.clone(),
                source,
                typed: typed.clone(),
                reference: ExecutionId(uuid::Uuid::now_v7()),
                time: self.options.time,
                max_result: self.options.max_result,
            };
            questions.push((place, question));
        }
        questions
    }

    fn ask(&self, asked: Asked<'_>, user: UserKey, draft: &mut Draft, mut questions: Vec<(usize, Question)>, until: Instant) {
        if questions.is_empty() {
            return;
        }
        let Some(_turn) = self.turns.take(&asked.actor.who.to_string()) else {
            for (place, question) in questions {
                let (reference, instance) = (question.reference, user.instance);
                tracing::warn!(%reference, %instance, "a data source was not run: others run (data-sources.per-user, data-sources.at-once)");
                draft.fields[place].lack = failed(ErrorCode::RateLimited.as_str(), reference);
            }
            return;
        };
        let mut offered = Vec::new();
        (asked.aside.0)(&mut || offered = self.runtime.block_on(self.all(std::mem::take(&mut questions), until)));
        for (place, reference, offered) in offered {
            let field = &mut draft.fields[place];
            let collection = field.collection;
            match offered {
                Err(Unanswered(code)) => field.lack = failed(code.as_str(), reference),
                Ok(result) => match Offer::read(field.data_type, collection, &result, self.options.choices) {
                    Ok(offer) => field.offered(offer, collection),
                    Err(error) => {
                        tracing::warn!(%reference, instance = %user.instance, variable = %field.stable_key, code = INVALID, "a data source failed: {error}");
                        field.lack = failed(INVALID, reference);
                    }
                },
            }
        }
    }

    /// One after the other, as a user's scripts run: one that hangs takes its own time and nobody else's.
    async fn all(&self, questions: Vec<(usize, Question)>, until: Instant) -> Vec<(usize, ExecutionId, Offered)> {
        let mut all = Vec::with_capacity(questions.len());
        for (place, question) in questions {
            let (reference, instance) = (question.reference, question.user.instance);
            let offered = if Instant::now() < until {
                self.sources.ask(question).await
            } else {
                tracing::warn!(%reference, %instance, "a data source was not run: those before it took too long (data-sources.time)");
                Err(Unanswered(ErrorCode::StepTimeout))
            };
            all.push((place, reference, offered));
        }
        all
    }
}

fn failed(code: &'static str, reference: ExecutionId) -> Option<Lack> {
    Some(Lack::Failed {
        code,
        reference: reference.to_string(),
    })
}

/// Takes what was typed and may be: not what still waits for its own data source.
fn take_typed(fields: &[Field], sent: &Sent, waiting: &BTreeSet<String>, typed: &mut BTreeMap<String, String>) {
    let others = fields
        .iter()
        .filter(|field| field.kind != Kind::Connection && !waiting.contains(&field.key) && sent.has(field));
    for field in others {
        if let Ok(Some(given)) = form::value(field, sent)
            && let Some(text) = given.value
        {
            typed.insert(field.stable_key.clone(), text);
        }
    }
}

/// The variables of the page that the field's data source takes and that have no value yet, by display name.
fn needed(field: &Field, fields: &[Field], typed: &BTreeMap<String, String>) -> Vec<String> {
    let is_given = |other: &Field| match other.kind {
        Kind::Connection => other.status == Some("ACTIVE"),
        _ => {
            let typed = typed.get(&other.stable_key).is_some_and(|text| !text.is_empty());
            typed || other.values.iter().any(|value| !value.is_empty()) || !other.pairs.is_empty()
        }
    };
    let taken = fields.iter().filter(|other| field.takes.contains(&other.key));
    taken.filter(|other| !is_given(other)).map(|other| other.key.clone()).collect()
}
