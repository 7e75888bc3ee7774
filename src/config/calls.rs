//! The keys of calls to third parties: how they go out and how they are held back; as [`super::settings`].

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use perseat_domain::rate::{Limits, Rate};
use perseat_flow::outbound::GovernorOptions;

use super::Config;
use super::check::Checks;
use super::declare::{Key, Preset, Section, none, path, settings, unset};
use super::source::Reader;
use super::value::{Count, Size, Value};

/// A rate remembers when each of its calls began.
const MOST_CALLS: u32 = 10_000;

settings! {
    /// How third parties are called.
    CallSettings;

    /// Requests that flows send out. Only public addresses by default, so that no flow can reach what stands beside the daemon.
    outbound "outbound": Outbound {
        /// Networks and hosts that are allowed although they are not public: `10.1.0.0/16`, `*.internal`, `127.0.0.1:8080`.
        allow: Vec<String> = none();
        /// Networks and hosts that are refused although they are public. Stronger than `allow`.
        deny: Vec<String> = none();
        /// How long a connection may take.
        connect_timeout: Duration = "10s";
        /// How long a whole request may take, redirects and body included.
        timeout: Duration = "5m";
        /// The largest response body, after decompression.
        max_response: Size = "64MiB";
        /// Memory for response bodies, all requests together, until a step has its result or a script was given it. One user has half of it at most, which has to hold a whole body. What finds no room fails at once, in a way that may pass.
        answer_memory: Size = "256MiB";
        /// Headers that a step may set in one request.
        max_headers: Count = 256;
        /// Redirects followed; each is checked like the first address, and credentials are dropped on a change of host.
        redirects: Count = 5;
        /// Name look-ups at once; they hold threads. Whoever asks for a name meanwhile gets the same answer. The names of one zone (their last two labels) have half of them at most, at least one: where its servers do not answer, others still are looked up.
        lookups: Count = 32;
        /// How long a name look-up may take from its turn on; waiting for that counts for `outbound.connect-timeout`.
        lookup_timeout: Duration = "10s";
        /// How long the answer of a name look-up is used again.
        dns_cache: Duration = "30s";
        /// Names kept in that cache.
        dns_cache_names: Count = 4_096;
        /// Idle connections kept for one host.
        idle_per_host: Count = 64;
        /// How long an idle connection is kept: less than the five seconds of many servers. One that closes it just when a request is sent leaves nobody knowing what became of that.
        idle_timeout: Duration = "4s";
        /// Client certificates whose connections are kept; the least recently used go.
        client_certificates: Count = 64;
        /// The `User-Agent` of requests that set none.
        user_agent: String = concat!("perseat/", env!("CARGO_PKG_VERSION"));
    }

    /// How fast third parties are called. What a provider asks for by 429 or 503 with `Retry-After`, and what it counts down in
    /// `RateLimit` headers, is learnt for the account that was used; for what accounts have in common only when several were
    /// refused in a row. Calls that have to wait take turns by customer and user.
    governor "governor": Governor {
        /// The most calls to any one host, as calls per span. Unset: only what the provider says.
        rate: Option<CallRate> = unset("100/1s");
        /// The same for single hosts, with the port where it is not the scheme's own: `api.example.com=600/1m`.
        hosts: Vec<HostRate> = none();
        /// The longest time a call waits for its turn; one that would wait longer fails at once with `outbound_rate_limited`, and
        /// the step's retry rule applies. It counts for `execution.step-timeout`.
        max_wait: Duration = "1m";
        /// How long a later request of a script waits while its code process waits with it. The first one waits without.
        script_wait: Duration = "1s";
        /// How long a request for a token waits for its turn: a renewal that would wait longer is put off as in an outage, and a person
        /// who consents is asked to come back later. Steps that need the token wait for it.
        token_wait: Duration = "10s";
        /// The longest pause that a provider is believed.
        max_pause: Duration = "1h";
        /// The pause after 429 without a time. It doubles with each refusal in a row.
        back_off: Duration = "1s";
        /// The longest such pause.
        back_off_max: Duration = "1m";
        /// How long after a pause calls begin one by one, so that what has gathered does not all arrive at once.
        ease: Duration = "5s";
        /// How far apart they begin then.
        spacing: Duration = "50ms";
        /// Accounts of one customer, customers of one app registration, or registrations at one host that are refused in a row,
        /// and nobody served in between, before what they have in common waits with them.
        evidence: Count = 3;
        /// Calls that a provider says are left below which Perseat counts along.
        watch_below: Count = 100;
        /// Accounts, customers, registrations and hosts with a limit that are remembered; past it the one that ends first goes.
        tracked: Count = 16_384;
        /// Calls that wait; requests for tokens, which go first, are as many again.
        waiting: Count = 8_192;
        /// Calls of one user that wait.
        waiting_per_user: Count = 1_024;
    }
}

/// At most so many calls within a span, written `100/1s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallRate(Rate);

impl FromStr for CallRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("expected {}, found {text:?}", Self::KIND);
        let (count, span) = text.split_once('/').ok_or_else(error)?;
        let count = count.trim().parse().ok().filter(|count| (1..=MOST_CALLS).contains(count));
        let per = Duration::read(&span.trim().into()).ok().filter(|per| !per.is_zero());
        let rate = count.zip(per).map(|(count, per)| Rate { count, per });
        rate.map(Self).ok_or_else(error)
    }
}

impl fmt::Display for CallRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = self.0.per.write();
        write!(
            f,
            "{}/{}",
            self.0.count,
            span.as_ref().and_then(toml::Value::as_str).unwrap_or_default()
        )
    }
}

/// The rate of one host, written `api.example.com=100/1s`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRate {
    host: String,
    rate: CallRate,
}

impl FromStr for HostRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, rate) = text
            .split_once('=')
            .ok_or_else(|| format!("expected {}, found {text:?}", Self::KIND))?;
        let host = host.trim().to_ascii_lowercase();
        let url = url::Url::parse(&format!("https://{host}")).ok();
        if host.contains('@') || url.is_none_or(|url| url.as_str() != format!("https://{host}/")) {
            return Err(format!("{host:?} is no host"));
        }
        let rate = rate.parse()?;
        Ok(Self { host, rate })
    }
}

impl fmt::Display for HostRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.host, self.rate)
    }
}

macro_rules! textual {
    ($($type:ty: $kind:literal;)*) => {$(
        impl Value for $type {
            const KIND: &'static str = $kind;

            fn read(value: &toml::Value) -> Result<Self, String> {
                let text = value.as_str();
                text.ok_or_else(|| format!("expected {}, found {}", Self::KIND, value.type_str()))?.parse()
            }

            fn write(&self) -> Option<toml::Value> {
                Some(self.to_string().into())
            }
        }
    )*};
}

textual! {
    CallRate: "calls per span such as \"100/1s\", at most 10000 calls";
    HostRate: "a host with its rate such as \"api.example.com=100/1s\"";
}

impl Config {
    /// How calls to third parties are held back.
    #[must_use]
    pub fn governor_options(&self) -> GovernorOptions {
        let governor = &self.calls.governor;
        GovernorOptions {
            limits: Limits {
                rate: governor.rate.map(|rate| rate.0),
                max_wait: governor.max_wait,
                max_pause: governor.max_pause,
                back_off: governor.back_off,
                back_off_max: governor.back_off_max,
                ease: governor.ease,
                spacing: governor.spacing,
                evidence: governor.evidence.as_usize(),
                watch_below: governor.watch_below.get(),
                tracked: governor.tracked.as_usize(),
                waiting: governor.waiting.as_usize(),
                waiting_per_user: governor.waiting_per_user.as_usize(),
                ..Limits::default()
            },
            hosts: governor.hosts.iter().map(|own| (own.host.clone(), own.rate.0)).collect(),
            script_wait: governor.script_wait,
            token_wait: governor.token_wait,
        }
    }
}

pub(super) fn check(config: &Config, checks: &mut Checks<'_>) {
    let governor = &config.calls.governor;
    checks.refuse(
        &["governor.back-off", "governor.back-off-max"],
        governor.back_off > governor.back_off_max,
        || "governor.back-off is longer than governor.back-off-max".to_owned(),
    );
    let tracked = governor.tracked.as_usize();
    checks.refuse(&["governor.hosts", "governor.tracked"], governor.hosts.len() * 4 > tracked, || {
        "governor.hosts names more than a quarter of governor.tracked".to_owned()
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_written_as_it_is_read_and_nonsense_is_refused() {
        for text in ["api.example.com=100/1s", "127.0.0.1:8080=1/50ms", "[::1]:9=10000/1d"] {
            assert_eq!(text.parse::<HostRate>().unwrap().to_string(), text);
        }
        assert_eq!(
            "API.example.com = 5/60s".parse::<HostRate>().unwrap().to_string(),
            "api.example.com=5/1m"
        );
        for text in [
            "",
            "a",
            "a=",
            "a=1",
            "a=0/1s",
            "a=10001/1s",
            "a=1/0s",
            "a=1/s",
            "a/b=1/1s",
            "https://a=1/1s",
            "a b=1/1s",
            "=1/1s",
            "u@a=1/1s",
        ] {
            assert!(text.parse::<HostRate>().is_err(), "{text}");
        }
    }
}
