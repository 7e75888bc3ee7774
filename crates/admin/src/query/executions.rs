//! Executions as whoever asks may see them.
//!
//! One that ran on behalf of a person whom they may not see says no more of that person than nothing: the name is absent, and where
//! log lines and errors name the person stands a blank. Who is gone cannot be recognized in a text: then these are withheld. What was
//! sent and what steps gave is never here; how much of that is shown goes by [`Sight`].

use super::Reader;
use crate::access::Operation;
use crate::fault::Fault;
use perseat_domain::entry::LogLine;
use perseat_domain::id::{CustomerId, UserId};
use perseat_domain::model::{Customer, User};
use perseat_domain::time::Timestamp;
use perseat_store::catalog::Lookup as _;
use perseat_store::executions::{ExecutionLog, ExecutionOutline, ExecutionSummary, Named, Part, Unreadable};
use perseat_store::index::Status;
use std::ops::Deref;

/// How much of an execution's data is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// All of it.
    Whole,
    /// All but the URLs by which its person's events come in: who has one acts as that person.
    WithoutUrls,
    /// Nothing that may name its person.
    WithoutPerson,
}

/// An execution that whoever asks may see, as far as they may. Only a [`Reader`] makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct VisibleExecution {
    outline: ExecutionOutline,
    sight: Sight,
}

impl VisibleExecution {
    /// How much of its data is shown.
    #[must_use]
    pub fn sight(&self) -> Sight {
        self.sight
    }

    /// What went wrong, with its stable code.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        let code = self.outline.summary.code?;
        Some(match &self.outline.message {
            Some(Part::Readable(message)) if !message.is_empty() => format!("{message} ({code})"),
            _ => code.to_string(),
        })
    }
}

impl Deref for VisibleExecution {
    type Target = ExecutionOutline;

    fn deref(&self) -> &ExecutionOutline {
        &self.outline
    }
}

/// What an execution said, as far as whoever asks may see it. Only a [`Reader`] makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct VisibleLog(ExecutionLog);

impl VisibleLog {
    /// What lists say of the execution.
    #[must_use]
    pub fn summary(&self) -> &ExecutionSummary {
        &self.0.summary
    }

    /// What it said, in the order in which it was said; of a log that is cut a line of no step says so, and once it has ended a last one.
    #[must_use]
    pub fn lines(&self) -> Vec<LogLine> {
        let Self(log) = self;
        let readable = |part: &Part<Vec<LogLine>>| match part {
            Part::Readable(lines) => lines.clone(),
            Part::Unreadable { .. } => Vec::new(),
        };
        let mut lines: Vec<LogLine> = log.parts.iter().flat_map(readable).collect();
        let of_no_step = |at: Timestamp, level: &str, message: &str| LogLine {
            at,
            level: level.to_owned(),
            step: String::new(),
            message: message.to_owned(),
        };
        if log.is_cut {
            let at = lines.last().map_or(log.summary.accepted_at, |line| line.at);
            lines.push(of_no_step(at, "warn", CUT));
        }
        lines.extend(log.summary.ended_at.map(|at| {
            let name = log.summary.instance.as_ref().and_then(|instance| instance.name.as_deref());
            let message = format!("Ending Instance Execution {}", name.unwrap_or_default());
            let level = if log.summary.status == Status::Succeeded { "info" } else { "error" };
            of_no_step(at, level, message.trim_end())
        }));
        lines
    }
}

/// What the log of an execution ends with that has more lines than are read of one.
const CUT: &str = "There is more of this log than is read of one execution (half of api.query-bytes).";

/// What lists say of an execution, to whoever may see it. Only a [`Reader`] makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct VisibleSummary(ExecutionSummary);

impl Deref for VisibleSummary {
    type Target = ExecutionSummary;

    fn deref(&self) -> &ExecutionSummary {
        &self.0
    }
}

impl Reader<'_> {
    /// The customer whose executions whoever asks sees; for a customer's people.
    ///
    /// # Errors
    /// Their role sees none.
    pub fn customer_of_executions(&self) -> Result<CustomerId, Fault> {
        self.actor.check(Operation::ViewLogs)?;
        self.actor.customer().ok_or(Fault::Absent("customer"))
    }

    /// The customer whose usage whoever asks sees: their own, or the one that the organization's people ask for, if any.
    ///
    /// # Errors
    /// Their role sees none, or there is no such customer for them.
    pub fn customer_of_usage(&self, asked: Option<CustomerId>) -> Result<Option<CustomerId>, Fault> {
        let own = self.actor.customer();
        if let Some(asked) = asked
            && (own.is_some_and(|own| own != asked) || self.view.get::<Customer>(asked)?.is_none())
        {
            return Err(Fault::Absent("customer"));
        }
        self.actor.check(Operation::ViewUsage)?;
        Ok(asked.or(own))
    }

    /// What a list says of an execution; nothing where whoever asks may not see it. Those of nobody are the organization's.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn execution_summary(&self, mut summary: ExecutionSummary) -> Result<Option<VisibleSummary>, Fault> {
        Ok(self.look(&mut summary)?.map(|_| VisibleSummary(summary)))
    }

    /// What happened in it, as far as whoever asks may see it.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn execution(&self, mut outline: ExecutionOutline) -> Result<Option<VisibleExecution>, Fault> {
        let Some((sight, hidden)) = self.look(&mut outline.summary)? else {
            return Ok(None);
        };
        outline.message = outline.message.map(|message| match (&hidden, message) {
            (Hidden::Nobody, message) => message,
            (Hidden::Gone, _) => Part::Unreadable {
                unreadable: Unreadable::Withheld,
            },
            (Hidden::Person(words), Part::Readable(text)) => Part::Readable(words.blanked(&text)),
            (Hidden::Person(_), unreadable) => unreadable,
        });
        Ok(Some(VisibleExecution { outline, sight }))
    }

    /// What it said, as far as whoever asks may see it.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn execution_log(&self, mut log: ExecutionLog) -> Result<Option<VisibleLog>, Fault> {
        let Some((_, hidden)) = self.look(&mut log.summary)? else {
            return Ok(None);
        };
        match hidden {
            Hidden::Nobody => {}
            Hidden::Gone => log.parts.clear(),
            Hidden::Person(words) => {
                for part in &mut log.parts {
                    if let Part::Readable(lines) = part {
                        lines.iter_mut().for_each(|line| line.message = words.blanked(&line.message));
                    }
                }
            }
        }
        Ok(Some(VisibleLog(log)))
    }

    /// How much is shown, and who is not to be named; none where whoever asks may not see it. Takes the name out of the summary.
    fn look(&self, summary: &mut ExecutionSummary) -> Result<Option<(Sight, Hidden)>, Fault> {
        let customer = customer_of(summary);
        if !self.sees_execution(customer) {
            return Ok(None);
        }
        let (sight, user) = self.sight_of(summary, customer)?;
        let named = summary.user.take_if(|_| sight == Sight::WithoutPerson);
        let hidden = match (named, user) {
            (None, _) => Hidden::Nobody,
            (Some(_), None) => Hidden::Gone,
            (Some(named), Some(user)) => Hidden::Person(Words::of(&user, &named)),
        };
        Ok(Some((sight, hidden)))
    }

    fn sees_execution(&self, customer: Option<CustomerId>) -> bool {
        match customer {
            Some(customer) => self.sees_logs_of(customer),
            None => self.actor.customer().is_none() && self.actor.may(Operation::ViewLogs),
        }
    }

    /// How much is shown, and the person on whose behalf it ran, where they exist.
    fn sight_of(&self, summary: &ExecutionSummary, customer: Option<CustomerId>) -> Result<(Sight, Option<User>), Fault> {
        let Some(named) = &summary.user else {
            return Ok((Sight::Whole, None));
        };
        let person = named.id.parse::<UserId>().ok();
        let user = person.map(|id| self.view.get::<User>(id)).transpose()?.flatten();
        Ok((self.sight(person, user.as_ref(), customer), user))
    }

    fn sight(&self, person: Option<UserId>, user: Option<&User>, customer: Option<CustomerId>) -> Sight {
        if person.is_some() && self.actor.user() == person {
            return Sight::Whole;
        }
        let sees = match user {
            Some(user) => self.sees(user),
            None => self.actor.customer().is_none() && self.actor.may(Operation::ViewCustomerUsers),
        };
        let has_urls = customer.is_some_and(|customer| self.actor.may_for(Operation::ViewUserConfigs, customer));
        match (sees, has_urls) {
            (false, _) => Sight::WithoutPerson,
            (true, false) => Sight::WithoutUrls,
            (true, true) => Sight::Whole,
        }
    }
}

fn customer_of(summary: &ExecutionSummary) -> Option<CustomerId> {
    summary.customer.as_ref()?.id.parse().ok()
}

/// Whom texts must not name.
enum Hidden {
    Nobody,
    /// Somebody who cannot be recognized any more.
    Gone,
    Person(Words),
}

/// What stands in the place of what names a person.
const BLANK: &str = "•••";
/// Shorter words of a name are no names.
const SHORTEST: usize = 2;

/// One lower-case letter for each letter, so that places are the same in both.
fn lower_case(letter: char) -> char {
    letter.to_lowercase().next().unwrap_or(letter)
}

/// What names a person, in lower case.
struct Words {
    /// Wherever they stand.
    anywhere: Vec<Vec<char>>,
    /// The words of the name, where they stand alone.
    alone: Vec<Vec<char>>,
}

impl Words {
    fn of(user: &User, named: &Named) -> Self {
        let lower = |text: &str| text.trim().chars().map(lower_case).collect::<Vec<char>>();
        let id = user.id.global();
        let address = user.email.as_deref().and_then(|email| email.split_once('@'));
        let whole = [
            Some(user.name.as_str()),
            named.name.as_deref(),
            user.email.as_deref(),
            user.external_id.as_deref(),
            user.subject.as_deref(),
            Some(user.profile.phone.as_str()),
            Some(id.as_str()),
            Some(named.id.as_str()),
        ];
        let mut anywhere: Vec<Vec<char>> = whole.into_iter().flatten().map(lower).filter(|text| !text.is_empty()).collect();
        // The longest first, so that no part of it is left.
        anywhere.sort_by_key(|text| std::cmp::Reverse(text.len()));
        let words = user.name.split(|letter: char| !letter.is_alphanumeric());
        let words = words.chain(address.map(|(local, _)| local)).map(lower);
        Self {
            anywhere,
            alone: words.filter(|word| word.len() >= SHORTEST).collect(),
        }
    }

    fn blanked(&self, text: &str) -> String {
        let letters: Vec<char> = text.chars().collect();
        let lower: Vec<char> = letters.iter().copied().map(lower_case).collect();
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        while at < letters.len() {
            match self.length_at(&lower, at) {
                Some(length) => {
                    out.push_str(BLANK);
                    at += length;
                }
                None => {
                    out.push(letters[at]);
                    at += 1;
                }
            }
        }
        out
    }

    /// How long the word is that begins here.
    fn length_at(&self, text: &[char], at: usize) -> Option<usize> {
        let begins = |word: &&Vec<char>| text[at..].starts_with(word);
        let stands_alone = |word: &&Vec<char>| {
            let before = at.checked_sub(1).and_then(|place| text.get(place));
            let after = text.get(at + word.len());
            [before, after].into_iter().flatten().all(|letter| !letter.is_alphanumeric())
        };
        let anywhere = self.anywhere.iter().find(begins);
        let found = anywhere.or_else(|| self.alone.iter().find(|word| begins(word) && stands_alone(word)));
        found.map(Vec::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use perseat_domain::model::{Membership, Profile, Role};

    #[test]
    fn texts_lose_what_names_a_person() {
        let id = UserId(uuid::Uuid::from_u128(7));
        let user = User {
            id,
            membership: Membership::Organization,
            external_id: Some("j-42".into()),
            name: "Jane Ö. Doe".into(),
            email: Some("jd@example.com".into()),
            subject: None,
            subject_seen_at: None,
            labels: Vec::new(),
            role: Role::Member,
            profile: Profile {
                phone: "+49 7".into(),
                ..Profile::default()
            },
        };
        let named = Named {
            id: id.to_string(),
            name: None,
        };
        let words = Words::of(&user, &named);
        for (text, shown) in [
            ("hello JANE ö. doe!", "hello •••!"),
            ("jane wrote; Janet did not", "••• wrote; Janet did not"),
            ("to JD@example.com, xj-42y, +49 7", "to •••, x•••y, •••"),
            ("jd and Ö", "••• and Ö"),
            ("İstanbul", "İstanbul"),
            ("", ""),
        ] {
            assert_eq!(words.blanked(text), shown, "{text}");
        }
        assert!(!words.blanked(&format!("user:{id}")).contains(&id.to_string()));
    }
}
