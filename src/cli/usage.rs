//! `perseat usage`: executions, outbound calls and bytes, by whom and through what.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;
use http::Method;
use perseat_domain::usage::Day;
use perseat_store::executions::{Dimension, UsageReport};

use super::ConfigArgs;
use super::client::{self, target};
use super::table::Table;
use crate::cli::print::{say, show};

/// Show what was used: executions that began, calls that their steps sent, and the bytes of both ways
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  perseat usage --by customer --from 2026-01-01 --to 2026-01-31
  perseat usage --customer globex --by user,connection
  perseat usage --by day,customer,user,connection,registration,account --csv > usage.csv

Days are days of UTC. Added up by connection, registration or account, executions are those that called through it.")]
pub struct ShowUsage {
    /// Only of the customer with this external id or name
    #[arg(long)]
    customer: Option<String>,

    /// Added up by these: day, customer, instance, user, connection, registration, account; commas join several
    #[arg(long, value_delimiter = ',', default_values = ["customer", "user"])]
    by: Vec<Dimension>,

    /// From this day on
    #[arg(long, value_name = "DAY")]
    from: Option<Day>,

    /// To this day, included
    #[arg(long, value_name = "DAY")]
    to: Option<Day>,

    /// Print comma-separated values
    #[arg(long, conflicts_with = "json")]
    csv: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    config: ConfigArgs,
}

impl ShowUsage {
    /// Runs the command.
    ///
    /// # Errors
    /// No daemon answers, or it refuses.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.given().load()?;
        let by: BTreeSet<Dimension> = self.by.into_iter().collect();
        let words: Vec<String> = by.iter().map(ToString::to_string).collect();
        let day = |day: Option<Day>| day.map(|day| day.to_string());
        let query = [
            ("customer", &self.customer),
            ("by", &Some(words.join(","))),
            ("from", &day(self.from)),
            ("to", &day(self.to)),
        ];
        if self.csv {
            let mut out = std::io::stdout().lock();
            let (socket, target) = (config.socket(), target("/usage.csv", &query));
            client::block_on(client::receive(&socket, &target, |piece| out.write_all(&piece)))???;
            return Ok(ExitCode::SUCCESS);
        }
        let answer = client::block_on(client::call(&config.socket(), Method::GET, &target("/usage", &query), None))??;
        if self.json {
            say!("{answer:#}");
            return Ok(ExitCode::SUCCESS);
        }
        let report: UsageReport = serde_json::from_value(answer)?;
        show!("{}", table(&report, &by));
        if let Some(oldest) = report.oldest.filter(|oldest| self.from.is_none_or(|from| from < *oldest)) {
            say!("kept since {oldest}");
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn table(report: &UsageReport, by: &BTreeSet<Dimension>) -> Table {
    let words: Vec<String> = by.iter().map(ToString::to_string).collect();
    let titles = words.iter().map(String::as_str);
    let titles: Vec<&str> = titles.chain(["executions", "calls", "sent", "received"]).collect();
    let mut table = Table::new(&titles);
    for row in &report.rows {
        let shown = by.iter().map(|dimension| {
            let fields = row.fields(*dimension);
            // The name, or of what is gone its id.
            let shown = fields.iter().rev().find(|field| !field.is_empty());
            shown.cloned().unwrap_or_default()
        });
        let amount = row.amount;
        let counts = [amount.executions, amount.calls, amount.sent, amount.received].map(|count| count.to_string());
        table.row(shown.chain(counts));
    }
    table
}
