//! The metrics: their names, what they mean, and the recorder behind `/metrics`.
//!
//! No metric is labelled by user, customer or execution: their number is not ours to bound. `docs/metrics.md` is written from
//! this list, and a test compares the list with the names that the sources use.

use std::fmt::Write as _;
use std::time::Duration;

use metrics::Unit;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_appender::non_blocking::ErrorCounter;

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Distribution of durations in seconds.
    Seconds,
    /// Distribution of numbers.
    Amount,
}

/// A metric as the operator sees it.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its labels and the values they may have.
    pub labels: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

const fn metric(name: &'static str, kind: Kind, labels: &'static str, meaning: &'static str) -> Metric {
    Metric {
        name,
        kind,
        labels,
        meaning,
    }
}

/// Executions that ended, however they ended.
pub const EXECUTIONS_FINISHED: &str = "perseat_executions_finished_total";
/// Log lines that did not fit the queue.
pub const LOG_LINES_DROPPED: &str = "perseat_log_lines_dropped_total";
/// Seconds since the process started serving.
pub const UPTIME: &str = "perseat_uptime_seconds";
/// One, labelled with the version.
pub const BUILD: &str = "perseat_build_info";

/// Every metric.
#[rustfmt::skip]
pub const METRICS: &[Metric] = &[
    metric(BUILD, Kind::Gauge, "`version`", "Always 1; the label is the running version."),
    metric(UPTIME, Kind::Gauge, "", "Seconds since this process began to serve."),
    metric(LOG_LINES_DROPPED, Kind::Counter, "", "Log lines dropped because standard output did not take them fast enough."),
    metric("perseat_front_connections", Kind::Gauge, "", "Connections open on the hooks listener."),
    metric("perseat_front_keys_read_total", Kind::Counter, "", "Keys read from the disk for events: neither unwrapped in memory (`keyring.cache-entries`) nor in the system's."),
    metric("perseat_front_key_waiters", Kind::Gauge, "", "Events that wait for a key to be read from the disk, of `front.key-waiters`."),
    metric("perseat_front_connections_refused_total", Kind::Counter, "", "Connections closed at once: their address had as many as `front.connections-per-address`."),
    metric("perseat_front_accepted_total", Kind::Counter, "", "Requests accepted: durable before they were answered."),
    metric("perseat_front_refused_total", Kind::Counter, "`code`: the stable codes", "Requests refused."),
    metric("perseat_front_timeouts_total", Kind::Counter, "`phase`: header, idle, answer", "Connections closed by a time-out."),
    metric("perseat_executions_taken_up_total", Kind::Counter, "", "Executions taken up by an owner."),
    metric("perseat_executions_live", Kind::Gauge, "`owner`: 0, 1, …", "Executions accepted and not ended, in this owner's table."),
    metric("perseat_executions_running", Kind::Gauge, "`owner`: 0, 1, …", "Executions that hold a slot of this owner."),
    metric("perseat_users_in_memory", Kind::Gauge, "`owner`: 0, 1, …", "Users of this owner that are in memory: those that run, and those that rest (`supervision.passivate-after`, `supervision.max-users`)."),
    metric("perseat_executions_parked", Kind::Gauge, "`owner`: 0, 1, …", "Executions of this owner that wait for a connection to be usable."),
    metric("perseat_executions_apart", Kind::Gauge, "`owner`: 0, 1, …", "Executions of this owner that do not begin for now, though a slot may be free: what has begun of their user or customer holds all of `admission.user-bytes` or `admission.customer-bytes`."),
    metric(EXECUTIONS_FINISHED, Kind::Counter, "", "Executions whose end is durable, however they ended."),
    metric("perseat_quarantines_total", Kind::Counter, "", "Actors put in quarantine after too many restarts. An operator should look."),
    metric("perseat_grant_renewals_total", Kind::Counter, "`outcome`: renewed, over, passing, unknown", "Renewals of third parties' tokens."),
    metric("perseat_tokens_given_back_total", Kind::Counter, "`outcome`: done, put-off, spared, refused, given-up, dropped", "Attempts to tell a provider that a token was given up; the last three may leave it valid there, and one that was spared is kept from it because another grant would end."),
    metric("perseat_notices_total", Kind::Counter, "`channel`: mail, webhook, nobody; `outcome`: sent, put-off, given-up", "Attempts to tell somebody that a connection has to be connected again."),
    metric("perseat_mail_letters_total", Kind::Counter, "`outcome`: sent, put-off, given-up", "Attempts to hand a letter to the mail server."),
    metric("perseat_outbound_refusals_total", Kind::Counter, "`host`: those of `governor.hosts`, other; `scope`: account, customer, registration, host", "Calls that providers refused for now (429, or 503 with a time), by the widest scope that waits for it."),
    metric("perseat_outbound_waits_total", Kind::Counter, "`host`: those of `governor.hosts`, other; `outcome`: begun, refused", "Calls that waited for a provider's limit and began, and calls that would have waited too long."),
    metric("perseat_outbound_waiting", Kind::Gauge, "", "Calls that wait for a provider's limit."),
    metric("perseat_journal_batch_entries", Kind::Amount, "", "Entries committed by one sync."),
    metric("perseat_journal_sync_seconds", Kind::Seconds, "", "Time of one journal write and its sync."),
    metric("perseat_journal_written_bytes_total", Kind::Counter, "", "Bytes written to the journal."),
    metric("perseat_journal_segments", Kind::Gauge, "", "Journal segments that hold entries."),
    metric("perseat_journal_spare_segments", Kind::Gauge, "", "Journal segments prepared and not yet used."),
    metric("perseat_journal_directory_bytes", Kind::Gauge, "", "Bytes of all journal files, spares included."),
    metric("perseat_journal_failed_segments_total", Kind::Counter, "", "Journal segments given up after a failed write or sync. The disk is suspect."),
    metric("perseat_journal_refused_full_total", Kind::Counter, "", "Appends refused because there was no room for the next segment."),
    metric("perseat_backups_total", Kind::Counter, "`what`: backup, keyring; `outcome`: done, failed", "Backups and keyrings handed out by this daemon."),
    metric("perseat_catalog_rewrites_total", Kind::Counter, "`outcome`: done, failed", "Times that the catalog was written anew, or could not be, after people were removed from it."),
    metric("perseat_index_lag_entries", Kind::Gauge, "", "Committed entries that are not yet in the indexes; `index.max-lag` closes admission."),
    metric("perseat_index_commits_total", Kind::Counter, "", "Index transactions."),
    metric("perseat_index_entries_total", Kind::Counter, "", "Entries that reached the indexes."),
    metric("perseat_index_failures_total", Kind::Counter, "", "Index transactions that failed and are tried again."),
    metric("perseat_backlog_executions", Kind::Gauge, "", "Executions accepted and not ended, on disk."),
    metric("perseat_backlog_bytes", Kind::Gauge, "", "Bytes of their entries; `backlog.max-bytes` closes admission."),
    metric("perseat_storage_bytes", Kind::Gauge, "", "Bytes of the whole data directory; `retention.budget` bounds them."),
    metric("perseat_retention_dropped_segments_total", Kind::Counter, "", "Segments dropped to stay within the budget."),
    metric("perseat_retention_dropped_executions_total", Kind::Counter, "", "Ended executions that went with them."),
    metric("perseat_retention_carried_executions_total", Kind::Counter, "", "Live executions written again before their segment was dropped."),
    metric("perseat_retention_failures_total", Kind::Counter, "", "Attempts to drop the oldest segment that failed; each is made again."),
];

/// Upper bounds of a duration's buckets: from a sync on a fast disk to a long execution.
const SECONDS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0,
];
/// Upper bounds of an amount's buckets.
const AMOUNTS: &[f64] = &[
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0, 4_096.0, 16_384.0,
];
/// Time between upkeeps: without them histograms would grow for ever.
pub const UPKEEP: Duration = Duration::from_secs(5);

/// The recorder could not be installed.
#[derive(Debug, thiserror::Error)]
#[error("metrics could not be set up: {0}")]
pub struct MetricsError(#[from] metrics_exporter_prometheus::BuildError);

/// Installs the recorder and describes every metric.
///
/// # Errors
/// A recorder is installed already.
pub fn install() -> Result<PrometheusHandle, MetricsError> {
    let mut builder = PrometheusBuilder::new();
    for metric in METRICS {
        let buckets = match metric.kind {
            Kind::Seconds => SECONDS,
            Kind::Amount => AMOUNTS,
            Kind::Counter | Kind::Gauge => continue,
        };
        builder = builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)?;
    }
    let handle = builder.install_recorder()?;
    METRICS.iter().for_each(describe);
    metrics::gauge!(BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    // What has not happened yet is zero: an alert on a rise sees the first one.
    for metric in METRICS.iter().filter(|metric| metric.kind == Kind::Counter) {
        for labels in series(metric.labels) {
            metrics::counter!(metric.name, &labels).increment(0);
        }
    }
    Ok(handle)
}

/// Each combination of a metric's labels, as [`Metric::labels`] says them; none where a label's values are not all named there.
fn series(labels: &'static str) -> Vec<Vec<(&'static str, &'static str)>> {
    let mut all = vec![Vec::new()];
    for label in labels.split("; ").filter(|label| !label.is_empty()) {
        let Some((name, values)) = label.split_once(": ") else {
            return Vec::new();
        };
        let values: Vec<&str> = values.split(", ").collect();
        let is_plain = |value: &&str| value.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-');
        if !values.iter().all(is_plain) {
            return Vec::new();
        }
        let name = name.trim_matches('`');
        let with = |known: &Vec<_>| {
            values
                .iter()
                .map(|value| [known.as_slice(), &[(name, *value)]].concat())
                .collect::<Vec<_>>()
        };
        all = all.iter().flat_map(with).collect();
    }
    all
}

fn describe(metric: &Metric) {
    match metric.kind {
        Kind::Counter => metrics::describe_counter!(metric.name, metric.meaning),
        Kind::Gauge => metrics::describe_gauge!(metric.name, metric.meaning),
        Kind::Seconds => metrics::describe_histogram!(metric.name, Unit::Seconds, metric.meaning),
        Kind::Amount => metrics::describe_histogram!(metric.name, Unit::Count, metric.meaning),
    }
}

/// Keeps the recorder small and the daemon's own figures current, for as long as it is polled.
pub async fn upkeep(handle: PrometheusHandle, dropped: ErrorCounter) {
    let started = tokio::time::Instant::now();
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        handle.run_upkeep();
        metrics::gauge!(UPTIME).set(started.elapsed().as_secs_f64());
        metrics::counter!(LOG_LINES_DROPPED).absolute(u64::try_from(dropped.dropped_lines()).unwrap_or(u64::MAX));
    }
}

/// The page `docs/metrics.md`.
#[must_use]
pub fn page() -> String {
    let mut text = String::from(
        "# Metrics\n\n\
         Written from `src/telemetry/metrics.rs`; a test keeps it equal, and compares it with the names that the sources use.\n\n\
         `GET /metrics` on the admin listener, in Prometheus' text format. No metric is labelled by user, customer or execution:\n\
         their number has no bound. Durations are in seconds.\n\n\
         | Name | Kind | Labels | Meaning |\n|---|---|---|---|\n",
    );
    for metric in METRICS {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Seconds => "histogram of seconds",
            Kind::Amount => "histogram",
        };
        let _ = writeln!(text, "| `{}` | {kind} | {} | {} |", metric.name, metric.labels, metric.meaning);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_combination_of_labels_that_are_named_is_a_series() {
        assert_eq!(series(""), [vec![]]);
        assert_eq!(series("`phase`: header, idle"), [[("phase", "header")], [("phase", "idle")]]);
        let both = series("`what`: a, b; `outcome`: given-up, put-off");
        let last = vec![("what", "b"), ("outcome", "put-off")];
        assert_eq!((both.len(), both.last()), (4, Some(&last)));
        for open in [
            "`version`",
            "`code`: the stable codes",
            "`host`: those of `governor.hosts`, other; `outcome`: begun, refused",
        ] {
            assert!(series(open).is_empty(), "{open}");
        }
    }
}
