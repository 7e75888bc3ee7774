//! From configuration keys to the options of each part, one function a part.
//!
//! A part knows its limits as fields of its own options; here every key finds its field. A test compares the defaults of both
//! sides, so that a key cannot promise what the part does not do.

use std::path::Path;

use perseat_actors::admission::AdmissionOptions;
use perseat_actors::execution::ExecutionLimits;
use perseat_actors::front::FrontOptions;
use perseat_actors::kit::{ArbiterOptions, NurseryOptions, PulseOptions};
use perseat_actors::supervisor::SupervisorOptions;
use perseat_admin::export::ExportLimits;
use perseat_admin::identity::passwords::{Cost, Rules};
use perseat_admin::media::MediaLimits;
use perseat_admin::query::ReadLimits;
use perseat_domain::budget;
use perseat_domain::execution::Limits as MachineLimits;
use perseat_domain::fair::FairOptions;
use perseat_domain::supervision::RestartPolicy;
use perseat_flow::outbound::{self, Policy, Rule, RuleError};
use perseat_flow::{component, definition, expression, js, payload};
use perseat_store::executions::ViewLimits;
use perseat_store::media::Room;
use perseat_store::{catalog, history, index, keyring, state};

use super::Config;
use super::check::ENTRY_OVERHEAD;
use super::value::{Count, SandboxMode, Size};
use crate::console::ConsoleOptions;
use crate::control::{ControlOptions, PictureLimits, SignInOptions};
use crate::indexer;

/// What an entry takes beside the frame and the names in it.
fn room_in_entry(config: &Config) -> usize {
    Size::bytes(config.max_entry().get().saturating_sub(ENTRY_OVERHEAD)).as_usize()
}

/// Commits' worth of entries that readers may have applied and that are not committed. No key: it goes with
/// `index.commit-entries`.
const COMMITS_PENDING: u64 = 4;

/// Of what a script throws so many times what is kept of it is masked. No key: few secrets are longer than what is kept.
const THROWN: usize = 2;

/// The options of every part.
impl Config {
    /// The threads of the data plane.
    #[must_use]
    pub fn arbiter_options(&self) -> ArbiterOptions {
        ArbiterOptions {
            owners: self.owner_arbiters(),
            fronts: self.front_threads(),
        }
    }

    /// The front.
    #[must_use]
    pub fn front_options(&self) -> FrontOptions {
        let front = &self.front;
        FrontOptions {
            max_body: front.max_body.as_usize(),
            body_memory: front.body_memory.as_usize(),
            max_headers: front.max_headers.as_usize(),
            max_header_bytes: front.max_header_bytes.as_usize(),
            header_timeout: front.header_timeout,
            body_timeout: front.body_timeout,
            answer_memory: front.answer_memory.as_usize(),
            answer_timeout: front.answer_timeout,
            idle_timeout: front.idle_timeout,
            connections: front.connections.as_usize(),
            connections_per_address: front.connections_per_address.as_usize(),
            handover: front.handover.as_usize(),
            handshake_timeout: self.tls.handshake_timeout,
            sync_timeout: front.sync_timeout,
            sync_waiters: front.sync_waiters.as_usize(),
            json_depth: front.json_depth.as_usize(),
            form_parts: front.form_parts.as_usize(),
            key_reads: front.key_reads.as_usize(),
            key_waiters: front.key_waiters.as_usize(),
            key_wait: front.key_wait,
            inline_bytes: front.inline_bytes.as_usize(),
            pool: front.pool.as_usize(),
            drain_bytes: front.drain_bytes.as_usize(),
            drain_timeout: front.drain_timeout,
            retry_after: front.retry_after,
            retry_after_disabled: front.retry_after_disabled,
            accept_pause: front.accept_pause,
        }
    }

    /// What may be accepted and not ended.
    #[must_use]
    pub fn admission_options(&self) -> AdmissionOptions {
        let admission = &self.admission;
        AdmissionOptions {
            limits: budget::Limits {
                user: admission.user.get().into(),
                flow: admission.flow.get().into(),
                customer: admission.customer.get().into(),
                total: admission.total.get().into(),
                bytes: self.admitted_bytes().get(),
                user_bytes: admission.user_bytes.or(Size::bytes(self.admitted_bytes().get() / 4)).get(),
                customer_bytes: admission.customer_bytes.or(Size::bytes(self.admitted_bytes().get() / 2)).get(),
                wait_percent: admission.wait_from.get(),
            },
            wait: admission.wait,
            waiters_max: admission.waiters.as_usize(),
            retry_after: admission.retry_after,
        }
    }

    /// The owners of instances and users, by their index. `seed` feeds the jitter of restarts.
    #[must_use]
    pub fn supervisor_options(&self, owner: usize, seed: u64) -> SupervisorOptions {
        SupervisorOptions {
            fair: self.fair_options(),
            instances: self.nursery_options(),
            users: self.nursery_options(),
            users_max: self.supervision.max_users.as_usize(),
            mailbox: self.supervision.mailbox.as_usize(),
            tidy_every: self.supervision.tidy_every,
            payload_cache: self.execution.payload_cache.as_usize(),
            owner,
            seed,
        }
    }

    /// How slots are shared.
    fn fair_options(&self) -> FairOptions {
        let execution = &self.execution;
        FairOptions {
            slots: execution.slots.get(),
            user_divisor: execution.user_divisor.get(),
            reserve_divisor: execution.reserve_divisor.get(),
            cpu_weight: execution.cpu_weight.get(),
            first_charge: execution.first_charge,
            flows_max: execution.remembered_flows.as_usize(),
        }
    }

    /// Restarts and idleness of actors.
    #[must_use]
    pub fn nursery_options(&self) -> NurseryOptions {
        let supervision = &self.supervision;
        NurseryOptions {
            restart: RestartPolicy {
                restarts_max: supervision.restarts.get(),
                within: supervision.window,
                backoff_first: supervision.back_off,
                backoff_max: supervision.back_off_max,
                quarantine: supervision.quarantine,
            },
            idle_after: supervision.passivate_after,
            children_max: supervision.max_children.as_usize(),
        }
    }

    /// The pulse of every thread.
    #[must_use]
    pub fn pulse_options(&self) -> PulseOptions {
        PulseOptions {
            interval: self.supervision.pulse,
            degraded_after: self.supervision.silence_degraded,
            abort_after: self.supervision.silence_abort,
        }
    }

    /// One execution.
    #[must_use]
    pub fn execution_limits(&self) -> ExecutionLimits {
        let execution = &self.execution;
        ExecutionLimits {
            timeout: execution.timeout,
            step_timeout: execution.step_timeout,
            max_log_lines: execution.max_log_lines.as_usize(),
            max_log_line: execution.max_log_line.as_usize(),
            entry_bytes: execution.entry_bytes.as_usize().min(room_in_entry(self)),
            offload_bytes: execution.offload_bytes.as_usize(),
            park_limit: execution.park_limit,
            full_retry: execution.full_retry,
            machine: MachineLimits {
                max_deaths: execution.max_deaths.get(),
                max_activations: execution.max_activations.get(),
            },
            values: expression::Limits {
                bytes: execution.max_value.as_usize(),
                depth: execution.max_depth.as_usize(),
            },
            payload: payload::Limits {
                depth: self.front.json_depth.as_usize(),
                parts: self.front.form_parts.as_usize(),
            },
        }
    }

    /// What one step may do.
    #[must_use]
    pub fn step_limits(&self) -> component::Limits {
        component::Limits {
            max_result: self.max_step_result().as_usize(),
            max_http_retries: self.execution.max_http_retries.get(),
            json_depth: self.execution.json_depth.as_usize(),
        }
    }

    /// The children that run code.
    #[must_use]
    pub fn code_options(&self) -> js::Options {
        let code = &self.code;
        js::Options {
            child_command: None,
            slots: self.code_children(),
            per_user: self.code_children_per_user(),
            aside: code.waiting.as_usize(),
            spares: code.spares.as_usize(),
            kept: self.code_children_kept(),
            turn_runs: code.turn_steps.get(),
            turn_time: code.turn_time,
            begin_within: code.begin_within,
            in_flight: code.frames.as_usize(),
            max_waiting: code.queue.as_usize(),
            max_time: code.wall,
            max_cpu: code.cpu,
            max_heap: code.memory.as_usize(),
            max_frame: code.max_frame.as_usize(),
            max_log_lines: code.max_log_lines.as_usize(),
            max_log_bytes: code.max_log_bytes.as_usize(),
            // A secret that is cut in half here is not found: the cut lies behind the beginning that is kept.
            max_thrown: code
                .max_log_bytes
                .as_usize()
                .max(self.execution.max_log_line.as_usize().saturating_mul(THROWN)),
            max_result: self.max_step_result().as_usize(),
            max_fetches: code.max_fetches.get(),
            fetches_in_flight: code.fetches_in_flight.as_usize(),
            max_timers: code.max_timers.as_usize(),
            max_scripts: code.max_scripts.as_usize(),
            sandbox: match code.sandbox {
                SandboxMode::Required => js::Sandbox::Required,
                SandboxMode::BestEffort => js::Sandbox::BestEffort,
            },
        }
    }

    /// The way out.
    #[must_use]
    pub fn outbound_options(&self) -> outbound::Options {
        let outbound = &self.calls.outbound;
        outbound::Options {
            max_response: outbound.max_response.as_usize(),
            answer_memory: outbound.answer_memory.as_usize(),
            max_headers: outbound.max_headers.as_usize(),
            connect_timeout: outbound.connect_timeout,
            max_time: outbound.timeout,
            max_redirects: outbound.redirects.get(),
            max_lookups: outbound.lookups.as_usize(),
            lookup_timeout: outbound.lookup_timeout,
            dns_cache: outbound.dns_cache,
            dns_cache_names: outbound.dns_cache_names.as_usize(),
            idle_per_host: outbound.idle_per_host.as_usize(),
            idle_timeout: outbound.idle_timeout,
            client_certificates: outbound.client_certificates.as_usize(),
            user_agent: outbound.user_agent.clone(),
        }
    }

    /// Which addresses the way out leads to.
    ///
    /// # Errors
    /// A rule that is none; a checked configuration has only rules.
    pub fn outbound_policy(&self) -> Result<Policy, RuleError> {
        let rules = |texts: &[String]| texts.iter().map(|text| text.parse()).collect::<Result<Vec<Rule>, _>>();
        Ok(Policy::new(rules(&self.calls.outbound.allow)?, rules(&self.calls.outbound.deny)?))
    }

    /// Integration definitions.
    #[must_use]
    pub fn definition_limits(&self) -> definition::Limits {
        definition::Limits {
            bytes: self.definition.max_bytes.as_usize(),
            nodes: self.definition.max_nodes.as_usize(),
            depth: self.definition.max_depth.as_usize(),
            diagnostics: self.definition.max_diagnostics.as_usize(),
            registrations: self.registrations_per_provider(),
            value: self.definition.max_value.as_usize(),
            values: self.definition.max_values.as_usize(),
        }
    }

    /// The journal. Its first segment, clock and test switches are the caller's.
    #[must_use]
    pub fn journal_options(&self) -> perseat_journal::Options {
        let journal = &self.journal;
        let bytes = |size: super::value::Size| u32::try_from(size.get()).unwrap_or(u32::MAX);
        perseat_journal::Options {
            segment_bytes: bytes(self.segment()),
            spare_segments: journal.spare_segments.get(),
            max_free_segments: journal.free_segments.get(),
            max_entry_bytes: bytes(self.max_entry()),
            max_frame_bytes: bytes(journal.max_batch.min(self.max_entry())),
            max_queued_entries: journal.queue_entries.as_usize(),
            max_queued_bytes: journal.queue_bytes.as_usize(),
            spare_wait: journal.spare_wait,
            retry_interval: journal.retry_interval,
            ..perseat_journal::Options::for_budget(self.retention.budget.get())
        }
    }

    /// What the data directory may hold.
    #[must_use]
    pub fn retention_options(&self, data: &Path, journal_directory: &Path) -> indexer::RetentionOptions {
        let margin = self.margin().get();
        indexer::RetentionOptions {
            backlog_max_bytes: self.backlog_bytes().get(),
            margin,
            carry_bytes: self.retention.carry_bytes.as_usize(),
            pinned_bytes: self.pinned_bytes().get(),
            pinned_for: self.backup.pinned_for,
            ..indexer::RetentionOptions::new(self.retention.budget.get(), data, journal_directory, &self.journal_options())
        }
    }

    /// The indexer behind the journal.
    #[must_use]
    pub fn indexer_options(&self, retention: indexer::RetentionOptions) -> indexer::Options {
        let index = &self.index;
        indexer::Options {
            commit_entries: index.commit_entries.get().into(),
            commit_interval: index.commit_interval,
            yield_lag: index.yield_lag.or(Count::new(index.max_lag.get() / 4 * 3)).get().into(),
            yield_for: index.yield_for,
            retry_interval: index.retry_interval,
            scan_entries: index.scan_entries.as_usize(),
            nice: i32::try_from(index.nice.get()).unwrap_or(i32::MAX),
            limits: index::Limits {
                steps_listed: index.steps_listed.as_usize(),
                state_scan: self.state.scan_rows.as_usize(),
                pending: COMMITS_PENDING * u64::from(index.commit_entries.get()),
            },
            retention,
            // Not of the configuration: said for one start at a time.
            resume_carried: false,
        }
    }

    /// What waits for the indexer.
    #[must_use]
    pub fn feed_options(&self) -> index::FeedOptions {
        index::FeedOptions {
            max_lag: self.index.max_lag.get().into(),
            queue_entries: self.index.queue_entries.as_usize(),
            queue_bytes: self.index.queue_bytes.as_usize(),
        }
    }

    /// What the local socket and the API show of executions.
    #[must_use]
    pub fn view_limits(&self) -> ViewLimits {
        ViewLimits {
            body_bytes: self.history.shown_bytes.as_usize(),
            page: self.local.page.as_usize(),
            usage_rows: self.report_rows(),
            log_bytes: self.api.query_bytes.as_usize() / 2,
        }
    }

    /// Exports.
    #[must_use]
    pub fn export_limits(&self) -> ExportLimits {
        ExportLimits {
            manifests: self.local.export_manifests.as_usize(),
        }
    }

    /// Data keys.
    #[must_use]
    pub fn keyring_options(&self) -> keyring::Options {
        keyring::Options {
            cache_entries: self.custody.keyring.cache_entries.as_usize(),
        }
    }

    /// The API.
    #[must_use]
    pub fn control_options(&self) -> ControlOptions {
        let api = &self.api;
        ControlOptions {
            concurrency: api.concurrency.as_usize(),
            concurrency_of_identity: api.concurrency_of_identity.as_usize(),
            waiting_of_identity: api.waiting_of_identity.as_usize(),
            read_timeout: api.read_timeout,
            query_time: api.query_time,
            query_rows: api.query_rows.as_usize(),
            query_bytes: api.query_bytes.as_usize(),
            result_memory: api.result_memory.as_usize(),
            max_query: api.max_query.as_usize(),
            max_selections: api.max_selections.as_usize(),
            max_values: api.max_values.as_usize(),
            max_depth: api.max_depth.as_usize(),
            max_complexity: api.max_complexity.as_usize(),
            max_aliases: api.max_aliases.as_usize(),
            read: ReadLimits {
                page: api.page.as_usize(),
                scan: api.scan_rows.as_usize(),
            },
            definitions: self.definition_limits(),
            local_page: self.local.page.as_usize(),
            rate: api.rate.get(),
            burst: api.burst.get(),
            remembered: api.identities.as_usize(),
            refused_rate: api.refused_rate.get(),
            refused_burst: api.refused_burst.get(),
            url_lifetime: api.url_lifetime,
            origins: api.origins.clone(),
            media: MediaLimits {
                attachment_bytes: self.media.max_attachment.as_usize(),
                attachments: self.media.attachments.as_usize(),
                picture_bytes: self.media.max_picture.as_usize(),
                picture_pixels: self.media.max_pixels.get().into(),
            },
            decoders: self.media.decoders.as_usize(),
            decode_timeout: self.media.decode_timeout,
            pictures: PictureLimits {
                of_customer: self.media.pictures_of_customer.as_usize(),
                of_owner: self.media.pictures_of_owner.as_usize(),
            },
        }
    }

    /// The folder of uploaded files.
    #[must_use]
    pub fn media_room(&self) -> Room {
        Room {
            budget: self.media_budget().get(),
            customer: self.media_of_customer().get(),
            untaken: self.media.untaken.as_usize(),
        }
    }

    /// The embedded pages.
    #[must_use]
    pub fn console_options(&self) -> ConsoleOptions {
        ConsoleOptions {
            origins: self.people.embedded.origins.clone(),
            page: self.people.embedded.page.as_usize(),
            looked_at: self.people.embedded.looked_at.as_usize(),
            fields: self.people.embedded.fields.as_usize(),
            sources: self.source_options(),
        }
    }

    /// Sign-in.
    #[must_use]
    pub fn sign_in_options(&self) -> SignInOptions {
        let sign_in = &self.people.sign_in;
        SignInOptions {
            redirect_uris: sign_in.redirect_uris.clone(),
            access_lifetime: sign_in.access_lifetime,
            session_lifetime: sign_in.session_lifetime,
            code_lifetime: sign_in.code_lifetime,
            form_lifetime: sign_in.form_lifetime,
            invitation_lifetime: sign_in.invitation_lifetime,
            reset_lifetime: sign_in.reset_lifetime,
            pending: sign_in.pending.as_usize(),
            accounts: sign_in.accounts.as_usize(),
            sessions: sign_in.sessions.as_usize(),
            max_form: sign_in.max_form.as_usize(),
            password: Rules {
                min: sign_in.password_min.as_usize(),
                max: sign_in.password_max.as_usize(),
            },
            cost: Cost {
                memory: u32::try_from(sign_in.hash_memory.get() / 1_024).unwrap_or(u32::MAX),
                passes: sign_in.hash_passes.get(),
            },
            hashes: sign_in.hashes.as_usize(),
            failures: sign_in.failures.get(),
            lock: sign_in.lock,
            attempts_window: sign_in.attempts_window,
            client_attempts: sign_in.client_attempts.get(),
            account_attempts: sign_in.account_attempts.get(),
            resets: sign_in.resets.get(),
            resets_window: sign_in.resets_window,
            remembered: sign_in.remembered.as_usize(),
        }
    }

    /// The catalog.
    #[must_use]
    pub fn catalog_options(&self) -> catalog::Options {
        let catalog = &self.catalog;
        catalog::Options {
            cache_bytes: catalog.cache.as_usize(),
            version_cache_entries: catalog.version_cache_entries.as_usize(),
            named_changes: catalog.named_changes.as_usize(),
            audit_details: catalog.audit_details.as_usize(),
            outbox_entries: catalog.outbox_entries.get().into(),
            revisions_kept: catalog.revisions_kept.as_usize(),
            owed: self.custody.owed.tokens.get().into(),
        }
    }

    /// Live executions.
    #[must_use]
    pub fn state_options(&self) -> state::StateOptions {
        state::StateOptions {
            cache_bytes: self.state.cache.as_usize(),
            usage: self.usage_limits(),
        }
    }

    /// Ended executions.
    #[must_use]
    pub fn history_options(&self) -> history::HistoryOptions {
        history::HistoryOptions {
            cache_bytes: self.history.cache.as_usize(),
            max_open: self.history.open_files.as_usize(),
            scan_rows: self.history.scan_rows.as_usize(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;
    use crate::config::source::Sources;
    use crate::control::OidcOptions;
    use crate::mail::MailOptions;

    fn same(ours: &impl Debug, theirs: &impl Debug) {
        assert_eq!(format!("{ours:#?}"), format!("{theirs:#?}"));
    }

    #[test]
    fn the_defaults_of_the_keys_are_the_defaults_of_the_parts() {
        let cores = std::thread::available_parallelism().unwrap().get();
        let config = Config::load(&Sources::default(), cores).unwrap();
        same(&config.front_options(), &FrontOptions::default());
        same(&config.admission_options(), &AdmissionOptions::default());
        same(&config.fair_options(), &FairOptions::default());
        same(&config.nursery_options(), &NurseryOptions::default());
        same(&config.pulse_options(), &PulseOptions::default());
        same(&config.execution_limits(), &ExecutionLimits::default());
        let code = js::Options {
            max_result: config.max_step_result().as_usize(),
            ..js::Options::default()
        };
        same(&config.code_options(), &code);
        let agent = outbound::Options {
            user_agent: config.calls.outbound.user_agent.clone(),
            ..outbound::Options::default()
        };
        same(&config.outbound_options(), &agent);
        same(&config.governor_options().limits, &perseat_domain::rate::Limits::default());
        same(&config.oauth_limits(), &perseat_flow::oauth::Limits::default());
        same(&config.grant_rules(), &perseat_domain::grant::Rules::default());
        same(&config.definition_limits(), &definition::Limits::default());
        same(&config.view_limits(), &ViewLimits::default());
        same(&config.export_limits(), &ExportLimits::default());
        let steps = component::Limits {
            max_result: config.max_step_result().as_usize(),
            ..component::Limits::default()
        };
        same(&config.step_limits(), &steps);
        same(&config.feed_options(), &index::FeedOptions::default());
        same(&config.keyring_options(), &keyring::Options::default());
        same(&config.control_options(), &ControlOptions::default());
        same(&config.console_options(), &ConsoleOptions::default());
        same(&config.sign_in_options(), &SignInOptions::default());
        same(&config.mail_options(), &MailOptions::default());
        same(&config.oidc_options(), &OidcOptions::default());
        same(&config.catalog_options(), &catalog::Options::default());
        same(&config.state_options(), &state::StateOptions::default());
        same(&config.history_options(), &history::HistoryOptions::default());
        same(&config.journal_options(), &perseat_journal::Options::for_budget(10 << 30));
        let (data, journal) = (Path::new("data"), Path::new("data/journal"));
        let theirs = indexer::RetentionOptions::new(10 << 30, data, journal, &config.journal_options());
        same(&config.retention_options(data, journal), &theirs);
        same(&config.indexer_options(theirs.clone()), &indexer::Options::new(theirs));
    }
}
