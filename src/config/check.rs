//! The checks of several keys together.
//!
//! A value's own range is its type's business; here is only what one key means for another.

use perseat_flow::outbound::Rule;

use super::Config;
use super::source::{Origin, Problem};
use super::value::Auto;

/// Bytes of an entry besides its body: headers, ids, seals and the frame around them.
pub const ENTRY_OVERHEAD: u64 = 128 << 10;
/// Spare segments at least: one for everybody, one for the collector.
const LEAST_SPARES: u32 = 2;
/// Segments of a budget at least: two spare, one being written, and some history.
const LEAST_SEGMENTS: u64 = 8;

/// Everything in `config` that does not fit together.
#[must_use]
pub fn problems(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut refuse = |wrong: bool, what: String| {
        if wrong {
            problems.push(Problem {
                origin: Origin::Daemon,
                what,
            });
        }
    };
    sizes(config, &mut refuse);
    outbound(config, &mut refuse);
    listeners(config, &mut refuse);
    times(config, &mut refuse);
    problems
}

fn sizes(config: &Config, refuse: &mut impl FnMut(bool, String)) {
    let (segment, entry, budget) = (config.segment(), config.max_entry(), config.retention.budget);
    let body = config.front.max_body;
    refuse(
        body.get() + ENTRY_OVERHEAD > entry.get(),
        format!(
            "front.max-body is {body}, but one entry is at most half a journal segment ({segment}) less 128KiB: \
             raise journal.segment or retention.budget, or lower front.max-body"
        ),
    );
    refuse(
        body > config.front.body_memory,
        format!(
            "front.body-memory is {}, so a body of front.max-body ({body}) could never be read",
            config.front.body_memory
        ),
    );
    refuse(
        matches!(config.execution.max_step_result, Auto::Given(given) if given.get() + ENTRY_OVERHEAD > entry.get()),
        format!("execution.max-step-result is larger than half a journal segment ({segment}) less 128KiB"),
    );
    refuse(
        budget.get() / segment.get().max(1) < LEAST_SEGMENTS,
        format!("retention.budget is {budget}, less than {LEAST_SEGMENTS} journal segments of {segment}"),
    );
    refuse(
        config.backlog_bytes().get() > budget.get() / 2,
        format!(
            "backlog.max-bytes is {}, more than half of retention.budget ({budget}): carrying live entries would never end",
            config.backlog_bytes()
        ),
    );
    refuse(
        config.journal.spare_segments.get() < LEAST_SPARES,
        format!(
            "journal.spare-segments is {}, but at least {LEAST_SPARES} are needed: within retention.budget one is kept back for \
             live entries that are written again before their segment is dropped",
            config.journal.spare_segments.get()
        ),
    );
    refuse(
        config.journal.queue_bytes.get() < entry.get(),
        format!(
            "journal.queue-bytes is {}, less than one entry may be ({entry})",
            config.journal.queue_bytes
        ),
    );
    refuse(
        !(16 << 10..4 << 30).contains(&segment.get()),
        format!("journal.segment is {segment}, but must be at least 16KiB and below 4GiB"),
    );
    let admission = &config.admission;
    refuse(
        !(admission.user <= admission.flow && admission.flow <= admission.customer),
        "admission: user ≤ flow ≤ customer must hold, else the smaller limit can never be reached".to_owned(),
    );
}

fn outbound(config: &Config, refuse: &mut impl FnMut(bool, String)) {
    for (key, rules) in [("outbound.allow", &config.outbound.allow), ("outbound.deny", &config.outbound.deny)] {
        for rule in rules {
            refuse(
                rule.parse::<Rule>().is_err(),
                format!("{key}: {rule:?} is neither a network nor a host, each optionally with a port"),
            );
        }
    }
}

fn listeners(config: &Config, refuse: &mut impl FnMut(bool, String)) {
    let (hooks, api, admin) = (config.hooks.listen, config.api.listen, config.admin.listen);
    refuse(
        admin.port() != 0 && (admin == hooks || admin == api),
        format!("admin.listen is {admin}, which another listener has: health and metrics need an address of their own"),
    );
    refuse(
        config.tls.cert.is_some() != config.tls.key.is_some(),
        "tls.cert and tls.key must be given together".to_owned(),
    );
    if let Some(url) = &config.network.public_url {
        let root = matches!(url.scheme(), "http" | "https") && url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        refuse(
            !root || !url.username().is_empty(),
            format!("public-url is {url}, but must be http or https and a host, without a path"),
        );
    }
}

fn times(config: &Config, refuse: &mut impl FnMut(bool, String)) {
    let supervision = &config.supervision;
    refuse(
        !(supervision.pulse < supervision.silence_degraded && supervision.silence_degraded < supervision.silence_abort),
        "supervision: pulse < silence-degraded < silence-abort must hold".to_owned(),
    );
    refuse(
        supervision.back_off > supervision.back_off_max,
        "supervision.back-off is longer than back-off-max".to_owned(),
    );
    refuse(
        config.execution.step_timeout > config.execution.timeout,
        "execution.step-timeout is longer than execution.timeout".to_owned(),
    );
    refuse(
        config.index.nice.get() > 19,
        format!("index.nice is {}, but 19 is the most", config.index.nice.get()),
    );
    refuse(config.code.cpu > config.code.wall, "code.cpu is longer than code.wall".to_owned());
    refuse(
        config.outbound.connect_timeout > config.outbound.timeout,
        "outbound.connect-timeout is longer than outbound.timeout".to_owned(),
    );
}
