//! What one request, and one identity, may cost.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use perseat_actors::front::network_of;
use perseat_admin::media::MediaLimits;
use perseat_admin::query::ReadLimits;
use perseat_domain::model::KeyDigest;
use perseat_flow::definition;
use perseat_store::seal::key_digest;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Limits of the API.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlOptions {
    /// Requests that run at once, and as many bearers that are looked at; others wait.
    pub concurrency: usize,
    /// Requests of one identity that run at once, and never all of the above.
    pub concurrency_of_identity: usize,
    /// Requests of one identity that wait for a turn at once.
    pub waiting_of_identity: usize,
    /// How long a request waits for its turn.
    pub read_timeout: Duration,
    /// How long one request may go on reading.
    pub query_time: Duration,
    /// Records that one request may read.
    pub query_rows: usize,
    /// Bytes of log lines and error messages of executions that one request may read, and as many of its answer.
    pub query_bytes: usize,
    /// Memory for what signed URLs answer, until it is sent, and as much for long answers to who is admitted; the clients of one
    /// network, and one identity, have half.
    pub result_memory: usize,
    /// The text of a query in bytes, what its strings hold apart.
    pub max_query: usize,
    /// Selections of a query, those of a fragment as often as it is spread.
    pub max_selections: usize,
    /// JSON values of a request (`api.max-values`).
    pub max_values: usize,
    /// Fields within one another.
    pub max_depth: usize,
    /// The estimated cost of a query; a field costs one, a list what one item costs, as often as a page has items.
    pub max_complexity: usize,
    /// Fields that are asked for under another name.
    pub max_aliases: usize,
    /// What one read may touch.
    pub read: ReadLimits,
    /// Entries of a list of the local socket.
    pub local_page: usize,
    /// Integration definitions that are imported.
    pub definitions: definition::Limits,
    /// Requests of one identity in a second, on average.
    pub rate: u32,
    /// Requests of one identity at once, after a pause.
    pub burst: u32,
    /// Identities whose rate is remembered.
    pub remembered: usize,
    /// Refused bearers of one address in a second, on average.
    pub refused_rate: u32,
    /// Refused bearers of one address at once, after a pause.
    pub refused_burst: u32,
    /// How long a signed URL works.
    pub url_lifetime: Duration,
    /// Origins of pages that may call the API from a browser.
    pub origins: Vec<String>,
    /// What uploads may be.
    pub media: MediaLimits,
    /// Pictures that are decoded at once.
    pub decoders: usize,
    /// How long a picture may wait and take.
    pub decode_timeout: Duration,
    /// Pictures that wait or are decoded at once.
    pub pictures: PictureLimits,
}

/// Pictures that wait or are decoded at once, so that nobody's keep others waiting for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureLimits {
    /// Of one customer and its users; the organization's count as one more.
    pub of_customer: usize,
    /// For one owner.
    pub of_owner: usize,
}

impl Default for PictureLimits {
    fn default() -> Self {
        Self {
            of_customer: 4,
            of_owner: 1,
        }
    }
}

impl Default for ControlOptions {
    fn default() -> Self {
        Self {
            concurrency: 8,
            concurrency_of_identity: 4,
            waiting_of_identity: 64,
            read_timeout: Duration::from_secs(30),
            query_time: Duration::from_secs(10),
            query_rows: 100_000,
            query_bytes: 32 << 20,
            result_memory: 64 << 20,
            max_query: 64 << 10,
            max_selections: 5_000,
            max_values: 100_000,
            max_depth: 24,
            max_complexity: 50_000_000,
            max_aliases: 32,
            read: ReadLimits::default(),
            local_page: 1_000,
            definitions: definition::Limits::default(),
            rate: 50,
            burst: 500,
            remembered: 65_536,
            refused_rate: 20,
            refused_burst: 200,
            url_lifetime: Duration::from_secs(15 * 60),
            origins: Vec::new(),
            media: MediaLimits::default(),
            decoders: 1,
            decode_timeout: Duration::from_secs(20),
            pictures: PictureLimits::default(),
        }
    }
}

/// How many requests an identity has left, filled again over time.
#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Duration,
}

/// Requests per identity. Time is an argument.
#[derive(Debug)]
pub(super) struct Rates {
    rate: f64,
    burst: f64,
    remembered: usize,
    buckets: Mutex<HashMap<String, Bucket>>,
}

impl Rates {
    /// `rate` in a second on average, `burst` at once.
    pub(super) fn new(rate: f64, burst: f64, remembered: usize) -> Self {
        Self {
            rate,
            burst,
            remembered: remembered.max(1),
            buckets: Mutex::default(),
        }
    }

    /// Whether `identity` has one left; takes none.
    pub(super) fn has(&self, identity: &str, now: Duration) -> bool {
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.get(identity);
        bucket.is_none_or(|bucket| bucket.left + now.saturating_sub(bucket.at).as_secs_f64() * self.rate >= 1.0)
    }

    /// Takes one request of `identity`; false if it has none left.
    pub(super) fn take(&self, identity: &str, now: Duration) -> bool {
        self.take_many(identity, 1, now).is_ok()
    }

    /// Takes so many requests of `identity`, or none.
    ///
    /// # Errors
    /// So many more than it has left.
    pub(super) fn take_many(&self, identity: &str, many: u32, now: Duration) -> Result<(), f64> {
        let many = f64::from(many);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= self.remembered && !buckets.contains_key(identity) {
            // A full bucket says nothing that a new one would not.
            let (rate, burst) = (self.rate, self.burst);
            buckets.retain(|_, bucket| bucket.left + now.saturating_sub(bucket.at).as_secs_f64() * rate < burst);
            if buckets.len() >= self.remembered {
                return Err(many);
            }
        }
        let bucket = buckets.entry(identity.to_owned()).or_insert(Bucket { left: self.burst, at: now });
        bucket.left = (bucket.left + now.saturating_sub(bucket.at).as_secs_f64() * self.rate).min(self.burst);
        bucket.at = now;
        if bucket.left < many {
            return Err(many - bucket.left);
        }
        bucket.left -= many;
        Ok(())
    }

    /// Whether anybody ever has so many at once.
    pub(super) fn lets_pass(&self, many: u32) -> bool {
        f64::from(many) <= self.burst
    }

    /// Whole seconds until there are so many more.
    pub(super) fn seconds(&self, missing: f64) -> u64 {
        Duration::try_from_secs_f64((missing / self.rate).ceil()).map_or(u64::MAX, |time| time.as_secs())
    }
}

/// Digests that were met lately: those of the last so many, and as many before them.
#[derive(Debug)]
pub(super) struct Recent {
    most: usize,
    met: Mutex<(HashSet<KeyDigest>, HashSet<KeyDigest>)>,
}

impl Recent {
    /// At most twice `most` are remembered.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            met: Mutex::default(),
        }
    }

    pub(super) fn has(&self, digest: &KeyDigest) -> bool {
        let met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        met.0.contains(digest) || met.1.contains(digest)
    }

    pub(super) fn keep(&self, digest: KeyDigest) {
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        met.0.insert(digest);
        if met.0.len() >= self.most {
            met.1 = std::mem::take(&mut met.0);
        }
    }

    pub(super) fn forget(&self, digest: &KeyDigest) {
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        met.0.remove(digest);
        met.1.remove(digest);
    }
}

/// What a client's requests are counted under.
pub(super) fn client_key(client: IpAddr) -> String {
    network_of(client).to_string()
}

/// What requests for an account are counted under: as short as it is, however long the address that was typed.
pub(super) fn account_key(address: &str) -> String {
    URL_SAFE_NO_PAD.encode(key_digest(&address.to_lowercase()).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_that_asks_too_often_waits_and_others_do_not() {
        let rates = Rates::new(1.0, 2.0, 2);
        let second = Duration::from_secs;
        assert!(rates.take("a", second(0)) && rates.take("a", second(0)));
        assert!(!rates.has("a", second(0)) && !rates.take("a", second(0)));
        assert!(rates.has("a", second(1)) && rates.has("b", second(0)) && rates.take("b", second(0)));
        assert!(!rates.take("c", second(0)), "no more identities are remembered than the limit");
        assert!(rates.take("a", second(1)) && !rates.take("a", second(1)));
        assert!(rates.take("c", second(9)), "identities that were quiet are forgotten");
    }

    #[test]
    fn who_asks_for_more_than_is_left_takes_nothing_and_is_told_how_much_is_missing() {
        let rates = Rates::new(2.0, 10.0, 2);
        let take = |many, second| rates.take_many("a", many, Duration::from_secs(second));
        assert_eq!((take(7, 0), take(8, 0), take(3, 0)), (Ok(()), Err(5.0), Ok(())));
        assert_eq!((take(10, 1), rates.seconds(8.0), rates.seconds(0.1)), (Err(8.0), 4, 1));
        assert_eq!(take(10, 5), Ok(()));
        assert!(rates.lets_pass(10) && !rates.lets_pass(11));
    }

    #[test]
    fn what_was_met_lately_is_known_until_so_many_others_came_or_it_is_forgotten() {
        let recent = Recent::new(2);
        let digest = |n: u8| KeyDigest([n; 32]);
        (1..=3).for_each(|n| recent.keep(digest(n)));
        assert!((1..=3).all(|n| recent.has(&digest(n))));
        recent.forget(&digest(2));
        assert!(!recent.has(&digest(2)));
        recent.keep(digest(4));
        assert!(!recent.has(&digest(1)) && recent.has(&digest(3)) && recent.has(&digest(4)));
    }

    #[test]
    fn a_network_of_64_bits_counts_as_one_client_and_an_address_whatever_its_case() {
        let key = |text: &str| client_key(text.parse().unwrap());
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
        assert_eq!(account_key("ANN@acme.example"), account_key("ann@acme.example"));
        assert_eq!(account_key(&"x".repeat(16_000)).len(), account_key("").len());
    }
}
