//! Who called, and under which URL: what proxies say counts only where they are trusted.

use http::HeaderMap;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// What a client counts as: whoever has an IPv6 address has the whole network of it, 64 bits.
#[must_use]
pub fn network_of(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

/// Networks whose `X-Forwarded-…` headers are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies(pub Vec<IpNet>);

impl Proxies {
    pub(super) fn trust(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client's address: behind trusted proxies the last one that none of them vouches for.
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.trust(peer) {
            return peer;
        }
        let chain: Vec<&str> = headers
            .get_all("x-forwarded-for")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .collect();
        let mut client = peer;
        for hop in chain.iter().rev() {
            // What does not parse was not written by a proxy of ours.
            let Some(address) = hop_address(hop.trim()) else {
                return client;
            };
            client = address.to_canonical();
            if !self.trust(client) {
                return client;
            }
        }
        client
    }

    /// Scheme and host as the client used them: a trusted proxy's word, else the request's own.
    fn origin(&self, peer: IpAddr, headers: &HeaderMap, is_tls: bool) -> String {
        let trusted = self.trust(peer);
        let one = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let forwarded = |name: &str| {
            if trusted {
                one(name).and_then(|value| value.rsplit(',').next()).map(str::trim)
            } else {
                None
            }
        };
        let scheme = match forwarded("x-forwarded-proto") {
            Some(scheme @ ("http" | "https")) => scheme,
            _ if is_tls => "https",
            _ => "http",
        };
        let host = forwarded("x-forwarded-host").or_else(|| one("host")).unwrap_or("localhost");
        format!("{scheme}://{host}")
    }
}

/// An address as proxies write it: alone, in brackets, or with a port.
fn hop_address(hop: &str) -> Option<IpAddr> {
    let in_brackets = hop.strip_prefix('[').and_then(|hop| hop.strip_suffix(']'));
    let alone = in_brackets.unwrap_or(hop).parse::<IpAddr>();
    alone.or_else(|_| hop.parse::<SocketAddr>().map(|hop| hop.ip())).ok()
}

/// How the outside world reaches the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublicUrl(Option<Arc<str>>);

impl PublicUrl {
    /// The configured `public-url`; any trailing slash is dropped.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self(Some(url.trim_end_matches('/').into()))
    }

    /// None configured: the URL that each caller used.
    #[must_use]
    pub fn of_caller() -> Self {
        Self(None)
    }

    /// The URL that was called, by the public address.
    pub(super) fn of(&self, target: &str, peer: IpAddr, headers: &HeaderMap, is_tls: bool, proxies: &Proxies) -> String {
        match &self.0 {
            Some(base) => [base, target].concat(),
            None => proxies.origin(peer, headers, is_tls) + target,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn proxies() -> Proxies {
        Proxies(vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()])
    }

    #[test]
    fn the_client_is_the_last_address_that_no_trusted_proxy_vouches_for() {
        for (peer, forwarded, expected) in [
            ("203.0.113.9", &["198.51.100.1"][..], "203.0.113.9"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["192.0.2.7, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", &["192.0.2.7", "198.51.100.1"], "198.51.100.1"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1, nonsense"], "10.0.0.1"),
            ("10.0.0.1", &["10.0.0.3"], "10.0.0.3"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("::1", &["2001:db8::5"], "2001:db8::5"),
            ("10.0.0.1", &["192.0.2.7, 198.51.100.1:4711, 10.0.0.2:80"], "198.51.100.1"),
            ("::1", &["[2001:db8::5]:443"], "2001:db8::5"),
            ("::1", &["[2001:db8::5]"], "2001:db8::5"),
            ("10.0.0.1", &["198.51.100.1:"], "10.0.0.1"),
        ] {
            let headers = headers(&forwarded.iter().map(|value| ("x-forwarded-for", *value)).collect::<Vec<_>>());
            let client = proxies().client(peer.parse().unwrap(), &headers);
            assert_eq!(client, expected.parse::<IpAddr>().unwrap(), "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn the_public_url_wins_over_what_a_request_says() {
        let sent = headers(&[
            ("host", "inner:3000"),
            ("x-forwarded-host", "hooks.example.com"),
            ("x-forwarded-proto", "https"),
        ]);
        let url = |public: PublicUrl, peer: &str, is_tls| public.of("/trigger/x?a=1", peer.parse().unwrap(), &sent, is_tls, &proxies());
        assert_eq!(
            url(PublicUrl::new("https://p.example/"), "203.0.113.9", false),
            "https://p.example/trigger/x?a=1"
        );
        assert_eq!(url(PublicUrl::of_caller(), "203.0.113.9", false), "http://inner:3000/trigger/x?a=1");
        assert_eq!(url(PublicUrl::of_caller(), "203.0.113.9", true), "https://inner:3000/trigger/x?a=1");
        assert_eq!(
            url(PublicUrl::of_caller(), "10.0.0.1", false),
            "https://hooks.example.com/trigger/x?a=1"
        );
    }
}
