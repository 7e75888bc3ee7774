//! Every key of the configuration: its type, its default, what it does and why the default is what it is.
//!
//! This list is the only source. The structs that the daemon reads, `config/perseat.toml` and `docs/configuration.md` come
//! from it, and a test keeps the two files equal to it. To add a key, add it here and run
//! `PERSEAT_REWRITE_REFERENCES=1 cargo test --test references`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

pub use super::declare::{Key, Section};
use super::declare::{Preset, none, path, settings, unset};
use super::people_settings::PeopleSettings;
use super::source::Reader;
use super::value::{Auto, Count, Directives, LogFormat, Percent, SandboxMode, Size, Value};

/// Every section with its keys.
#[must_use]
pub fn sections() -> Vec<Section> {
    Settings::sections()
}

settings! {
    /// The configuration as it was given, each value typed and in its own range; [`super::Config`] has checked them together.
    Settings with people: PeopleSettings, with calls: super::calls::CallSettings,
        with custody: super::keyring::KeyringSettings;

    /// How the outside world sees this daemon.
    network "": Network {
        /// The address under which the outside world reaches this daemon, without a path: webhook URLs, the API and OAuth
        /// redirects are built from it. Unset: the address that hooks listens on. Set it whenever a proxy stands in front.
        public_url: Option<Url> = unset("https://hooks.example.com");
        /// Networks whose `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host` headers are believed for the client's address and the URL that it called; `Forwarded` is not read. Empty: none, because a header that anyone can send proves nothing.
        @reloads trusted_proxies: Vec<IpNet> = none();
    }

    /// Where the daemon keeps its data.
    data "data": Data {
        /// The data directory. One daemon at a time; it holds the journal, the catalog, the state, the history and the keyring.
        dir: PathBuf = "./data";
    }

    /// The key that wraps all other keys.
    keys "keys": Keys {
        /// File that holds the master key, mode 0600. Unset: the systemd credential `master-key`, else `master-key` in the data directory, created on first start. Keep a copy apart from the data: without it nothing sealed can be read.
        master_key: Option<PathBuf> = unset("/etc/perseat/master-key");
    }

    /// The Unix socket that `perseat apply`, `export` and `executions` use. Never a TCP port: who may open it is a file permission.
    local "local": Local {
        /// The socket's path. Unset: `perseat.sock` in the data directory.
        socket: Option<PathBuf> = unset("/run/perseat/perseat.sock");
        /// Connections at once. Ten people at their terminals are many.
        connections: Count = 64;
        /// Waiting connections that the kernel keeps.
        accept_queue: Count = 128;
        /// Entries in one list: executions, endpoints, tokens, audit.
        page: Count = 1_000;
        /// Manifests in one export, which is held in memory.
        export_manifests: Count = 100_000;
        /// The largest body that the socket takes: a whole set of manifests.
        max_body: Size = "64MiB";
        /// How long a request's headers, and its body, may take.
        read_timeout: Duration = "30s";
        /// The pause after an accept that failed, for want of file descriptors for example.
        accept_pause: Duration = "100ms";
    }

    /// The listener for webhooks. Loopback by default: exposing it is a decision.
    hooks "hooks": Hooks {
        /// Address to listen on; under systemd the first passed socket is used instead.
        listen: SocketAddr = "127.0.0.1:3000";
    }

    /// The listener for the API and pages. The same address as `hooks.listen` serves both on one listener.
    api "api": Api {
        /// Address to listen on; under systemd the second passed socket is used instead.
        listen: SocketAddr = "127.0.0.1:3001";
        /// Connections at once; more wait in the kernel's queue. Where the hooks listener serves the API: requests at once; more get 429.
        connections: Count = 256;
        /// Connections of one client address (64 bits of an IPv6 address), but for `trusted-proxies`: nobody takes all places. More are closed.
        connections_per_address: Count = 128;
        /// The largest request body: a definition with its variables around it.
        max_body: Size = "16MiB";
        /// Memory for bodies, all connections together, until they are answered, on the hooks listener, too, where it serves the API.
        body_memory: Size = "64MiB";
        /// How long a request's headers, and its body, may take, the wait for its memory included, and then its wait for a turn.
        read_timeout: Duration = "30s";
        /// How long a client may take nothing of an answer; then its connection is closed.
        answer_timeout: Duration = "30s";
        /// Requests that run at once, each with a thread for the catalog; others wait. Beside them as many bearers are looked at.
        concurrency: Count = 8;
        /// Requests of one identity (a person, a program's token) that run at once; its others wait, and hold up nobody else's. One turn of `api.concurrency` is always left for others.
        concurrency_of_identity: Count = 4;
        /// Requests of one identity that wait for that, each with a connection; more get 429.
        waiting_of_identity: Count = 64;
        /// How long one request may go on reading once it runs; then it is refused whole (`TOO_SLOW`), but what a mutation did stays done.
        query_time: Duration = "10s";
        /// Records that one request may read over all its lists, those that a filter leaves out among them, and items of lists within a record; past it the request is refused whole (`TOO_MANY_ROWS`), but what a mutation did stays done.
        query_rows: Count = 100_000;
        /// Bytes of log lines and error messages of executions that one request may read, and as many of its answer while it is made, texts as often as they are asked for; past it as above (`TOO_MANY_BYTES`). The log of one execution ends after half of them, a page of logs after a quarter.
        query_bytes: Size = "32MiB";
        /// Memory for what signed URLs answer, results of steps and files, while it is opened and until it is sent, and as much for answers of more than 64 KiB to queries and of pages, until they are sent. The clients of one address, and one identity, have half at most; their others wait, for a turn and for this no longer than `api.query-time` together (then 503).
        result_memory: Size = "64MiB";
        /// The text of a query, but for what its strings hold. The prism CLI's queries have less than 4 KiB.
        max_query: Size = "64KiB";
        /// Selections of a query: fields and fragments, those within a fragment as often as it is spread. The prism CLI's have less than 100.
        max_selections: Count = 5_000;
        /// JSON values of one request: lists, objects and what is in them, those of the variables above all.
        max_values: Count = 100_000;
        /// Fields within one another in a query.
        max_depth: Count = 24;
        /// The estimated cost of a query: a field costs one, a list what one item costs times `first`, or 100 without it, or 10 for what
        /// stands within one definition: three lists within one another pass, four do not. The largest query of the prism CLI comes to
        /// four millions; what is really read is bounded by `api.query-rows`.
        max_complexity: Count = 50_000_000;
        /// Fields of a query that are asked for under another name.
        max_aliases: Count = 32;
        /// Records in one page of a list.
        page: Count = 100;
        /// Records that are looked at for one page; a search that matches little ends there, with a cursor to go on from.
        scan_rows: Count = 10_000;
        /// Requests of one identity in a second, on average. Each change of a mutation counts as one.
        rate: Count = 50;
        /// Requests of one identity at once, after a pause.
        burst: Count = 500;
        /// Identities whose rate is remembered.
        identities: Count = 65_536;
        /// Refused bearers from one client address (64 bits of an IPv6 address) in a second, on average. Past it the address gets 429
        /// before its bearers are looked at, but for those that were accepted lately: others of the address do not shut them out. A
        /// bearer that was never seen before waits with the rest. Behind a proxy set `trusted-proxies`, or all clients are one.
        refused_rate: Count = 20;
        /// Refused bearers from one client address at once, after a pause.
        refused_burst: Count = 200;
        /// How long a URL works that an answer names, of a step's result for example: it needs no bearer.
        url_lifetime: Duration = "15m";
        /// Origins of pages that may call the API from a browser, such as `https://app.example.com`.
        origins: Vec<String> = none();
    }

    /// Avatars and attachments.
    media "media": Media {
        /// All files together on disk, within `retention.budget`. auto: a 16th of that.
        budget: Auto<Size> = "auto";
        /// The files of one customer and its users together, so that none uses up what all share. auto: an eighth of `media.budget`.
        customer_budget: Auto<Size> = "auto";
        /// Uploads of one owner (a customer, a person, an integration, the organization) that nothing has taken up; more are refused.
        untaken: Count = 8;
        /// The largest attachment.
        max_attachment: Size = "10MiB";
        /// Attachments of one customer.
        attachments: Count = 200;
        /// The largest picture that an avatar is made of, in bytes. What is kept is 500 × 500 pixels, written anew.
        max_picture: Size = "10MiB";
        /// The largest picture that an avatar is made of, in pixels. Decoding takes up to 16 bytes of memory for each.
        max_pixels: Count = 25_000_000;
        /// Pictures that are decoded at once; others wait.
        decoders: Count = 1;
        /// Pictures of one customer and its users that wait or are decoded at once; more are refused, so that others do not wait long.
        pictures_of_customer: Count = 4;
        /// Pictures for one owner that wait or are decoded at once; more are refused.
        pictures_of_owner: Count = 1;
        /// How long a picture may wait and take before the upload is refused.
        decode_timeout: Duration = "20s";
        /// What was uploaded and taken up by nothing is deleted after so long.
        unused: Duration = "1h";
    }

    /// The listener for health and metrics: `/healthz`, `/readyz`, `/metrics` and nothing else. Keep it private.
    admin "admin": Admin {
        /// Address to listen on; under systemd the third passed socket is used instead.
        listen: SocketAddr = "127.0.0.1:3002";
        /// Connections at once: a scraper, a load balancer, a person.
        connections: Count = 64;
        /// How long a request's headers may take.
        header_timeout: Duration = "5s";
        /// The pause after an accept that failed, for want of file descriptors for example.
        accept_pause: Duration = "100ms";
    }

    /// TLS on the hooks and API listeners. Usually a proxy does this; for a small installation the daemon can.
    tls "tls": Tls {
        /// PEM file with the certificate chain. SIGHUP reads it again.
        @reloads cert: Option<PathBuf> = unset("/etc/perseat/tls/fullchain.pem");
        /// PEM file with the private key. SIGHUP reads it again.
        @reloads key: Option<PathBuf> = unset("/etc/perseat/tls/privkey.pem");
        /// How long a TLS handshake may take.
        handshake_timeout: Duration = "10s";
    }

    /// The front: what a client may send, and how slowly.
    front "front": Front {
        /// The largest request body. One entry is at most half a journal segment, so a larger body needs larger segments.
        max_body: Size = "6MiB";
        /// Memory for bodies, all connections together, from the first byte read until the entry is durable. Of what bodies above 4 KiB may have the clients of one address (64 bits of an IPv6 address) hold half at most.
        body_memory: Size = "32MiB";
        /// Headers in one request, and those that a flow sets in an answer. Providers send about thirty.
        max_headers: Count = 100;
        /// Bytes of a request's line and headers together, and of those that a flow sets in an answer.
        max_header_bytes: Size = "64KiB";
        /// How long the headers may take. A client that connects and sends nothing is closed after it, too.
        header_timeout: Duration = "10s";
        /// How long the body may take, the wait for its memory included.
        body_timeout: Duration = "30s";
        /// Memory for results of synchronous calls, all connections together, until their callers have taken them. A result that finds no room is not sent: its caller gets 503 `result_not_sent` with the id of the execution, which has succeeded.
        answer_memory: Size = "32MiB";
        /// How long a client may take to take an answer that does not go out at once.
        answer_timeout: Duration = "30s";
        /// How long a connection may stay open without a request. Longer than the 60 s that proxies keep theirs.
        idle_timeout: Duration = "75s";
        /// Connections at once, all front threads together; more wait in the kernel's queue.
        connections: Count = 16_384;
        /// Connections of one client address (64 bits of an IPv6 address), but for `trusted-proxies`: nobody takes all places. More are closed.
        connections_per_address: Count = 8_192;
        /// Accepted connections that may wait for one front thread; more wait in the kernel's queue.
        handover: Count = 256;
        /// How long a synchronous caller waits for its result. Gateways drop at 30 s; the execution goes on.
        sync_timeout: Duration = "29s";
        /// Synchronous callers that wait at once: a user's hold a quarter at most, a customer's half. More get 429.
        sync_waiters: Count = 8_192;
        /// Lists and objects within one another in a JSON body.
        json_depth: Count = 100;
        /// Parts of a multipart body that are parsed.
        form_parts: Count = 1_000;
        /// Keys read from the disk at once, of one customer half at most: those that are not among `keyring.cache-entries` and that the system has not in memory.
        key_reads: Count = 4;
        /// Events that wait for a key to be read, of one customer half at most, all with a quarter of `front.body-memory` at most. More get 429.
        key_waiters: Count = 256;
        /// How long an event waits for its key to be read; then it gets 429.
        key_wait: Duration = "10s";
        /// Bodies up to this size are checked and sealed on the front's thread, larger ones beside it.
        inline_bytes: Size = "64KiB";
        /// Larger bodies checked and sealed at once.
        pool: Count = 2;
        /// How much of a refused body is read and dropped, so that its sender gets to read the answer.
        drain_bytes: Size = "8MiB";
        /// For how long.
        drain_timeout: Duration = "5s";
        /// What senders are told to wait where a limit refuses them.
        retry_after: Duration = "1s";
        /// What senders to an instance that is switched off are told to wait.
        retry_after_disabled: Duration = "60s";
        /// The pause after an accept that failed, for want of file descriptors for example.
        accept_pause: Duration = "100ms";
        /// Threads that serve connections. auto: two on up to 8 cores (one on a single core), then a quarter of the cores.
        threads: Auto<Count> = "auto";
        /// Waiting connections that the kernel keeps while the daemon is busy or restarting.
        accept_queue: Count = 4_096;
    }

    /// How much work may be accepted and not ended. Beyond it a sender waits briefly, then gets 429.
    admission "admission": Admission {
        /// Executions accepted and not ended, one user.
        user: Count = 16_384;
        /// Executions accepted and not ended, one flow of one instance.
        flow: Count = 32_768;
        /// Executions accepted and not ended, one customer.
        customer: Count = 65_536;
        /// Executions accepted and not ended, in all.
        total: Count = 131_072;
        /// Bytes of events accepted and not ended with the results that their steps have written since, in all. auto: `backlog.max-bytes`.
        total_bytes: Auto<Size> = "auto";
        /// The same of one user. What has begun and holds all of it goes on, and nothing else of theirs begins. auto: a quarter of `total-bytes`.
        user_bytes: Auto<Size> = "auto";
        /// The same of one customer. auto: half of `total-bytes`.
        customer_bytes: Auto<Size> = "auto";
        /// Above this share of a limit a sender waits for room instead of being let in at once.
        wait_from: Percent = "80%";
        /// How long a sender waits for room before 429. Short, because most providers count a slow answer as a failure.
        wait: Duration = "250ms";
        /// Senders that wait at once, for room of one user a quarter of them, of one flow or customer half; more are refused immediately, and so is who would hold more than a quarter of `front.body-memory`, of each of its parts, with the others that wait.
        waiters: Count = 1_024;
        /// What a refused sender is told to wait.
        retry_after: Duration = "2s";
    }

    /// How executions run, and how the slots are shared.
    execution "execution": Execution {
        /// Executions running at once on one owner arbiter. One that waits for HTTP holds its slot.
        slots: Count = 1_024;
        /// While others wait, one user runs at most the slots divided by this.
        user_divisor: Count = 4;
        /// The slots divided by this are kept for users below that share.
        reserve_divisor: Count = 4;
        /// A second of processor time counts as much as so many seconds of a slot.
        cpu_weight: Count = 4;
        /// What an execution of a flow that has never run is charged in advance.
        first_charge: Duration = "10ms";
        /// Flows whose average cost is remembered.
        remembered_flows: Count = 65_536;
        /// Threads that own instances and users. auto: one up to 4 cores, then half of the cores.
        owner_arbiters: Auto<Count> = "auto";
        /// How long one attempt of an execution may take. Fifteen minutes is what integrations are written for.
        timeout: Duration = "15m";
        /// How long one step may take, unless its definition says less.
        step_timeout: Duration = "5m";
        /// The largest result of one step. auto: what one journal entry holds, at most 16MiB.
        max_step_result: Auto<Size> = "auto";
        /// The largest value that one input resolves to.
        max_value: Size = "16MiB";
        /// Lists and objects within one another in a value.
        max_depth: Count = 128;
        /// Lists and objects within one another in the JSON of an HTTP step's answer (text if deeper) and a code step's result (fails if deeper).
        json_depth: Count = 100;
        /// Attempts of one HTTP step after its first, whatever its inputs ask for.
        max_http_retries: Count = 10;
        /// Log lines that one execution may write; further ones are counted and dropped.
        max_log_lines: Count = 1_000;
        /// The longest log line, and the longest message of an error of a step.
        max_log_line: Size = "16KiB";
        /// Step results are split over several journal entries above this size.
        entry_bytes: Size = "512KiB";
        /// Above this size sealing and masking leave the owner's thread.
        offload_bytes: Size = "64KiB";
        /// The wait before an append is tried again on a full disk, and a configuration is read again that cannot be read.
        full_retry: Duration = "500ms";
        /// How long an execution may wait for a connection to be usable again, from the first time that it is parked. Then it ends with `parked_too_long`. Until then it counts as accepted and not ended.
        park_limit: Duration = "168h";
        /// An execution that was running at so many deaths of its actor ends `quarantined`.
        max_deaths: Count = 3;
        /// Starts of one execution, restarts of the daemon included, after which it ends `quarantined`.
        max_activations: Count = 1_000;
        /// Bytes of accepted entries that an owner keeps in memory until they start; others are read from the journal.
        payload_cache: Size = "16MiB";
        /// Memory for payloads of running executions, all owner arbiters together: what the body of each comes to as JSON, twice, for each where that is more than 64KiB. Of it a customer's may hold half, a user's a quarter. One that finds no room leaves its slot to others until there is some. Large results of steps are counted as far as there is room. auto: 256MiB, or sixteen times `front.max-body` if that is more.
        memory: Auto<Size> = "auto";
    }

    /// JavaScript steps. They run in child processes, confined by the kernel: of `perseat-js-child` beside the daemon, or else of the daemon itself.
    code "code": Code {
        /// Scripts that run at once, each in a child of its own; half as many where those that were over at once before are all
        /// there is. Of one customer three quarters at most. auto: twice as many as cores, because a child waits for its next step, or its script for an answer.
        children: Auto<Count> = "auto";
        /// Children that one user's steps hold at once, never more than half of them. auto: half as many as cores, at least 1: what computes without end leaves the other cores alone.
        per_user: Auto<Count> = "auto";
        /// Children that leave their slots to others while their scripts wait for an answer or a timer, beside those of `children`; of one customer half at most.
        waiting: Count = 32;
        /// Children that stand ready to take over when one is killed or changes its customer.
        spares: Count = 2;
        /// Children kept with their customer beside those that `children` allows. auto: half more than `children`.
        kept: Auto<Count> = "auto";
        /// The engine's heap.
        memory: Size = "128MiB";
        /// How long one code step may run, waiting for HTTP included, waiting for a child not.
        wall: Duration = "5m";
        /// Processor time of one code step.
        cpu: Duration = "30s";
        /// Steps handed to one child at once: one runs, the others are the same user's, or all are of scripts that were over at once before.
        frames: Count = 8;
        /// Steps of one customer before another one that waits gets the child.
        turn_steps: Count = 16;
        /// Time of one customer before another one that waits gets the child.
        turn_time: Duration = "20ms";
        /// How long a step waits in a child behind another before it goes to one that is free; behind another user's it waits for any after five times that.
        begin_within: Duration = "20ms";
        /// Steps waiting for a child.
        queue: Count = 8_192;
        /// The largest message between the daemon and a child: script, inputs, result.
        max_frame: Size = "64MiB";
        /// Log lines of one code step.
        max_log_lines: Count = 1_000;
        /// Bytes of one code step's log lines. What it throws is cut there, or at twice `execution.max-log-line` where that is more.
        max_log_bytes: Size = "256KiB";
        /// Calls of `fetch` by one code step.
        max_fetches: Count = 1_000;
        /// Of them on their way at once; the others wait in order.
        fetches_in_flight: Count = 16;
        /// Timers of one code step at once.
        max_timers: Count = 1_000;
        /// Scripts that one child keeps compiled.
        max_scripts: Count = 64;
        /// required: refuse to start where landlock or seccomp is missing. best-effort: start and warn.
        sandbox: SandboxMode = "required";
    }

    /// OAuth 2.0 connections: when tokens are renewed, and how providers are asked. Calls go through the same guard as flows' own.
    oauth "oauth": OAuth {
        /// A token is renewed so long before its end, and at most half its life before it.
        refresh_lead: Duration = "5m";
        /// How long a call to a token endpoint may take. Steps that need the token wait for it.
        timeout: Duration = "15s";
        /// The largest answer of a token endpoint that is read.
        max_answer: Size = "64KiB";
        /// The wait after a renewal that failed in a way that may pass. Each further one waits twice as long.
        back_off: Duration = "5s";
        /// The longest such wait. A provider that asks for a pause itself (`Retry-After`) gets up to twelve times as much.
        back_off_max: Duration = "5m";
        /// A token that is refused so soon after it was given is not worth renewing: its grant is over.
        fresh: Duration = "1m";
        /// Events kept of one grant.
        timeline: Count = 32;
        /// The newest executions, and entries of theirs, that are looked through for who used a connection last and what waits for it.
        uses_looked_at: Count = 20;
        /// How long a person may take to consent, from the link to the way back.
        state_lifetime: Duration = "10m";
        /// Consents under way at once. Beyond it the oldest has to be begun again.
        states: Count = 10_000;
        /// Of them for one connection. Beyond it its oldest has to be begun again.
        states_per_connection: Count = 16;
        /// Addresses (`https://app.example/oauth`) below which a browser may be sent on after consent; a connection's others are not used.
        redirects: Vec<String> = none();
    }

    /// Integration definitions: what a YAML document may be, and the values of its configuration variables.
    definition "definition": Definition {
        /// Length of the text. The texts in it come to four times as much at most, those of an alias each time it is used.
        max_bytes: Size = "8MiB";
        /// Scalars, lists and mappings in all; an alias counts each time it is used, so that no document can explode.
        max_nodes: Count = 250_000;
        /// Lists and mappings within one another.
        max_depth: Count = 64;
        /// Problems reported for one document; the rest is counted.
        max_diagnostics: Count = 200;
        /// One value of a configuration variable, all parts of a connection's together.
        max_value: Size = "256KiB";
        /// All values of one instance, or of one user's configuration of it, stored.
        max_values: Size = "1MiB";
    }

    /// The journal: the truth of what happened to executions.
    journal "journal": Journal {
        /// Size of one segment. auto: a 32nd of the budget, within 1MiB and 64MiB.
        segment: Auto<Size> = "auto";
        /// Segments that always stand ready, so that a full disk stops new events and not running executions.
        spare_segments: Count = 2;
        /// Released segments kept for reuse beyond the spares. Reuse saves about a third of the cost of a sync.
        free_segments: Count = 2;
        /// Bytes written with one sync at most. A larger entry goes alone.
        max_batch: Size = "4MiB";
        /// Entries waiting for the writer; beyond it appends are refused.
        queue_entries: Count = 131_072;
        /// Bytes of entries waiting for the writer; beyond it appends are refused.
        queue_bytes: Size = "128MiB";
        /// How long an event waits for a segment that is being prepared, or released within the budget, before 503 `storage_full`.
        spare_wait: Duration = "20s";
        /// How soon a failed preparation of a segment is tried again.
        retry_interval: Duration = "1s";
        /// How soon an owner whose mailbox was full is handed the committed entries again; the writer waits that long.
        sink_retry: Duration = "1ms";
    }

    /// What is kept.
    retention "retention": Retention {
        /// Bytes on disk for the whole data directory. The oldest history goes first; nothing acknowledged and not ended ever does.
        budget: Size = "10GiB";
        /// Room kept free within the budget for what grows between two looks. auto: a 16th of the budget.
        margin: Auto<Size> = "auto";
        /// Bytes of live entries written again at a time when their segment is dropped.
        carry_bytes: Size = "4MiB";
        /// A file that is deleted first when the disk is full, so that deleting can commit. auto: a 64th of the budget, at most 16MiB.
        ballast: Auto<Size> = "auto";
    }

    /// Backups of a running daemon.
    backup "backup": Backup {
        /// Segments that a backup has not copied yet are kept; for them the data directory may be so much larger than its
        /// budget. Past it they go and the backup fails: events are never refused for it. auto: a 16th of the budget.
        pinned_bytes: Auto<Size> = "auto";
        /// How long segments are kept for a backup where there is no room for them.
        pinned_for: Duration = "1h";
        /// How long whoever receives a backup may take nothing of it before it is given up.
        reader_timeout: Duration = "60s";
        /// Bytes read ahead of whoever receives it.
        read_ahead: Size = "4MiB";
        /// The nice value of the thread that reads it.
        nice: Count = 19;
    }

    /// Events accepted and not ended, on disk.
    backlog "backlog": Backlog {
        /// Past it new events get 503 `storage_budget`. auto: a quarter of the budget.
        max_bytes: Auto<Size> = "auto";
    }

    /// The indexes behind the journal.
    index "index": Index {
        /// Entries that the index may be behind before admission closes. A restart after a crash reads so many again.
        max_lag: Count = 2_097_152;
        /// While more than `commit-entries` arrive in a `commit-interval`, or an eighth of them while the daemon's threads wait for processors half as long as they run, the index leaves processor and disk to them until it lags by so many. auto: three quarters of `max-lag`.
        yield_lag: Auto<Count> = "auto";
        /// Nor does it lag on purpose by more than arrives in this time; 0s: never.
        yield_for: Duration = "60s";
        /// Entries queued for the index; what does not fit is read from the journal again.
        queue_entries: Count = 65_536;
        /// Bytes of payloads queued for the index; what does not fit is read from the journal again.
        queue_bytes: Size = "1MiB";
        /// Entries of one index transaction.
        commit_entries: Count = 8_000;
        /// Time between index transactions.
        commit_interval: Duration = "250ms";
        /// How soon a failed transaction is tried again.
        retry_interval: Duration = "1s";
        /// Entries read from the journal at a time where the queue overflowed; fewer where they pass `index.queue-bytes`.
        scan_entries: Count = 1_024;
        /// The nice value of indexing: it must never delay an answer. Making room within the budget is not subject to it.
        nice: Count = 19;
        /// Finished steps that an execution's row lists.
        steps_listed: Count = 256;
    }

    /// The catalog: configuration, sealed credentials, audit.
    catalog "catalog": Catalog {
        /// Page cache.
        cache: Size = "8MiB";
        /// Parsed integration versions kept in memory.
        version_cache_entries: Count = 256;
        /// Records that one audit entry names; of a larger change it keeps count and digest.
        named_changes: Count = 1_024;
        /// What one audit entry says of them by name, sealed; what does not fit is counted.
        audit_details: Size = "16KiB";
        /// How often the final hashes of journal segments that were sealed since enter the audit, in one transaction.
        attest_every: Duration = "1s";
        /// Events waiting in the outbox; beyond it the oldest go.
        outbox_entries: Count = 10_000;
        /// Earlier values of one configuration, kept for executions that started with them; past it those resume with the next ones.
        revisions_kept: Count = 64;
        /// How often what nobody asks for any more is deleted: removed user configurations after 90 days, earlier values once everything that may have started with them has ended.
        tidy_every: Duration = "1h";
        /// Rows deleted in one transaction.
        tidy_rows: Count = 10_000;
        /// How long after the removal of a user or customer the catalog's file is written anew, at the next `catalog.tidy-every`: until
        /// then their names, addresses and plain values can be read in it by whoever has the file. Changes wait meanwhile.
        rewrite_after: Duration = "1h";
    }

    /// Live executions.
    state "state": State {
        /// Page cache.
        cache: Size = "4MiB";
        /// Live executions that a list looks at before it gives a short page.
        scan_rows: Count = 20_000;
    }

    /// Ended executions.
    history "history": History {
        /// Page cache of all history files together.
        cache: Size = "4MiB";
        /// History files open at once.
        open_files: Count = 4;
        /// Bytes of a request, and of a step's result, that are shown of an execution; of all its results 16 times as many. A result's URL gives it whole.
        shown_bytes: Size = "64KiB";
        /// Rows of one file that a list looks at before it gives a short page.
        scan_rows: Count = 20_000;
    }

    /// What happens to actors that fail, freeze or idle.
    supervision "supervision": Supervision {
        /// Restarts of one actor within the window before it is quarantined.
        restarts: Count = 5;
        /// The window of that count.
        window: Duration = "60s";
        /// Pause before the first restart; it doubles with each.
        back_off: Duration = "100ms";
        /// The longest pause.
        back_off_max: Duration = "10s";
        /// How long a quarantine lasts.
        quarantine: Duration = "10m";
        /// An actor idle for so long is put away; it costs disk, not memory.
        passivate_after: Duration = "5m";
        /// How often idle actors are looked for.
        tidy_every: Duration = "30s";
        /// Users in memory of one owner arbiter, 4 KiB each; past it those that rest for a second are put away, which is looked for each second while events come, and every `tidy-every`.
        max_users: Count = 131_072;
        /// Instances in memory at once, and users of one instance; past it what comes waits until some were put away.
        max_children: Count = 1_048_576;
        /// Messages waiting for one actor. At least admission.total, so that what was admitted always fits.
        mailbox: Count = 262_144;
        /// Time between pulses of every arbiter and the journal writer. With each an arbiter that rests gives back freed memory.
        pulse: Duration = "1s";
        /// Silence after which `/readyz` degrades and an error is logged.
        silence_degraded: Duration = "5s";
        /// Silence after which the process logs what it knows and aborts; the service manager restarts it.
        silence_abort: Duration = "15s";
    }

    /// The end.
    drain "drain": Drain {
        /// How long SIGTERM waits for what is running, and for the index to take what it lags. What has not ended then resumes at the next start. While requests are open, half of it may pass before nothing more begins.
        deadline: Duration = "25s";
        /// How long threads may take to end once nothing runs on them; the process ends after it in any case. As long have renewals past `drain.deadline` that are under way by then.
        thread_timeout: Duration = "5s";
    }

    /// What the daemon says.
    log "log": Log {
        /// auto: pretty on a terminal, JSON elsewhere.
        format: LogFormat = "auto";
        /// Least severe level written, or directives such as `info,perseat_journal=debug`.
        @reloads level: Directives = "info";
        /// Lines waiting for the writer; beyond it they are dropped and counted, because a log must never block a request.
        queue: Count = 65_536;
    }
}
