//! Which addresses may be called: pure decisions over hosts, addresses and ports.

use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The configuration key that forbids.
const DENY: &str = "outbound.deny";
/// The configuration key that permits.
const ALLOW: &str = "outbound.allow";

/// One line of `outbound.allow` or `outbound.deny`: `10.0.0.0/8`, `127.0.0.1:8101`, `[::1]:80`, `crm.internal`,
/// `*.internal`, `crm.internal:8443`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    target: Target,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Net(IpNet),
    Name(String),
    Below(String),
}

/// Why a text is not a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is neither an address range nor a host, each optionally with a port")]
pub struct RuleError {
    /// The text.
    pub text: String,
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let error = || RuleError { text: text.to_owned() };
        if let Some(net) = net(text) {
            return Ok(Self {
                target: Target::Net(net),
                port: None,
            });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok().filter(|port| *port != 0).ok_or_else(error)?)),
            None => (text, None),
        };
        if let Some(net) = net(host) {
            return Ok(Self {
                target: Target::Net(net),
                port,
            });
        }
        let name = normal_name(host);
        let bare = name.strip_prefix("*.").unwrap_or(&name);
        let is_name = !bare.is_empty() && bare.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_');
        if !is_name {
            return Err(error());
        }
        let target = match name.strip_prefix('*') {
            Some(suffix) => Target::Below(suffix.to_owned()),
            None => Target::Name(name),
        };
        Ok(Self { target, port })
    }
}

/// `10.0.0.0/8`, `10.0.0.1`, `fd00::/8`, `[::1]`.
fn net(text: &str) -> Option<IpNet> {
    let bare = text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| bare.parse::<IpAddr>().ok().map(IpNet::from))
}

/// Names compare in lower case and without the root's dot.
pub(super) fn normal_name(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

impl Rule {
    fn matches_port(&self, port: Option<u16>) -> bool {
        self.port.is_none() || self.port == port
    }

    fn names(&self, host: &str, port: Option<u16>) -> bool {
        let matches = match &self.target {
            Target::Net(_) => false,
            Target::Name(name) => name == host,
            Target::Below(suffix) => host.ends_with(suffix.as_str()),
        };
        matches && self.matches_port(port)
    }

    fn holds(&self, address: IpAddr, port: Option<u16>) -> bool {
        matches!(&self.target, Target::Net(net) if net.contains(&address)) && self.matches_port(port)
    }
}

/// Which addresses may be called. Deny wins over allow; what neither names must be a public address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    allow: Vec<Rule>,
    deny: Vec<Rule>,
}

/// Why an address or name is refused, and the configuration key that decides.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(super) struct Refusal {
    pub(super) reason: String,
    pub(super) key: &'static str,
}

impl Policy {
    /// Public addresses, the allowed ones, and none of the denied ones.
    #[must_use]
    pub fn new(allow: Vec<Rule>, deny: Vec<Rule>) -> Self {
        Self { allow, deny }
    }

    /// The same with one thing more that is allowed.
    #[must_use]
    pub fn allowing(mut self, rule: Rule) -> Self {
        self.allow.push(rule);
        self
    }

    /// The ports that some rule names: for each of them the answer may differ.
    pub(super) fn ports(&self) -> BTreeSet<u16> {
        self.allow.iter().chain(&self.deny).filter_map(|rule| rule.port).collect()
    }

    /// Whether a name may be looked up at all.
    pub(super) fn check_name(&self, host: &str, port: Option<u16>) -> Result<(), Refusal> {
        let denied = self.deny.iter().any(|rule| rule.names(host, port));
        if denied {
            Err(Refusal {
                reason: "the host is denied".into(),
                key: DENY,
            })
        } else {
            Ok(())
        }
    }

    /// Whether an address may be dialled, reached by `host` if it was a name. `port` is `None` for every port that no
    /// rule names.
    pub(super) fn check_address(&self, host: Option<&str>, address: IpAddr, port: Option<u16>) -> Result<(), Refusal> {
        let address = address.to_canonical();
        let inner = embedded(address);
        let denied = |rule: &&Rule| rule.holds(address, port) || inner.is_some_and(|inner| rule.holds(inner, port));
        if self.deny.iter().any(|rule| denied(&rule)) {
            return Err(Refusal {
                reason: format!("the address {address} is denied"),
                key: DENY,
            });
        }
        let allowed = |rule: &Rule| rule.holds(address, port) || host.is_some_and(|host| rule.names(host, port));
        if self.allow.iter().any(allowed) || (is_public(address) && inner.is_none_or(is_public)) {
            return Ok(());
        }
        Err(Refusal {
            reason: format!("the address {address} is not public"),
            key: ALLOW,
        })
    }
}

/// The IPv4 address that an IPv6 address carries inside: NAT64, 6to4, the old IPv4-compatible form.
fn embedded(address: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(v6) = address else { return None };
    let s = v6.segments();
    let from = |high: u16, low: u16| Some(IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))));
    match s {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => from(high, low),
        [0, 0, 0, 0, 0, 0, high, low] if v6 != Ipv6Addr::UNSPECIFIED && v6 != Ipv6Addr::LOCALHOST => from(high, low),
        _ => None,
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let special = matches!(
        address.octets(),
        [0 | 10 | 127, ..]
            | [100, 64..=127, ..]
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 0, 0 | 2, _]
            | [192, 88, 99, _]
            | [192, 168, ..]
            | [198, 18 | 19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
            | [224..=255, ..]
    );
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // NAT64, 6to4: public if what they carry is.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0x2002, ..] => true,
        // Protocol assignments (Teredo, ORCHID, benchmarks), documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(texts: &[&str]) -> Vec<Rule> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn allows(policy: &Policy, address: &str, port: Option<u16>) -> bool {
        policy.check_address(None, address.parse().unwrap(), port).is_ok()
    }

    #[test]
    fn only_public_addresses_are_open_by_default() {
        let policy = Policy::default();
        for public in [
            "1.1.1.1",
            "100.63.0.1",
            "172.32.0.1",
            "2606:4700::1111",
            "64:ff9b::101:101",
            "2002:101:101::1",
            "::ffff:1.1.1.1",
        ] {
            assert!(allows(&policy, public, None), "{public}");
        }
        for inner in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::7f00:1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::1",
            "2002:a00:1::",
            "fc00::1",
            "fe80::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "100::1",
        ] {
            assert!(!allows(&policy, inner, None), "{inner}");
        }
    }

    #[test]
    fn an_allowed_port_opens_that_port_alone() {
        let policy = Policy::new(rules(&["127.0.0.1:8101"]), Vec::new());
        assert!(allows(&policy, "127.0.0.1", Some(8101)));
        assert!(allows(&policy, "::ffff:127.0.0.1", Some(8101)));
        for port in [None, Some(8102)] {
            assert!(!allows(&policy, "127.0.0.1", port));
        }
        assert!(!allows(&policy, "127.0.0.2", Some(8101)));
        assert_eq!(policy.ports().into_iter().collect::<Vec<_>>(), vec![8101]);
    }

    #[test]
    fn deny_wins_over_allow_and_sees_through_embedding() {
        let policy = Policy::new(
            rules(&["0.0.0.0/0", "internal.example"]),
            rules(&["169.254.0.0/16", "1.1.1.1", "*.evil.example"]),
        );
        assert!(allows(&policy, "10.0.0.1", None));
        for denied in ["169.254.169.254", "64:ff9b::101:101", "2002:101:101::1", "::ffff:1.1.1.1"] {
            let refusal = policy
                .check_address(Some("internal.example"), denied.parse().unwrap(), None)
                .unwrap_err();
            assert_eq!(refusal.key, "outbound.deny", "{denied}");
        }
        assert!(policy.check_name("a.evil.example", None).is_err());
        assert!(
            policy.check_name("evil.example", None).is_ok(),
            "a star stands for at least one label"
        );
    }

    #[test]
    fn an_allowed_name_may_resolve_inwards() {
        let policy = Policy::new(rules(&["Crm.Internal.:8443", "[fd00::1]:80"]), Vec::new());
        let inner = "10.0.0.5".parse().unwrap();
        assert!(policy.check_address(Some("crm.internal"), inner, Some(8443)).is_ok());
        assert!(policy.check_address(Some("crm.internal"), inner, None).is_err());
        assert!(policy.check_address(Some("other.internal"), inner, Some(8443)).is_err());
        assert!(allows(&policy, "fd00::1", Some(80)));
    }

    #[test]
    fn a_refusal_names_the_key_to_change() {
        let refusal = Policy::default()
            .check_address(None, IpAddr::V4(Ipv4Addr::LOCALHOST), None)
            .unwrap_err();
        assert_eq!(
            (refusal.key, refusal.reason.as_str()),
            ("outbound.allow", "the address 127.0.0.1 is not public")
        );
    }

    #[test]
    fn what_is_not_a_rule_is_refused_by_its_text() {
        for text in ["", "10.0.0.0/33", "host:0", "host:99999", "http://x", "a b", "*", "*.", ":80"] {
            assert_eq!(text.parse::<Rule>(), Err(RuleError { text: text.into() }));
        }
    }
}
