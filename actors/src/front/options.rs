//! Every limit of the front, by its name in the configuration.

use std::time::Duration;

/// Limits of connections, requests and waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontOptions {
    /// `front.max-body`: the largest request body.
    pub max_body: usize,
    /// `front.body-memory`: bytes of bodies held at once, until the entry is durable. An eighth is for bodies up to 4 KiB,
    /// an eighth for the first 64 KiB of larger ones, the rest for what these need beyond; at least `front.max-body`.
    pub body_memory: usize,
    /// `front.max-headers`: headers in one request, and those that a flow sets in an answer.
    pub max_headers: usize,
    /// `front.max-header-bytes`: bytes of the request line and headers together, and of those that a flow sets in an answer. Up
    /// to twice as much is still read, so that the answer can say what was wrong.
    pub max_header_bytes: usize,
    /// `front.header-timeout`: how long a request's headers may take, and a new connection may say nothing.
    pub header_timeout: Duration,
    /// `front.body-timeout`: how long the body may take, waits for its memory included.
    pub body_timeout: Duration,
    /// `front.answer-memory`: bytes of synchronous results held at once, until their callers have taken them.
    pub answer_memory: usize,
    /// `front.answer-timeout`: how long a client may take to take an answer that does not go out at once.
    pub answer_timeout: Duration,
    /// `front.idle-timeout`: how long a connection may stay open between requests.
    pub idle_timeout: Duration,
    /// `front.connections`: connections at once, all front threads together; more wait in the kernel's queue.
    pub connections: usize,
    /// `front.connections-per-address`: those of one client address; more are closed.
    pub connections_per_address: usize,
    /// `front.handover`: accepted connections that may wait for one front thread.
    pub handover: usize,
    /// `tls.handshake-timeout`: how long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// `front.sync-timeout`: how long a synchronous caller waits for its result.
    pub sync_timeout: Duration,
    /// `front.sync-waiters`: synchronous callers that wait at once, a user's a quarter at most, a customer's half; more get
    /// `rate_limited`.
    pub sync_waiters: usize,
    /// `front.json-depth`: lists and objects within one another in a JSON body.
    pub json_depth: usize,
    /// `front.form-parts`: parts of a form that are parsed, where a request is routed by one.
    pub form_parts: usize,
    /// `front.key-reads`: keys read from the disk at once, of one customer half at most.
    pub key_reads: usize,
    /// `front.key-waiters`: events that wait for a key to be read, of one customer half at most; more get `rate_limited`.
    pub key_waiters: usize,
    /// `front.key-wait`: how long an event waits for it before it gets `rate_limited`.
    pub key_wait: Duration,
    /// `front.inline-bytes`: bodies up to this size are checked and sealed on the front thread, larger ones in the pool.
    pub inline_bytes: usize,
    /// `front.pool`: bodies checked and sealed in the pool at once.
    pub pool: usize,
    /// `front.drain-bytes`: how much of a body that was refused is read and dropped, so that its sender reads the answer.
    pub drain_bytes: usize,
    /// `front.drain-timeout`: for how long.
    pub drain_timeout: Duration,
    /// `front.retry-after`: what senders are told to wait where a limit refuses them.
    pub retry_after: Duration,
    /// `front.retry-after-disabled`: what senders to an instance that is switched off are told to wait.
    pub retry_after_disabled: Duration,
    /// `front.accept-pause`: the pause after an accept that failed, for want of file descriptors for example.
    pub accept_pause: Duration,
}

impl Default for FrontOptions {
    fn default() -> Self {
        Self {
            max_body: 6 << 20,
            body_memory: 32 << 20,
            max_headers: 100,
            max_header_bytes: 64 << 10,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            answer_memory: 32 << 20,
            answer_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            connections: 16_384,
            connections_per_address: 8_192,
            handover: 256,
            handshake_timeout: Duration::from_secs(10),
            sync_timeout: Duration::from_secs(29),
            sync_waiters: 8_192,
            json_depth: 100,
            form_parts: 1_000,
            key_reads: 4,
            key_waiters: 256,
            key_wait: Duration::from_secs(10),
            inline_bytes: 64 << 10,
            pool: 2,
            drain_bytes: 8 << 20,
            drain_timeout: Duration::from_secs(5),
            retry_after: Duration::from_secs(1),
            retry_after_disabled: Duration::from_secs(60),
            accept_pause: Duration::from_millis(100),
        }
    }
}
