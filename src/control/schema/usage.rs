//! Usage: executions, outbound calls and bytes, by whom and through what.

use super::answer::{desk, error, read, spend};
use super::cost;
use super::scalars::BigInt;
use async_graphql::{Context, Enum, ID, Object, Result, SimpleObject};
use perseat_admin::fault::Fault;
use perseat_domain::id::{CustomerId, InstanceId, RegistrationId, UserId, join_global};
use perseat_domain::usage::Day;
use perseat_store::executions::{Dimension, Named, UsageError, UsageQuery as Asked, UsageRow as Row};

/// What usage is added up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "Dimension")]
enum UsageDimension {
    Day,
    Customer,
    Instance,
    User,
    Connection,
    Registration,
    Account,
}

/// What was used.
#[derive(Clone, Debug, SimpleObject)]
struct UsageReport {
    /// The oldest day that is kept, such as 2026-01-31.
    kept_since: Option<String>,
    /// A row for each combination of what it was added up by, in their order.
    rows: Vec<UsageRow>,
}

/// Usage of one combination; what it is not added up by is null. Names are those of today, null for what is gone.
#[derive(Clone, Debug, SimpleObject)]
struct UsageRow {
    /// A day of UTC, such as 2026-01-31.
    day: Option<String>,
    customer_id: Option<ID>,
    customer_name: Option<String>,
    instance_id: Option<ID>,
    instance_name: Option<String>,
    user_id: Option<ID>,
    user_name: Option<String>,
    /// The connection's stable key; empty for calls without one.
    connection: Option<String>,
    registration_id: Option<ID>,
    registration_name: Option<String>,
    /// What the provider account is counted as: `countedAs` of a grant's account.
    account: Option<String>,
    /// Executions that began; by connection, registration or account those that called through it.
    executions: BigInt,
    /// Requests that their steps sent, retries and redirects included.
    calls: BigInt,
    /// Bytes of their bodies.
    sent: BigInt,
    /// Bytes of the bodies that came back.
    received: BigInt,
}

impl From<Row> for UsageRow {
    fn from(row: Row) -> Self {
        let parts = |kind: &str, named: Option<Named>| {
            let id = named.as_ref().and_then(|named| named.id.parse().ok());
            (id.map(|id| join_global(kind, id).into()), named.and_then(|named| named.name))
        };
        let (customer_id, customer_name) = parts(CustomerId::KIND, row.customer);
        let (instance_id, instance_name) = parts(InstanceId::KIND, row.instance);
        let (user_id, user_name) = parts(UserId::KIND, row.user);
        let (registration_id, registration_name) = parts(RegistrationId::KIND, row.registration);
        Self {
            day: row.day.map(|day| day.to_string()),
            customer_id,
            customer_name,
            instance_id,
            instance_name,
            user_id,
            user_name,
            connection: row.connection,
            registration_id,
            registration_name,
            account: row.account,
            executions: BigInt(row.amount.executions),
            calls: BigInt(row.amount.calls),
            sent: BigInt(row.amount.sent),
            received: BigInt(row.amount.received),
        }
    }
}

/// Reading usage.
#[derive(Debug, Default)]
pub(super) struct UsageQuery;

#[Object]
impl UsageQuery {
    /// What was used from one day of UTC to another, both included: of a customer or of all, added up by what is asked for.
    #[graphql(complexity = "cost::part(child_complexity)")]
    async fn usage(
        &self,
        ctx: &Context<'_>,
        customer: Option<ID>,
        from: Option<String>,
        to: Option<String>,
        by: Vec<UsageDimension>,
    ) -> Result<UsageReport> {
        let day = |field: &str, text: Option<String>| {
            let day = text.map(|text| text.parse::<Day>()).transpose();
            day.map_err(|wrong| error(Fault::field(field, wrong.to_string())))
        };
        let customer = customer.map(|id| id.parse::<CustomerId>()).transpose();
        let customer = customer.map_err(|_| error(Fault::Absent("customer")))?;
        let asked = Asked {
            from: day("from", from)?,
            to: day("to", to)?,
            customer: read(ctx, |reader| reader.customer_of_usage(customer))?,
            by: by.into_iter().map(Dimension::from).collect(),
        };
        let mut spent = Ok(());
        let report = desk(ctx)?.executions().usage(&asked, || {
            spent = spend(ctx, 1);
            spent.is_ok()
        });
        spent?;
        match report {
            Ok(report) => Ok(UsageReport {
                kept_since: report.oldest.map(|day| day.to_string()),
                rows: report.rows.into_iter().map(UsageRow::from).collect(),
            }),
            Err(long @ UsageError::TooLong(_)) => Err(error(Fault::field("by", long.to_string()))),
            Err(failure) => {
                tracing::error!(error = &failure as &dyn std::error::Error, "usage could not be read");
                Err(async_graphql::Error::new("Internal error."))
            }
        }
    }
}
