//! The keys of what is counted, by registration among others; as [`super::settings`].

use super::Config;
use super::declare::{Key, Preset, Section, path, settings};
use super::source::Reader;
use super::value::{Count, Value};
use perseat_store::usage::UsageLimits;

settings! {
    /// What is counted of executions and their calls, and how many registrations and accounts they may go through.
    UsageSettings;

    /// Executions, outbound calls and bytes by day, customer, user and connection.
    usage "usage": Usage {
        /// Days that are kept; of days without any execution nothing is kept.
        days: Count = 400;
        /// Rows that are kept, one for each user and connection a day; beyond it the oldest days go. A row takes about 150 bytes.
        rows: Count = 2_000_000;
        /// Rows of one report.
        report_rows: Count = 50_000;
    }

    /// App registrations of customers.
    registrations "registrations": Registrations {
        /// How many one customer may have with one provider. Providers have a limit themselves: Docusign's is 100 an account.
        per_provider: Count = 100;
    }

    /// Accounts at providers, of which a person chooses one after consent.
    accounts "accounts": Accounts {
        /// How many one grant may reach. A provider that lists more is refused: nobody finds theirs among so many.
        per_grant: Count = 100;
    }
}

impl Config {
    /// How much is kept.
    pub(super) fn usage_limits(&self) -> UsageLimits {
        let usage = &self.people.counted.usage;
        UsageLimits {
            days: usage.days.get().max(1),
            rows: usage.rows.get().into(),
        }
    }

    /// App registrations that a customer may have with one provider.
    pub(super) fn registrations_per_provider(&self) -> usize {
        self.people.counted.registrations.per_provider.as_usize()
    }

    /// Accounts that one grant may reach.
    pub(super) fn accounts_per_grant(&self) -> usize {
        self.people.counted.accounts.per_grant.as_usize()
    }

    /// How long a report may be.
    pub(super) fn report_rows(&self) -> usize {
        self.people.counted.usage.report_rows.as_usize()
    }
}
