//! The usage report: what was called by whom, added up by what is asked for.

use super::{ExecutionReader, Named};
use crate::index::IndexError;
use perseat_domain::id::{CustomerId, InstanceId, RegistrationId, UserId};
use perseat_domain::usage::{Amount, Day, UsageKey};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

macro_rules! dimensions {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal,)+) => {
        /// What usage is added up by.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Dimension { $($(#[doc = $doc])+ $name,)+ }

        impl Dimension {
            /// All of them, in the order of columns.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];
        }

        impl fmt::Display for Dimension {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$name => $word,)+ })
            }
        }
    };
}

dimensions! {
    /// The day of UTC on which it was recorded.
    Day = "day",
    /// The customer.
    Customer = "customer",
    /// The instance.
    Instance = "instance",
    /// The person.
    User = "user",
    /// The connection's stable key.
    Connection = "connection",
    /// The customer's app registration.
    Registration = "registration",
    /// The account at the provider.
    Account = "account",
}

/// A word that names no dimension.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("usage is added up by day, customer, instance, user, connection, registration or account")]
pub struct NoDimension;

impl FromStr for Dimension {
    type Err = NoDimension;

    fn from_str(word: &str) -> Result<Self, NoDimension> {
        let found = Self::ALL.iter().find(|dimension| dimension.to_string() == word);
        found.copied().ok_or(NoDimension)
    }
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageQuery {
    /// From this day on.
    pub from: Option<Day>,
    /// To this day, included.
    pub to: Option<Day>,
    /// Of this customer.
    pub customer: Option<CustomerId>,
    /// Added up by these.
    pub by: BTreeSet<Dimension>,
}

/// What was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageReport {
    /// The oldest day that is kept, if there is any.
    pub oldest: Option<Day>,
    /// A row for each combination of what it was added up by, in their order.
    pub rows: Vec<UsageRow>,
}

/// Usage of one combination; what it is not added up by is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRow {
    /// The day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day: Option<Day>,
    /// The customer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer: Option<Named>,
    /// The instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<Named>,
    /// The person; absent as well where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Named>,
    /// The connection's stable key; empty for calls without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// The app registration; absent as well where it was the integration's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration: Option<Named>,
    /// What the provider account is counted as; absent as well where none was chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// How much.
    #[serde(flatten)]
    pub amount: Amount,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// The index cannot be read.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// It would be too long.
    #[error("the report has more than {0} rows (`usage.report-rows`); ask for fewer days, for one customer or by less")]
    TooLong(usize),
    /// Whoever asked wants no more.
    #[error("the report was broken off")]
    BrokenOff,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    day: Option<Day>,
    customer: Option<CustomerId>,
    instance: Option<InstanceId>,
    user: Option<UserId>,
    connection: Option<String>,
    /// With the instance that it is of.
    registration: Option<(RegistrationId, InstanceId)>,
    account: Option<String>,
}

impl UsageQuery {
    /// Whether rows of calls say how many executions there were: those that called through it.
    fn is_by_calls(&self) -> bool {
        [Dimension::Connection, Dimension::Registration, Dimension::Account]
            .iter()
            .any(|dimension| self.by.contains(dimension))
    }

    /// The group that a stored row belongs to, and what it adds there; none if it adds nothing.
    fn group(&self, key: UsageKey, mut amount: Amount) -> Option<(Group, Amount)> {
        if self.customer.is_some_and(|customer| customer != key.customer) {
            return None;
        }
        if key.through.is_some() != self.is_by_calls() {
            amount.executions = 0;
        }
        if amount == Amount::default() {
            return None;
        }
        let by = |dimension| self.by.contains(&dimension);
        let through = key.through.unwrap_or_default();
        let group = Group {
            day: by(Dimension::Day).then_some(key.day),
            customer: by(Dimension::Customer).then_some(key.customer),
            instance: by(Dimension::Instance).then_some(key.instance),
            user: key.user.filter(|_| by(Dimension::User)),
            connection: by(Dimension::Connection).then_some(through.connection),
            registration: through
                .registration
                .filter(|_| by(Dimension::Registration))
                .map(|id| (id, key.instance)),
            account: through.account.filter(|_| by(Dimension::Account)),
        };
        Some((group, amount))
    }
}

impl ExecutionReader {
    /// What was used. `goes_on` is asked for each row that is read. Blocks on the disk.
    ///
    /// # Errors
    /// See [`UsageError`].
    pub fn usage(&self, query: &UsageQuery, mut goes_on: impl FnMut() -> bool) -> Result<UsageReport, UsageError> {
        let days = query.from.unwrap_or_default()..=query.to.unwrap_or(Day(u32::MAX));
        let most = self.limits.usage_rows;
        let mut groups: BTreeMap<Group, Amount> = BTreeMap::new();
        let oldest = self.index.usage(days, query.customer, |key, amount| {
            if !goes_on() {
                return Err(UsageError::BrokenOff);
            }
            if let Some((group, amount)) = query.group(key, amount) {
                groups.entry(group).or_default().add(amount);
                if groups.len() > most {
                    return Err(UsageError::TooLong(most));
                }
            }
            Ok(())
        })?;
        let rows = groups.into_iter().map(|(group, amount)| self.usage_row(group, amount));
        Ok(UsageReport {
            oldest,
            rows: rows.collect(),
        })
    }

    fn usage_row(&self, group: Group, amount: Amount) -> UsageRow {
        let named = |id: String, name: Option<String>| Named { id, name };
        UsageRow {
            day: group.day,
            customer: group.customer.map(|id| named(id.to_string(), self.names.customer(id))),
            instance: group.instance.map(|id| named(id.to_string(), self.names.instance(id))),
            user: group.user.map(|id| named(id.to_string(), self.names.user(id))),
            connection: group.connection,
            registration: group
                .registration
                .map(|(id, instance)| named(id.to_string(), self.names.registration(instance, id))),
            account: group.account,
            amount,
        }
    }
}

impl UsageReport {
    /// As a table with a line of titles, comma-separated (RFC 4180). Text that a spreadsheet would take for a formula begins
    /// with an apostrophe.
    #[must_use]
    pub fn csv(&self, by: &BTreeSet<Dimension>) -> String {
        let mut titles = Vec::new();
        for dimension in by {
            let word = dimension.to_string();
            if is_named(*dimension) {
                titles.push(format!("{word}_id"));
            }
            titles.push(word);
        }
        titles.extend(["executions", "calls", "sent_bytes", "received_bytes"].map(str::to_owned));
        let mut text = line(&titles);
        for row in &self.rows {
            let mut fields = Vec::new();
            by.iter().for_each(|dimension| fields.extend(row.fields(*dimension)));
            let Amount {
                executions,
                calls,
                sent,
                received,
            } = row.amount;
            fields.extend([executions, calls, sent, received].map(|count| count.to_string()));
            text.push_str(&line(&fields));
        }
        text
    }
}

fn is_named(dimension: Dimension) -> bool {
    matches!(
        dimension,
        Dimension::Customer | Dimension::Instance | Dimension::User | Dimension::Registration
    )
}

impl UsageRow {
    /// What a dimension's columns hold: the id before the name where it has both.
    #[must_use]
    pub fn fields(&self, dimension: Dimension) -> Vec<String> {
        let named = |named: &Option<Named>| {
            let Named { id, name } = named.clone().unwrap_or_else(|| Named {
                id: String::new(),
                name: None,
            });
            vec![id, name.unwrap_or_default()]
        };
        match dimension {
            Dimension::Day => vec![self.day.map(|day| day.to_string()).unwrap_or_default()],
            Dimension::Customer => named(&self.customer),
            Dimension::Instance => named(&self.instance),
            Dimension::User => named(&self.user),
            Dimension::Connection => vec![self.connection.clone().unwrap_or_default()],
            Dimension::Registration => named(&self.registration),
            Dimension::Account => vec![self.account.clone().unwrap_or_default()],
        }
    }
}

fn line(fields: &[String]) -> String {
    let fields: Vec<String> = fields.iter().map(|field| quoted(field)).collect();
    fields.join(",") + "\r\n"
}

fn quoted(field: &str) -> String {
    let is_formula = field.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let field = if is_formula { format!("'{field}") } else { field.to_owned() };
    if field.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_quotes_what_would_be_another_field_and_disarms_formulas() {
        let row = UsageRow {
            user: Some(Named {
                id: "7".into(),
                name: Some("=HYPERLINK(\"x\"), Jane".into()),
            }),
            connection: Some("account".into()),
            amount: Amount {
                executions: 1,
                calls: 2,
                sent: 3,
                received: 4,
            },
            ..UsageRow::default()
        };
        let report = UsageReport {
            oldest: None,
            rows: vec![row],
        };
        assert_eq!(
            report.csv(&[Dimension::User, Dimension::Connection].into()),
            "user_id,user,connection,executions,calls,sent_bytes,received_bytes\r\n7,\"'=HYPERLINK(\"\"x\"\"), Jane\",account,1,2,3,4\r\n"
        );
    }
}
