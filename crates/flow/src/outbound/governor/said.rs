//! What an answer says about the provider's limits: its status, `Retry-After`, and the headers that count down.

use ::http::header::{DATE, RETRY_AFTER};
use ::http::{HeaderMap, HeaderName, StatusCode};
use perseat_domain::rate::Said;
use perseat_domain::time::Timestamp;
use std::time::Duration;

/// Pairs of headers that say how many calls are left, and when there will be more.
static COUNTERS: [(HeaderName, HeaderName); 3] = [
    (
        HeaderName::from_static("ratelimit-remaining"),
        HeaderName::from_static("ratelimit-reset"),
    ),
    (
        HeaderName::from_static("x-ratelimit-remaining"),
        HeaderName::from_static("x-ratelimit-reset"),
    ),
    (
        HeaderName::from_static("x-rate-limit-remaining"),
        HeaderName::from_static("x-rate-limit-reset"),
    ),
];
static LIMIT: HeaderName = HeaderName::from_static("ratelimit");
static POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// From here on a number of seconds is a point in time (2001), and from the second on it is one in milliseconds.
const EPOCH: (f64, f64) = (1e9, 1e12);

/// Nothing, where the answer shows neither that calls are served nor that they are refused for now.
pub(super) fn said(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Option<Said> {
    let again = || retry_after(headers, now);
    match status {
        StatusCode::TOO_MANY_REQUESTS => {
            let reset = || left(headers, now).map(|(_, span)| span);
            Some(Said::Refused(again().or_else(reset)))
        }
        StatusCode::SERVICE_UNAVAILABLE => Some(Said::Refused(Some(again()?))),
        _ if status.is_server_error() => None,
        _ => Some(Said::Served(left(headers, now))),
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// `Retry-After`: seconds, or a date, by the provider's clock if it says what time it has.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = text(headers, &RETRY_AFTER)?;
    if let Some(seconds) = number(text) {
        return Some(seconds_of(seconds));
    }
    let date = |text: &str| {
        let zoned = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
        u64::try_from(zoned.as_millisecond()).ok().map(Timestamp)
    };
    let there = self::text(headers, &DATE).and_then(date).unwrap_or(now);
    Some(date(text)?.since(there))
}

/// How many calls are left, and how long until there are more.
fn left(headers: &HeaderMap, now: Timestamp) -> Option<(u32, Duration)> {
    by_field(headers).or_else(|| {
        COUNTERS.iter().find_map(|(remaining, reset)| {
            let left = number(text(headers, remaining)?)?;
            Some((count(left), reset_in(number(text(headers, reset)?)?, now)))
        })
    })
}

/// The field `RateLimit`, as a list (`"burst";r=9;t=30`) or in its older form (`limit=10, remaining=9, reset=30`). Of
/// several the one with the fewest left counts; one without a time has its policy's (`RateLimit-Policy: "burst";q=10;w=60`).
fn by_field(headers: &HeaderMap) -> Option<(u32, Duration)> {
    let field = text(headers, &LIMIT)?;
    let older = field.contains("remaining=").then(|| field.replace(',', ";"));
    let items = older.as_deref().map_or_else(|| field.split(',').collect(), |whole| vec![whole]);
    let policies = text(headers, &POLICY).unwrap_or_default();
    let read = |item: &str| {
        let left = parameter(item, &["r", "remaining"])?;
        let name = item.split(';').next().unwrap_or_default().trim();
        let policy = || {
            policies
                .split(',')
                .find(|policy| policy.split(';').next().unwrap_or_default().trim() == name)
        };
        let span = parameter(item, &["t", "reset"]).or_else(|| parameter(policy()?, &["w"]))?;
        Some((count(left), seconds_of(span)))
    };
    items.into_iter().filter_map(read).min()
}

fn parameter(item: &str, names: &[&str]) -> Option<f64> {
    let mut pairs = item.split(';').filter_map(|part| part.trim().split_once('='));
    pairs.find_map(|(name, value)| names.contains(&name.trim()).then(|| number(value.trim()))?)
}

fn number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0)
}

fn count(number: f64) -> u32 {
    // Saturates.
    number as u32
}

fn seconds_of(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

fn reset_in(reset: f64, now: Timestamp) -> Duration {
    let (seconds, millis) = EPOCH;
    let at = |scale: f64| Timestamp((reset * scale) as u64).since(now);
    if reset >= millis {
        at(1.0)
    } else if reset >= seconds {
        at(1_000.0)
    } else {
        seconds_of(reset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::http::{HeaderName, HeaderValue};

    /// 2023-11-14T22:13:20Z.
    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn heard(status: u16, headers: &[(&'static str, &str)]) -> Option<Said> {
        let headers = headers.iter().map(|(name, value)| {
            let value = HeaderValue::from_str(value).unwrap();
            (HeaderName::from_static(name), value)
        });
        said(StatusCode::from_u16(status).unwrap(), &headers.collect(), NOW)
    }

    fn refused(seconds: u64) -> Option<Said> {
        Some(Said::Refused(Some(Duration::from_secs(seconds))))
    }

    fn served(left: u32, seconds: u64) -> Option<Said> {
        Some(Said::Served(Some((left, Duration::from_secs(seconds)))))
    }

    #[test]
    fn a_refusal_says_when_to_come_again_in_any_of_its_forms() {
        assert_eq!(heard(429, &[("retry-after", "30")]), refused(30));
        assert_eq!(heard(503, &[("retry-after", " 7 ")]), refused(7));
        let date = ("retry-after", "Tue, 14 Nov 2023 22:14:20 GMT");
        assert_eq!(heard(429, &[date]), refused(60));
        let late = ("date", "Tue, 14 Nov 2023 22:14:10 GMT");
        assert_eq!(heard(429, &[date, late]), refused(10), "the provider's clock counts");
        assert_eq!(heard(429, &[("retry-after", "Tue, 14 Nov 2023 22:00:00 GMT")]), refused(0));
        assert_eq!(
            heard(429, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1700000009")]),
            refused(9)
        );
        assert_eq!(heard(429, &[("ratelimit", "\"a\";r=0;t=4")]), refused(4));
        for nonsense in [
            &[("retry-after", "soon")][..],
            &[("retry-after", "-5")],
            &[("retry-after", "NaN")],
            &[],
        ] {
            assert_eq!(heard(429, nonsense), Some(Said::Refused(None)), "{nonsense:?}");
        }
        assert_eq!(heard(503, &[]), None, "an outage is no limit");
        assert_eq!(heard(500, &[("retry-after", "3")]), None);
    }

    #[test]
    fn what_is_left_is_read_from_every_form_of_the_headers() {
        for headers in [
            &[("ratelimit", "\"day\";r=900;t=50000, \"burst\";r=3;t=20")][..],
            &[("ratelimit", "limit=10, remaining=3, reset=20")],
            &[
                ("ratelimit", "\"burst\";r=3"),
                ("ratelimit-policy", "\"day\";q=9;w=86400,\"burst\";q=10;w=20"),
            ],
            &[("ratelimit-remaining", "3"), ("ratelimit-reset", "20")],
            &[("x-ratelimit-remaining", "3"), ("x-ratelimit-reset", "20.0")],
            &[("x-ratelimit-remaining", "3"), ("x-ratelimit-reset", "1700000020")],
            &[("x-rate-limit-remaining", "3"), ("x-rate-limit-reset", "1700000020000")],
        ] {
            assert_eq!(heard(200, headers), served(3, 20), "{headers:?}");
            assert_eq!(heard(404, headers), served(3, 20), "{headers:?}");
        }
        for headers in [
            &[("ratelimit", "\"burst\";r=3")][..],
            &[("ratelimit", ";;;=,,=")],
            &[("x-ratelimit-remaining", "3")],
            &[("x-ratelimit-remaining", "many"), ("x-ratelimit-reset", "1")],
        ] {
            assert_eq!(heard(200, headers), Some(Said::Served(None)), "{headers:?}");
        }
        assert_eq!(heard(200, &[("x-ratelimit-remaining", "3"), ("x-ratelimit-reset", "1e300")]), {
            let end = Timestamp(u64::MAX).since(NOW);
            Some(Said::Served(Some((3, end))))
        });
    }
}
