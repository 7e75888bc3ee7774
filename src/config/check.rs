//! The checks of several keys together.
//!
//! A value's own range is its type's business; here is only what one key means for another, and what a part of the daemon
//! could not work with. A check whose keys could not all be read is left out: it would judge a value that nobody gave.

use std::time::Duration;

use http::HeaderValue;
use perseat_flow::outbound::Rule;
use url::Url;

use super::Config;
use super::settings::sections;
use super::source::{Origin, Problem, Unknown};
use super::value::{Auto, Size, Value as _};

/// Bytes of an entry besides its body: headers, ids, seals and the frame around them.
pub const ENTRY_OVERHEAD: u64 = 128 << 10;
/// The largest bodies that `execution.memory` has room for: one takes three times as much as a payload, of a user's quarter.
pub const BODIES_IN_MEMORY: u64 = 16;
/// Spare segments at least: one for everybody, one for the collector.
const LEAST_SPARES: u32 = 2;
/// Segments of a budget at least: two spare, one being written, and some history.
const LEAST_SEGMENTS: u64 = 8;
/// Bytes of a child's message besides a result and its log lines.
const FRAME_OVERHEAD: u64 = 64 << 10;
/// A character of text may take so many as JSON.
const LINE_AS_JSON: u64 = 6;
/// Bytes of a step's entry besides what it gave.
const STEP_OVERHEAD: u64 = 32 << 10;
/// Less than this the HTTP library does not read with, whatever a request's head may be.
const LEAST_HEADER_BYTES: u64 = 8 << 10;
/// The JSON library reads 127 levels, whatever is allowed, and a body stands two deep in the payload that steps see.
const MOST_JSON_DEPTH: u32 = 125;
/// More headers than this do not fit into one map of them beside those that Perseat adds.
const MOST_HEADERS: u32 = 16_384;

/// Everything in `config` that does not fit together, as far as its keys are known.
#[must_use]
pub(super) fn problems(config: &Config, unknown: &Unknown) -> Vec<Problem> {
    let mut checks = Checks {
        unknown,
        problems: Vec::new(),
    };
    sizes(config, &mut checks);
    budget(config, &mut checks);
    counts(config, &mut checks);
    outbound(config, &mut checks);
    super::calls::check(config, &mut checks);
    listeners(config, &mut checks);
    times(config, &mut checks);
    redirects(config, &mut checks);
    nothing(config, &mut checks);
    super::people::check(config, &mut checks);
    checks.problems
}

pub(super) struct Checks<'u> {
    unknown: &'u Unknown,
    problems: Vec<Problem>,
}

impl Checks<'_> {
    /// What is wrong, if it is, with these keys.
    pub(super) fn refuse(&mut self, keys: &[&str], wrong: bool, what: impl FnOnce() -> String) {
        if wrong && !keys.iter().any(|key| self.unknown.has(key)) {
            self.problems.push(Problem {
                origin: Origin::Daemon,
                what: what(),
            });
        }
    }
}

const SEGMENT: [&str; 2] = ["journal.segment", "retention.budget"];

fn sizes(config: &Config, checks: &mut Checks<'_>) {
    let (segment, entry) = (config.segment(), config.max_entry());
    let body = config.front.max_body;
    let with_segment = |key: &'static str| [SEGMENT[0], SEGMENT[1], key];
    checks.refuse(&with_segment("front.max-body"), body.get() + ENTRY_OVERHEAD > entry.get(), || {
        format!(
            "front.max-body is {body}, but one entry is at most half a journal segment ({segment}) less 128KiB: \
                 raise journal.segment or retention.budget, or lower front.max-body"
        )
    });
    let memory = config.execution_memory();
    checks.refuse(
        &["execution.memory", "front.max-body"],
        memory.get() < body.get().saturating_mul(BODIES_IN_MEMORY),
        || format!("execution.memory is {memory}, less than {BODIES_IN_MEMORY} times front.max-body ({body})"),
    );
    for (part, body, memory) in [
        ("front", body, config.front.body_memory),
        ("api", config.api.max_body, config.api.body_memory),
    ] {
        let keys = [&*format!("{part}.max-body"), &*format!("{part}.body-memory")];
        checks.refuse(&keys, body > memory, || {
            format!("{part}.body-memory is {memory}, so a body of {part}.max-body ({body}) could never be read")
        });
    }
    for (key, most) in [
        ("front.max-headers", config.front.max_headers),
        ("outbound.max-headers", config.calls.outbound.max_headers),
    ] {
        let most = most.get();
        checks.refuse(&[key], most > MOST_HEADERS, || {
            format!("{key} is {most}, but {MOST_HEADERS} is the most that a message may have")
        });
    }
    let heads = config.front.max_header_bytes;
    checks.refuse(&["front.max-header-bytes"], heads.get() < LEAST_HEADER_BYTES, || {
        format!("front.max-header-bytes is {heads}, but requests are read 8KiB at a time at least")
    });
    let result = config.max_step_result();
    let given = matches!(config.execution.max_step_result, Auto::Given(_));
    checks.refuse(
        &with_segment("execution.max-step-result"),
        given && result.get() + ENTRY_OVERHEAD > entry.get(),
        || format!("execution.max-step-result is larger than half a journal segment ({segment}) less 128KiB"),
    );
    let line = config.execution.max_log_line;
    let told = line.get().saturating_mul(LINE_AS_JSON);
    checks.refuse(&with_segment("execution.max-log-line"), told + STEP_OVERHEAD > entry.get(), || {
        format!(
            "execution.max-log-line is {line}: why a step failed may take {LINE_AS_JSON} times as much as JSON, and one entry is at most half a \
             journal segment ({segment}) less 32KiB"
        )
    });
    let (frame, logs) = (config.code.max_frame, config.code.max_log_bytes);
    checks.refuse(
        &[
            SEGMENT[0],
            SEGMENT[1],
            "execution.max-step-result",
            "code.max-frame",
            "code.max-log-bytes",
        ],
        frame.get() < result.get() + logs.get() + FRAME_OVERHEAD,
        || {
            format!(
                "code.max-frame is {frame}, but a child answers with a result ({result}, execution.max-step-result), its log lines \
                 ({logs}, code.max-log-bytes) and 64KiB around them"
            )
        },
    );
    let queue = config.journal.queue_bytes;
    checks.refuse(&with_segment("journal.queue-bytes"), queue.get() < entry.get(), || {
        format!("journal.queue-bytes is {queue}, less than one entry may be ({entry})")
    });
    checks.refuse(&SEGMENT, !(16 << 10..4 << 30).contains(&segment.get()), || {
        format!("journal.segment is {segment}, but must be at least 16KiB and below 4GiB")
    });
}

fn budget(config: &Config, checks: &mut Checks<'_>) {
    let (segment, budget) = (config.segment(), config.retention.budget);
    checks.refuse(&SEGMENT, budget.get() / segment.get().max(1) < LEAST_SEGMENTS, || {
        format!("retention.budget is {budget}, less than {LEAST_SEGMENTS} journal segments of {segment}")
    });
    let backlog = config.backlog_bytes();
    checks.refuse(&["backlog.max-bytes", "retention.budget"], backlog.get() > budget.get() / 2, || {
        format!("backlog.max-bytes is {backlog}, more than half of retention.budget ({budget}): carrying live entries would never end")
    });
    let media = config.media_budget();
    checks.refuse(&["media.budget", "retention.budget"], media.get() > budget.get() / 4, || {
        format!("media.budget is {media}, more than a quarter of retention.budget ({budget}), which it is a part of")
    });
    let of_customer = config.media_of_customer();
    checks.refuse(&["media.customer-budget", "media.budget"], of_customer > media, || {
        format!("media.customer-budget is {of_customer}, more than all files together may have (media.budget: {media})")
    });
    let body = config.api.max_body;
    for (key, size) in [
        ("media.max-attachment", config.media.max_attachment),
        ("media.max-picture", config.media.max_picture),
    ] {
        checks.refuse(&[key, "api.max-body"], size > body, || {
            format!("{key} is {size}, more than a body may have (api.max-body: {body})")
        });
    }
    let kept: [(&str, Size, &str); 2] = [
        ("retention.margin", config.margin(), "the margin is kept free within the budget"),
        ("retention.ballast", config.ballast(), "the ballast lies within the budget"),
    ];
    for (key, size, why) in kept {
        checks.refuse(&[key, "retention.budget"], size.get() > budget.get() / 2, || {
            format!("{key} is {size}, more than half of retention.budget ({budget}): {why}, and the journal gets what is left")
        });
    }
    let spares = config.journal.spare_segments.get();
    checks.refuse(&["journal.spare-segments"], spares < LEAST_SPARES, || {
        format!(
            "journal.spare-segments is {spares}, but at least {LEAST_SPARES} are needed: within retention.budget one is kept back for \
             live entries that are written again before their segment is dropped"
        )
    });
}

fn counts(config: &Config, checks: &mut Checks<'_>) {
    let admission = &config.admission;
    checks.refuse(
        &["admission.user", "admission.flow", "admission.customer"],
        !(admission.user <= admission.flow && admission.flow <= admission.customer),
        || "admission: user ≤ flow ≤ customer must hold, else the smaller limit can never be reached".to_owned(),
    );
    let (mailbox, total) = (config.supervision.mailbox.get(), admission.total.get());
    checks.refuse(&["supervision.mailbox", "admission.total"], mailbox < total, || {
        format!("supervision.mailbox is {mailbox}, less than admission.total ({total}): what was admitted would not fit")
    });
    let (max, yields) = (config.index.max_lag.get(), config.index.yield_lag);
    checks.refuse(
        &["index.max-lag", "index.yield-lag"],
        matches!(yields, Auto::Given(lag) if lag.get() > max),
        || format!("index.yield-lag is more than index.max-lag ({max}): the index would still stand back when new events are refused for its lag"),
    );
    let nice = config.index.nice.get();
    checks.refuse(&["index.nice"], nice > 19, || format!("index.nice is {nice}, but 19 is the most"));
    for (key, depth) in [
        ("front.json-depth", config.front.json_depth.get()),
        ("execution.json-depth", config.execution.json_depth.get()),
    ] {
        checks.refuse(&[key], depth > MOST_JSON_DEPTH, || {
            format!("{key} is {depth}, but {MOST_JSON_DEPTH} is the most that the JSON reader takes")
        });
    }
}

fn outbound(config: &Config, checks: &mut Checks<'_>) {
    let (memory, answer) = (config.calls.outbound.answer_memory, config.calls.outbound.max_response);
    checks.refuse(
        &["outbound.answer-memory", "outbound.max-response"],
        memory.get() / 2 < answer.get(),
        || format!("outbound.answer-memory is {memory}, but a user has half of it, so an answer of outbound.max-response ({answer}) could never be read"),
    );
    let agent = &config.calls.outbound.user_agent;
    checks.refuse(&["outbound.user-agent"], HeaderValue::from_str(agent).is_err(), || {
        format!("outbound.user-agent: {agent:?} cannot stand in a header")
    });
    for (key, rules) in [
        ("outbound.allow", &config.calls.outbound.allow),
        ("outbound.deny", &config.calls.outbound.deny),
    ] {
        for rule in rules {
            checks.refuse(&[key], rule.parse::<Rule>().is_err(), || {
                format!("{key}: {rule:?} is neither a network nor a host, each optionally with a port")
            });
        }
    }
}

fn redirects(config: &Config, checks: &mut Checks<'_>) {
    for text in &config.oauth.redirects {
        let is_address = text
            .parse::<Url>()
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        checks.refuse(&["oauth.redirects"], !is_address, || {
            format!("oauth.redirects: {text:?} is not an http or https address")
        });
    }
}

fn listeners(config: &Config, checks: &mut Checks<'_>) {
    let (hooks, api, admin) = (config.hooks.listen, config.api.listen, config.admin.listen);
    for (key, other) in [("hooks.listen", hooks), ("api.listen", api)] {
        checks.refuse(&["admin.listen", key], admin.port() != 0 && admin == other, || {
            format!("admin.listen is {admin}, which {key} has: health and metrics need an address of their own")
        });
    }
    let (body, memory) = (config.api.max_body, config.front.body_memory);
    checks.refuse(
        &["hooks.listen", "api.listen", "api.max-body", "front.body-memory"],
        config.api_on_hooks() && body > memory,
        || {
            format!(
                "front.body-memory is {memory}, so a body of api.max-body ({body}) could never be read: hooks and API share one address"
            )
        },
    );
    checks.refuse(
        &["tls.cert", "tls.key"],
        config.tls.cert.is_some() != config.tls.key.is_some(),
        || "tls.cert and tls.key must be given together".to_owned(),
    );
    if let Some(url) = &config.network.public_url {
        let root = matches!(url.scheme(), "http" | "https") && url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        checks.refuse(&["public-url"], !root || !url.username().is_empty(), || {
            format!("public-url is {url}, but must be http or https and a host, without a path")
        });
    }
}

fn times(config: &Config, checks: &mut Checks<'_>) {
    let supervision = &config.supervision;
    checks.refuse(
        &["supervision.pulse", "supervision.silence-degraded", "supervision.silence-abort"],
        !(supervision.pulse < supervision.silence_degraded && supervision.silence_degraded < supervision.silence_abort),
        || "supervision: pulse < silence-degraded < silence-abort must hold".to_owned(),
    );
    checks.refuse(
        &["media.unused", "api.url-lifetime"],
        config.media.unused < config.api.url_lifetime,
        || "media.unused is shorter than api.url-lifetime: what was uploaded could be gone before it is taken up".to_owned(),
    );
    let longer: [(&str, Duration, &str, Duration); 5] = [
        (
            "supervision.back-off",
            supervision.back_off,
            "supervision.back-off-max",
            supervision.back_off_max,
        ),
        (
            "execution.step-timeout",
            config.execution.step_timeout,
            "execution.timeout",
            config.execution.timeout,
        ),
        ("code.cpu", config.code.cpu, "code.wall", config.code.wall),
        (
            "outbound.connect-timeout",
            config.calls.outbound.connect_timeout,
            "outbound.timeout",
            config.calls.outbound.timeout,
        ),
        (
            "oauth.back-off",
            config.oauth.back_off,
            "oauth.back-off-max",
            config.oauth.back_off_max,
        ),
    ];
    for (key, time, whole, most) in longer {
        checks.refuse(&[key, whole], time > most, || format!("{key} is longer than {whole}"));
    }
}

/// Times that may be none: nobody waits for them, or waits for nothing.
pub(super) const MAY_BE_NONE: [&str; 26] = [
    "admission.retry-after",
    "admission.wait",
    // An API that reads nothing.
    "api.query-time",
    "backup.pinned-for",
    "catalog.rewrite-after",
    "code.begin-within",
    "drain.deadline",
    "execution.first-charge",
    "execution.park-limit",
    "front.drain-timeout",
    "front.retry-after",
    "front.retry-after-disabled",
    "governor.ease",
    "governor.max-pause",
    "governor.max-wait",
    "governor.script-wait",
    "governor.spacing",
    "governor.token-wait",
    "index.yield-for",
    "keyring.rotation-settle",
    "notices.escalate-after",
    "oauth.fresh",
    "oauth.refresh-lead",
    "oidc.leeway",
    "outbound.dns-cache",
    "outbound.idle-timeout",
];

/// A time in which nothing can happen, or after which something would be done without a pause.
fn nothing(config: &Config, checks: &mut Checks<'_>) {
    let keys = sections().into_iter().flat_map(|section| section.keys);
    for ((key, value), described) in config.entries().into_iter().zip(keys) {
        let time = value.filter(|_| described.kind == Duration::KIND);
        let is_none = time.is_some_and(|time| Duration::read(&time).is_ok_and(|time| time.is_zero()));
        checks.refuse(&[key.as_str()], is_none && !MAY_BE_NONE.contains(&key.as_str()), || {
            format!("{key} is zero: give it a time in which something can happen, from 1ms on")
        });
    }
}
